//! The machine stops amid a commit with which devices come and go.

use fuser::Errno;
use rbtrfs::Error;
use rbtrfs::device::{Occupied, remove, resize, sprout};
use rbtrfs::disk::flags::block_group::DATA;
use rbtrfs::disk::{Profile, STRIPE_LEN};
use rbtrfs::volume::Device;

use super::sprouts::{make_seed, system_devices};
use super::*;
use crate::support::recording_disk::{Event, RecordingDisk};

/// The generation of the first superblock.
fn generation(image: &Path) -> Option<u64> {
    let copies = read_copies(&Image::open(image).unwrap()).unwrap();
    let first = copies.iter().find(|copy| copy.offset == SUPER_OFFSETS[0] && copy.superblock.is_intact());
    first.map(|copy| copy.superblock.generation.get())
}

/// Every moment at which the machine can stop: each barrier with nothing and with all of what follows the one before, and
/// some with a part of it.
fn cuts(events: &[Event], random: &mut Random) -> Vec<(usize, usize)> {
    let barriers = (0..events.len()).filter(|number| matches!(events[*number], Event::Barrier { .. }));
    let mut cuts: Vec<_> = barriers.flat_map(|number| [(number, 0), (number, 1), (number + 1, 0)]).collect();
    cuts.extend((0..40).map(|_| (random.below(events.len() + 1), 2)));
    cuts
}

