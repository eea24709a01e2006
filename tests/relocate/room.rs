//! Little room, and none.

use std::path::PathBuf;
use std::process::{Command, Output};

use rbtrfs::Error;
use rbtrfs::disk::flags::block_group::DATA;
use rbtrfs::disk::{BlockGroupFlags, Profile};
use rbtrfs::error::RelocationProblem;
use rbtrfs::progress::Progress;
use rbtrfs::relocate::{Evacuation, Moved, Options, relocate};
use rbtrfs::trans::Filesystem;

use super::support::change::open_for_change;
use super::support::mounted::{Mounted, btrfs_check};
use super::support::soundness::assert_sound_with_data;
use super::support::{
    Scratch, assert_identical, copies, copy_of_kernel_image_or_skip, mkfs_btrfs, open, or_skip, output_of,
};
use super::{all_groups, chunks, contents, move_all, move_groups};

/// A filesystem of which every byte is allocated, with files in all of it.
fn full(options: &[&str], size: u64, scratch: &Scratch, script: &str) -> Option<Vec<PathBuf>> {
    let image = vec![scratch.zeros("image", size)];
    or_skip(mkfs_btrfs(options, &image))?;
    let mounted = or_skip(Mounted::new(&image, "rw,commit=1", scratch))?;
    // Space that is being given back counts only after a commit.
    let fill = "cd \"$1\"; mkdir d; for n in $(seq 4000); do head -c 400000 /dev/urandom >d/f$n || \
        { sync -f .; head -c 400000 /dev/urandom >d/f$n || break; }; done; sync -f .";
    let script = format!("{fill} || true; {script}");
    let filled = Command::new("bash").args(["-c", &script, "-"]).arg(mounted.path()).output().unwrap();
    assert!(filled.status.success(), "{}", String::from_utf8_lossy(&filled.stderr));
    drop(mounted);
    // How many metadata chunks the kernel makes depends on when it writes. The first MiB of a device is never allocated.
    let left = unallocated(&image).saturating_sub(1 << 20) >> 20;
    if left > 0 {
        output_of(&format!("chunk-alloc --type metadata --size {left}M"), &image);
    }
    assert!(unallocated(&image) < 2 << 20);
    Some(image)
}

fn unallocated(image: &[PathBuf]) -> u64 {
    let volume = open(image);
    let taken: u64 = volume.chunks().iter().map(|chunk| chunk.stripe_size() * chunk.stripes.len() as u64).sum();
    volume.superblock().total_bytes.get() - taken
}

fn of_data(fs: &Filesystem) -> Vec<Evacuation> {
    all_groups(fs, |flags: BlockGroupFlags| flags.contains(DATA).then_some(Profile::Single))
}

fn kernel_balance(images: &[PathBuf], filters: &str) -> Option<Output> {
    let scratch = Scratch::in_memory();
    let copy = copies(images, &scratch.path(""));
    let mounted = or_skip(Mounted::new(&copy, "rw,skip_balance", &scratch))?;
    Some(Command::new("btrfs").args(["balance", "start", filters]).arg(mounted.path()).output().unwrap())
}

#[test]
fn a_filesystem_without_unallocated_space_is_compacted_where_the_kernel_gives_up() {
    let scratch = Scratch::in_memory();
    let keep = "for f in d/*; do n=${f#d/f}; [ $((n % 10)) -lt 3 ] || rm $f; done; sync -f .";
    let Some(image) = full(&["-m", "single", "-d", "single"], 600 << 20, &scratch, keep) else { return };
    let Some(expected) = contents(&image, &scratch) else { return };
    let Some(kernel) = kernel_balance(&image, "--full-balance") else { return };
    let said = String::from_utf8_lossy(&kernel.stderr);
    assert!(!kernel.status.success() && said.contains("No space left"), "{said}");
    let before = chunks(&image).len();
    move_groups(&image, of_data).unwrap();
    assert_sound_with_data(&image, "compacted");
    or_skip(btrfs_check(&image));
    assert!(chunks(&image).len() <= before / 2 + 2, "{before} {:?}", chunks(&image));
    move_all(&image).unwrap();
    assert_sound_with_data(&image, "moved as a whole");
    or_skip(btrfs_check(&image));
    assert_eq!(contents(&image, &scratch), Some(expected));
}

#[test]
fn what_has_no_room_stays_and_nothing_changes() {
    let scratch = Scratch::in_memory();
    let Some(image) = full(&["-m", "single", "-d", "single"], 300 << 20, &scratch, "true") else { return };
    let before = copies(&image, &scratch.new_directory());
    match move_groups(&image, of_data) {
        Err(Error::Relocation(RelocationProblem::NotEnoughRoom { what: "data", profile: "single", missing })) => {
            assert!(missing > 0);
        }
        other => panic!("{other:?}"),
    }
    assert_identical(&image, &before, "no room");
}

/// A stop ends the work after the batch that is under way; another run does the rest.
#[test]
fn work_that_was_stopped_is_taken_up_again() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("load", &scratch) else { return };
    let Some(expected) = contents(&images, &scratch) else { return };
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let set = std::sync::Arc::clone(&stop);
    let progress = Progress::new(stop).observed(move |_| set.store(true, std::sync::atomic::Ordering::Relaxed));
    let fs = open_for_change(&images);
    let evacuations = all_groups(&fs, |flags| flags.profile());
    let mut moved = Moved::default();
    drop(relocate(fs, &evacuations, &Options { threads: 2, progress: &progress }, &mut moved).unwrap());
    assert!(!moved.left.is_empty() && moved.tree_blocks > 0, "{moved:?}");
    assert_sound_with_data(&images, "stopped");
    let left = moved.left.clone();
    let rest = |fs: &Filesystem| {
        let is_left = |evacuation: &Evacuation| left.contains(&evacuation.start);
        all_groups(fs, |flags| flags.profile()).into_iter().filter(is_left).collect()
    };
    assert_eq!(move_groups(&images, rest).unwrap().left, []);
    assert_sound_with_data(&images, "taken up again");
    assert_eq!(contents(&images, &scratch), Some(expected));
}
