//! What may be of an earlier commit is listed, whichever subvolume it is in.

use std::collections::BTreeSet;
use std::path::PathBuf;

use rbtrfs::disk::inode::InodeItem;
use rbtrfs::disk::node::Header;
use rbtrfs::disk::root::RootItem;
use rbtrfs::disk::{Key, KeyType, Logical, objectid};
use rbtrfs::files::{Files, Start};
use zerocopy::FromBytes;

use super::manifest::{Manifest, manifest};
use super::support::contents::blocks;
use super::support::inject::Injector;
use super::support::*;
use super::{extract, paths_of};

/// Ids of the subvolumes that stand at the top, by name.
fn subvolumes(injector: &Injector, names: &[&str]) -> Vec<u64> {
    let volume = injector.volume();
    let files = Files::open(&volume, Start::TopLevel).unwrap();
    names.iter().map(|name| files.lookup(name).unwrap().tree.0).collect()
}

fn inode_of(injector: &Injector, path: &str) -> u64 {
    let volume = injector.volume();
    Files::open(&volume, Start::TopLevel).unwrap().lookup(path).unwrap().ino.0
}

fn sound(images: &[PathBuf], scratch: &Scratch) -> Manifest {
    let target = scratch.path("sound");
    let (run, problems) = extract(images, &target, &["--snapshots"], &[]);
    assert_eq!((run.code, problems.len()), (0, 0), "{}", run.stderr);
    manifest(&target)
}

/// Writes the leaf at `from` to `to` as if it had been written there, with other sizes of its inodes, and loses the one at `from`.
fn lose_beside_a_twin(injector: &Injector, from: Logical, to: Logical) {
    let volume = injector.volume();
    let mut bytes = vec![0; volume.format().nodesize as usize];
    volume.read(from, 1, &mut bytes).unwrap();
    injector.block(to, |block| {
        block.copy_from_slice(&bytes);
        Header::mut_from_prefix(block).unwrap().0.bytenr.set(to.0);
    });
    injector.leaf_at(to, |items| {
        for (_, data) in items.iter_mut().filter(|(key, _)| key.key_type == KeyType::INODE_ITEM) {
            let item = InodeItem::mut_from_prefix(data).unwrap().0;
            item.size.set(item.size.get() ^ 1);
        }
    });
    injector.block_unstamped(from, |block| block.fill(0));
}

/// A snapshot that shared a leaf with others is deleted, and each of them says it was made of one that is not there.
#[test]
fn an_earlier_leaf_is_told_of_in_every_snapshot_that_shares_it_though_those_between_are_deleted() {
    let Some(images) = kernel_image_or_skip("snapshots") else { return };
    let (scratch, injector) = (Scratch::in_memory(), Injector::new(&images));
    let expected = sound(&images, &scratch);
    let names = ["second", "third"];
    let trees = subvolumes(&injector, &names);
    for (number, tree) in (1..).zip(&trees) {
        let key = injector.root(*tree).key;
        injector.item_as(objectid::ROOT_TREE, key, |item: &mut RootItem| item.parent_uuid.0 = [number; 16]);
    }
    let file = Key::new(inode_of(&injector, "second/file-301"), KeyType::INODE_ITEM, 0);
    let [leaf, other] = [0, 1].map(|index| injector.leaf_of(trees[index], file));
    assert_eq!(leaf, other, "both share the leaf");
    lose_beside_a_twin(&injector, leaf, free_place(&injector, |_| true).unwrap());
    let target = scratch.path("target");
    let (run, problems) = extract(injector.images(), &target, &["--snapshots"], &[]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    let told: BTreeSet<String> = paths_of(&problems, "doubtful").into_iter().collect();
    for name in names {
        assert!(told.contains(&format!("{name}/file-301")), "{name}: {told:?}");
    }
    assert_all_told(&manifest(&target), &expected, &told);
}

/// Of a leaf that was written twice in one transaction, as the kernel does beside a snapshot, the first stays where it was.
#[test]
fn a_block_that_is_like_the_lost_one_is_not_taken_for_it_because_its_address_is_alike() {
    let Some(images) = kernel_image_or_skip("snapshots") else { return };
    let (scratch, injector) = (Scratch::in_memory(), Injector::new(&images));
    let expected = sound(&images, &scratch);
    let [tree] = subvolumes(&injector, &["third"])[..] else { panic!() };
    let first = inode_of(&injector, "third/file-1");
    let leaves = (first..).map(|inode| injector.leaf_of(tree, Key::new(inode, KeyType::INODE_ITEM, 0)));
    let beside = |leaf: Logical| Some((leaf, free_place(&injector, |place| (place.0 ^ leaf.0).is_power_of_two())?));
    let (leaf, twin) = leaves.take(500).find_map(beside).expect("a leaf with a free place beside it");
    lose_beside_a_twin(&injector, leaf, twin);
    let target = scratch.path("target");
    let (run, problems) = extract(injector.images(), &target, &["--snapshots"], &[]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    let told: BTreeSet<String> = paths_of(&problems, "doubtful").into_iter().collect();
    assert!(!told.is_empty());
    assert_all_told(&manifest(&target), &expected, &told);
}

/// A place for a block in a chunk of metadata that no tree uses.
fn free_place(injector: &Injector, is_wanted: impl Fn(Logical) -> bool) -> Option<Logical> {
    let volume = injector.volume();
    let used: BTreeSet<Logical> = blocks(&volume).map(|expected| expected.logical).collect();
    let chunk = volume.chunks().find(*used.last().unwrap()).unwrap();
    let mut places = (chunk.logical.0..chunk.end().0).step_by(volume.format().nodesize as usize).map(Logical);
    places.find(|place| !used.contains(place) && is_wanted(*place))
}

fn assert_all_told(have: &Manifest, expected: &Manifest, told: &BTreeSet<String>) {
    for (path, facts) in expected {
        let is_told = told.contains(&String::from_utf8_lossy(path).into_owned());
        let is_same =
            have.get(path).is_some_and(|found| (found.size, &found.contents) == (facts.size, &facts.contents));
        assert!(is_same || is_told, "{} is wrong without a word", path.escape_ascii());
    }
}
