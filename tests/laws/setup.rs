//! Setting up: what is installed, and what the README says.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{PROGRAM, Run, Scratch, or_skip};

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
    let scratch = Scratch::in_memory();
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
    assert_eq!(names_in(&prefix.join("share/bash-completion/completions")), names);
    for section in ["7", "8"] {
        let mut pages = names_in(&checkout().join("man"));
        pages.retain(|page| page.ends_with(&format!(".{section}")));
        assert!(!pages.is_empty() && names_in(&prefix.join(format!("share/man/man{section}"))) == pages, "{pages:?}");
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

/// A directory with a `cargo` that runs the program instead of building it, and says of tests what `tests` prints.
fn without_cargo(scratch: &Scratch, tests: &str) -> PathBuf {
    let directory = scratch.new_directory();
    let cargo = format!(
        "#!/bin/sh\ncase $1 in\nrun) while [ \"$1\" != -- ]; do shift; done; shift; exec '{PROGRAM}' \"$@\" ;;\n\
         test) {tests} ;;\nesac\n"
    );
    // Nothing is installed by a test.
    for (name, script) in [("cargo", cargo.as_str()), ("apt-get", "#!/bin/sh\nexit 1\n")] {
        let path = directory.join(name);
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    std::os::unix::fs::symlink(PROGRAM, directory.join("rbtrfs")).unwrap();
    directory
}

/// Runs a line of a shell with that directory before all others.
fn shell(line: &str, directory: &Path, stubs: &Path, scratch: &Scratch) -> Run {
    let path = format!("{}:{}", stubs.display(), std::env::var("PATH").unwrap());
    let mut bash = Command::new("bash");
    bash.args(["-o", "pipefail", "-c", line]).current_dir(directory).env("PATH", path);
    bash.env("HOME", scratch.path("home")).env("CARGO_TARGET_DIR", scratch.path("target")).env("PROGRAM", PROGRAM);
    Run::of(bash.output().unwrap())
}

/// What stands between the fences of the README, block by block; lines that go on are one.
fn lines_of_the_readme() -> Vec<String> {
    let readme = fs::read_to_string(checkout().join("README.md")).unwrap();
    let blocks = readme.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.flat_map(|block| block.replace("&&\n", "&& ").lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn every_line_of_the_readme_does_what_it_is_there_for() {
    let scratch = Scratch::in_memory();
    if ["jq", "python3"].into_iter().any(|tool| or_skip(crate::support::tool(tool, ["--version"])).is_none()) {
        return;
    }
    let work = scratch.new_directory();
    fs::create_dir_all(work.join("tree/usr/bin")).unwrap();
    fs::write(work.join("tree/usr/bin/program"), vec![7; 100_000]).unwrap();
    let stubs = without_cargo(&scratch, "echo 'test result: ok'");
    let before = names_in(checkout());
    let lines = lines_of_the_readme();
    assert!(lines.len() >= 12, "{lines:#?}");
    for line in lines {
        // What names files of the checkout is run there, the rest where there are a tree and images.
        let is_inside = line.contains("cargo ") || line.contains("scripts/");
        let run = shell(&line, if is_inside { checkout() } else { &work }, &stubs, &scratch);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{line}: {}", run.stdout);
        assert!(!run.stdout.is_empty() || line.contains("install"), "{line} prints nothing");
        assert!(run.stdout.lines().count() < 300, "{line} prints {} lines", run.stdout.lines().count());
        if line.starts_with("image=") {
            assert!(run.stdout.contains("no problems found\nTYPE "), "{}", run.stdout);
        }
    }
    assert_eq!(names_in(checkout()), before, "something is left in the checkout");
    assert!(scratch.path("home/.local/bin/rbtrfs-mkfs").is_symlink());
}

#[test]
fn what_failed_and_what_was_skipped_is_named_at_the_end() {
    let scratch = Scratch::in_memory();
    let report = "     Running tests/laws/main.rs (target/debug/deps/laws-0123456789abcdef)\n\nrunning 3 tests\n\
                  test one ... FAILED\n\nfailures:\n\n---- one stdout ----\n    not::a_name\nfailures:\n\n\n\
                  failures:\n    one\n    texts::another\n\ntest result: FAILED. 1 passed; 2 failed\n\n   \
                  Doc-tests rbtrfs\n\nfailures:\n    src/lib.rs - (line 4)\n\ntest result: FAILED.\n\n\
                  error: 2 targets failed:\n    `--test laws`\n    `--doc`\n";
    let log = scratch.path("log");
    fs::write(&log, report).unwrap();
    let skipped = "printf 'laws::some: no jq\\nlaws::some: no jq\\n' >\"$CARGO_TARGET_DIR/skipped-tests\"";
    let stubs = without_cargo(&scratch, &format!("{skipped}; cat '{}'; exit 101", log.display()));
    let run = shell("scripts/test", checkout(), &stubs, &scratch);
    let end = "\nskipped: laws::some: no jq\n1 tests skipped, all or a part of them\nfailed: laws::one\n\
               failed: laws::texts::another\nfailed: doc::src/lib.rs - (line 4)\nfailed: cargo test --test laws\n\
               failed: cargo test --doc\n";
    assert_eq!(run.code, 101, "{}", run.stderr);
    assert!(run.stdout.ends_with(end), "{}", run.stdout);
    let stubs = without_cargo(&scratch, "echo 'test result: ok'");
    let run = shell("scripts/test", checkout(), &stubs, &scratch);
    assert!(run.code == 0 && run.stdout.ends_with("\nno test skipped\nno test failed\n"), "{}", run.stdout);
}
