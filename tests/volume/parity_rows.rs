//! Nothing of a row with parity is lost by a write to something else in it.
//!
//! What else is in a row may be bad on its device, and good only from the parity that a write changes; and between the
//! write and its parity the machine may stop.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use rbtrfs::Error;
use rbtrfs::chunk::{begin, finish};
use rbtrfs::disk::flags::block_group::{DATA, METADATA};
use rbtrfs::disk::{BlockGroupFlags, Key, KeyType, Logical, STRIPE_LEN, objectid};
use rbtrfs::finding::Finding;
use rbtrfs::trans::Filesystem;
use rbtrfs::tree::{Levels, Walk};
use rbtrfs::volume::{MissingDevices, Staged, Volume, WritableVolume};

use crate::support::change::open_for_change;
use crate::support::contents::*;
use crate::support::mounted::{Mounted, btrfs_check};
use crate::support::random::Random;
use crate::support::soundness::{assert_sound_with_data, beyond_notes, describe};
use crate::support::*;

const PARITY: [(&str, usize); 4] = [("raid5", 1), ("raid6", 2), ("raid5-of-2", 1), ("raid6-of-3", 2)];

const CHANGES: [&str; 6] = [
    "chunk-alloc --type data --size 1M",
    "chunk-alloc --type metadata --size 1M",
    "chunk-alloc --type system --size 1M",
    "chunk-alloc --type data --size 1M --count 5 --threads 4",
    "chunk-remove --unused --type data",
    "chunk-remove --unused",
];

/// The extents of chunks with parity: address, length, and whether it is a tree block.
fn extents(volume: &Volume) -> Vec<(Logical, u64, bool)> {
    let mut extents = Vec::new();
    for_each_item(volume, &tree(volume, objectid::EXTENT_TREE), |item| {
        let length = match item.key.key_type {
            KeyType::METADATA_ITEM => volume.format().nodesize.into(),
            KeyType::EXTENT_ITEM => item.key.offset,
            _ => return,
        };
        let logical = Logical(item.key.objectid);
        let chunk = volume.chunks().find(logical).unwrap();
        if chunk.row_length().is_some() {
            extents.push((logical, length, !chunk.flags.contains(DATA)));
        }
    });
    extents
}

/// The bytes of all rows that hold something, of every device, by address of the row.
fn rows(volume: &Volume) -> BTreeMap<Logical, Vec<Vec<u8>>> {
    let mut rows = BTreeMap::new();
    for (logical, length, _) in extents(volume) {
        let chunk = volume.chunks().find(logical).unwrap();
        let row = chunk.row_length().unwrap();
        let number = |address: u64| (address - chunk.logical.0) / row;
        for number in number(logical.0)..=number(logical.0 + length - 1) {
            let column = |stripe: &rbtrfs::volume::StripeMapping| {
                let mut bytes = vec![0; STRIPE_LEN as usize];
                let physical = stripe.physical.checked_add(number * STRIPE_LEN).unwrap();
                volume.device(stripe).unwrap().image().read(physical, &mut bytes).unwrap();
                bytes
            };
            let start = Logical(chunk.logical.0 + number * row);
            rows.entry(start).or_insert_with(|| chunk.stripes.iter().map(column).collect());
        }
    }
    rows
}

#[test]
fn no_byte_of_a_row_that_holds_something_changes() {
    for name in PARITY.map(|(name, _)| name).into_iter().chain(["raid5-data-raid1c3-meta"]) {
        let scratch = Scratch::in_memory();
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        for command in CHANGES {
            let before = rows(&open(&images));
            assert!(before.len() > 3, "{name}");
            output_of(command, &images);
            let volume = open(&images);
            for (logical, columns) in before {
                let Some(chunk) = volume.chunks().find(logical) else { panic!("{name}: {logical} is gone") };
                let number = (logical.0 - chunk.logical.0) / chunk.row_length().unwrap();
                for (stripe, before) in chunk.stripes.iter().zip(columns) {
                    let mut bytes = vec![0; STRIPE_LEN as usize];
                    let physical = stripe.physical.checked_add(number * STRIPE_LEN).unwrap();
                    volume.device(stripe).unwrap().image().read(physical, &mut bytes).unwrap();
                    assert!(bytes == before, "{name}: {command}: row {logical} on device {}", stripe.devid);
                }
            }
        }
        assert_sound_with_data(&images, name);
    }
}

/// Makes up to `lost` columns bad at the place of a byte, its own first.
fn damage(images: &[PathBuf], volume: &Volume, logical: Logical, lost: usize) {
    for (image, offset) in row(volume, logical).into_iter().take(lost) {
        change(&images[image], offset + 100, 8, |bytes| bytes.fill(0xa5));
    }
}

