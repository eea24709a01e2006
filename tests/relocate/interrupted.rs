//! What the kernel was moving when it was cut off stays what it was.

use std::path::PathBuf;
use std::process::Command;

use rbtrfs::disk::{Key, objectid};
use rbtrfs::relocate::drop_relocation_trees;
use rbtrfs::survey::tree_of;
use rbtrfs::tree::{Tree, TreeRoot};
use rbtrfs::volume::Volume;

use super::support::change::open_for_change;
use super::support::crash::{Left, after, is_superblock};
use super::support::mounted::{Mounted, btrfs_check_output};
use super::support::random::Random;
use super::support::recording_disk::RecordingDisk;
use super::support::soundness::assert_sound_with_data;
use super::support::{Scratch, copy_of_kernel_image_or_skip, mkfs_btrfs, open, or_skip};
use super::{contents, move_all};

/// Trees that share with each other, and of which the kernel moves one half and not yet the other.
const FILL: &str = r#"
btrfs -q subvolume create a
for i in $(seq 3000); do echo "$i" >a/f$i; done
head -c 3000000 /dev/urandom >a/large
btrfs -q subvolume snapshot a b
cp --reflink=always a/large b/clone
for i in $(seq 7 7 3000); do echo "again $i" >b/f$i; done
btrfs -q subvolume snapshot -r b c
rm b/f1*
sync -f .
"#;

fn relocation_trees(volume: &Volume) -> Vec<Tree> {
    let mut trees = Vec::new();
    let found = |item: rbtrfs::block::ItemRef<'_>| {
        trees.extend(tree_of(&item).filter(|tree| tree.id() == objectid::TREE_RELOC))
    };
    TreeRoot::root_tree(volume).range(volume, Key::MIN, Key::MAX, found).unwrap();
    trees
}

fn assert_checked(images: &[PathBuf], what: &str) {
    assert_sound_with_data(images, what);
    if let Some(check) = or_skip(btrfs_check_output(images)) {
        assert!(check.status.success(), "{what}: {}", String::from_utf8_lossy(&check.stderr));
    }
}

/// Each commit on the way leaves a relocation tree that is dropped in part, which the kernel and btrfs check know, too.
#[test]
fn a_relocation_tree_that_is_dropped_piece_by_piece_takes_nothing_along() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("balance-interrupted", &scratch) else { return };
    let Some(expected) = contents(&images, &scratch) else { return };
    let mut commits = 0;
    loop {
        let mut fs = open_for_change(&images);
        let Some(tree) = relocation_trees(fs.volume()).first().copied() else { break };
        let is_gone = fs.drop_relocation_tree(&tree, &mut 20).unwrap();
        fs.commit().unwrap();
        drop(fs);
        commits += 1;
        assert_checked(&images, &format!("commit {commits}"));
        assert!(is_gone || relocation_trees(&open(&images))[0].drop_progress.is_some());
    }
    assert!(commits > 3, "{commits}");
    assert_eq!(contents(&images, &scratch), Some(expected));
}

/// `RBTRFS_CRASH_CUTS` asks for more moments of a balance than the few of every day.
#[test]
fn what_a_balance_was_amid_when_the_machine_stopped_is_moved_as_a_whole() {
    let scratch = Scratch::in_memory();
    let Some(disk) = or_skip(recorded(&scratch)) else { return };
    let count = std::env::var("RBTRFS_CRASH_CUTS").map_or(8, |count| count.parse().unwrap());
    let events = disk.events();
    let superblocks: Vec<usize> = (1..=events.len()).filter(|end| is_superblock(&events[end - 1])).collect();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut cuts, mut merged) = (0, 0);
    for _ in 0..count * 20 {
        let end = superblocks[random.below(superblocks.len())];
        let crashed = Scratch::in_memory();
        let images = after(&disk, &events, (end, Left::All), &mut random, &crashed);
        let Some(trees) = Volume::open(images.iter().map(|image| rbtrfs::image::Image::open(image).unwrap()).collect())
            .ok()
            .map(|volume| relocation_trees(&volume))
            .filter(|trees| !trees.is_empty())
        else {
            continue;
        };
        let what = format!("after {end} of {} events, {} relocation trees", events.len(), trees.len());
        merged += usize::from(trees.iter().any(|tree| tree.drop_progress.is_some()));
        let expected = contents(&images, &crashed);
        match cuts % 2 {
            0 => {
                let moved = move_all(&images).unwrap_or_else(|error| panic!("{what}: {error}"));
                assert!(moved.left.is_empty() && moved.damaged.is_empty(), "{what}");
            }
            _ => {
                drop_relocation_trees(&mut open_for_change(&images)).unwrap_or_else(|error| panic!("{what}: {error}"));
            }
        }
        assert!(relocation_trees(&open(&images)).is_empty(), "{what}");
        assert_checked(&images, &what);
        assert_eq!(contents(&images, &crashed), expected, "{what}");
        // The kernel goes on with the balance, and finds its own work.
        let mounted = Mounted::new(&images, "rw,skip_balance", &crashed).unwrap();
        assert_eq!(Some(mounted.contents()), expected, "{what}");
        drop(mounted);
        assert_checked(&images, &what);
        cuts += 1;
        if cuts == count {
            break;
        }
    }
    println!("{cuts} cuts, {merged} of them with a tree that was dropped in part");
    assert!(cuts > 0, "no crash fell amid a relocation");
}

fn recorded(scratch: &Scratch) -> Result<RecordingDisk, String> {
    let image = scratch.zeros("0.img", 256 << 20);
    mkfs_btrfs(["-n", "4096"], &[&image])?;
    let disk = RecordingDisk::new(&[image], scratch)?;
    let mounted = Mounted::new(disk.images(), "commit=1", scratch)?;
    for script in [FILL, "btrfs balance start --full-balance . >/dev/null"] {
        let work = Command::new("bash").args(["-ec", script]).current_dir(mounted.path()).output();
        let work = work.map_err(|error| error.to_string())?;
        assert!(work.status.success(), "{}", String::from_utf8_lossy(&work.stderr));
    }
    drop(mounted);
    Ok(disk)
}
