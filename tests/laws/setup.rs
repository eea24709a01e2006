//! Setting up: what is installed, and what the README says.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{PROGRAM, Run, Scratch};

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Installs the program below a new directory.
fn installed(scratch: &Scratch) -> PathBuf {
    let prefix = scratch.path("prefix");
    let run = Command::new(checkout().join("scripts/install")).arg(&prefix).env("PROGRAM", PROGRAM).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    prefix
}

fn names_in(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn one_program_is_installed_and_is_each_command_by_its_names() {
    let scratch = Scratch::new();
    // A second time over what is there.
    installed(&scratch);
    let prefix = installed(&scratch);
    let names = names_in(&prefix.join("bin"));
    let known = [
        "rbtrfs",
        "rbtrfs-mkfs",
        "mkfs.rbtrfs",
        "rbtrfs-fsck",
        "fsck.rbtrfs",
        "rbtrfs-chunk-alloc",
        "rbtrfs-chunk-remove",
        "rbtrfs-dump-tree",
    ];
    assert_eq!(names, known.map(str::to_owned).into());
    for name in &names {
        let path = prefix.join("bin").join(name);
        assert_eq!(path.is_symlink(), name != "rbtrfs", "{name}");
        let run = Run::of(Command::new(&path).arg("--help").output().unwrap());
        assert!(run.code == 0 && run.stdout.contains(&format!("Usage: {name} ")), "{name}: {}", run.stdout);
        for script in [
            format!("bash-completion/completions/{name}"),
            format!("fish/vendor_completions.d/{name}.fish"),
            format!("zsh/site-functions/_{name}"),
        ] {
            let script = fs::read_to_string(prefix.join("share").join(&script)).unwrap();
            assert!(script.contains(name.as_str()), "{name}: {script}");
        }
    }
    for (directory, stored) in [("share/man/man1", "man"), ("share/bash-completion/completions", "")] {
        let stored = if stored.is_empty() { names.clone() } else { names_in(&checkout().join(stored)) };
        assert_eq!(names_in(&prefix.join(directory)), stored);
    }
    for licence in ["LICENSE-APACHE", "LICENSE-MIT"] {
        let of_the_checkout = fs::read(checkout().join(licence)).unwrap();
        assert_eq!(fs::read(prefix.join("share/licenses/rbtrfs").join(licence)).unwrap(), of_the_checkout);
    }
}

#[test]
fn completions_of_every_name_are_loaded_by_bash() {
    for name in names_in(&checkout().join("completions")).iter().filter_map(|name| name.strip_suffix(".bash")) {
        let script = format!("source completions/{name}.bash && complete -p {name}");
        let run = Run::of(Command::new("bash").args(["-c", &script]).current_dir(checkout()).output().unwrap());
        assert!(run.code == 0 && run.stderr.is_empty() && run.stdout.contains(name), "{name}: {}", run.stderr);
    }
}
