//! What a check tells a person: what it saw, what that means, and what to do next.

use std::path::{Path, PathBuf};
use std::process::Command;

use rbtrfs::disk::{Key, KeyType, objectid};
use serde_json::Value;
use zerocopy::FromZeros;

use crate::support::inject::Injector;
use crate::support::{PROGRAM, Run, Scratch, kernel_image_or_skip, output_of, run_rbtrfs};

/// Two copies of a file in a directory.
fn filled(scratch: &Scratch) -> Injector {
    let root = scratch.path("root");
    std::fs::create_dir_all(root.join("directory/below")).unwrap();
    std::fs::write(root.join("directory/below/a file"), vec![7; 300_000]).unwrap();
    let images = [scratch.path("first image"), scratch.path("second image")];
    let mkfs = Command::new(PROGRAM)
        .args(["mkfs", "-q", "-b", "300M", "-d", "raid1", "-m", "raid1", "-L", "the label", "--rootdir"])
        .arg(&root)
        .args(&images)
        .output();
    assert_eq!(Run::of(mkfs.unwrap()).code, 0);
    Injector::new(&images)
}

fn inode_of(images: &[PathBuf], path: &str) -> u64 {
    let list: Value = serde_json::from_str(&output_of("ls -R --json", images)).unwrap();
    let is_it = |entry: &&Value| entry["path"].as_str().unwrap().ends_with(path);
    list["entries"].as_array().unwrap().iter().find(is_it).unwrap()["inode"].as_u64().unwrap()
}

/// Has the inode item say another number of bytes.
fn damage_bytes(injector: &Injector, inode: u64) {
    let key = Key::new(inode, KeyType::INODE_ITEM, 0);
    injector.item(objectid::FS_TREE, key, |item| item[24..32].copy_from_slice(&999_u64.to_le_bytes()));
}

/// Has a good copy of a block of the tree on one device alone.
fn damage_a_copy(injector: &Injector, tree: u64) {
    let block = injector.root(tree).logical;
    injector.block_copy(block, 2, |bytes| bytes[200] ^= 1);
}

/// The lines from the heading that begins with `start` to the next empty one.
fn part<'t>(text: &'t str, start: &str) -> Vec<&'t str> {
    text.lines().skip_while(|line| !line.starts_with(start)).take_while(|line| !line.is_empty()).collect()
}

#[test]
fn the_filesystem_and_the_work_are_told_around_what_was_found() {
    let scratch = Scratch::in_memory();
    let injector = filled(&scratch);
    let images = injector.images();
    let text = output_of("check", images);
    let list: Value = serde_json::from_str(&output_of("list-chunks --json", images)).unwrap();
    for part in ["the label", list["fsid"].as_str().unwrap(), images[0].to_str().unwrap(), images[1].to_str().unwrap()]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(text.contains("of 600.00 MiB\n"), "{text}");
    let document: Value = serde_json::from_str(&output_of("check --json", images)).unwrap();
    let totals = &document["totals"];
    let checked = format!("{} inodes in 1 subvolume, {} extents of ", totals["inodes"], totals["extents"]);
    assert!(text.contains(&checked) && text.contains(&format!(", {} tree blocks, in ", totals["blocks"])), "{text}");
    assert!(text.ends_with("\nno problems found\n"), "{text}");
    assert!(!text.contains("note") && !text.contains("What to do next"), "{text}");
}

