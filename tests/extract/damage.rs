//! What is lost is listed, and all else comes out.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use rbtrfs::disk::inode::{DirItem, Entries};
use rbtrfs::disk::objectid::FS_TREE;
use rbtrfs::disk::{Key, KeyType, Logical, hash};
use rbtrfs::files::{ExtentKind, Files, InodeId, Start};
use serde_json::Value;

use super::manifest::{Manifest, assert_same, manifest};
use super::support::contents::place;
use super::support::damages::Target;
use super::support::inject::Injector;
use super::support::random::Random;
use super::support::*;
use super::{extract, paths_of, run};

fn lookup(injector: &Injector, path: &str) -> InodeId {
    let volume = injector.volume();
    Files::open(&volume, Start::TopLevel).unwrap().lookup(path).unwrap()
}

/// Takes both items of a name away.
fn remove_name(injector: &Injector, directory: InodeId, name: &[u8]) {
    let has_name = |data: &[u8]| Entries::<DirItem>::new(data).flatten().any(|named| named.name == name);
    let is_index = |key: &Key| (key.objectid, key.key_type) == (directory.ino.0, KeyType::DIR_INDEX);
    let items = injector.items(directory.tree.0);
    let index = items.iter().find(|(key, data)| is_index(key) && has_name(data)).unwrap().0;
    injector.remove_item(directory.tree.0, index);
    injector.remove_item(directory.tree.0, Key::new(directory.ino.0, KeyType::DIR_ITEM, hash::dir_item(name)));
}

fn sound(images: &[std::path::PathBuf], scratch: &Scratch) -> Manifest {
    let target = scratch.path("sound");
    let (run, problems) = extract(images, &target, &["--snapshots"], &[]);
    assert_eq!((run.code, problems.len()), (0, 0), "{}", run.stderr);
    manifest(&target)
}

