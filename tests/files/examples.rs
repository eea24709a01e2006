//! The examples do what they say, on a filesystem that one of them makes.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{PROGRAM, Run, Scratch};

/// An example, as `cargo test` builds it where no target is named; else it is built here.
fn example(name: &str) -> PathBuf {
    let program = Path::new(PROGRAM).with_file_name("examples").join(name);
    if !program.exists() {
        let cargo = Command::new(env!("CARGO")).args(["build", "--locked", "--quiet", "--example", name]).status();
        assert!(cargo.unwrap().success());
    }
    program
}

fn run(name: &str, arguments: &[&Path]) -> Run {
    let run = Run::of(Command::new(example(name)).args(arguments).output().unwrap());
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{name}: {}", run.stdout);
    run
}

#[test]
fn what_one_example_makes_the_others_read() {
    let scratch = Scratch::new();
    let (root, image) = (scratch.new_directory(), scratch.path("image"));
    std::fs::create_dir(root.join("below")).unwrap();
    std::fs::write(root.join("below/file"), "read by an example\n").unwrap();
    run("mkfs-from-directory", &[&root, &image]);
    assert!(run("check", &[&image]).stdout.ends_with(" blocks, 0 problems\n"));
    let report = run("chunk-report", &[&image]).stdout;
    for r#type in ["data, single: 1 chunks", "metadata, DUP: 1 chunks", "system, DUP: 1 chunks"] {
        assert!(report.contains(r#type), "{report}");
    }
    assert_eq!(run("list-files", &[&image]).stdout, "below\nbelow/file\n");
    assert_eq!(run("list-files", &[&image, Path::new("below/file")]).stdout, "read by an example\n");
}

/// An error is told, and is no success.
#[test]
fn no_example_makes_something_of_nothing() {
    let scratch = Scratch::new();
    let empty = scratch.zeros("empty", 1 << 20);
    for name in ["check", "chunk-report", "list-files"] {
        let run = Run::of(Command::new(example(name)).arg(&empty).output().unwrap());
        assert!(run.code != 0 && run.stdout.is_empty() && !run.stderr.is_empty(), "{name}: {}", run.stdout);
    }
}
