//! What every command says of a filesystem that it cannot open, or not as it needs it: what helps.

use std::path::{Path, PathBuf};
use std::process::Command;

use rbtrfs::disk::objectid;
use rbtrfs::disk::superblock::{SUPER_INFO_SIZE, SUPER_OFFSETS};
use serde_json::Value;

use crate::support::inject::Injector;
use crate::support::{PROGRAM, Run, Scratch, copy_of_kernel_image_or_skip, run_rbtrfs, tool};

/// Commands that read. `NEW` stands for a file that is not there.
const READING: &[&str] = &[
    "check",
    "list-chunks",
    "dump-tree",
    "ls",
    "ls --subvolumes",
    "stat",
    "extract --roots",
    "device list",
    "device stats",
    "min-size --devid 1",
];

/// Commands that change the filesystem.
const CHANGING: &[&str] = &[
    "balance --full",
    "chunk-alloc --type data",
    "chunk-remove --unused",
    "resize --devid 1 max",
    "device stats --reset",
    "device add --size 300M --new NEW",
    "device remove --devid 1",
    "device replace --devid 1 --new NEW",
    "tune --seed on",
];

/// A change that goes from a seed.
const SPROUT: &str = "sprout --size 300M --new NEW";

/// A filesystem with a file, on as many images.
fn filled(count: usize, options: &str, scratch: &Scratch) -> Injector {
    let tree = scratch.new_directory();
    std::fs::write(tree.join("file"), vec![7; 300_000]).unwrap();
    let images: Vec<PathBuf> = (0..count).map(|number| scratch.path(&format!("device {number}"))).collect();
    let run = run_rbtrfs(&format!("mkfs -q -b 300M {options} --rootdir {}", tree.display()), &images);
    assert_eq!(run.code, 0, "{}", run.stderr);
    Injector::new(&images)
}

fn lose_superblocks(injector: &Injector, image: usize) {
    for offset in SUPER_OFFSETS.iter().filter(|offset| offset.0 < 300 << 20) {
        injector.bytes(image, offset.0, SUPER_INFO_SIZE, |bytes| bytes.fill(0));
    }
}

/// Runs a command, and what it prints with `--json`: the hint is the same.
fn run(command: &str, images: &[PathBuf], scratch: &Scratch) -> (Run, Option<String>) {
    let new = scratch.path("new image");
    let words: Vec<String> = command.split(' ').map(|word| word.replace("NEW", new.to_str().unwrap())).collect();
    let paths: &[&str] = if command == "stat" { &["--", "file"] } else { &[] };
    let run = |more: &[&str]| {
        let run = Command::new(PROGRAM).args(&words).args(more).args(images).args(paths).output();
        assert!(!new.exists(), "{command}");
        Run::of(run.unwrap())
    };
    let told = run(&[]);
    let document: Value = serde_json::from_str(&run(&["--json"]).stdout).unwrap();
    let hint = document["error"]["hint"].as_str().map(str::to_owned);
    if let Some(hint) = &hint {
        assert!(told.stderr.ends_with(&format!("; {hint}\n")), "{command}: {hint}: {}", told.stderr);
    }
    (told, hint)
}

/// Runs a command that was advised, as it is written.
fn follow(command: &str, scratch: &Scratch) -> Run {
    let directory = scratch.new_directory();
    let path = format!("{}:{}", Path::new(PROGRAM).parent().unwrap().display(), std::env::var("PATH").unwrap());
    Run::of(Command::new("bash").args(["-c", command]).env("PATH", path).current_dir(directory).output().unwrap())
}

/// The commands of `rbtrfs` in a hint: to the last of the images.
fn commands(hint: &str, last: &str) -> Vec<String> {
    let parts = hint.split("rbtrfs ").skip(1).filter_map(|part| {
        let end = part.find(last)? + last.len();
        Some(format!("rbtrfs {}", &part[..end]))
    });
    parts.collect()
}

fn last_image(injector: &Injector) -> String {
    format!("'{}'", injector.images().last().unwrap().display())
}

#[test]
fn an_image_without_superblocks_is_led_to_what_searches_it() {
    let scratch = Scratch::in_memory();
    let injector = filled(1, "", &scratch);
    lose_superblocks(&injector, 0);
    let mut hints: Vec<String> = Vec::new();
    for command in READING.iter().chain(CHANGING).chain([&SPROUT]) {
        let (told, hint) = run(command, injector.images(), &scratch);
        assert_eq!((told.code, told.stdout.as_str()), (2, ""), "{command}");
        hints.push(hint.unwrap_or_else(|| panic!("{command}: {}", told.stderr)));
    }
    hints.dedup();
    let [hint] = &hints[..] else { panic!("{hints:?}") };
    let commands = commands(hint, &last_image(&injector));
    assert_eq!(commands.len(), 2, "{hint}");
    for command in commands {
        let run = follow(&command, &scratch);
        assert_eq!(run.code, 0, "{command}: {}{}", run.stdout, run.stderr);
    }
    let run = run_rbtrfs("dump-super", injector.images());
    assert!(run.code == 2 && run.says(&[hint]), "{}", run.stderr);
    let run = run_rbtrfs("fsck -n", injector.images());
    assert!(run.code == 8 && run.says(&[hint]), "{}", run.stderr);
}

#[test]
fn a_device_of_two_without_superblocks_is_led_to_what_knows_it_by_the_other() {
    let scratch = Scratch::in_memory();
    let injector = filled(2, "-d raid1 -m raid1", &scratch);
    lose_superblocks(&injector, 1);
    for command in READING.iter().chain(CHANGING) {
        let (told, hint) = run(command, injector.images(), &scratch);
        let commands = commands(&hint.unwrap_or_else(|| panic!("{command}: {}", told.stderr)), &last_image(&injector));
        assert_eq!((told.code, commands.len()), (2, 2), "{command}");
        if *command == "check" {
            for command in commands {
                let run = follow(&command, &scratch);
                assert_eq!(run.code, 0, "{command}: {}{}", run.stdout, run.stderr);
            }
        }
    }
}