#[test]
fn problems_stand_under_what_they_mean_and_with_their_files() {
    let scratch = Scratch::in_memory();
    let injector = filled(&scratch);
    let inode = inode_of(injector.images(), "a file");
    damage_bytes(&injector, inode);
    damage_a_copy(&injector, objectid::CSUM_TREE);
    // A mirror of the superblock that was never written is a note.
    injector.bytes(0, 64 << 20, 4096, |bytes| bytes.fill(0));
    let run = run_rbtrfs("check", injector.images());
    assert_eq!(run.code, 1, "{}", run.stderr);
    let lines: Vec<&str> = run.stdout.lines().collect();
    let files = part(&run.stdout, "Files affected");
    assert!(
        files[1].starts_with(&format!("error: inode-nbytes: tree=FS_TREE inode={inode}, invalid nbytes")),
        "{files:?}"
    );
    assert_eq!(files[2..], ["    file: /directory/below/a file"]);
    let copies = part(&run.stdout, "Redundancy lost");
    assert!(copies.len() == 2 && copies[1].starts_with("error: block-bad-copy: tree=CSUM_TREE block="), "{copies:?}");
    assert!(lines.contains(&"2 problems found") && !run.stdout.contains("\nnote: "), "{}", run.stdout);
    assert!(run.stdout.contains(" 2 errors, ") && run.stdout.contains("(-v shows them)"), "{}", run.stdout);

    // The other ways to ask for the same say the same.
    let problems: Vec<&str> = lines.iter().copied().filter(|line| line.starts_with("error: ")).collect();
    let quiet = run_rbtrfs("check -q", injector.images());
    let mut quiet: Vec<&str> = quiet.stdout.lines().collect();
    let verbose = run_rbtrfs("check -v", injector.images()).stdout;
    let is_told = |line: &&str| ["error: ", "note: "].iter().any(|severity| line.starts_with(severity));
    let notes: Vec<&str> = verbose.lines().filter(is_told).filter(|line| !problems.contains(line)).collect();
    assert!(notes.iter().all(|line| line.starts_with("note: ")) && !notes.is_empty(), "{verbose}");
    assert!(part(&verbose, "Notes")[1..] == notes[..], "{verbose}");
    let document: Value = serde_json::from_str(&run_rbtrfs("check --json", injector.images()).stdout).unwrap();
    let harms = document["problems"].as_array().unwrap().iter().filter(|problem| problem["severity"] == "error");
    let mut harms: Vec<&str> = harms.map(|problem| problem["harm"].as_str().unwrap()).collect();
    harms.sort();
    assert_eq!(harms, ["files", "redundancy"]);
    let mut sorted = problems.clone();
    sorted.sort();
    quiet.sort();
    assert_eq!(quiet, sorted);
}

/// The commands under "What to do next".
fn commands(text: &str) -> Vec<&str> {
    part(text, "What to do next").into_iter().filter_map(|line| line.strip_prefix("    ")).collect()
}

/// Runs a command that was advised, word for word, where the program is in the path and files may be made.
fn follow(command: &str, scratch: &Scratch) -> Run {
    let directory = scratch.new_directory();
    let path = format!("{}:{}", Path::new(PROGRAM).parent().unwrap().display(), std::env::var("PATH").unwrap());
    Run::of(Command::new("sh").args(["-c", command]).env("PATH", path).current_dir(directory).output().unwrap())
}

#[test]
fn what_is_advised_can_be_done_as_it_is_written() {
    let scratch = Scratch::in_memory();
    let injector = filled(&scratch);
    damage_bytes(&injector, inode_of(injector.images(), "a file"));
    let run = run_rbtrfs("check", injector.images());
    let commands = commands(&run.stdout);
    assert_eq!(commands.len(), 4, "a copy of each image, the files, the repair: {}", run.stdout);
    for command in &commands {
        let run = follow(command, &scratch);
        // 1 is what was found to be wrong, as it is.
        assert!(run.code < 2, "{command}: {}{}", run.stdout, run.stderr);
    }
    assert!(commands[3].starts_with("rbtrfs check --repair --dry-run "), "{commands:?}");
    assert!(PathBuf::from(format!("{}.copy", injector.images()[1].display())).exists());
}

#[test]
fn a_missing_device_is_asked_for_where_something_is_wrong() {
    let scratch = Scratch::in_memory();
    let mut injector = filled(&scratch);
    damage_bytes(&injector, inode_of(injector.images(), "a file"));
    injector.lose(1);
    let run = run_rbtrfs("check", injector.images());
    let steps = part(&run.stdout, "What to do next");
    assert!(steps[1].starts_with("- Give all 2 images"), "{}", run.stdout);
    assert!(part(&run.stdout, "label").iter().any(|line| line.starts_with("device 2") && line.ends_with("missing")));
}

#[test]
fn contents_that_were_wrong_before_they_were_written_point_at_the_memory() {
    let scratch = Scratch::in_memory();
    let injector = filled(&scratch);
    let key = Key::new(inode_of(injector.images(), "a file"), KeyType::INODE_ITEM, 0);
    let advice = "Test the memory";
    damage_a_copy(&injector, objectid::CSUM_TREE);
    assert!(!run_rbtrfs("check", injector.images()).stdout.contains(advice));
    injector.item(objectid::FS_TREE, key, |item| item[52..56].fill(0xff));
    let run = run_rbtrfs("check", injector.images());
    assert!(run.stdout.contains("error: inode-mode: corrupt leaf: root=FS_TREE block="), "{}", run.stdout);
    assert!(run.stdout.contains("    file: /directory/below/a file\n"), "{}", run.stdout);
    assert!(run.stdout.contains(advice), "{}", run.stdout);
}

