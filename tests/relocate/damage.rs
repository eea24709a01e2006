//! What was damaged before.

use rbtrfs::disk::Logical;
use rbtrfs::finding::Finding;

use super::move_all;
use super::support::contents::{checksums, data_extents, place};
use super::support::soundness::{assert_sound_with_data, beyond_notes};
use super::support::{Scratch, change, check_data, copy_of_kernel_image_or_skip, open, output_of};

/// Flips a byte in each of some copies of a sector that has a checksum.
fn damage(images: &[std::path::PathBuf], mirrors: &[u16]) -> u64 {
    let places: Vec<(usize, u64)> = {
        let volume = open(images);
        let sums = checksums(&volume);
        let (start, _) = data_extents(&volume).into_iter().rfind(|(start, _)| sums.contains_key(start)).unwrap();
        mirrors.iter().map(|mirror| place(&volume, Logical(start), *mirror)).collect()
    };
    for (image, offset) in &places {
        change(&images[*image], *offset, 1, |bytes| bytes[0] ^= 0x40);
    }
    places.len() as u64
}

#[test]
fn a_bad_copy_of_data_is_taken_from_the_good_one() {
    for name in ["raid1", "dup", "raid5", "raid6"] {
        let scratch = Scratch::in_memory();
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        damage(&images, &[1]);
        let moved = move_all(&images).unwrap();
        assert_eq!((moved.healed_bytes, moved.damaged.as_slice()), (4096, &[][..]), "{name}");
        assert_sound_with_data(&images, name);
    }
}

#[test]
fn data_that_is_bad_everywhere_stays_bad_and_is_named_by_file() {
    for (name, mirrors) in [("raid1", &[1, 2][..]), ("single", &[1])] {
        let scratch = Scratch::in_memory();
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        damage(&images, mirrors);
        let before = beyond_notes(check_data(&open(&images), 2));
        let moved = move_all(&images).unwrap();
        assert!(moved.damaged.iter().any(|damaged| damaged.length == 4096), "{name}: {:?}", moved.damaged);
        let after = beyond_notes(check_data(&open(&images), 2));
        let codes = |problems: &[rbtrfs::problem::Problem]| problems.iter().map(Finding::code).collect::<Vec<_>>();
        assert_eq!(codes(&after), codes(&before), "{name}");
        assert!(!before.is_empty());
    }
}

#[test]
fn quotas_count_what_they_counted_and_are_still_right() {
    for name in ["quota", "quota-sharing", "squota", "squota-sharing"] {
        let scratch = Scratch::in_memory();
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        let count = || output_of("check --qgroup-report", &images);
        let groups = |report: String| {
            report
                .lines()
                .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let before = groups(count());
        assert!(!before.is_empty(), "{name}");
        move_all(&images).unwrap();
        assert_eq!(groups(count()), before, "{name}");
        let status = |images: &[std::path::PathBuf]| output_of("dump-tree -t quota", images).contains("INCONSISTENT");
        assert!(!status(&images), "{name}");
    }
}
