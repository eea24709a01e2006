//! One change of one device at a time.

use std::fs::File;

use rbtrfs::Error;
use rbtrfs::device::{Occupied, remove, resize};
use rbtrfs::disk::flags::block_group::{DATA, METADATA};
use rbtrfs::disk::superblock::SUPER_INFO_SIZE;
use rbtrfs::trans::Filesystem;
use rbtrfs::volume::MissingDevices;

use super::*;

const NAMES: [&str; 8] = ["single", "dup", "raid1", "raid5", "nodesize-4k", "nodesize-64k", "v1-cache", "no-cache"];

#[test]
fn a_device_that_came_and_went_leaves_the_filesystem_as_it_was() {
    for name in NAMES {
        let scratch = Scratch::in_memory();
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        let Some(contents) = contents(&images) else { return };
        let (before, new) = (devices(&images), scratch.zeros("new.img", 300 * MIB + 1000));
        let all = with(&images, &new);
        let mut fs = open_for_change(&images);
        let devid = add(&fs, &new, Occupied::Refuse).unwrap();
        assert_eq!(devid, images.len() as u64 + 1);
        assert_eq!(superblocks(&new), [0_u64; 0], "{name}: written before the commit");
        fs.commit().unwrap();
        drop(fs);
        let mut expected = before.clone();
        expected.insert(devid, (300 * MIB, 0));
        assert_eq!(devices(&all), expected, "{name}");
        assert_eq!(superblocks(&new), [SUPER_OFFSETS[0].0, SUPER_OFFSETS[1].0]);
        assert_whole(&all, &contents, &format!("{name}, added"));

        let mut fs = open_for_change(&all);
        remove(&fs, devid).unwrap();
        assert_eq!(superblocks(&new).len(), 2, "{name}: wiped before the commit");
        fs.commit().unwrap();
        // The filesystem goes on without it.
        fs.commit().unwrap();
        drop(fs);
        assert_eq!(superblocks(&new), [0_u64; 0]);
        assert_eq!(devices(&images), before, "{name}");
        assert_whole(&images, &contents, &format!("{name}, removed"));
    }
}

/// Chunks come onto it in the transaction that adds it.
#[test]
fn a_new_device_is_used_at_once() {
    for (name, profile) in [("single", None), ("raid1", None), ("dup", Some(rbtrfs::disk::Profile::Raid1))] {
        let scratch = Scratch::in_memory();
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        let Some(contents) = contents(&images) else { return };
        let new = ["new.img", "other.img"].map(|new| scratch.zeros(new, 400 * MIB));
        let mut fs = open_for_change(&images);
        let devid = add(&fs, &new[0], Occupied::Refuse).unwrap();
        assert_eq!(add(&fs, &new[1], Occupied::Refuse).unwrap(), devid + 1);
        for type_bits in [DATA, METADATA] {
            let logical = allocate(&fs, &wish(type_bits, profile, 32 * MIB)).unwrap().unwrap();
            let chunk = fs.chunks().map.find(logical).cloned().unwrap();
            assert!(chunk.stripes.iter().any(|stripe| stripe.devid >= devid), "{name}: {chunk:?}");
        }
        assert!(matches!(remove(&fs, devid), Err(Error::DeviceInUse { .. })));
        fs.commit().unwrap();
        allocate(&fs, &wish(METADATA, profile, 16 * MIB)).unwrap().unwrap();
        fs.commit().unwrap();
        drop(fs);
        assert_whole(&[&images[..], &new[..]].concat(), &contents, name);
    }
}

#[test]
fn a_missing_device_without_chunks_can_be_removed() {
    for name in ["single", "raid1"] {
        let scratch = Scratch::in_memory();
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        let Some(contents) = contents(&images) else { return };
        let new = scratch.zeros("new.img", 200 * MIB);
        let mut fs = open_for_change(&images);
        let devid = add(&fs, &new, Occupied::Refuse).unwrap();
        fs.commit().unwrap();
        drop(fs);
        std::fs::remove_file(&new).unwrap();
        let mut fs = Filesystem::open(&images, MissingDevices::Skip).unwrap();
        remove(&fs, devid).unwrap();
        fs.commit().unwrap();
        assert_eq!(fs.volume().notices(), []);
        drop(fs);
        assert_whole(&images, &contents, name);
    }
}

