//! Filesystems that are opened for writing because a survey vouches for them: what damaged trees say of space decides nothing.

use std::path::PathBuf;
use std::sync::Arc;

use rbtrfs::disk::flags::block_group::DATA;
use rbtrfs::disk::objectid::{BLOCK_GROUP_TREE, EXTENT_TREE, FREE_SPACE_TREE, FS_TREE};
use rbtrfs::disk::volume::BlockGroupItem;
use rbtrfs::disk::{Key, KeyType, Logical};
use rbtrfs::survey::Survey;
use rbtrfs::trans::Filesystem;
use rbtrfs::tree::{Levels, TreeRoot, Walk};
use rbtrfs::volume::{MissingDevices, Volume, WritableVolume};
use rbtrfs::{Error, Result};

use crate::support::change::{allocate, wish};
use crate::support::contents::tree;
use crate::support::inject::Injector;
use crate::support::mounted::{Mounted, btrfs_check};
use crate::support::soundness::assert_sound_with_data;
use crate::support::{
    Scratch, check, copies, copy_of_kernel_image_or_skip, kernel_image_or_skip, open, or_skip, survey_with,
};

const IMAGES: [&str; 8] = ["single", "dup", "raid1c3", "nodesize-4k", "mixed", "snapshots", "no-skinny", "v1-cache"];

fn survey(volume: &Volume, keep_blocks: bool) -> Survey {
    survey_with(volume, 2, 1 << 26, keep_blocks)
}

fn open_surveyed(images: &[PathBuf]) -> Result<Filesystem> {
    let writable = WritableVolume::open(images, MissingDevices::Refuse)?;
    let survey = Arc::new(survey(writable.volume(), true));
    Filesystem::open_surveyed(writable, survey)
}

fn contents_of(images: &[PathBuf]) -> Option<String> {
    or_skip(Mounted::new(images, "ro", &Scratch::in_memory())).map(|mounted| mounted.contents())
}

/// The tree that block group items stand in.
fn tree_of_groups(injector: &Injector) -> u64 {
    let volume = injector.volume();
    let has_tree = TreeRoot::root_tree(&volume).find_child(&volume, BLOCK_GROUP_TREE).unwrap().is_some();
    if has_tree { BLOCK_GROUP_TREE } else { EXTENT_TREE }
}

fn group_key(volume: &Volume, logical: Logical) -> Key {
    let chunk = volume.chunks().find(logical).unwrap();
    Key::new(chunk.logical.0, KeyType::BLOCK_GROUP_ITEM, chunk.length)
}

fn leaves_of_files(volume: &Volume) -> Vec<Logical> {
    Walk::new(volume, tree(volume, FS_TREE).expected(), Levels::Only(0)).map(|leaf| leaf.logical).collect()
}

/// Leaves of the tree of files without extent items, and counts to match: the extent tree says that their space is free.
fn forget_leaves(injector: &Injector) -> Vec<Logical> {
    let volume = injector.volume();
    let leaves = leaves_of_files(&volume);
    let groups = tree_of_groups(injector);
    for leaf in &leaves {
        for key in [KeyType::METADATA_ITEM, KeyType::EXTENT_ITEM].map(|key_type| (leaf.0, key_type)) {
            let found = injector.items(EXTENT_TREE).into_iter().map(|(key, _)| key);
            let found: Vec<Key> = found.filter(|found| (found.objectid, found.key_type) == key).collect();
            found.iter().for_each(|key| injector.remove_item(EXTENT_TREE, *key));
        }
        injector.item_as(groups, group_key(&volume, *leaf), |item: &mut BlockGroupItem| {
            item.used -= u64::from(volume.format().nodesize);
        });
    }
    leaves
}

#[test]
fn what_the_extent_tree_does_not_know_of_is_not_written_over() {
    for name in IMAGES {
        let Some(originals) = kernel_image_or_skip(name) else { continue };
        let injector = Injector::new(&originals);
        let leaves = forget_leaves(&injector);
        assert!(!leaves.is_empty(), "{name}");
        let images = injector.images();
        let bytes = |volume: &Volume| -> Vec<Vec<u8>> {
            let nodesize = volume.format().nodesize as usize;
            let read = |leaf: &Logical| {
                let mut bytes = vec![0; nodesize];
                volume.read(*leaf, 1, &mut bytes).unwrap();
                bytes
            };
            leaves.iter().map(read).collect()
        };
        let before = bytes(&open(images));
        let mut fs = open_surveyed(images).unwrap_or_else(|error| panic!("{name}: {error}"));
        for _ in 0..8 {
            let request = wish(DATA, None, 1 << 20);
            if let Err(error) = allocate(&fs, &request) {
                panic!("{name}: {error}");
            }
        }
        fs.commit().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(before == bytes(&open(images)), "{name}: a leaf of files was written over");
        // The transaction is the only one that the survey vouches for.
        assert!(matches!(fs.commit(), Err(Error::Poisoned)), "{name}");
    }
}

#[test]
fn wrong_counts_and_free_space_are_written_as_they_should_be() {
    for name in IMAGES {
        let scratch = Scratch::in_memory();
        let Some(originals) = copy_of_kernel_image_or_skip(name, &scratch) else { continue };
        let injector = Injector::new(&originals);
        let volume = injector.volume();
        let groups = tree_of_groups(&injector);
        let mut keys = volume.chunks().iter().map(|chunk| group_key(&volume, chunk.logical));
        let (wrong, missing) = (keys.next().unwrap(), keys.next().unwrap());
        injector.item_as(groups, wrong, |item: &mut BlockGroupItem| item.used += 4096);
        injector.remove_item(groups, missing);
        let leftover = Key::new(1 << 50, KeyType::BLOCK_GROUP_ITEM, 1 << 20);
        injector.insert_item(groups, leftover, &[0; size_of::<BlockGroupItem>()]);
        let has_free_space = TreeRoot::root_tree(&volume).find_child(&volume, FREE_SPACE_TREE).unwrap();
        if has_free_space.is_some() {
            let items = injector.items(FREE_SPACE_TREE);
            let (last, _) = items.last().unwrap();
            injector.remove_item(FREE_SPACE_TREE, *last);
        }
        let images = copies(injector.images(), &scratch.new_directory());
        assert!(!check(&open(&images), 2).is_empty(), "{name}");
        let refused = Filesystem::open(&images, MissingDevices::Refuse);
        assert!(refused.is_err(), "{name}: opened as sound");
        open_surveyed(&images).unwrap().commit().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_sound_with_data(&images, name);
        or_skip(btrfs_check(&images)).unwrap_or_else(|| panic!("{name}"));
        // Of the kernel's filesystem itself, which was not damaged.
        let Some(expected) = contents_of(&originals) else { return };
        assert!(contents_of(&images) == Some(expected), "{name}: other contents");
    }
}

#[test]
fn a_survey_of_another_state_vouches_for_nothing() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("single", &scratch) else { return };
    let old = Arc::new(survey(&open(&images), true));
    let without_records = Arc::new(survey(&open(&images), false));
    let writable = || WritableVolume::open(&images, MissingDevices::Refuse).unwrap();
    let refused = Filesystem::open_surveyed(writable(), without_records);
    assert!(matches!(refused, Err(Error::Damaged { .. })));
    let mut fs = Filesystem::open_surveyed(writable(), old.clone()).unwrap();
    allocate(&fs, &wish(DATA, None, 1 << 20)).unwrap();
    fs.commit().unwrap();
    drop(fs);
    assert!(matches!(Filesystem::open_surveyed(writable(), old), Err(Error::Damaged { .. })));
}
