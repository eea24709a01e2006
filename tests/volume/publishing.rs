//! A commit is there whole or not at all, whenever the machine stops.

use std::collections::BTreeSet;
use std::path::PathBuf;

use fuser::Errno;
use rbtrfs::Error;
use rbtrfs::block::verify::Expected;
use rbtrfs::disk::superblock::{RootBackup, SUPER_INFO_SIZE, SUPER_OFFSETS};
use rbtrfs::disk::volume::DevItem;
use rbtrfs::disk::{Logical, Physical, Superblock, Transid};
use rbtrfs::tree::stale_devices;
use rbtrfs::volume::{Commit, MissingDevices, Staged, Volume, WritableVolume};
use zerocopy::IntoBytes;

use crate::support::contents::*;
use crate::support::mounted::Mounted;
use crate::support::recording_disk::{Event, RecordingDisk};
use crate::support::soundness::assert_sound;
use crate::support::*;

/// What the engine would hand in for one commit.
struct Prepared {
    blocks: Vec<(Logical, Vec<u8>)>,
    superblock: Superblock,
    backup: RootBackup,
    dev_items: Vec<DevItem>,
}

impl Prepared {
    /// The present state once more.
    fn again(volume: &Volume) -> Self {
        let superblock = *volume.stored_superblock();
        let newest = superblock.super_roots.iter().find(|backup| backup.tree_root_gen == superblock.generation);
        let devices = volume.devices().iter().filter(|device| !device.is_seed());
        let dev_items = devices.map(|device| device.superblock().dev_item).collect();
        Self { blocks: Vec::new(), superblock, backup: *newest.unwrap(), dev_items }
    }

    /// The next generation: the tree root, twice, where nothing was before.
    fn next(volume: &Volume) -> Self {
        let mut prepared = Self::again(volume);
        let superblock = &mut prepared.superblock;
        let generation = superblock.generation.get() + 1;
        let used: BTreeSet<Logical> = blocks(volume).map(|block| block.logical).collect();
        let chunk = volume.chunks().find(superblock.root()).unwrap();
        let nodesize = u64::from(volume.format().nodesize);
        let free = (1..).map(|number| Logical(chunk.end().0 - number * nodesize)).filter(|place| !used.contains(place));
        // Every fourth, so that of a row with parity parts are written.
        for place in free.step_by(4).take(2) {
            let root = Expected::at(superblock.root());
            let mut bytes = volume.read_block(&root, &mut Vec::new()).unwrap().block.bytes().to_vec();
            bytes[48..56].copy_from_slice(&place.0.to_le_bytes());
            bytes[80..88].copy_from_slice(&generation.to_le_bytes());
            volume.format().csum_type.stamp(&mut bytes);
            prepared.blocks.insert(0, (place, bytes));
        }
        superblock.root = prepared.blocks[0].0.0.into();
        superblock.generation = generation.into();
        prepared
    }

    fn publish(&self, volume: &mut WritableVolume) -> Result<(), Error> {
        let chunks = volume.volume().chunks().clone();
        let staged: Vec<_> = self.blocks.iter().map(|(logical, bytes)| Staged { logical: *logical, bytes }).collect();
        volume
            .publish(&Commit {
                staged: &staged,
                mended: &[],
                chunks: &chunks,
                superblock: &self.superblock,
                backup: &self.backup,
                dev_items: &self.dev_items,
            })?
            .wholly()
    }
}

fn writable(images: &[PathBuf]) -> WritableVolume {
    WritableVolume::open_judged(images, MissingDevices::Refuse, stale_devices).unwrap()
}

fn superblock_at(image: &std::path::Path, offset: u64) -> Superblock {
    let mut bytes = [0; SUPER_INFO_SIZE];
    std::os::unix::fs::FileExt::read_exact_at(&std::fs::File::open(image).unwrap(), &mut bytes, offset).unwrap();
    *Superblock::from_block(&bytes)
}

