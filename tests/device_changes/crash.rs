//! The machine stops amid a commit with which devices come and go.

use rbtrfs::chunk::device::{Occupied, add, remove, resize};
use rbtrfs::disk::flags::block_group::DATA;
use rbtrfs::disk::{Profile, STRIPE_LEN};

use super::support::recording_disk::{Event, RecordingDisk};
use super::*;

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
        let scratch = Scratch::new();
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
            let crashed = Scratch::new();
            let left = disk.after_crash(count, survives, &crashed);
            let what = format!("{name}: after {count} of {} events", events.len());
            let (old, new) = (&left[..own + 1], with_new(&left));
            let is_member = generation(&left[own + 1]) == Some(old_generation.0 + 1);
            // None of those that stay is newer than the one that goes.
            let is_old = left[..own].iter().all(|image| generation(image) == Some(old_generation.0));
            if is_old {
                assert_sound_but_stale(old, &what);
                assert_eq!(devices(old), before, "{what}");
            }
            assert!(is_old || is_member, "{what}: the new state lacks a device");
            assert!(is_old || superblocks(&left[own]).len() < 2 || generation(&left[own]) == Some(old_generation.0));
            if is_member {
                assert_sound_but_stale(&new, &what);
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