#[test]
fn names_that_directories_have_lost_come_out_by_references_or_in_lost_and_found() {
    let Some(images) = kernel_image_or_skip("single") else { return };
    let (scratch, injector) = (Scratch::in_memory(), Injector::new(&images));
    let mut expected = sound(&images, &scratch);
    let (root, files) = (lookup(&injector, ""), lookup(&injector, "files"));
    // A file and a directory that name themselves, and a file that nothing names.
    remove_name(&injector, files, b"random");
    remove_name(&injector, root, b"zstd");
    let nameless = lookup(&injector, "inodes/xattrs");
    remove_name(&injector, lookup(&injector, "inodes"), b"xattrs");
    injector.remove_item(FS_TREE, Key::new(nameless.ino.0, KeyType::INODE_REF, lookup(&injector, "inodes").ino.0));
    let target = scratch.path("target");
    let (run, problems) = extract(injector.images(), &target, &["--snapshots"], &[]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    let new_name = format!("lost+found/5/{}", nameless.ino);
    let found: BTreeSet<_> = paths_of(&problems, "found").into_iter().collect();
    assert_eq!(found, ["files/random", "zstd", &new_name].map(str::to_owned).into());
    let mut moved = expected.remove(&b"inodes/xattrs"[..]).unwrap();
    moved.first_name = new_name.clone().into_bytes();
    expected.insert(new_name.into_bytes(), moved);
    let mut have = manifest(&target);
    have.retain(|path, _| path != b"lost+found" && path != b"lost+found/5");
    assert_same(&have, &expected, "names");
}

#[test]
fn a_directory_whose_leaf_is_lost_is_rebuilt_of_what_refers_to_it() {
    let Some(images) = kernel_image_or_skip("deep") else { return };
    let (scratch, injector) = (Scratch::in_memory(), Injector::new(&images));
    // The same names stand in one leaf of the items and in many of the indexes: all indexes go, and a leaf of items.
    let is_index = |key: &Key| key.key_type == KeyType::DIR_INDEX;
    let leaves: BTreeSet<Logical> = {
        let indexes = injector.items(FS_TREE).into_iter().map(|(key, _)| key).filter(is_index);
        indexes.step_by(100).map(|key| injector.leaf_of(FS_TREE, key)).collect()
    };
    for leaf in leaves {
        injector.block_unstamped(leaf, |bytes| bytes[2000] ^= 1);
    }
    let leaf = injector.leaf_of(FS_TREE, Key::new(256, KeyType::DIR_ITEM, 1 << 31));
    injector.block_unstamped(leaf, |bytes| bytes[2000] ^= 1);
    let target = scratch.path("target");
    let (run, problems) = extract(injector.images(), &target, &["--recover", "never"], &[]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    let all: BTreeSet<String> = (1..=30_000).map(|number| format!("file-{number}")).collect();
    let have: BTreeSet<String> =
        fs::read_dir(&target).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let lost: Vec<_> = all.difference(&have).collect();
    let found = paths_of(&problems, "found");
    assert!(lost.is_empty() && found.len() > 20, "{} lost, {} found", lost.len(), found.len());
    for path in found {
        let number: usize = path.strip_prefix("file-").unwrap().parse().unwrap();
        assert_eq!(fs::read_to_string(target.join(&path)).unwrap(), format!("{number:010}"));
    }
}

#[test]
fn a_bad_sector_is_zeroes_or_kept_or_costs_its_file_and_is_listed_each_time() {
    const AT: u64 = 100 * 4096;
    let Some(images) = kernel_image_or_skip("single") else { return };
    let (scratch, injector) = (Scratch::in_memory(), Injector::new(&images));
    let sound = run(&["cat", "--subvol", "5"], &images, &["files/random"]);
    assert_eq!(sound.code, 0);
    let whole = {
        let volume = injector.volume();
        let files = Files::open(&volume, Start::TopLevel).unwrap();
        let id = files.lookup("files/random").unwrap();
        let mut bytes = vec![0; 2_000_000];
        assert_eq!(files.read(id, 0, &mut bytes).unwrap(), bytes.len());
        let extent = files.file(id).unwrap().extent_at(AT).unwrap();
        let ExtentKind::Disk(disk) = extent.kind else { panic!("{extent:?}") };
        let (image, offset) = place(&volume, Logical(disk.logical.0 + disk.offset), 1);
        injector.bytes(image, offset, 4096, |bytes| bytes[7] ^= 0x10);
        bytes
    };
    let (mut zeroed, mut kept) = (whole.clone(), whole);
    zeroed[AT as usize..][..4096].fill(0);
    kept[AT as usize + 7] ^= 0x10;
    // Of snapshots and reflinks too, which have the same sector.
    for (what, kind, expected) in
        [("zero", "zeroed", Some(&zeroed)), ("keep", "kept", Some(&kept)), ("skip-file", "missing", None)]
    {
        let target = scratch.path(what);
        let (run, problems) = extract(injector.images(), &target, &["--bad-sectors", what], &[]);
        assert_eq!(run.code, 1, "{what}: {}", run.stderr);
        let listed: BTreeSet<String> = paths_of(&problems, kind).into_iter().collect();
        assert!(listed.contains("files/random") && problems.len() == listed.len(), "{what}: {problems:?}");
        let problem = problems.iter().find(|problem| problem["path"] == "files/random").unwrap();
        if expected.is_some() {
            assert_eq!((problem["offset"].as_u64(), problem["length"].as_u64()), (Some(AT), Some(4096)), "{what}");
        }
        assert_eq!(fs::read(target.join("files/random")).ok().as_ref(), expected, "{what}");
        let archive = scratch.path("archive.tar");
        let options = ["extract", "--subvol", "5", "--bad-sectors", what, "--tar", archive.to_str().unwrap()];
        assert_eq!(super::run(&options, injector.images(), &[]).code, 1);
        let output = Command::new("tar").args(["-xOf", archive.to_str().unwrap(), "files/random"]).output().unwrap();
        assert_eq!(output.status.success().then_some(&output.stdout), expected, "{what}");
        // What is wrong is tried again and told again.
        let resumed = super::run(
            &["extract", "--subvol", "5", "--resume", "--bad-sectors", what, "-C", target.to_str().unwrap()],
            injector.images(),
            &[],
        );
        assert!(resumed.code == 1 && resumed.says(&["files/random", kind]), "{what}: {}", resumed.stderr);
    }
    let cut = run(&["cat", "--subvol", "5"], injector.images(), &["files/random"]);
    assert!(cut.code == 1 && cut.says(&["files/random", "409600"]), "{}", cut.stderr);
}

#[test]
fn an_extent_item_that_is_gone_is_listed() {
    let Some(images) = kernel_image_or_skip("single") else { return };
    let (scratch, injector) = (Scratch::in_memory(), Injector::new(&images));
    let id = lookup(&injector, "files/bookend");
    let of_file = |key: &Key| (key.objectid, key.key_type) == (id.ino.0, KeyType::EXTENT_DATA);
    let key = injector.items(FS_TREE).into_iter().map(|(key, _)| key).filter(of_file).nth(1).unwrap();
    injector.remove_item(FS_TREE, key);
    let (run, problems) = extract(injector.images(), &scratch.path("target"), &[], &[]);
    assert_eq!((run.code, paths_of(&problems, "attribute")), (1, vec!["files/bookend".to_owned()]), "{}", run.stderr);
    // Without its inode item the contents are there, and owner and mode are not.
    let (scratch, injector) = (Scratch::in_memory(), Injector::new(&images));
    let contents = fs::read({
        let target = scratch.path("sound");
        extract(&images, &target, &[], &["files/bookend"]);
        target.join("files/bookend")
    });
    injector.remove_item(FS_TREE, Key::new(id.ino.0, KeyType::INODE_ITEM, 0));
    let target = scratch.path("target");
    let (run, problems) = extract(injector.images(), &target, &[], &[]);
    assert_eq!((run.code, paths_of(&problems, "attribute")), (1, vec!["files/bookend".to_owned()]), "{}", run.stderr);
    let (have, contents) = (fs::read(target.join("files/bookend")).unwrap(), contents.unwrap());
    let differing = have.iter().zip(&contents).position(|(have, expect)| have != expect);
    assert_eq!((differing, have.len().next_multiple_of(4096)), (None, contents.len().next_multiple_of(4096)));
}

#[test]
fn an_older_root_tree_leads_to_older_files() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("single", &scratch) else { return };
    let roots = run(&["extract", "--roots", "--json"], &images, &[]);
    assert_eq!(roots.code, 0, "{}", roots.stderr);
    let document: Value = serde_json::from_str(&roots.stdout).unwrap();
    let roots = document["roots"].as_array().unwrap();
    assert!(roots.iter().any(|root| !root["backup"].is_null()), "{document}");
    let volume = open(&images);
    let newest = volume.superblock().root.get();
    drop(volume);
    assert_eq!(roots[0]["logical"], newest);
    assert_eq!(roots[0]["unreadable"], 0);
    // Without the newest root tree nothing is there, with another one it is.
    let injector = Injector::new(&images);
    injector.block_unstamped(Logical(newest), |bytes| bytes.fill(0));
    let nothing = ["extract", "--recover", "never", "-C", scratch.path("nothing").to_str().unwrap()].map(str::to_owned);
    assert_eq!(run(&nothing.each_ref().map(String::as_str), injector.images(), &[]).code, 2);
    let older = roots.iter().find(|root| root["logical"] != newest && root["unreadable"] == 0);
    let Some(older) = older else { panic!("{document}") };
    let target = scratch.path("older");
    let (_, _) = extract(injector.images(), &target, &["-r", &older["logical"].to_string()], &[]);
    assert!(target.join("files").is_dir());
}

/// A bit that has flipped in a leaf, and chunk and root trees without a root.
#[test]
fn lost_blocks_that_can_be_had_elsewhere_cost_no_file() {
    let Some(images) = kernel_image_or_skip("snapshots") else { return };
    let scratch = Scratch::in_memory();
    let expected = sound(&images, &scratch);
    let injector = Injector::new(&images);
    let leaf = injector.leaf_of(FS_TREE, Key::new(256, KeyType::INODE_ITEM, 0));
    injector.block_unstamped(leaf, |bytes| bytes[3000] ^= 4);
    let before = injector.images().iter().map(|image| fs::read(image).unwrap()).collect::<Vec<_>>();
    let target = scratch.path("flipped");
    let (run, problems) = extract(injector.images(), &target, &["--snapshots"], &[]);
    assert_eq!((run.code, problems.len()), (0, 0), "{}", run.stderr);
    assert!(run.says(&["read, and not written", &leaf.to_string()]), "{}", run.stderr);
    assert_same(&manifest(&target), &expected, "a flipped bit");
    let after = injector.images().iter().map(|image| fs::read(image).unwrap()).collect::<Vec<_>>();
    assert!(before == after);
    // Without it something is missing, so that the damage is real.
    let (run, problems) =
        extract(injector.images(), &scratch.path("never"), &["--recover", "never", "--snapshots"], &[]);
    assert!(run.code == 1 && !problems.is_empty(), "{}", run.stderr);
    let chunk_root = open(&images).superblock().chunk_root.get();
    let injector = Injector::new(&images);
    injector.block_unstamped(Logical(chunk_root), |bytes| bytes[3000] ^= 4);
    let listed = super::run(&["ls", "--subvol", "5"], injector.images(), &[]);
    assert!(listed.code == 0 && !listed.stdout.is_empty(), "{}", listed.stderr);
}

/// What `btrfs restore` makes of the same damage.
fn restored(images: &[std::path::PathBuf], target: &Path) -> Manifest {
    fs::create_dir(target).unwrap();
    let mut command = Command::new("timeout");
    command.args(["60", "btrfs", "restore", "-i", "-m", "-S", "-x", "-s"]).arg(&images[0]).arg(target);
    command.stdin(Stdio::null()).output().unwrap();
    manifest(target)
}

/// Right, wrong without a word, missing, and wrong but listed, of the regular files and links of a sound filesystem.
fn figures(sound: &Manifest, have: &Manifest, listed: &BTreeSet<Vec<u8>>) -> [usize; 4] {
    let mut figures = [0; 4];
    for (path, expected) in sound.iter().filter(|(_, facts)| [0o100_000, 0o120_000].contains(&(facts.mode & 0o170_000)))
    {
        let index = match have.get(path) {
            None => 2,
            Some(facts) if (facts.size, &facts.contents) == (expected.size, &expected.contents) => 0,
            Some(_) if listed.contains(path) => 3,
            Some(_) => 1,
        };
        figures[index] += 1;
    }
    figures
}

/// `RBTRFS_EXTRACT_ROUNDS` asks for more rounds than the few of every day, `RBTRFS_EXTRACT_SEED` for others, and
/// `RBTRFS_EXTRACT_BESIDE` has `btrfs restore` tried on the same damage.
#[test]
fn no_random_damage_makes_anything_wrong_come_out_without_being_listed() {
    let number = |name: &str, otherwise: u64| std::env::var(name).map_or(otherwise, |text| text.parse().unwrap());
    let (rounds, seed) = (number("RBTRFS_EXTRACT_ROUNDS", 8), number("RBTRFS_EXTRACT_SEED", 1));
    for image in ["snapshots", "load"] {
        let Some(images) = kernel_image_or_skip(image) else { return };
        let scratch = Scratch::in_memory();
        let before = sound(&images, &scratch);
        for round in 0..rounds {
            let mut random = Random((seed * 1000 + round).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
            let injector = Injector::new(&images);
            let target = Target::new(&injector);
            let count = if round % 2 == 0 { 1 } else { 2 + random.below(19) };
            let done = target.damage_blocks(count, &mut random);
            let (directory, report) = (scratch.path("target"), scratch.path("target.report"));
            let options = ["--subvol", "5", "--snapshots", "-C", directory.to_str().unwrap(), "--report"];
            let mut command = Command::new("timeout");
            command.args(["60", PROGRAM, "extract", "-q"]).args(options).arg(&report).args(injector.images());
            let run = Run::of(command.output().unwrap());
            assert!(run.code <= 2, "{image} {round}: {} {done:?}", run.code);
            let text = fs::read(&report).unwrap_or_default();
            let document: Value = serde_json::from_slice(&text).unwrap_or_default();
            let problems = document["problems"].as_array().cloned().unwrap_or_default();
            let listed = problems.iter().map(|problem| problem["path"].as_str().unwrap().as_bytes().to_vec()).collect();
            let have = if directory.is_dir() { manifest(&directory) } else { Manifest::new() };
            let own @ [right, wrong, missing, _] = figures(&before, &have, &listed);
            // Where checksums are right nothing tells that a leaf is an older one, or that a bit of inline data has flipped.
            let is_told = !done.iter().any(|what| what.contains("in memory") || what.contains("an older block"));
            println!("{image} {round} rbtrfs extract: {own:?} of right, wrong, missing, listed; {}", done.join(", "));
            assert!(!is_told || wrong == 0, "{image} {round}: {wrong} files are wrong without a word, {done:?}");
            assert!(
                missing == 0 || run.code != 0,
                "{image} {round}: {missing} files are missing without a word, {done:?}"
            );
            assert!(right + missing > 0 || run.code == 2);
            if std::env::var_os("RBTRFS_EXTRACT_BESIDE").is_some() {
                let directory = scratch.path("restored");
                let beside = figures(&before, &restored(injector.images(), &directory), &BTreeSet::new());
                println!("{image} {round} btrfs restore: {beside:?} of right, wrong, missing, listed");
                fs::remove_dir_all(&directory).unwrap();
            }
            let _ = (fs::remove_dir_all(&directory), fs::remove_file(&report));
        }
    }
}

/// Damaged filesystems that others made.
#[test]
fn no_damage_from_the_field_crashes_an_extraction() {
    let images = corpus::unpacked(|_| true);
    if !require("no_damage_from_the_field_crashes_an_extraction", !images.is_empty(), "no corpus") {
        return;
    }
    let scratch = Scratch::in_memory();
    for image in images {
        let target = scratch.path("target");
        let mut command = Command::new("timeout");
        command.args(["60", PROGRAM, "extract", "-q", "--snapshots", "-C"]).arg(&target).arg(&image);
        let run = Run::of(command.output().unwrap());
        assert!(run.code <= 2, "{}: {}", image.display(), run.code);
        let _ = fs::remove_dir_all(&target);
    }
}