/// Images without what their superblocks' next backup slots and checksums hold.
fn without_slot(images: &[PathBuf], slot: usize, scratch: &Scratch) -> Vec<PathBuf> {
    let images = copies(images, &scratch.new_directory());
    for image in &images {
        for offset in [SUPER_OFFSETS[0], SUPER_OFFSETS[1]] {
            let mut superblock = superblock_at(image, offset.0);
            superblock.super_roots[slot] = RootBackup::zeroed();
            superblock.csum.fill(0);
            change(image, offset.0, SUPER_INFO_SIZE, |bytes| bytes.copy_from_slice(superblock.as_bytes()));
        }
    }
    images
}

#[test]
fn the_same_state_published_again_changes_the_next_backup_slot_and_nothing_else() {
    for name in ["single", "raid1", "raid5", "mixed", "sha256", "uuid-metadata", "convert"] {
        let scratch = Scratch::in_memory();
        let Some(before) = kernel_image_or_skip(name) else { return };
        let images = copies(&before, &scratch.new_directory());
        let mut volume = writable(&images);
        let mut prepared = Prepared::again(volume.volume());
        // What the superblock says too need not be handed in.
        prepared.backup.tree_root = 0.into();
        let old = *volume.volume().stored_superblock();
        prepared.publish(&mut volume).unwrap();
        drop(volume);
        let newest = old.super_roots.iter().position(|backup| backup.tree_root_gen == old.generation).unwrap();
        let slot = (newest + 1) % 4;
        let left = without_slot(&before, slot, &scratch).into_iter().zip(without_slot(&images, slot, &scratch));
        for (one, other) in left {
            tool("cmp", [one, other]).unwrap();
        }
        for image in &images {
            for offset in [SUPER_OFFSETS[0], SUPER_OFFSETS[1]] {
                let superblock = superblock_at(image, offset.0);
                assert!(superblock.is_intact());
                assert_eq!(superblock.super_roots[slot].as_bytes(), old.super_roots[newest].as_bytes(), "{name}");
            }
        }
        assert_sound(&images, name);
        let Some(mounted) = or_skip(Mounted::new(&images, "rw", &scratch)) else { return };
        mounted.contents();
    }
}

#[test]
fn every_place_for_a_superblock_gets_one() {
    let scratch = Scratch::in_memory();
    for (size, count) in [(256 << 30, 2), (257 << 30, 3)] {
        let image = scratch.zeros("large", size);
        let Some(_) = or_skip(mkfs_btrfs([""; 0], std::slice::from_ref(&image))) else { return };
        let mut volume = writable(std::slice::from_ref(&image));
        let mut prepared = Prepared::again(volume.volume());
        prepared.superblock.label[0] = b'x';
        prepared.publish(&mut volume).unwrap();
        drop(volume);
        for offset in &SUPER_OFFSETS[..count] {
            let superblock = superblock_at(&image, offset.0);
            assert!(superblock.is_intact() && superblock.label() == b"x", "at {offset} of {size} bytes");
            assert_eq!(superblock.bytenr.get(), offset.0);
        }
        assert_eq!(std::fs::metadata(&image).unwrap().len(), size);
    }
}

#[test]
fn a_seed_stays_as_it_is() {
    let scratch = Scratch::in_memory();
    let Some(before) = kernel_image_or_skip("seed-sprout") else { return };
    let images = copies(&before, &scratch.new_directory());
    let mut volume = writable(&images);
    // A seed can be used by others meanwhile, who only read it.
    assert!(rbtrfs::image::Image::open_for_writing(&images[0]).is_ok());
    Prepared::again(volume.volume()).publish(&mut volume).unwrap();
    drop(volume);
    tool("cmp", [&before[0], &images[0]]).unwrap();
    assert_ne!(std::fs::read(&before[1]).unwrap(), std::fs::read(&images[1]).unwrap());
}

fn is_superblock(offset: u64) -> bool {
    SUPER_OFFSETS.iter().any(|superblock| superblock.0 == offset)
}

