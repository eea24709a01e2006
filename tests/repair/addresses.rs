//! Addresses of data in which a bit has flipped: in the file, or in the extent tree.

use rbtrfs::disk::flags::block_group::DATA;
use rbtrfs::disk::inode::{FileExtentDisk, FileExtentItem, file_extent_type};
use rbtrfs::disk::objectid::EXTENT_TREE;
use rbtrfs::disk::{Key, KeyType, Logical};
use rbtrfs::repair::Repaired;
use zerocopy::FromBytes;

use crate::outcome::{Contents, contents, judge, share};
use crate::support::inject::{Injector, LeafItems};
use crate::support::kernel_image_or_skip;
use crate::support::repaired::repaired;

/// A snapshot shares its leaves.
const SUBVOLUME: u64 = 256;
const SECTOR: u64 = 4096;
/// No chunk is there.
const BEYOND: u64 = 1 << 61;

fn is_data(it: &Injector, start: u64, length: u64) -> bool {
    let volume = it.volume();
    let chunk = volume.chunks().find(Logical(start));
    chunk.is_some_and(|chunk| chunk.flags.contains(DATA) && start + length <= chunk.end().0)
}

fn data_extents(it: &Injector) -> Vec<Key> {
    let items = it.items(EXTENT_TREE);
    let keys = items.iter().map(|(key, _)| *key);
    keys.filter(|key| key.key_type == KeyType::EXTENT_ITEM && is_data(it, key.objectid, key.offset)).collect()
}

