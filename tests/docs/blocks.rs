//! Commands out of texts, run by a shell.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{PROGRAM, Scratch, or_skip, tool};

/// The names by which texts call the program.
const NAMES: [&str; 3] = ["rbtrfs", "mkfs.rbtrfs", "fsck.rbtrfs"];

/// What the commands need besides, which a machine may lack.
const TOOLS: [&str; 2] = ["jq", "tar"];

/// A directory in which commands run, with the program in PATH.
pub struct Shell {
    pub directory: PathBuf,
    programs: PathBuf,
}

impl Shell {
    /// Nothing where the machine lacks what the commands need.
    pub fn new(scratch: &Scratch) -> Option<Self> {
        for name in TOOLS {
            or_skip(tool(name, ["--version"]))?;
        }
        let programs = scratch.new_directory();
        for name in NAMES {
            std::os::unix::fs::symlink(PROGRAM, programs.join(name)).unwrap();
        }
        Some(Self { directory: scratch.new_directory(), programs })
    }

    /// Runs commands. What they print goes to the caller; that one of them fails is a failure.
    pub fn run(&self, what: &str, script: &str) -> String {
        let script = with_exit_codes(script);
        let path = format!("{}:{}:/usr/sbin:/sbin", self.programs.display(), std::env::var("PATH").unwrap_or_default());
        let mut shell = Command::new("sh");
        shell.args(["-euc", &format!("exec 2>&1\n{script}")]).current_dir(&self.directory);
        let output = shell.env("PATH", path).env("LC_ALL", "C.UTF-8").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{what}: {}\n{script}\n{text}", output.status);
        assert!(!text.contains("panicked"), "{what}: {text}");
        text
    }

    /// Puts down a directory `tree`, filesystems of it on `disk.img` and on the two devices `a.img` and `b.img`, and
    /// `damaged.img`, of which the repair gives nothing up.
    pub fn set_up(&self) {
        self.run("set-up", include_str!("setup.sh"));
    }
}

/// The script with `COMMAND # exit code N` as what fails unless the command ends so.
fn with_exit_codes(script: &str) -> String {
    let line = |line: &str| match line.split_once("# exit code ") {
        Some((command, code)) => format!("code=0; {command} || code=$?; test $code -eq {code}\n"),
        None => format!("{line}\n"),
    };
    script.lines().map(line).collect()
}

/// What stands between ```` ```sh ```` fences, in order, each with the heading above it.
pub fn blocks_of(markdown: &str) -> Vec<(String, String)> {
    let (mut blocks, mut heading, mut open) = (Vec::new(), String::new(), None::<String>);
    for line in markdown.lines() {
        match (&mut open, line) {
            (Some(_), "```") => blocks.extend(open.take().map(|block| (heading.clone(), block))),
            (Some(block), _) => *block += &format!("{line}\n"),
            (None, "```sh") => open = Some(String::new()),
            (None, _) => heading = line.strip_prefix("## ").map_or(heading, str::to_owned),
        }
    }
    assert!(open.is_none(), "a block has no end");
    blocks
}

pub fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn a_command_that_ends_otherwise_than_the_text_says_is_a_failure() {
    let scratch = Scratch::new();
    let Some(shell) = Shell::new(&scratch) else { return };
    for (script, is_right) in [
        ("true", true),
        ("false", false),
        ("false # exit code 1", true),
        ("true # exit code 1", false),
        ("exit 3", false),
    ] {
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| shell.run("trial", script)));
        assert_eq!(run.is_ok(), is_right, "{script}");
    }
}