/// What happens in one step, between two waits for all disks: the sets of places written on each image.
fn steps(events: &[Event], images: usize) -> Vec<Vec<(usize, u64)>> {
    let mut steps = vec![Vec::new()];
    let mut waited = BTreeSet::new();
    for event in events {
        match event {
            Event::Write { image, offset, .. } => {
                assert!(waited.is_empty(), "a write on image {image} while others are waited for");
                steps.last_mut().unwrap().push((*image, *offset));
            }
            Event::Barrier { image } => {
                waited.insert(*image);
                if waited.len() == images {
                    waited.clear();
                    steps.push(Vec::new());
                }
            }
            Event::Failed { .. } | Event::FailedBarrier { .. } => panic!("nothing fails here"),
        }
    }
    steps
}

#[test]
fn no_superblock_is_written_before_what_it_points_to() {
    for name in ["single", "raid1", "raid10", "raid5", "raid6"] {
        let scratch = Scratch::in_memory();
        let Some(images) = kernel_image_or_skip(name) else { return };
        let Some(disk) = or_skip(RecordingDisk::new(&images, &scratch)) else { return };
        let mut volume = writable(disk.images());
        Prepared::next(volume.volume()).publish(&mut volume).unwrap();
        let events = disk.events();
        let steps = steps(&events, images.len());
        let [blocks, primary, others, end] = &steps[..] else { panic!("{name}: {steps:?}") };
        assert!(!blocks.is_empty() && blocks.iter().all(|(_, offset)| !is_superblock(*offset)), "{name}");
        let on_all = |offset: u64| (0..images.len()).map(|image| (image, offset)).collect::<Vec<_>>();
        assert_eq!((primary, others), (&on_all(64 << 10), &on_all(64 << 20)), "{name}");
        assert!(end.is_empty());
    }
}

/// The generation that a filesystem is found in, which is whole as far as its roots go.
fn generation_of(images: &[PathBuf]) -> Transid {
    let volume = open(images);
    let superblock = volume.superblock();
    let mut buffer = Vec::new();
    for mirror in 1..=volume.mirrors(superblock.root()) {
        let generation = Some(superblock.generation());
        let root = Expected { generation, level: Some(superblock.root_level), ..Expected::at(superblock.root()) };
        volume.read_copy(&root, mirror, &mut buffer).unwrap();
    }
    assert!(trees(&volume).len() > 5);
    superblock.generation()
}

#[test]
fn a_crash_at_any_moment_leaves_the_old_state_or_the_new_one() {
    for name in ["single", "dup", "raid1", "raid5", "raid6"] {
        let scratch = Scratch::in_memory();
        let Some(images) = kernel_image_or_skip(name) else { return };
        let Some(disk) = or_skip(RecordingDisk::new(&images, &scratch)) else { return };
        let mut volume = writable(disk.images());
        let prepared = Prepared::next(volume.volume());
        prepared.publish(&mut volume).unwrap();
        let events = disk.events();
        let new = prepared.superblock.generation();
        let first_superblock =
            events.iter().position(|event| matches!(event, Event::Write { offset, .. } if is_superblock(*offset)));
        let mut found = BTreeSet::new();
        for count in 0..=events.len() {
            // None of what no barrier covers, all of it, and either half of it.
            let survivals: [fn(usize) -> bool; 4] =
                [|_| false, |_| true, |number| number % 2 == 0, |number| number % 2 == 1];
            for survives in survivals {
                let crashed = Scratch::in_memory();
                let generation = generation_of(&disk.after_crash(count, survives, &crashed));
                assert!(generation == new || generation.0 == new.0 - 1, "{name}: {generation}");
                assert!(generation != new || Some(count) > first_superblock, "{name}: new after {count} events");
                found.insert(generation);
            }
            for sector in [512, 4096] {
                let crashed = Scratch::in_memory();
                let survives = |event: usize, number: u64| (event as u64 + number + count as u64).is_multiple_of(2);
                let generation = generation_of(&disk.after_torn_crash(count, sector, survives, &crashed));
                assert!(generation == new || generation.0 == new.0 - 1, "{name}: {generation}, torn");
                assert!(generation != new || Some(count) > first_superblock, "{name}: new after {count} events, torn");
            }
        }
        assert_eq!(found.len(), 2, "{name}");
        assert_eq!(generation_of(&disk.after_crash(events.len(), |_| false, &scratch)), new);
    }
}

