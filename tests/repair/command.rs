//! `check --repair` as it is used.

use std::path::PathBuf;

use rbtrfs::disk::inode::InodeItem;
use rbtrfs::disk::{Key, KeyType, objectid};

use crate::support::inject::Injector;
use crate::support::{Run, Scratch, assert_identical, kernel_image_or_skip, rbtrfs, run_rbtrfs};

/// An image on which a file counts its links wrongly.
fn damaged() -> Option<Injector> {
    let injector = Injector::new(&kernel_image_or_skip("single")?);
    let items = injector.items(objectid::FS_TREE);
    let is_file = |key: &Key| key.key_type == KeyType::INODE_ITEM && key.objectid > objectid::ROOT_DIR;
    let (key, _) = items.iter().rfind(|(key, _)| is_file(key)).unwrap();
    injector.item_as(objectid::FS_TREE, *key, |item: &mut InodeItem| item.nbytes.set(1 << 40));
    Some(injector)
}

/// An image on which a directory is lost, so that not all can be saved.
fn with_loss() -> Option<Injector> {
    let injector = Injector::new(&kernel_image_or_skip("single")?);
    let leaf = injector.leaf_of(objectid::CSUM_TREE, Key::MIN);
    injector.block_unstamped(leaf, |bytes| bytes.fill(0));
    Some(injector)
}

/// Whether all of these stand on standard output.
fn says(run: &Run, parts: &[&str]) -> bool {
    parts.iter().all(|part| run.stdout.contains(part))
}

fn check(options: &[&str], images: &[PathBuf]) -> Run {
    Run::of(rbtrfs("check", options, images))
}

#[test]
fn a_plan_that_is_told_writes_nothing() {
    let Some(injector) = damaged() else { return };
    let scratch = Scratch::in_memory();
    let copy = scratch.copy(&injector.images()[0]);
    let times = std::fs::metadata(&injector.images()[0]).unwrap().modified().unwrap();
    let run = check(&["--dry-run"], injector.images());
    assert!(
        says(&run, &["to mend: item-written", "nothing was written; after the repair nothing is wrong"]),
        "{run:?}"
    );
    assert_eq!(run.code, 0);
    assert_identical(injector.images(), &[copy], "a dry run");
    assert_eq!(std::fs::metadata(&injector.images()[0]).unwrap().modified().unwrap(), times);
}

#[test]
fn what_is_repaired_is_clean_and_can_be_undone() {
    let Some(injector) = damaged() else { return };
    let scratch = Scratch::in_memory();
    let copy = scratch.copy(&injector.images()[0]);
    let undo = scratch.path("undo");
    let run = check(&["--repair", "--undo", undo.to_str().unwrap()], injector.images());
    assert_eq!(run.code, 0, "{run:?}");
    assert!(says(&run, &["mended: item-written", "repaired, nothing is wrong"]), "{run:?}");
    assert_eq!(run_rbtrfs("check", injector.images()).code, 0);
    let again = check(&["--repair"], injector.images());
    assert!(says(&again, &["no problems found"]) && again.code == 0, "{again:?}");
    assert_eq!(Run::of(rbtrfs("undo", &[undo.to_str().unwrap()], injector.images())).code, 0);
    assert_identical(injector.images(), &[copy], "an undone repair");
}

#[test]
fn nothing_is_given_up_that_nobody_agreed_to_give_up() {
    let Some(injector) = with_loss() else { return };
    let scratch = Scratch::in_memory();
    let copy = scratch.copy(&injector.images()[0]);
    let run = check(&["--repair"], injector.images());
    assert_eq!(run.code, 2, "{run:?}");
    assert!(says(&run, &["given up: block-given-up", "--yes gives up what cannot be saved"]), "{run:?}");
    assert_identical(injector.images(), &[copy], "a repair that was not agreed to");
    let run = check(&["--repair", "--yes"], injector.images());
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(run_rbtrfs("check", injector.images()).code, 0);
}

#[test]
fn the_document_of_a_repair_tells_all_of_it() {
    let Some(injector) = damaged() else { return };
    let run = check(&["--repair", "--json"], injector.images());
    let document: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(document["schema"], "rbtrfs.repair/1");
    assert_eq!((&document["published"], &document["clean"]), (&true.into(), &true.into()));
    assert_eq!(document["problems"].as_array().unwrap().iter().filter(|p| p["code"] == "inode-nbytes").count(), 1);
    assert!(document["fixes"].as_array().unwrap().iter().any(|fix| fix["code"] == "item-written"));
}

#[test]
fn fsck_tells_by_its_bits_whether_all_is_mended() {
    let Some(injector) = damaged() else { return };
    assert_eq!(Run::of(rbtrfs("fsck", &["-n"], injector.images())).code, 4);
    assert_eq!(Run::of(rbtrfs("fsck", &["-p"], injector.images())).code, 1);
    assert_eq!(Run::of(rbtrfs("fsck", &["-n"], injector.images())).code, 0);
    let Some(injector) = with_loss() else { return };
    assert_eq!(Run::of(rbtrfs("fsck", &["-p"], injector.images())).code, 8);
    assert_eq!(Run::of(rbtrfs("fsck", &["-y"], injector.images())).code, 1);
}

/// A filesystem with two copies of metadata: one block is bad in one of them, the only leaf of checksums in both.
#[test]
fn fsck_at_boot_gives_up_nothing_and_writes_the_good_copies_over_the_bad() {
    let Some(images) = kernel_image_or_skip("dup") else { return };
    let injector = Injector::new(&images);
    let (root, lost) = (injector.root(objectid::FS_TREE).logical, injector.leaf_of(objectid::CSUM_TREE, Key::MIN));
    injector.block_copy(root, 2, |bytes| bytes[200] ^= 1);
    injector.block_unstamped(lost, |bytes| bytes.fill(0));
    let codes = || -> Vec<String> {
        let run = check(&["--json"], injector.images());
        let document: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        let problems = document["problems"].as_array().unwrap().iter().filter(|problem| problem["severity"] != "note");
        problems.map(|problem| problem["code"].as_str().unwrap().to_owned()).collect()
    };
    let before = codes();
    assert_eq!(Run::of(rbtrfs("fsck", &["-p"], injector.images())).code, 4);
    let expected: Vec<String> = before.iter().filter(|code| *code != "block-bad-copy").cloned().collect();
    assert_eq!(expected.len() + 1, before.len(), "{before:?}");
    assert_eq!(codes(), expected);
    // There is nothing left that loses nothing.
    let (scratch, images) = (Scratch::in_memory(), injector.images());
    let copy = scratch.copy(&images[0]);
    assert_eq!(Run::of(rbtrfs("fsck", &["-p"], images)).code, 8);
    assert_identical(images, &[copy], "a repair that would lose something");
}

#[test]
fn what_an_image_that_is_cut_short_lacks_is_not_given_up() {
    let Some(images) = kernel_image_or_skip("single") else { return };
    let injector = Injector::new(&images);
    let volume = injector.volume();
    let root = injector.root(objectid::FS_TREE).logical;
    let chunk = volume.chunks().find(root).unwrap();
    let (_, physical) = chunk.place(root, 1).unwrap();
    injector.resize(0, physical.0);
    let scratch = Scratch::in_memory();
    let copy = scratch.copy(&injector.images()[0]);
    let run = check(&["--repair", "--yes"], injector.images());
    assert_eq!(run.code, 2, "{run:?}");
    assert_identical(injector.images(), &[copy], "a repair of an image that is cut short");
}
