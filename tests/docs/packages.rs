//! What packages are made of.

use std::path::Path;
use std::process::Command;

use crate::blocks::read;

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn packages_have_the_version_of_the_program() {
    for (file, line) in [("rpm/rbtrfs.spec", "Version:        "), ("alpine/APKBUILD", "pkgver=")] {
        let text = read(&checkout().join("packaging").join(file));
        let line = text.lines().find_map(|text| text.strip_prefix(line));
        assert_eq!(line, Some(env!("CARGO_PKG_VERSION")), "{file}");
    }
}

#[test]
fn scripts_of_packages_are_ones_that_a_shell_takes() {
    for script in ["deb", "static", "check", "initramfs-tools/rbtrfs", "dracut/module-setup.sh", "alpine/APKBUILD"] {
        let path = checkout().join("packaging").join(script);
        let run = Command::new("bash").arg("-n").arg(&path).output().unwrap();
        assert!(run.status.success(), "{script}: {}", String::from_utf8_lossy(&run.stderr));
    }
}

#[test]
fn what_goes_to_a_registry_is_what_a_build_needs_however_used_the_checkout_is() {
    let list = ["package", "--list", "--allow-dirty", "--offline", "--locked"];
    let run = Command::new(env!("CARGO")).args(list).current_dir(checkout()).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let files = String::from_utf8(run.stdout).unwrap();
    for file in
        ["src/lib.rs", "man/rbtrfs.8", "completions/_rbtrfs", "LICENSE-MIT", "LICENSE-APACHE", "scripts/install"]
    {
        assert!(files.lines().any(|line| line == file), "{file} is missing");
    }
    let known = ["src/", "examples/", "man/", "completions/", "docs/", "packaging/", "scripts/install"];
    let others: Vec<&str> = files.lines().filter(|file| !known.iter().any(|known| file.starts_with(known))).collect();
    assert!(others.len() < 15, "{others:?}");
}
