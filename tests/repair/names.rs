//! Names: of what leads to a file.

use rbtrfs::disk::inode::InodeItem;
use rbtrfs::disk::{Key, KeyType, objectid};

use crate::outcome::{contents, judge};
use crate::support::inject::{Injector, LeafItems};
use crate::support::kernel_image_or_skip;
use crate::support::repaired::repaired;

const SUBVOLUME: u64 = 256;
const S_IFMT: u32 = 0o170_000;

fn format_of(items: &LeafItems, inode: u64) -> Option<u32> {
    let key = Key::new(inode, KeyType::INODE_ITEM, 0);
    let (_, data) = items.iter().find(|(other, _)| *other == key)?;
    Some(InodeItem::read_prefix(data).unwrap().0.mode.get() & S_IFMT)
}

/// A bit of the directory in a reference flips, so that it names a file, another directory, or nothing.
#[test]
fn a_reference_to_a_wrong_directory_does_not_move_its_name() {
    let Some(images) = kernel_image_or_skip("load") else { return };
    let before = contents(&images);
    let items = Injector::new(&images).items(SUBVOLUME);
    let references = items.iter().map(|(key, _)| *key).filter(|key| key.key_type == KeyType::INODE_REF);
    let is_only = |key: &Key| {
        items
            .iter()
            .filter(|(other, _)| other.objectid == key.objectid)
            .all(|(other, _)| other == key || ![KeyType::INODE_REF, KeyType::INODE_EXTREF].contains(&other.key_type))
    };
    let files: Vec<Key> = references
        .filter(|key| key.objectid != objectid::ROOT_DIR && format_of(&items, key.objectid) == Some(0o100_000))
        .filter(is_only)
        .collect();
    for wanted in [Some(0o100_000), Some(0o040_000), None] {
        let mut flips = files.iter().flat_map(|key| (0..20).map(|bit| (*key, key.offset ^ 1 << bit)));
        let is_wanted =
            |(key, directory): &(Key, u64)| *directory != key.objectid && format_of(&items, *directory) == wanted;
        let (key, directory) = flips.find(is_wanted).unwrap();
        let injector = Injector::new(&images);
        injector.leaf(SUBVOLUME, key, |items| {
            items.iter_mut().filter(|(other, _)| *other == key).for_each(|(key, _)| key.offset = directory);
        });
        let outcome = repaired(injector.images());
        assert_eq!(judge(injector.images(), &outcome), "clean", "{key} names {directory}");
        let given_up: Vec<String> = outcome.unwrap().given_up().map(ToString::to_string).collect();
        assert!(given_up.is_empty(), "{key} names {directory}: {given_up:?}");
        assert_eq!(contents(injector.images()), before, "{key} names {directory}");
    }
}
