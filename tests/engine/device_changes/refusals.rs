//! What is refused, and what is dropped before its commit, changes no byte.

use rbtrfs::device::{Occupied, remove, resize};
use rbtrfs::disk::Profile;
use rbtrfs::disk::flags::block_group::DATA;
use rbtrfs::trans::Filesystem;
use rbtrfs::{Error, Result};

use super::*;

/// Does something that fails with an error that says `telling`.
#[track_caller]
fn assert_refused(images: &[PathBuf], telling: &str, change: impl Fn(&Filesystem) -> Result<()>) {
    let scratch = Scratch::in_memory();
    let before = copies(images, &scratch.new_directory());
    let fs = open_for_change(images);
    let error = change(&fs).unwrap_err().to_string();
    assert!(error.contains(telling), "{error}");
    assert!(!fs.is_poisoned(), "{telling}: nothing was begun");
    drop(fs);
    assert_identical(images, &before, telling);
}

#[test]
fn what_is_refused_changes_no_byte() {
    let scratch = Scratch::in_memory();
    let Some(single) = copy_of_kernel_image_or_skip("single", &scratch) else { return };
    let added = |path: PathBuf| move |fs: &Filesystem| add(fs, &path, Occupied::Overwrite).map(drop);
    assert_refused(&single, "the last that can be written", |fs| remove(fs, 1));
    assert_refused(&single, "device 7 ", |fs| remove(fs, 7));
    assert_refused(&single, "device 7 ", |fs| resize(fs, 7, 1 << 30));
    for size in [0, MIB, 10 * MIB, (256 << 20) + 4096, u64::MAX] {
        assert_refused(&single, "cannot have", |fs| resize(fs, 1, size));
    }
    for size in [0, 4096, MIB, MIB + 4095] {
        assert_refused(&single, "1052672 are wanted", added(scratch.zeros("small.img", size)));
    }
    assert_refused(&single, "No such file", added(scratch.path("nothing.img")));
    assert_refused(&single, "in use", added(single[0].clone()));
    let link = scratch.path("link.img");
    std::fs::hard_link(&single[0], &link).unwrap();
    assert_refused(&single, "in use", added(link));
    // A copy of a device is that device.
    let twin = scratch.new_directory().join("twin.img");
    std::fs::copy(&single[0], &twin).unwrap();
    assert_refused(&single, "device 1 of this filesystem", added(twin));

    let scratch = Scratch::in_memory();
    let Some(raid1) = copy_of_kernel_image_or_skip("raid1", &scratch) else { return };
    assert_refused(&raid1, "profile RAID1 want at least 2 devices", |fs| remove(fs, 2));
    let Some(other) = kernel_image_or_skip("single") else { return };
    let occupied = scratch.path("other.img");
    std::fs::copy(&other[0], &occupied).unwrap();
    assert_refused(&raid1, "a btrfs filesystem", |fs| add(fs, &occupied, Occupied::Refuse).map(drop));

    let scratch = Scratch::in_memory();
    let Some(raid5) = copy_of_kernel_image_or_skip("raid5", &scratch) else { return };
    assert_refused(&raid5, "chunks have", |fs| remove(fs, 3));
}

/// A chunk that is new, or that this transaction removed, keeps its device and the end of it where they are.
#[test]
fn what_is_pending_on_a_device_keeps_it() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("single", &scratch) else { return };
    let new = scratch.zeros("new.img", 1 << 30);
    let all = with(&images, &new);
    let mut fs = open_for_change(&images);
    let devid = add(&fs, &new, Occupied::Refuse).unwrap();
    let logical = allocate(&fs, &wish(DATA, Some(Profile::Single), 64 * MIB)).unwrap().unwrap();
    let end = {
        let chunks = fs.chunks();
        let chunk = chunks.map.find(logical).unwrap();
        assert_eq!(chunk.stripes[0].devid, devid);
        chunk.stripes[0].physical.0 + chunk.length
    };
    for _ in 0..2 {
        assert!(matches!(remove(&fs, devid), Err(Error::DeviceInUse { chunks: 1, bytes, .. }) if bytes == 64 * MIB));
        assert!(matches!(resize(&fs, devid, end - 4096), Err(Error::DeviceSize { least, .. }) if least == end));
        fs.commit().unwrap();
    }
    let mut handle = rbtrfs::chunk::begin(&fs, items(&fs)).unwrap();
    rbtrfs::chunk::remove(&mut handle, logical).unwrap();
    rbtrfs::chunk::finish(handle).unwrap();
    assert!(matches!(resize(&fs, devid, end - 4096), Err(Error::DeviceSize { least, .. }) if least == end));
    resize(&fs, devid, end).unwrap();
    fs.commit().unwrap();
    resize(&fs, devid, 2 * MIB).unwrap();
    remove(&fs, devid).unwrap();
    fs.commit().unwrap();
    drop(fs);
    assert_sound(&images, "without it");
    assert_eq!(superblocks(&all[1]), [0_u64; 0]);
}

#[test]
fn a_transaction_that_is_dropped_never_was() {
    let scratch = Scratch::in_memory();
    let Some(mut images) = copy_of_kernel_image_or_skip("raid1", &scratch) else { return };
    let (empty, new) = (scratch.zeros("empty.img", 100 * MIB), scratch.zeros("new.img", 500 * MIB));
    let mut fs = open_for_change(&images);
    let devid = add(&fs, &empty, Occupied::Refuse).unwrap();
    fs.commit().unwrap();
    drop(fs);
    images.push(empty);
    let all = with(&images, &new);
    let before = copies(&all, &scratch.new_directory());
    let fs = open_for_change(&images);
    let other = add(&fs, &new, Occupied::Refuse).unwrap();
    assert_eq!(other, devid + 1);
    allocate(&fs, &wish(DATA, Some(Profile::Single), 64 * MIB)).unwrap().unwrap();
    resize(&fs, devid, 80 * MIB).unwrap();
    remove(&fs, devid).unwrap();
    // What is neither one's device nor another's any more is nobody's before the commit.
    assert!(matches!(add(&fs, &images[2], Occupied::Overwrite), Err(Error::InUse { .. })));
    fs.flush().unwrap();
    drop(fs);
    assert_identical(&all, &before, "dropped");
}