/// The generation of an intact copy of the superblock.
fn generation_at(image: &std::path::Path, offset: Physical) -> Option<u64> {
    let superblock = superblock_at(image, offset.0);
    superblock.is_intact().then(|| superblock.generation.get())
}

/// One call of one image fails, or all from one on. Until the first superblock is on its way that ends the work, and nothing
/// is changed; then it ends nothing, and all is said.
fn fail_at_every_call(name: &str, error: Errno) {
    let Some(before) = kernel_image_or_skip(name) else { return };
    let [primary, mirror, _] = SUPER_OFFSETS;
    let cases = (0..before.len()).flat_map(|image| [(image, 1), (image, usize::MAX)]);
    for (failing, how_many) in cases {
        for from in 0_usize.. {
            let calls = from..from.saturating_add(how_many);
            let directory = Scratch::in_memory();
            let Some(disk) = or_skip(RecordingDisk::failing_calls(&before, &directory, failing, calls, error)) else {
                return;
            };
            let mut volume = writable(disk.images());
            let prepared = Prepared::next(volume.volume());
            let new = prepared.superblock.generation.get();
            let published = prepared.publish(&mut volume);
            let what = format!("{name}: {how_many} calls of image {failing} fail from {from}: {published:?}");
            let events = disk.events();
            let is_super = |event: &Event| match event {
                Event::Write { offset, .. } | Event::Failed { offset, .. } => is_superblock(*offset),
                _ => false,
            };
            let fails = |event: &Event| matches!(event, Event::Failed { .. } | Event::FailedBarrier { .. });
            let Some(failed) = events.iter().position(fails) else {
                // All calls came before the failure.
                assert!(published.is_ok() && from > 4, "{what}");
                break;
            };
            let error = published.unwrap_err();
            assert!(error.to_string().contains(disk.images()[failing].to_str().unwrap()), "{what}");
            if events.iter().position(is_super).is_none_or(|first| failed < first) {
                assert!(matches!(error, Error::Write { .. } | Error::Sync { .. }), "{what}");
                assert!(!events.iter().any(is_super), "{what}");
                assert_eq!(generation_of(disk.images()).0, new - 1, "{what}");
                continue;
            }
            let Error::PartlyPublished(partly) = error else { panic!("{what}") };
            assert_eq!(partly.devices, before.len(), "{what}");
            let others = || (0..before.len()).filter(|image| *image != failing);
            // The others have all of it.
            for image in others() {
                assert!(partly.reached.contains(&disk.images()[image]), "{what}");
                for offset in [primary, mirror] {
                    assert_eq!(generation_at(&disk.images()[image], offset), Some(new), "{what}");
                }
            }
            let is_primary = |event: &Event| matches!(event, Event::Failed { offset, .. } if *offset == primary.0);
            let barriers =
                events[..failed].iter().filter(|event| matches!(event, Event::Barrier { image } if *image == failing));
            // Of a write that failed, or one before a barrier that failed, nobody knows.
            let is_reached = !events.iter().any(is_primary) && barriers.count() > 1;
            assert_eq!(partly.reached.contains(&disk.images()[failing]), is_reached, "{what}");
            assert_eq!(partly.is_sure(), is_reached || before.len() > 1, "{what}");
            let expected = if partly.is_sure() || !events.iter().any(is_primary) { new } else { new - 1 };
            assert_eq!(generation_of(disk.images()).0, expected, "{what}");
            let mirror = generation_at(&disk.images()[failing], mirror);
            if !partly.is_sure() {
                assert_eq!(mirror, Some(new - 1), "{what}: the last superblock that is known to be good");
            } else if how_many == 1 && !matches!(events[failed], Event::Failed { offset, .. } if offset != primary.0) {
                assert_eq!(mirror, Some(new), "{what}");
            }
            // A crash may take what no barrier covers.
            for survives in [(|_| false) as fn(usize) -> bool, |_| true, |number| number % 2 == 0] {
                let found = generation_of(&disk.after_crash(events.len(), survives, &Scratch::in_memory())).0;
                assert!(found == new || found == new - 1 && !partly.is_sure(), "{what}: {found} after a crash");
            }
            // What is held in memory is neither state for sure.
            let again = Prepared::again(volume.volume()).publish(&mut volume);
            assert!(matches!(again, Err(Error::Poisoned)), "{what}: {again:?}");
            assert_eq!(disk.events().len(), events.len(), "{what}");
        }
    }
}