/// The devices that came are there, or those that went: whoever has all images, and whoever has those of one state only,
/// finds a state that is whole.
#[test]
fn a_crash_leaves_the_devices_of_before_or_those_of_after() {
    for name in ["single", "raid1", "nodesize-4k"] {
        let scratch = Scratch::in_memory();
        let Some(mut images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        let own = images.len();
        let going = scratch.zeros("going.img", 100 * MIB);
        let mut fs = open_for_change(&images);
        let devid = add(&fs, &going, Occupied::Refuse).unwrap();
        fs.commit().unwrap();
        drop(fs);
        images.push(going);
        // Of a former filesystem, to be overwritten.
        let coming = scratch.path("coming.img");
        let Some(former) = kernel_image_or_skip("dup") else { return };
        std::fs::copy(&former[0], &coming).unwrap();
        images.push(coming);
        let before = devices(&images[..own + 1]);
        let old_generation = open(&images[..own + 1]).superblock().generation();

        let Some(disk) = or_skip(RecordingDisk::new(&images, &scratch)) else { return };
        let served = disk.images();
        let mut fs = open_for_change(&served[..own + 1]);
        let new = add(&fs, &served[own + 1], Occupied::Overwrite).unwrap();
        allocate(&fs, &wish(DATA, Some(Profile::Single), 32 * MIB)).unwrap().unwrap();
        remove(&fs, devid).unwrap();
        resize(&fs, new, 200 * MIB).unwrap();
        fs.commit().unwrap();
        drop(fs);
        let events = disk.events();
        let with_new = |images: &[PathBuf]| [&images[..own], &images[own + 1..]].concat();
        let after = devices(&with_new(served));
        assert_ne!(before, after);

        let mut random = Random(events.len() as u64);
        let mut found = std::collections::BTreeSet::new();
        for (number, (count, how)) in cuts(&events, &mut random).into_iter().enumerate() {
            let survivors: Vec<bool> = events.iter().map(|_| random.below(2) == 1).collect();
            let survives = |event: usize| if how == 2 { survivors[event] } else { how == 1 };
            let crashed = Scratch::in_memory();
            let left = disk.after_crash(count, survives, &crashed);
            let what = format!("{name}: after {count} of {} events", events.len());
            let (old, new) = (&left[..own + 1], with_new(&left));
            let is_member = generation(&left[own + 1]) == Some(old_generation.0 + 1);
            // None of those that stay is newer than the one that goes.
            let is_old = left[..own].iter().all(|image| generation(image) == Some(old_generation.0));
            if is_old {
                assert_sound_but_behind(old, &what);
                assert_eq!(devices(old), before, "{what}");
            }
            assert!(is_old || is_member, "{what}: the new state lacks a device");
            assert!(is_old || superblocks(&left[own]).len() < 2 || generation(&left[own]) == Some(old_generation.0));
            if is_member {
                assert_sound_but_behind(&new, &what);
                assert_eq!(devices(&new), after, "{what}");
                // The next commit mends what was left of this one.
                let mut fs = open_for_change(&new);
                allocate(&fs, &wish(DATA, Some(Profile::Single), STRIPE_LEN)).unwrap().unwrap();
                fs.commit().unwrap();
                drop(fs);
                assert_sound(&new, &what);
                if number % 8 == 0 {
                    or_skip(btrfs_check(&new));
                }
            } else if number % 8 == 0 {
                or_skip(btrfs_check(old));
            }
            found.insert((is_old, is_member));
        }
        assert_eq!(found.len(), 3, "{name}: the old state, the new one, and the moment at which both can be had");
    }
}

/// A filesystem grows from its seed with two commits. Whatever comes between leaves the seed as it was, and beside it
/// nothing, or what is whole and can be used.
#[test]
fn a_crash_while_a_filesystem_grows_leaves_its_seed_or_what_grew_from_it() {
    for name in ["single", "nodesize-4k"] {
        let scratch = Scratch::in_memory();
        let Some(seed) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        let Some(expected) = contents(&seed) else { return };
        let Some(()) = make_seed(&seed) else { return };
        let new = scratch.zeros("new.img", 300 * MIB);
        let Some(disk) = or_skip(RecordingDisk::new(&with(&seed, &new), &scratch)) else { return };
        drop(sprout(&disk.images()[..1], &disk.images()[1], Occupied::Refuse).unwrap());
        let events = disk.events();
        let is_primary = |event: &&Event| matches!(event, Event::Write { offset: 65536, .. });
        assert_eq!(events.iter().filter(is_primary).count(), 2, "two commits");

        let mut random = Random(events.len() as u64);
        let superblocks = events.iter().enumerate().filter(|(_, event)| {
            matches!(event, Event::Write { offset, .. } if SUPER_OFFSETS.iter().any(|place| place.0 == *offset))
        });
        let mut cuts = cuts(&events, &mut random);
        cuts.truncate(cuts.len() - 30);
        cuts.extend(superblocks.map(|(number, _)| (number + 1, 3)));
        let mut found = std::collections::BTreeSet::new();
        for (number, (count, how)) in cuts.into_iter().enumerate() {
            let survivors: Vec<bool> = events.iter().map(|_| random.below(2) == 1).collect();
            let survives = |event: usize, _| match how {
                3 => random.below(2) == 1,
                2 => survivors[event],
                how => how == 1,
            };
            let crashed = Scratch::in_memory();
            let sector = if how == 3 { 512 } else { u64::MAX };
            let left = disk.after_torn_crash(count, sector, survives, &crashed);
            let what = format!("{name}: after {count} of {} events ({how})", events.len());
            let is_grown = Device::open(Image::open(&left[1]).unwrap(), None).is_ok();
            if !is_grown {
                assert_sound(&left[..1], &what);
                found.insert(None);
                continue;
            }
            let all = [left[1].clone(), left[0].clone()];
            assert_sound_but_torn(&all, &what);
            let of_seed = system_devices(&open(&all)).iter().filter(|devid| **devid == 1).count();
            found.insert(Some(of_seed > 0));
            // It goes on as any other.
            let mut fs = open_for_change(&all);
            allocate(&fs, &wish(DATA, None, STRIPE_LEN)).unwrap().unwrap();
            fs.commit().unwrap();
            drop(fs);
            assert_sound(&all, &what);
            if of_seed > 0 {
                // The second commit is made up for.
                output_of("chunk-remove --unused --type system", &all);
                assert!(!system_devices(&open(&all)).contains(&1), "{what}");
                assert_sound(&all, &what);
            }
            if number % 8 == 0 {
                assert_eq!(contents(&all), Some(expected.clone()), "{what}");
                btrfs_check(&all).unwrap();
                assert_identical(&left[..1], &seed, &what);
            }
        }
        let all_states = std::collections::BTreeSet::from([None, Some(true), Some(false)]);
        assert_eq!(found, all_states, "{name}: nothing, what the first commit made, what the second made of it");
    }
}

/// Where a device cannot be introduced nothing has changed, not even on it; after that it has joined.
#[test]
fn a_device_joins_or_stays_what_it_was_whatever_call_fails() {
    for (name, error) in [("single", Errno::EIO), ("raid1", Errno::ENOSPC)] {
        let scratch = Scratch::in_memory();
        let Some(mut images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        let own = images.len();
        let coming = scratch.path("coming.img");
        let Some(former) = kernel_image_or_skip("dup") else { return };
        std::fs::copy(&former[0], &coming).unwrap();
        images.push(coming);
        let before = devices(&images[..own]);
        let mut outcomes = std::collections::BTreeSet::new();
        for (failing, how_many) in (0..=own).flat_map(|image| [(image, 1), (image, usize::MAX)]) {
            for from in 0_usize.. {
                let calls = from..from.saturating_add(how_many);
                let directory = Scratch::in_memory();
                let Some(disk) = or_skip(RecordingDisk::failing_calls(&images, &directory, failing, calls, error))
                else {
                    return;
                };
                let served = disk.images();
                let mut fs = open_for_change(&served[..own]);
                add(&fs, &served[own], Occupied::Overwrite).unwrap();
                let committed = fs.commit();
                let what = format!("{name}: {how_many} calls of image {failing} fail from {from}: {committed:?}");
                assert!(matches!(fs.commit(), Err(Error::Poisoned)) || committed.is_ok(), "{what}");
                drop(fs);
                let failures = |event: &Event| matches!(event, Event::Failed { .. } | Event::FailedBarrier { .. });
                let has_failed = disk.events().iter().any(failures);
                assert_eq!(committed.is_err(), has_failed, "{what}");
                match committed {
                    Ok(()) => break,
                    Err(Error::PartlyPublished(partly)) if partly.is_sure() => {
                        outcomes.insert("joined");
                        assert!(partly.reached.contains(&served[own]), "{what}");
                        assert_sound_but_behind(served, &what);
                        assert_eq!(devices(served).len(), own + 1, "{what}");
                    }
                    Err(Error::PartlyPublished(_)) => {
                        outcomes.insert("unknown");
                        assert_eq!((failing, how_many), (own, usize::MAX), "{what}");
                    }
                    Err(_) => {
                        outcomes.insert("nothing");
                        assert_sound(&served[..own], &what);
                        assert_eq!(devices(&served[..own]), before, "{what}");
                        assert_identical(&served[own..], &images[own..], &what);
                    }
                }
            }
        }
        assert_eq!(outcomes.into_iter().collect::<Vec<_>>(), ["joined", "nothing", "unknown"], "{name}");
    }
}
