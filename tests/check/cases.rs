//! Filesystems of which others wrote down what is right: `make.sh` makes one, `rc` has exit codes of a check, and what
//! `expect.txt` says beyond them stands here, by the name of the case.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::SystemTime;

use crate::support::{PROGRAM, Scratch, rbtrfs, require, tool};
use serde_json::Value;

/// A case, made.
struct Made {
    name: String,
    directory: PathBuf,
}

impl Made {
    fn images(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(&self.directory).unwrap().map(|entry| entry.unwrap().path());
        let mut images: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "img")).collect();
        images.sort();
        images
    }

    fn image(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Runs a command on all images.
    fn run(&self, command: &str, options: &[&str]) -> Output {
        rbtrfs(command, options, &self.images())
    }

    fn problems(&self) -> Vec<Value> {
        problems(&self.images())
    }
}

fn problems(images: &[PathBuf]) -> Vec<Value> {
    let output = rbtrfs("check", &["--json"], images);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    document["problems"].as_array().unwrap().clone()
}

/// The codes of problems beyond notes.
fn codes(problems: &[Value]) -> Vec<&str> {
    let grave = problems.iter().filter(|problem| problem["severity"] != "note");
    grave.map(|problem| problem["code"].as_str().unwrap()).collect()
}

fn has(problems: &[Value], code: &str) -> bool {
    problems.iter().any(|problem| problem["code"] == code)
}

fn assert_btrfs_check(image: &Path) {
    tool("btrfs", ["check".as_ref(), image.as_os_str()]).unwrap();
}

/// Whether a command is refused, and writes to no image: their times are as before.
fn assert_refused(case: &Made, command: &str, options: &[&str]) {
    let times = || -> Vec<SystemTime> {
        case.images().iter().map(|image| std::fs::metadata(image).unwrap().modified().unwrap()).collect()
    };
    let before = times();
    assert_eq!(case.run(command, options).status.code(), Some(2), "{}: {command} {options:?}", case.name);
    assert_eq!(times(), before, "{}: {command} {options:?}", case.name);
}

/// What is right beyond exit codes of a check.
fn judge(case: &Made) {
    let done = |output: Output| assert_eq!(output.status.code(), Some(0), "{}: {output:?}", case.name);
    match case.name.as_str() {
        "block-group-tree-conversion-cut" => assert_eq!(codes(&case.problems()), ["super-conversion"]),
        "checksum-conversion-cut" => {
            let problems = case.problems();
            assert_eq!(codes(&problems), ["super-conversion", "block-unreadable"]);
            assert!(problems.iter().any(|problem| problem["values"]["flag"] == "CHANGING_META_CSUM"));
        }
        "chunk-at-logical-zero" => {
            done(case.run("chunk-alloc", &["--type", "data"]));
            assert_btrfs_check(&case.image("0.img"));
        }
        "metadata-image-restored" => {
            let dump = case.run("dump-tree", &[]);
            assert_eq!((dump.status.code(), dump.stderr.len()), (Some(0), 0), "{dump:?}");
            done(case.run("chunk-alloc", &["--type", "data"]));
            assert_eq!(codes(&case.problems()), [""; 0]);
            assert_btrfs_check(&case.image("0.img"));
        }
        "missed-one-commit" => {
            let stale = case.problems().into_iter().find(|problem| problem["code"] == "device-stale").unwrap();
            assert_eq!((&stale["values"]["devid"], &stale["severity"]), (&3.into(), &"fatal".into()));
            assert!(!has(&case.problems(), "block-unreadable"), "every bad copy is recoverable");
            assert_refused(case, "chunk-alloc", &["--type", "data", "--size", "1M"]);
            done(case.run("chunk-alloc", &["--type", "data", "--size", "1M", "--degraded"]));
            assert!(!has(&case.problems(), "block-unreadable"), "what could be read before can be read after");
        }
        "raid5-bad-column" => {
            assert!(has(&case.problems(), "block-bad-copy"));
            case.run("chunk-alloc", &["--type", "data", "--size", "1M"]);
            assert!(!has(&case.problems(), "block-unreadable"));
        }
        "stale-device" => {
            assert!(has(&case.problems(), "device-stale"));
            assert_refused(case, "chunk-alloc", &["--type", "data", "--size", "1M"]);
            assert_refused(case, "chunk-remove", &["--unused"]);
            done(case.run("chunk-alloc", &["--type", "data", "--size", "1M", "--degraded"]));
            // What it missed has been written elsewhere since, but it is never stamped with the new generation.
            let problems = case.problems();
            assert!(["device-stale", "device-behind"].iter().any(|code| has(&problems, code)), "{problems:?}");
        }
        "superblock-behind" => {
            assert!(has(&case.problems(), "device-behind"));
            done(case.run("chunk-alloc", &["--type", "data", "--size", "1M"]));
            assert_eq!(codes(&case.problems()), [""; 0]);
            assert!(!has(&case.problems(), "device-behind"));
        }
        "wide-raid10" => {
            for options in [["--type", "data"], ["--type", "metadata"]] {
                done(case.run("chunk-alloc", &options));
            }
            assert_eq!(codes(&case.problems()), [""; 0]);
        }
        _ => {}
    }
}

