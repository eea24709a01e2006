//! Files come out as the kernel has them, of sound filesystems and as far as they can be of damaged ones; what is missing is
//! listed, and nothing is written anywhere else.

mod damage;
mod doubts;
mod hostile;
mod listing;
mod manifest;
mod mounts;
#[path = "../support/mod.rs"]
mod support;
mod targets;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::{PROGRAM, Run};

/// Runs a command of `rbtrfs` with options, images, and paths in them.
fn run(options: &[&str], images: &[PathBuf], paths: &[&str]) -> Run {
    let mut command = Command::new(PROGRAM);
    command.args(options).args(images);
    if !paths.is_empty() {
        command.arg("--").args(paths);
    }
    Run::of(command.output().unwrap())
}

/// Extracts from the top level into a directory. Returns the run and the problems that were reported.
fn extract(images: &[PathBuf], target: &Path, options: &[&str], paths: &[&str]) -> (Run, Vec<Value>) {
    let report = target.with_extension("report");
    let (target, report_path) = (target.to_str().unwrap(), report.to_str().unwrap());
    let mut words = vec!["extract", "--subvol", "5", "-C", target, "--report", report_path];
    words.extend(options);
    let run = run(&words, images, paths);
    let document: Value = serde_json::from_str(&std::fs::read_to_string(&report).unwrap()).unwrap();
    let problems = document["problems"].as_array().unwrap().clone();
    assert_eq!(document["schema"], "rbtrfs.extract/1");
    assert_eq!(document["complete"], problems.is_empty(), "{}", run.stderr);
    (run, problems)
}

/// Paths of problems of one kind.
fn paths_of(problems: &[Value], kind: &str) -> Vec<String> {
    let of_kind = problems.iter().filter(|problem| problem["kind"] == kind);
    of_kind.map(|problem| problem["path"].as_str().unwrap().to_owned()).collect()
}
