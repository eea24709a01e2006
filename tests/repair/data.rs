//! Data: bad copies, parity and checksums.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use rbtrfs::disk::{Key, KeyType, Logical, objectid};
use rbtrfs::volume::Volume;

use crate::support::contents::{checksums, for_each_item, place, row, tree};
use crate::support::inject::Injector;
use crate::support::random::Random;
use crate::support::repaired::repaired_with_data;
use crate::support::soundness::assert_sound_with_data;
use crate::support::{Scratch, change, copy_of_kernel_image_or_skip, kernel_image_or_skip, open};

const SECTOR: usize = 4096;

/// Copies of sectors, of which each may be lost for itself: one of each sector; where there is parity, one of each row all data of
/// which has checksums.
fn places(volume: &Volume, random: &mut Random) -> Vec<(usize, u64)> {
    let sums = checksums(volume);
    let mut taken = BTreeSet::new();
    let mut places = Vec::new();
    for logical in sums.keys().step_by(3).map(|logical| Logical(*logical)) {
        let chunk = volume.chunks().find(logical).unwrap();
        let copies = if chunk.profile.geometry().nparity > 0 {
            row(volume, logical)
        } else {
            (1..=chunk.mirrors()).map(|mirror| place(volume, logical, mirror)).collect()
        };
        let is_summed = |(image, offset): &(usize, u64)| {
            let stripes = chunk.stripes.iter().enumerate();
            let mut stripes = stripes.filter(|(_, stripe)| stripe.devid as usize == image + 1);
            stripes.any(|(index, stripe)| match offset.checked_sub(stripe.physical.0) {
                Some(within) => match chunk.content(index, within) {
                    Some(rbtrfs::volume::Content::Data(logical)) => sums.contains_key(&logical.0),
                    content => content.is_some(),
                },
                None => false,
            })
        };
        if copies.iter().all(is_summed) && copies.iter().all(|copy| taken.insert(*copy)) {
            places.push(copies[random.below(copies.len())]);
        }
    }
    places
}

fn read(images: &[PathBuf], (image, offset): (usize, u64)) -> Vec<u8> {
    let mut bytes = Vec::new();
    change(&images[image], offset, SECTOR, |there| bytes = there.to_vec());
    bytes
}

#[test]
fn bad_copies_of_data_and_parity_become_what_they_were() {
    for name in ["dup", "raid1", "raid1c4", "raid10", "mixed-dup", "raid5", "raid6"] {
        let scratch = Scratch::new();
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        let mut random = Random(7);
        let places = places(&open(&images), &mut random);
        assert!(places.len() > 10, "{name}: {}", places.len());
        let before: Vec<Vec<u8>> = places.iter().map(|place| read(&images, *place)).collect();
        for (image, offset) in &places {
            let pattern = random.next() as u8;
            change(&images[*image], *offset, SECTOR, |bytes| bytes.iter_mut().for_each(|byte| *byte ^= pattern | 1));
        }
        let repaired = repaired_with_data(&images).unwrap();
        assert!(repaired.is_clean() && repaired.given_up().next().is_none(), "{name}: {:?}", repaired.fixes);
        let wrong = places.iter().zip(&before).filter(|(place, before)| read(&images, **place) != **before).count();
        assert_eq!(wrong, 0, "{name}: of {} copies", places.len());
        assert_sound_with_data(&images, name);
    }
}

/// Data that is lost is not made right, nor is what is beside it changed.
#[test]
fn data_that_no_copy_has_stays_as_it_is_and_is_told() {
    let scratch = Scratch::new();
    let Some(images) = copy_of_kernel_image_or_skip("raid1", &scratch) else { return };
    let volume = open(&images);
    let sums = checksums(&volume);
    let lost: Vec<Logical> = sums.keys().step_by(5).take(4).map(|logical| Logical(*logical)).collect();
    let copies: Vec<_> =
        lost.iter().flat_map(|logical| [1, 2].map(|mirror| place(&volume, *logical, mirror))).collect();
    drop(volume);
    for (image, offset) in &copies {
        change(&images[*image], *offset, SECTOR, |bytes| bytes[9] ^= 0x11);
    }
    let before: Vec<_> = copies.iter().map(|copy| read(&images, *copy)).collect();
    let repaired = repaired_with_data(&images).unwrap();
    assert!(!repaired.is_clean() && repaired.fixes.is_empty(), "{:?}", repaired.fixes);
    assert!(copies.iter().zip(&before).all(|(copy, before)| read(&images, *copy) == *before));
}

#[test]
fn a_bit_that_flipped_in_a_checksum_is_put_back() {
    for name in ["single", "dup", "raid5-data-raid1c3-meta", "xxhash", "sha256"] {
        let Some(images) = kernel_image_or_skip(name) else { return };
        let injector = Injector::new(&images);
        let all = |injector: &Injector| -> BTreeMap<u64, Vec<u8>> { checksums(&injector.volume()) };
        let before = all(&injector);
        let mut keys: Vec<Key> = Vec::new();
        let volume = injector.volume();
        for_each_item(&volume, &tree(&volume, objectid::CSUM_TREE), |item| {
            if item.key.key_type == KeyType::EXTENT_CSUM {
                keys.push(item.key);
            }
        });
        drop(volume);
        for (index, key) in keys.iter().enumerate() {
            injector.item(objectid::CSUM_TREE, *key, |data| {
                let at = (index * 37) % data.len();
                data[at] ^= 1 << (index % 8);
            });
        }
        assert_ne!(all(&injector), before, "{name}");
        let repaired = repaired_with_data(injector.images()).unwrap();
        assert!(repaired.is_clean() && repaired.given_up().next().is_none(), "{name}: {:?}", repaired.fixes);
        assert_eq!(all(&injector), before, "{name}");
        assert_sound_with_data(injector.images(), name);
    }
}