/// Its `make.sh` fills a filesystem file by file, for minutes: `tests/engine/chunk_commands/space.rs` makes the same faster.
const JUDGED_ELSEWHERE: [&str; 1] = ["full-with-an-empty-chunk"];

/// Has `make.sh` make a case; nothing where the machine lacks something for it.
fn make(case: &Path, name: &str, scratch: &Scratch) -> Option<Made> {
    let directory = scratch.new_directory();
    let programs = scratch.path("programs");
    if !programs.is_dir() {
        std::fs::create_dir(&programs).unwrap();
        std::os::unix::fs::symlink(PROGRAM, programs.join("rbtrfs")).unwrap();
    }
    let path = format!("{}:{}:/usr/sbin:/sbin", programs.display(), std::env::var("PATH").unwrap_or_default());
    let mut make = Command::new("bash");
    let output = make.arg(case.join("make.sh")).arg(&directory).env("PATH", path).env("RB", PROGRAM).output().unwrap();
    let made = Made { name: name.to_owned(), directory };
    if name == "empty-relocation-leaf" && made.image("0.img").exists() {
        // btrfs-image 6.2 ends with an error before it makes the file as long as the device.
        std::fs::File::options().write(true).open(made.image("0.img")).unwrap().set_len(1 << 30).unwrap();
        return Some(made);
    }
    // Cases of dumps have `diff` as their last command, and are judged with the dumps.
    let error = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let is_made = output.status.success() || name.starts_with("dump-");
    require(&format!("cases_of_others_are_judged_as_they_say::{name}"), is_made, &error).then_some(made)
}

#[test]
fn cases_of_others_are_judged_as_they_say() {
    let test = "cases_of_others_are_judged_as_they_say";
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/cases");
    let cases = std::env::var_os("RBTRFS_CASES").map_or_else(default, PathBuf::from);
    if !require(test, cases.is_dir(), "no cases in RBTRFS_CASES") {
        return;
    }
    let mut failures = String::new();
    let mut folders: Vec<PathBuf> = std::fs::read_dir(cases).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    for folder in folders.iter().filter(|folder| folder.join("make.sh").exists()) {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let scratch = Scratch::new();
        if JUDGED_ELSEWHERE.contains(&name.as_str()) {
            continue;
        }
        let Some(case) = make(folder, &name, &scratch) else { continue };
        for line in std::fs::read_to_string(folder.join("rc")).unwrap_or_default().lines() {
            let mut words = line.split_whitespace();
            let Some(expect) = words.next().and_then(|code| code.parse().ok()) else { continue };
            let images: Vec<PathBuf> = words.map(|image| case.image(image)).collect();
            let output = rbtrfs("check", &[], &images);
            if output.status.code() != Some(expect) {
                failures +=
                    &format!("{name}: {line}: {:?} {}\n", output.status, String::from_utf8_lossy(&output.stdout));
            }
        }
        judge(&case);
    }
    assert!(failures.is_empty(), "{failures}");
}
