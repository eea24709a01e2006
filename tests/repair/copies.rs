//! Copies of blocks.

use rbtrfs::disk::{Logical, objectid};

use crate::outcome::{contents, judge};
use crate::support::contents::blocks;
use crate::support::inject::Injector;
use crate::support::kernel_image_or_skip;
use crate::support::random::Random;
use crate::support::repaired::{fault_of_repair, repaired};

/// What a disk that loses writes leaves: each copy is right by itself.
#[test]
fn an_older_copy_is_no_source_for_another_one() {
    let Some(images) = kernel_image_or_skip("raid5-data-raid1c3-meta") else { return };
    let injector = Injector::new(&images);
    let csum_type = injector.volume().format().csum_type;
    for tree in [objectid::FS_TREE, objectid::CSUM_TREE, objectid::EXTENT_TREE] {
        let block = injector.root(tree).logical;
        for mirror in [1, 2] {
            injector.block_copy(block, mirror, |bytes| {
                let generation = u64::from_le_bytes(bytes[80..88].try_into().unwrap());
                bytes[80..88].copy_from_slice(&(generation - 1).to_le_bytes());
                csum_type.stamp(bytes);
            });
        }
    }
    assert_eq!(fault_of_repair(injector.images()), None);
}

/// What a disk leaves that writes to wrong places: each block is right by itself, and stands in the place of another.
#[test]
fn blocks_that_were_written_to_the_places_of_others_lose_nothing() {
    let Some(images) = kernel_image_or_skip("snapshots") else { return };
    let before = contents(&images);
    for (seed, pairs) in [(1, 1), (2, 4), (3, 40)] {
        let injector = Injector::new(&images);
        let volume = injector.volume();
        // Without the chunk tree no chunk is known that could be searched.
        let chunk_tree = injector.root(objectid::CHUNK_TREE).logical;
        let mut all: Vec<Logical> = blocks(&volume).map(|expected| expected.logical).collect();
        drop(volume);
        all.retain(|block| *block != chunk_tree);
        all.sort_unstable();
        all.dedup();
        let mut random = Random(seed);
        for _ in 0..pairs {
            let [block, other] = [0, 1].map(|_| all.swap_remove(random.below(all.len())));
            injector.swap_blocks(block, other);
        }
        let outcome = repaired(injector.images());
        assert_eq!(judge(injector.images(), &outcome), "clean", "{pairs} pairs");
        let given_up: Vec<String> = outcome.unwrap().given_up().map(ToString::to_string).collect();
        assert!(given_up.is_empty(), "{pairs} pairs: {given_up:?}");
        assert_eq!(contents(injector.images()), before, "{pairs} pairs");
    }
}