#[test]
fn what_was_searched_in_vain_is_not_to_be_searched_again() {
    let scratch = Scratch::in_memory();
    let zeros = scratch.zeros("zeros", 8 << 20);
    let target = scratch.path("target");
    for command in ["check --repair --dry-run", "check --repair", &format!("extract -C {}", target.display())] {
        let run = run_rbtrfs(command, std::slice::from_ref(&zeros));
        assert!(run.code == 2 && run.says(&["zeros", "no trees of a btrfs"]), "{command}: {}", run.stderr);
        assert!(!run.says(&["looks for"]), "{command}: {}", run.stderr);
    }
    let others = [zeros, scratch.zeros("others", 8 << 20)];
    let run = run_rbtrfs("check --repair --dry-run", &others);
    assert!(run.code == 2 && run.says(&["one at least has to have a superblock"]), "{}", run.stderr);
}

#[test]
fn what_is_no_lost_btrfs_is_not_to_be_searched() {
    let scratch = Scratch::in_memory();
    let other = scratch.zeros("other", 64 << 20);
    let quick = ["-qF", "-E", "lazy_itable_init=1,nodiscard"].map(std::ffi::OsStr::new);
    let Some(_) = crate::support::or_skip(tool("mkfs.ext4", quick.into_iter().chain([other.as_os_str()]))) else {
        return;
    };
    for image in [other, scratch.zeros("empty", 0), scratch.zeros("short", 65_536)] {
        for command in READING {
            let (told, hint) = run(command, std::slice::from_ref(&image), &scratch);
            assert_eq!((told.code, hint), (2, None), "{command}: {}", told.stderr);
        }
    }
}

#[test]
fn a_lost_root_is_led_to_the_check_that_says_what_to_do() {
    for tree in [objectid::CHUNK_TREE, objectid::ROOT_TREE] {
        let scratch = Scratch::in_memory();
        let injector = filled(1, "", &scratch);
        injector.block_unstamped(injector.root(tree).logical, |bytes| bytes.fill(0));
        for command in READING.iter().chain(CHANGING).filter(|command| **command != "check") {
            let (told, _) = run(command, injector.images(), &scratch);
            // Some read without the root, and some what takes its place.
            let advice = format!("rbtrfs check {} says", last_image(&injector));
            assert!(told.code == 0 || told.says(&[&advice]), "{tree} {command}: {}", told.stderr);
        }
        let checked = follow(&format!("rbtrfs check {}", last_image(&injector)), &scratch);
        let steps = checked.stdout.split_once("What to do next:").unwrap().1;
        for command in steps.lines().filter_map(|line| line.strip_prefix("    ")) {
            let run = follow(command, &scratch);
            assert!(run.code < 2, "{tree} {command}: {}{}", run.stdout, run.stderr);
        }
    }
}

#[test]
fn a_root_on_a_device_that_is_not_given_is_no_lost_root() {
    let scratch = Scratch::in_memory();
    let injector = filled(2, "-d single -m single", &scratch);
    let volume = injector.volume();
    let chunk = volume.chunks().find(injector.root(objectid::CHUNK_TREE).logical).unwrap();
    let other = volume.devices().iter().find(|device| device.devid() != chunk.stripes[0].devid).unwrap();
    let images = [other.image().path().to_owned()];
    drop(volume);
    for command in READING.iter().chain(CHANGING) {
        let (told, hint) = run(command, &images, &scratch);
        match *command {
            "check" => {
                let steps = told.stdout.split_once("What to do next:").unwrap().1;
                assert!(steps.trim_start().starts_with("- Give all 2 images"), "{}", told.stdout);
                assert!(!steps.contains("root"), "{}", told.stdout);
            }
            command => {
                assert!(told.code == 2 && told.says(&["give all 2 images"]), "{command}: {}", told.stderr);
                assert_eq!(hint.as_deref(), Some("give all 2 images"), "{command}");
            }
        }
    }
}

#[test]
fn no_command_is_told_of_an_option_that_it_does_not_have() {
    let scratch = Scratch::in_memory();
    let injector = filled(2, "-d raid1 -m raid1", &scratch);
    for command in CHANGING.iter().chain([&SPROUT]) {
        let (told, hint) = run(command, &injector.images()[..1], &scratch);
        assert!(told.code == 2 && told.says(&["device 2", "give all 2 images"]), "{command}: {}", told.stderr);
        let words = command.split(" --").next().unwrap();
        let has_option = run_rbtrfs(&format!("{words} --help"), &[]).stdout.contains("--degraded");
        assert_eq!(hint.is_some_and(|hint| hint.contains("--degraded")), has_option, "{command}: {}", told.stderr);
    }
}

#[test]
fn what_the_kernel_left_pending_comes_with_the_way_to_give_it_up() {
    for (name, option) in [("log-tree", "check --clear-log"), ("balance-interrupted", "--cancel")] {
        let scratch = Scratch::in_memory();
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        let mut told_of = 0;
        for command in CHANGING {
            let new = scratch.path("new");
            let run = run_rbtrfs(&format!("{} --dry-run", command.replace("NEW", new.to_str().unwrap())), &images);
            assert!(run.code == 0 || run.says(&[option]), "{name} {command}: {}", run.stderr);
            told_of += usize::from(run.code != 0);
        }
        assert!(told_of > 3, "{name}");
    }
}