#[test]
fn what_fails_on_the_only_disk_is_told_as_it_is() {
    fail_at_every_call("single", Errno::ENOSPC);
    fail_at_every_call("dup", Errno::EIO);
}

#[test]
fn no_disk_stays_behind_because_another_fails() {
    fail_at_every_call("raid1", Errno::EIO);
    fail_at_every_call("raid5", Errno::ENOSPC);
}

/// Images in the state after one more commit.
fn after_a_commit(images: &[PathBuf], scratch: &Scratch) -> Vec<PathBuf> {
    let images = copies(images, &scratch.new_directory());
    let mut volume = writable(&images);
    Prepared::next(volume.volume()).publish(&mut volume).unwrap();
    images
}

/// A commit tears superblocks beside others that are not of the present state. Neither of those may be found: what they
/// lead to is free, and written to.
fn tear_beside_others(name: &str, edit: impl Fn(&[PathBuf], &[PathBuf], &[PathBuf])) {
    let scratch = Scratch::in_memory();
    let Some(past) = kernel_image_or_skip(name) else { return };
    let images = after_a_commit(&past, &scratch);
    let future = after_a_commit(&images, &scratch);
    edit(&images, &past, &future);
    let Some(disk) = or_skip(RecordingDisk::new(&images, &scratch)) else { return };
    let mut volume = writable(disk.images());
    let mut prepared = Prepared::next(volume.volume());
    let generation = prepared.superblock.generation.get();
    let old = (generation - 1, prepared.superblock.label().to_vec());
    // Another than that of the future, which never came to be.
    prepared.superblock.label[0] = b'?';
    let new = (generation, prepared.superblock.label().to_vec());
    prepared.publish(&mut volume).unwrap();
    let events = disk.events();
    let is_super = |event: &Event| matches!(event, Event::Write { offset, .. } if is_superblock(*offset));
    let first_block = events.iter().position(|event| matches!(event, Event::Write { .. }) && !is_super(event)).unwrap();
    assert!(events[..first_block].iter().any(is_super), "{name}: nothing was brought into line");
    for count in 0..=events.len() {
        for seed in 0..3 {
            let survives = |event: usize, sector: u64| !(event as u64 * 5 + sector + seed).is_multiple_of(3);
            let crashed = Scratch::in_memory();
            let left = disk.after_torn_crash(count, 512, survives, &crashed);
            let what = format!("{name}: after {count} of {} events", events.len());
            let volume = open(&left);
            let superblock = volume.superblock();
            let found = (superblock.generation.get(), superblock.label().to_vec());
            assert!(found == old || found == new && count > first_block, "{what}: {found:?}");
            drop(volume);
            generation_of(&left);
        }
    }
}

fn put_superblock(from: &std::path::Path, to: &std::path::Path, offset: Physical) {
    let superblock = superblock_at(from, offset.0);
    change(to, offset.0, SUPER_INFO_SIZE, |bytes| bytes.copy_from_slice(superblock.as_bytes()));
}