/// As small as its chunks allow, and larger than it was.
#[test]
fn a_device_of_another_size_holds_what_it_held() {
    for name in NAMES {
        let scratch = Scratch::in_memory();
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        let Some(contents) = contents(&images) else { return };
        let before = devices(&images);
        let mut fs = open_for_change(&images);
        let Err(Error::DeviceSize { least, most, .. }) = resize(&fs, 1, 0) else { panic!("{name}: a size of 0") };
        assert_eq!(most, before[&1].0);
        assert!(matches!(resize(&fs, 1, least - 1), Err(Error::DeviceSize { .. })));
        resize(&fs, 1, least + 4095).unwrap();
        fs.commit().unwrap();
        drop(fs);
        let mut expected = before.clone();
        expected.insert(1, (least, before[&1].1));
        assert_eq!(devices(&images), expected, "{name}");
        assert_sound(&images, &format!("{name}, shrunk"));
        or_skip(btrfs_check(&images));

        let larger = most + 300 * MIB;
        File::options().write(true).open(&images[0]).unwrap().set_len(larger + 4095).unwrap();
        let mut fs = open_for_change(&images);
        resize(&fs, 1, larger + 4095).unwrap();
        allocate(&fs, &wish(DATA, Some(rbtrfs::disk::Profile::Single), 280 * MIB)).unwrap().unwrap();
        fs.commit().unwrap();
        drop(fs);
        assert_eq!(devices(&images)[&1].0, larger);
        assert_whole(&images, &contents, &format!("{name}, grown"));
    }
}

/// What lies behind the end of a device may be found where the first superblock is damaged.
#[test]
fn no_superblock_stays_behind_the_end_of_a_device() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("single", &scratch) else { return };
    let Some(contents) = contents(&images) else { return };
    let new = scratch.zeros("new.img", 100 * MIB);
    let all = with(&images, &new);
    let mut fs = open_for_change(&images);
    let devid = add(&fs, &new, Occupied::Refuse).unwrap();
    fs.commit().unwrap();
    let both = [SUPER_OFFSETS[0].0, SUPER_OFFSETS[1].0];
    for (size, expected) in [
        (SUPER_OFFSETS[1].0 + SUPER_INFO_SIZE as u64, &both[..]),
        (SUPER_OFFSETS[1].0, &both[..1]),
        (50 * MIB, &both[..1]),
        (100 * MIB, &both),
        (MIB + 4096, &both[..1]),
    ] {
        resize(&fs, devid, size).unwrap();
        fs.commit().unwrap();
        assert_eq!(superblocks(&new), expected, "{size}");
        assert_sound(&all, &format!("{size}"));
    }
    // Somebody else's by now.
    change(&new, SUPER_OFFSETS[1].0, 4096, |bytes| bytes.fill(7));
    fs.commit().unwrap();
    change(&new, SUPER_OFFSETS[1].0, 4096, |bytes| assert!(bytes.iter().all(|byte| *byte == 7)));
    resize(&fs, devid, 100 * MIB).unwrap();
    fs.commit().unwrap();
    drop(fs);
    assert_eq!(superblocks(&new), both);
    assert_whole(&all, &contents, "in the end");
}

/// Neither the first superblock nor the mirrors of what stood there, nor what other filesystems are known by.
#[test]
fn nothing_of_what_stood_on_a_new_device_is_found_again() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("single", &scratch) else { return };
    let Some(contents) = contents(&images) else { return };
    let former = scratch.path("former.img");
    let Some(kernel) = kernel_image_or_skip("dup") else { return };
    std::fs::copy(&kernel[0], &former).unwrap();
    let ext4 = scratch.zeros("ext4.img", 200 * MIB);
    let Some(_) = or_skip(tool("mkfs.ext4", ["-q", ext4.to_str().unwrap()])) else { return };
    let swap = scratch.zeros("swap.img", 20 * MIB);
    let Some(_) = or_skip(tool("mkswap", [swap.to_str().unwrap()])) else { return };
    let mut all = images.clone();
    let mut fs = open_for_change(&images);
    for image in [&former, &ext4, &swap] {
        assert!(matches!(add(&fs, image, Occupied::Refuse), Err(Error::Occupied { .. })), "{image:?}");
        add(&fs, image, Occupied::Overwrite).unwrap();
        all.push(image.clone());
    }
    fs.commit().unwrap();
    drop(fs);
    for image in &all {
        let types = tool("wipefs", ["--no-act", "--noheadings", "--output", "TYPE", image.to_str().unwrap()]).unwrap();
        assert!(types.lines().all(|line| line == "btrfs"), "{image:?}: {types}");
    }
    let fsids = |volume: Volume| volume.devices().iter().map(|device| device.fsid()).collect::<Vec<_>>();
    assert!(fsids(open(&all)).windows(2).all(|pair| pair[0] == pair[1]));
    assert_whole(&all, &contents, "with all of them");
}
