//! Everything moves.

use rbtrfs::disk::Logical;

use super::support::mounted::btrfs_check_output;
use super::support::soundness::assert_sound_with_data;
use super::support::{Scratch, copies, kernel_image_names, kernel_image_or_skip, or_skip};
use super::{chunks, contents, move_all};

/// Filesystems that the kernel has something left to do with, so that they are not opened for a change, or that it would go
/// on with.
const REFUSED: [&str; 5] = ["raid-stripe-tree", "log-tree", "degraded", "degraded-raid5", "degraded-raid6"];

/// Filesystems of every feature and profile move as a whole: no chunk of before is left but an empty one, and all files are what
/// they were.
#[test]
fn a_filesystem_that_moves_as_a_whole_is_what_it_was() {
    let test = "a_filesystem_that_moves_as_a_whole_is_what_it_was";
    for name in kernel_image_names(test).into_iter().filter(|name| !REFUSED.contains(&name.as_str())) {
        let Some(images) = kernel_image_or_skip(&name) else { return };
        let scratch = Scratch::in_memory();
        let images = copies(&images, &scratch.path(""));
        let Some(expected) = contents(&images, &scratch) else { return };
        let before = chunks(&images);
        let moved = move_all(&images).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((moved.left.as_slice(), moved.damaged.as_slice()), (&[][..], &[][..]), "{name}");
        assert_sound_with_data(&images, &name);
        if let Some(check) = or_skip(btrfs_check_output(&images)) {
            let text = String::from_utf8_lossy(&check.stderr);
            let is_unknown = text.contains("unsupported option features");
            assert!(check.status.success() || is_unknown, "{name}: {text}");
        }
        // The address of a chunk that was the last may be that of another one now.
        let removed: Vec<Logical> = moved.chunks_removed.iter().map(|chunk| chunk.logical).collect();
        let stayed = before.iter().filter(|(logical, _)| !removed.contains(logical)).count();
        assert!(stayed <= 1, "{name}: {before:?} {removed:?}");
        assert_eq!(contents(&images, &scratch), Some(expected), "{name}");
        assert_sound_with_data(&images, &name);
    }
}