#[test]
fn a_torn_superblock_never_leads_to_a_state_before_the_last() {
    // As a crash leaves it before the mirrors are written, or before the superblocks of another device.
    for name in ["dup", "raid1"] {
        tear_beside_others(name, |images, past, _| put_superblock(&past[0], &images[0], SUPER_OFFSETS[1]));
    }
    tear_beside_others("raid1", |images, past, _| {
        SUPER_OFFSETS[..2].iter().for_each(|offset| put_superblock(&past[1], &images[1], *offset));
    });
}

#[test]
fn a_torn_superblock_never_leads_to_a_state_that_was_given_up() {
    tear_beside_others("dup", |images, _, future| put_superblock(&future[0], &images[0], SUPER_OFFSETS[1]));
}

#[test]
fn a_superblock_behind_the_end_of_a_device_is_not_its_mirror() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("single", &scratch) else { return };
    let Some(others) = kernel_image_or_skip("dup") else { return };
    std::fs::File::options().write(true).open(&images[0]).unwrap().set_len(257 << 30).unwrap();
    let mut former = superblock_at(&others[0], SUPER_OFFSETS[0].0);
    (former.bytenr, former.generation) = (SUPER_OFFSETS[2].0.into(), 1_000_000.into());
    former.csum_type().unwrap().stamp(former.as_mut_bytes());
    change(&images[0], SUPER_OFFSETS[2].0, SUPER_INFO_SIZE, |bytes| bytes.copy_from_slice(former.as_bytes()));
    let fsid = open(&images).superblock().fsid;
    change(&images[0], SUPER_OFFSETS[0].0, 512, |bytes| bytes.fill(0));
    assert_eq!(open(&images).superblock().fsid, fsid);
}

#[test]
fn nonsense_is_not_published() {
    type Edit = fn(&mut Prepared);
    let cases: [(&str, Edit); 17] = [
        ("magic", |new| new.superblock.magic = 0.into()),
        ("flags", |new| new.superblock.flags |= 1 << 38),
        ("incompat_flags", |new| new.superblock.incompat_flags |= 1 << 40),
        ("compat_ro_flags", |new| new.superblock.compat_ro_flags |= 1 << 40),
        ("checksum type", |new| new.superblock.csum_type = 9.into()),
        ("nodesize", |new| new.superblock.nodesize = 12345.into()),
        ("leafsize", |new| new.superblock.__unused_leafsize = 4096.into()),
        ("root_level", |new| new.superblock.root_level = 8),
        ("chunk_root", |new| new.superblock.chunk_root += 1),
        ("bytes_used", |new| new.superblock.bytes_used = 0.into()),
        ("num_devices", |new| new.superblock.num_devices = 0.into()),
        ("chunk_root_generation", |new| new.superblock.chunk_root_generation += 100),
        ("older", |new| new.superblock.generation -= 2),
        ("another filesystem", |new| new.superblock.fsid.0[0] ^= 1),
        ("no device item", |new| new.dev_items.clear()),
        ("system chunk array", |new| new.superblock.sys_chunk_array[17] ^= 1),
        ("system chunk array", |new| new.superblock.sys_chunk_array_size = 0.into()),
    ];
    let roots: [(&str, Edit); 4] = [
        ("tree root", |new| new.superblock.root += 1 << 14),
        ("tree root", |new| new.superblock.root_level += 1),
        ("tree root", |new| new.blocks.clear()),
        ("chunk root", |new| new.superblock.chunk_root_generation -= 1),
    ];
    let scratch = Scratch::in_memory();
    let Some(images) = kernel_image_or_skip("raid1") else { return };
    let Some(disk) = or_skip(RecordingDisk::new(&images, &scratch)) else { return };
    let mut volume = writable(disk.images());
    for (telling, edit) in cases.into_iter().chain(roots) {
        let mut prepared = Prepared::next(volume.volume());
        edit(&mut prepared);
        let error = prepared.publish(&mut volume).expect_err(telling).to_string();
        assert!(error.contains(telling) && error.lines().count() == 1, "{telling}: {error}");
        assert_eq!(disk.events(), [], "{telling}");
    }
    Prepared::next(volume.volume()).publish(&mut volume).unwrap();
}
