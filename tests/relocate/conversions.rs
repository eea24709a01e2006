//! From each profile to each other.

use std::collections::BTreeMap;

use rbtrfs::disk::flags::block_group::DATA;
use rbtrfs::disk::{BlockGroupFlags, Profile};

use super::support::mounted::{Mounted, btrfs_check};
use super::support::soundness::assert_sound_with_data;
use super::support::{Scratch, copies, kernel_image_or_skip, mkfs_btrfs, or_skip, tool};
use super::{all_groups, chunks, contents, move_groups};

/// A walk that takes each step from one profile to another once: rounds from where steps are left, put into each other.
fn walk() -> Vec<Profile> {
    let others = |from: Profile| Profile::ALL.into_iter().filter(|to| *to != from).collect();
    let mut left: BTreeMap<Profile, Vec<Profile>> = Profile::ALL.into_iter().map(|from| (from, others(from))).collect();
    let (mut path, mut walk) = (vec![Profile::ALL[0]], Vec::new());
    while let Some(from) = path.last() {
        match left.get_mut(from).and_then(Vec::pop) {
            Some(to) => path.push(to),
            None => walk.extend(path.pop()),
        }
    }
    walk.reverse();
    walk
}

#[test]
fn every_profile_becomes_every_other_and_the_files_stay() {
    let scratch = Scratch::in_memory();
    let images: Vec<_> = (0..4).map(|number| scratch.zeros(&format!("{number}"), 2 << 30)).collect();
    let Some(()) = or_skip(mkfs_btrfs(["-d", "single", "-m", "single"], &images)) else { return };
    let Some(mounted) = or_skip(Mounted::new(&images, "rw", &scratch)) else { return };
    mounted.write_something();
    drop(mounted);
    let Some(expected) = contents(&images, &scratch) else { return };
    let walk = walk();
    assert_eq!(walk.len(), 73);
    for (number, pair) in walk.windows(2).enumerate() {
        // Now and then data alone, or metadata with another profile.
        let (from, to) = (pair[0], pair[1]);
        let what = format!("{from:?} to {to:?}");
        move_groups(&images, |fs| all_groups(fs, |_| Some(to))).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_sound_with_data(&images, &what);
        let profiles = chunks(&images);
        assert!(profiles.iter().all(|(_, flags)| flags.profile() == Some(to)), "{what}: {profiles:?}");
        if number % 8 == 0 {
            or_skip(btrfs_check(&images));
            assert_eq!(contents(&images, &scratch).as_ref(), Some(&expected), "{what}");
        }
    }
    let Some(mounted) = or_skip(Mounted::new(&images, "rw", &scratch)) else { return };
    assert_eq!(mounted.contents(), expected);
    tool("btrfs", ["balance", "start", "--full-balance", mounted.path().to_str().unwrap()]).unwrap();
    mounted.scrub();
    assert_eq!(mounted.contents(), expected);
}

/// Only some block groups change, and the feature bit comes with the first and goes with the last.
#[test]
fn data_alone_becomes_another_profile() {
    let Some(images) = kernel_image_or_skip("raid1c3") else { return };
    let scratch = Scratch::in_memory();
    let images = copies(&images, &scratch.path(""));
    let expected = contents(&images, &scratch);
    let of_data = |flags: BlockGroupFlags, into| flags.contains(DATA).then_some(into);
    for into in [Profile::Raid5, Profile::Raid0, Profile::Raid1c3] {
        move_groups(&images, |fs| all_groups(fs, |flags| of_data(flags, into))).unwrap();
        assert_sound_with_data(&images, into.name());
        or_skip(btrfs_check(&images));
        let profile = |flags: BlockGroupFlags| if flags.contains(DATA) { into } else { Profile::Raid1c3 };
        assert!(chunks(&images).iter().all(|(_, flags)| flags.profile() == Some(profile(*flags))), "{into:?}");
    }
    assert_eq!(contents(&images, &scratch), expected);
}