#[test]
fn a_lost_root_leads_to_the_one_that_can_be_read() {
    let Some(images) = kernel_image_or_skip("single") else { return };
    let scratch = Scratch::in_memory();
    let injector = Injector::new(&images);
    injector.block_unstamped(injector.root(objectid::ROOT_TREE).logical, |bytes| bytes.fill(0));
    let run = run_rbtrfs("check", injector.images());
    assert!(
        part(&run.stdout, "Out of reach")[1].starts_with("fatal: block-unreadable: tree=ROOT_TREE "),
        "{}",
        run.stdout
    );
    let commands = commands(&run.stdout);
    let check = commands
        .iter()
        .find(|command| command.starts_with("rbtrfs check -b "))
        .unwrap_or_else(|| panic!("{}", run.stdout));
    assert!(follow(check, &scratch).code < 2, "{check}");
    // Nothing more is asked of a person that began there already.
    let again = run_rbtrfs("check -b", injector.images());
    assert!(!again.stdout.contains("The root is lost"), "{}", again.stdout);

    // Without backup roots those that a search finds are left.
    injector.superblocks(|superblock| superblock.super_roots = FromZeros::new_zeroed());
    let run = run_rbtrfs("check", injector.images());
    let commands = self::commands(&run.stdout);
    let roots = commands
        .iter()
        .find(|command| command.starts_with("rbtrfs extract --roots "))
        .unwrap_or_else(|| panic!("{}", run.stdout));
    let found = follow(roots, &scratch).stdout;
    assert!(found.starts_with("--tree-root "), "{found}");
}

#[test]
fn colours_come_where_they_are_asked_for_and_change_no_word() {
    let scratch = Scratch::in_memory();
    let injector = filled(&scratch);
    damage_a_copy(&injector, objectid::CSUM_TREE);
    let run = |words: &[&str], variables: &[(&str, &str)]| {
        let mut command = Command::new(PROGRAM);
        command.args(words).args(injector.images()).envs(variables.iter().copied());
        for name in ["NO_COLOR", "CLICOLOR_FORCE", "CLICOLOR"]
            .iter()
            .filter(|name| !variables.iter().any(|(set, _)| set == *name))
        {
            command.env_remove(name);
        }
        let stdout = Run::of(command.output().unwrap()).stdout;
        // The time that it took is another one each time.
        stdout.lines().filter(|line| !line.contains("checked")).map(|line| format!("{line}\n")).collect::<String>()
    };
    for words in [&["check"][..], &["list-chunks"], &["ls"]] {
        let plain = run(words, &[]);
        assert!(!plain.contains('\x1b'));
        let with = |option: &'static str| [words, &[option]].concat();
        for coloured in [run(&with("--color=always"), &[]), run(words, &[("CLICOLOR_FORCE", "1")])] {
            assert!(coloured.contains("\x1b["), "{coloured}");
            assert_eq!(anstream::adapter::strip_str(&coloured).to_string(), plain);
        }
        for uncoloured in [
            run(&with("--color=never"), &[("CLICOLOR_FORCE", "1")]),
            run(words, &[("NO_COLOR", "1")]),
            run(&with("--color=auto"), &[]),
        ] {
            assert_eq!(uncoloured, plain);
        }
    }
}

#[test]
fn a_repair_is_told_as_the_check_is_and_done_as_it_is_advised() {
    let scratch = Scratch::in_memory();
    let injector = filled(&scratch);
    damage_bytes(&injector, inode_of(injector.images(), "a file"));
    let checked = run_rbtrfs("check", injector.images()).stdout;
    let planned = run_rbtrfs("check --repair --dry-run", injector.images());
    assert_eq!(planned.code, 0, "{planned:?}");
    let same = ["label", "Files affected"].map(|start| (part(&checked, start), part(&planned.stdout, start)));
    for (of_check, of_repair) in same {
        assert!(of_check.len() > 1 && of_check == of_repair, "{}", planned.stdout);
    }
    assert!(part(&planned.stdout, "Files affected").contains(&"    file: /directory/below/a file"));
    let commands = commands(&planned.stdout);
    let [repair, undo] = commands[..] else { panic!("{}", planned.stdout) };
    let directory = scratch.new_directory();
    let work = |command: &str| format!("cd {} && {command}", directory.display());
    assert_eq!(follow(&work(repair), &scratch).code, 0, "{repair}");
    assert_eq!(run_rbtrfs("check", injector.images()).code, 0);
    assert_eq!(follow(&work(undo), &scratch).code, 0, "{undo}");
    assert_eq!(run_rbtrfs("check", injector.images()).code, 1);
}