/// Problems that are more than copies that another one makes up for.
fn losses(images: &[PathBuf]) -> String {
    let mut problems = beyond_notes(check_data(&open(images), 2));
    let is_made_up_for = ["block-bad-copy", "data-bad-copy", "parity-disagrees"];
    problems.retain(|problem| !is_made_up_for.contains(&problem.code()));
    describe(&problems)
}

#[test]
fn a_column_that_only_parity_has_is_not_lost_to_a_change() {
    for (name, tolerated) in PARITY {
        for lost in 1..=tolerated {
            let scratch = Scratch::in_memory();
            let Some(before) = kernel_image_or_skip(name) else { return };
            let images = copies(&before, &scratch.new_directory());
            let volume = open(&images);
            // A leaf of each tree, and some data; each in a row of its own.
            let leaves = trees(&volume).into_iter().map(|root| first_leaf(&volume, root.key.objectid).logical);
            let data = extents(&volume).into_iter().filter(|(_, _, is_block)| !is_block).map(|(logical, ..)| logical);
            let mut damaged = BTreeMap::new();
            for logical in leaves.chain(data.take(3)) {
                let chunk = volume.chunks().find(logical).unwrap();
                if let Some(row) = chunk.row_length() {
                    damaged.entry((chunk.logical, (logical.0 - chunk.logical.0) / row)).or_insert(logical);
                }
            }
            assert!(damaged.len() > 2, "{name}");
            damaged.values().for_each(|logical| damage(&images, &volume, *logical, lost));
            drop(volume);
            assert_eq!(losses(&images), "", "{name}, {lost} lost, before");
            for command in CHANGES {
                let run = run_rbtrfs(command, &images);
                assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{name}: {command}");
                assert_eq!(losses(&images), "", "{name}, {lost} lost: {command}");
            }
            let contents = |images: &[PathBuf]| Some(or_skip(Mounted::new(images, "ro", &scratch))?.contents());
            let (Some(now), Some(then)) = (contents(&images), contents(&before)) else { return };
            assert_eq!(now, then, "{name}, {lost} lost");
        }
    }
}

/// A filesystem without unallocated space, whose metadata has free space in rows only that hold something. `scratch` is on a disk:
/// in memory the kernel is done with each write so early that it leaves whole rows, which changes take and free in turn.
fn without_whole_rows(profile: &str, devices: usize, scratch: &Scratch) -> Option<Vec<PathBuf>> {
    let images: Vec<PathBuf> = (0..devices).map(|number| scratch.zeros(&format!("{number}.img"), 160 << 20)).collect();
    let options = ["-q", "-m", profile, "-d", profile, "-n", "4k"].map(Path::new).into_iter();
    or_skip(tool("mkfs.btrfs", options.chain(images.iter().map(PathBuf::as_path))))?;
    let mounted = or_skip(Mounted::new(&images, "rw,commit=3000", scratch))?;
    // Small files want room for data, too, as long as they are written.
    let script = "dd if=/dev/zero of=large bs=1M 2>/dev/null || truncate -s -8M large; sync -f .
        mkdir small; split -a 5 -b 1900 /dev/zero small/ 2>/dev/null || sync -f .
        ls small | awk 'NR % 64 < 8' | sed s:^:small/: | xargs rm; sync -f .";
    let _ = Command::new("sh").args(["-c", script]).current_dir(mounted.path()).output().unwrap();
    drop(mounted);
    let mut fs = open_for_change(&images);
    assert!(
        (0..500).any(|_| change_something(&mut fs).is_err()),
        "{profile}: each change frees a row for the next one"
    );
    Some(images)
}

/// Writes an item that says nothing, or the reason why there is no space for it.
fn change_something(fs: &mut Filesystem) -> Result<(), Error> {
    let handle = begin(fs, 2)?;
    let key = Key::new(0, KeyType::PERSISTENT_ITEM, 1);
    let mut devices = fs.device_tree();
    let is_there = devices.find(fs, key)?.is_some();
    devices.edit(fs, |editor| match is_there {
        true => editor.data_mut(key).map(drop),
        false => editor.insert(key, &[0; 40]),
    })?;
    drop(devices);
    finish(handle)?;
    fs.commit()
}