/// The extents of files that are not inline and not holes.
fn file_extents(it: &Injector) -> Vec<(Key, FileExtentDisk)> {
    let items = it.items(SUBVOLUME);
    let extents = items.iter().filter(|(key, _)| key.key_type == KeyType::EXTENT_DATA).filter_map(|(key, data)| {
        let (extent, rest) = FileExtentItem::read_from_prefix(data).unwrap();
        let disk = || FileExtentDisk::read_from_prefix(rest).unwrap().0;
        (extent.r#type == file_extent_type::REG).then(|| (*key, disk()))
    });
    extents.filter(|(_, disk)| disk.disk_bytenr != 0).collect()
}

/// The first of them.
fn file_extent(it: &Injector) -> Key {
    file_extents(it).first().expect("a file with an extent").0
}

fn flip_address(it: &Injector, key: Key, bits: u64) {
    it.item(SUBVOLUME, key, |data| {
        let rest = &mut data[size_of::<FileExtentItem>()..];
        FileExtentDisk::mut_from_prefix(rest).unwrap().0.disk_bytenr ^= bits;
    });
}

fn lose_extent_tree(it: &Injector) {
    it.block_unstamped(it.root(EXTENT_TREE).logical, |block| block.fill(0));
}

fn assert_all_is_back(it: &Injector, before: &Contents, what: &str) {
    let outcome = repaired(it.images());
    let stopped = outcome.as_ref().map(|it| (&it.stopped, &it.fixes));
    assert_eq!(judge(it.images(), &outcome), "clean", "{what}: {stopped:?}");
    let given_up: Vec<String> = outcome.unwrap().given_up().map(ToString::to_string).collect();
    assert!(given_up.is_empty(), "{what}: {given_up:?}");
    assert!(contents(it.images()) == *before, "{what}");
}

/// The file still leads to its data, and the checksums are those of its data.
#[test]
fn an_extent_item_at_a_wrong_address_does_not_take_the_file_there() {
    let Some(images) = kernel_image_or_skip("snapshots") else { return };
    let before = contents(&images);
    let mut tried = 0;
    for bit in (12..30).step_by(4).chain([61]) {
        let it = Injector::new(&images);
        let all = data_extents(&it);
        // In its place between the others, where nothing else is.
        let is_between = |(before, key, after): &(Option<Key>, Key, Option<Key>)| {
            let moved = key.objectid ^ 1 << bit;
            is_data(&it, moved, key.offset)
                && before.is_none_or(|before| before.objectid + before.offset <= moved)
                && after.is_none_or(|after| moved + key.offset <= after.objectid)
        };
        let with_neighbours = |at: usize| (at.checked_sub(1).map(|at| all[at]), all[at], all.get(at + 1).copied());
        let place = (0..all.len()).map(with_neighbours).find(is_between);
        let Some(key) = place.map(|(_, key, _)| key).or_else(|| (1 << bit == BEYOND).then(|| all[0])) else { continue };
        it.leaf(EXTENT_TREE, key, |items: &mut LeafItems| {
            items.iter_mut().filter(|item| item.0 == key).for_each(|item| item.0.objectid ^= 1 << bit);
        });
        assert_all_is_back(&it, &before, &format!("{key}, bit {bit}"));
        tried += 1;
    }
    assert!(tried > 1, "no extent item can be moved");
}

#[test]
fn a_file_at_a_wrong_address_is_led_back_by_its_extent_item() {
    let Some(images) = kernel_image_or_skip("snapshots") else { return };
    let before = contents(&images);
    for bit in (12..30).step_by(4).chain([61]) {
        let it = Injector::new(&images);
        flip_address(&it, file_extent(&it), 1 << bit);
        assert_all_is_back(&it, &before, &format!("bit {bit}"));
    }
}

#[test]
fn a_file_outside_of_all_chunks_is_led_back_by_its_checksums_where_the_extent_tree_is_lost() {
    let Some(images) = kernel_image_or_skip("snapshots") else { return };
    let before = contents(&images);
    for what in ["address", "length"] {
        let it = Injector::new(&images);
        let key = file_extent(&it);
        match what {
            "address" => flip_address(&it, key, BEYOND),
            _ => it.item(SUBVOLUME, key, |data| {
                let rest = &mut data[size_of::<FileExtentItem>()..];
                FileExtentDisk::mut_from_prefix(rest).unwrap().0.disk_num_bytes ^= 1 << 40;
            }),
        }
        lose_extent_tree(&it);
        assert_all_is_back(&it, &before, what);
    }
}

/// Nothing tells where it was.
#[test]
fn a_file_outside_of_all_chunks_does_not_keep_an_extent_tree_from_being_built() {
    let Some(images) = kernel_image_or_skip("snapshots") else { return };
    let before = contents(&images);
    let it = Injector::new(&images);
    flip_address(&it, file_extent(&it), 7 << 59);
    lose_extent_tree(&it);
    let outcome = repaired(it.images());
    assert_eq!(judge(it.images(), &outcome), "clean");
    assert_eq!(
        outcome.as_ref().unwrap().given_up().count(),
        1,
        "{:?}",
        outcome.as_ref().map(|it: &Repaired| &it.fixes)
    );
    let (saved, all) = share(&before, &contents(it.images()));
    assert!(saved < all && saved > all / 2, "{saved} of {all}");
}

/// Of a leaf of an earlier commit, for one: what it refers to was freed and written anew for another file.
#[test]
fn a_file_that_claims_the_data_of_another_one_does_not_keep_an_extent_tree_from_being_built() {
    let Some(images) = kernel_image_or_skip("snapshots") else { return };
    let before = contents(&images);
    for (shift, length) in [(SECTOR, 0), (0, SECTOR), (0, 8 * SECTOR)] {
        let it = Injector::new(&images);
        let (of_one, of_other) = {
            let all = file_extents(&it);
            let is_long = |(_, disk): &&(Key, FileExtentDisk)| disk.disk_num_bytes.get() >= 2 * SECTOR;
            let (_, longest) = *all.iter().find(is_long).expect("an extent of several sectors");
            let other = all.iter().rfind(|(_, disk)| disk.disk_bytenr != longest.disk_bytenr).expect("another one").0;
            (longest, other)
        };
        it.item(SUBVOLUME, of_other, |data| {
            let (item, rest) = FileExtentItem::mut_from_prefix(data).unwrap();
            item.generation = 1.into();
            let disk = FileExtentDisk::mut_from_prefix(rest).unwrap().0;
            disk.disk_bytenr = of_one.disk_bytenr + shift;
            disk.disk_num_bytes += length;
        });
        lose_extent_tree(&it);
        let what = format!("{of_other}, {shift} bytes later, {length} bytes longer");
        let outcome = repaired(it.images());
        let stopped = outcome.as_ref().map(|it| (&it.stopped, &it.fixes));
        assert_eq!(judge(it.images(), &outcome), "clean", "{what}: {stopped:?}");
        let (saved, all) = share(&before, &contents(it.images()));
        assert!(saved < all && saved + 8 > all, "{what}: {saved} of {all}");
    }
}

/// The extent knows where in the file it is, the inode how long all of them are, and the rest of the file which of the two fits.
#[test]
fn a_bit_of_the_place_of_an_extent_in_its_file_costs_no_data() {
    let Some(images) = kernel_image_or_skip("load") else { return };
    let before = contents(&images);
    let all = file_extents(&Injector::new(&images));
    let is_alone = |key: &Key| all.iter().filter(|(other, _)| other.objectid == key.objectid).count() == 1;
    let whole = |disk: &FileExtentDisk| disk.offset == 0 && disk.num_bytes == disk.disk_num_bytes;
    let (key, _) = *all.iter().find(|(key, disk)| is_alone(key) && whole(disk)).expect("a file of one extent");
    for bit in [12, 14, 17, 20, 23] {
        for what in ["key", "offset", "length"] {
            let it = Injector::new(&images);
            it.leaf(SUBVOLUME, key, |items: &mut LeafItems| {
                let (key, data) = items.iter_mut().find(|item| item.0 == key).unwrap();
                let rest = &mut data[size_of::<FileExtentItem>()..];
                let disk = FileExtentDisk::mut_from_prefix(rest).unwrap().0;
                match what {
                    "key" => key.offset ^= 1 << bit,
                    "offset" => disk.offset ^= 1 << bit,
                    _ => disk.num_bytes ^= 1 << bit,
                }
            });
            assert_all_is_back(&it, &before, &format!("{key}, bit {bit} of its {what}"));
        }
    }
}