#[test]
fn rows_that_hold_something_are_written_only_if_allowed_and_only_where_all_is_good() {
    for (profile, devices, lost) in [("raid5", 3, 1), ("raid6", 4, 2)] {
        let scratch = Scratch::new();
        let Some(images) = without_whole_rows(profile, devices, &scratch) else { return };
        assert_sound_with_data(&images, profile);
        let mut fs = open_for_change(&images);
        let groups = BlockGroupFlags(METADATA);
        let partial: u64 = fs.space().groups_of(groups).map(|group| group.partial().bytes()).sum();
        assert!(partial > 4 << 20, "{profile}: {partial}");
        let copy = copies(&images, &scratch.new_directory());
        assert!(matches!(change_something(&mut fs), Err(Error::NoSpace { .. })), "{profile}");
        drop(fs);
        assert_identical(&images, &copy, profile);

        // Every eighth block is bad, and every 40th cannot be told good by anything; but for the rows of those trees that
        // are read to open the filesystem and to change it.
        let volume = open(&images);
        let row_of = |logical: Logical| {
            let chunk = volume.chunks().find(logical).unwrap();
            let row = chunk.row_length().unwrap();
            Logical(chunk.logical.0 + (logical.0 - chunk.logical.0) / row * row)
        };
        let read = [objectid::ROOT_TREE, objectid::EXTENT_TREE, objectid::DEV_TREE, objectid::FREE_SPACE_TREE];
        let roots = read.map(|id| tree(&volume, id).expected());
        let walk = |root| Walk::new(&volume, root, Levels::All).map(|block| row_of(block.logical));
        let kept: BTreeSet<Logical> = roots.into_iter().flat_map(walk).collect();
        let mut random = Random(7);
        let mut hopeless = BTreeSet::new();
        for (logical, ..) in extents(&volume).into_iter().filter(|(_, _, is_block)| *is_block) {
            let is_metadata = volume.chunks().find(logical).unwrap().flags.contains(METADATA);
            match random.below(40) {
                _ if !is_metadata || kept.contains(&row_of(logical)) => {}
                0 => {
                    damage(&images, &volume, logical, lost + 1);
                    hopeless.insert(row_of(logical));
                }
                1..=5 => damage(&images, &volume, logical, 1 + random.below(lost)),
                _ => {}
            }
        }
        let unreadable = |images: &[PathBuf]| {
            let problems = check(&open(images), 2);
            problems.iter().filter(|problem| problem.code() == "block-unreadable").count()
        };
        let before = unreadable(&images);
        assert!(before > 3, "{profile}");
        let mut untouchable = rows(&volume);
        untouchable.retain(|start, _| hopeless.contains(start));
        assert!(untouchable.len() > 3, "{profile}");

        for round in 0..4 {
            let mut fs = open_for_change(&images);
            fs.allow_partial_rows().unwrap();
            change_something(&mut fs).unwrap();
            drop(fs);
            assert_eq!(unreadable(&images), before, "{profile}, round {round}");
        }
        let now = rows(&open(&images));
        for (start, columns) in untouchable {
            assert!(now[&start] == columns, "{profile}: row {start}");
        }
    }
}

#[test]
fn a_full_filesystem_of_rows_in_part_goes_on_if_that_is_allowed() {
    let scratch = Scratch::new();
    let Some(images) = without_whole_rows("raid5", 3, &scratch) else { return };
    let Some(contents) = or_skip(Mounted::new(&images, "ro", &scratch)).map(|mounted| mounted.contents()) else {
        return;
    };
    let mut fs = open_for_change(&images);
    fs.allow_partial_rows().unwrap();
    for _ in 0..3 {
        change_something(&mut fs).unwrap();
        // What was allowed ends with the commit.
        assert!(matches!(change_something(&mut fs), Err(Error::NoSpace { .. })));
        fs.allow_partial_rows().unwrap();
    }
    drop(fs);
    assert_sound_with_data(&images, "after changes");
    btrfs_check(&images).unwrap();
    let mounted = Mounted::new(&images, "ro", &scratch).unwrap();
    assert_eq!(mounted.contents(), contents);
}

/// Sectors between two that are written in one row keep their parity, though it is all that makes up for what is bad there.
#[test]
fn parity_changes_for_no_sector_that_is_not_written() {
    for (name, _) in PARITY {
        let scratch = Scratch::in_memory();
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        let volume = open(&images);
        let is_data = |chunk: &&rbtrfs::volume::ChunkMapping| chunk.flags.contains(DATA);
        let chunk = volume.chunks().iter().filter(is_data).last().unwrap().clone();
        let sector = u64::from(volume.format().sectorsize);
        // The second row of the chunk is overwritten with what stands there, but for its second sector, whose column is bad.
        let start = chunk.logical.0 + chunk.row_length().unwrap();
        let bytes = vec![7; sector as usize];
        let mut between = vec![0; sector as usize];
        volume.read(Logical(start + sector), 1, &mut between).unwrap();
        damage(&images, &volume, Logical(start + sector), 1);
        drop(volume);
        let writable = WritableVolume::open(&images, MissingDevices::Refuse).unwrap();
        let staged = [0, 2 * sector].map(|offset| Staged { logical: Logical(start + offset), bytes: &bytes });
        writable.write(writable.volume().chunks(), &staged).unwrap();
        drop(writable);
        let volume = open(&images);
        let mut read = vec![0; sector as usize];
        for (offset, expected) in [(0, &bytes), (sector, &between), (2 * sector, &bytes)] {
            volume.read(Logical(start + offset), 2, &mut read).unwrap();
            assert!(read == *expected, "{name}: {offset}");
        }
    }
}
