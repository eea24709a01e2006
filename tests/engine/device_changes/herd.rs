//! Devices come and go while other threads allocate and remove chunks.

use rbtrfs::chunk::{begin_to_free, finish};
use rbtrfs::device::{Occupied, remove, resize};
use rbtrfs::disk::flags::block_group::{DATA, METADATA, SYSTEM};
use rbtrfs::disk::{Logical, STRIPE_LEN};
use rbtrfs::trans::Filesystem;
use rbtrfs::{Error, Result};

use super::*;
use crate::support::meeting::Meeting;

fn change_chunks(fs: &Filesystem, seed: u64) {
    let mut random = Random(seed);
    for _ in 0..60 {
        let changed = if random.below(2) == 0 {
            let size = (1 + random.below(64) as u64) * STRIPE_LEN;
            allocate(fs, &wish([DATA, DATA, METADATA, SYSTEM][random.below(4)], None, size)).map(drop)
        } else {
            let candidates: Vec<Logical> = fs.chunks().map.iter().map(|chunk| chunk.logical).collect();
            let mut handle = begin_to_free(fs, items(fs)).unwrap();
            let removed = rbtrfs::chunk::remove(&mut handle, candidates[random.below(candidates.len())]);
            finish(handle).unwrap();
            removed
        };
        match changed {
            Ok(()) | Err(Error::ChunkInUse { .. } | Error::LastChunk { .. } | Error::NoChunk { .. }) => {}
            Err(Error::SysChunkArrayFull { .. } | Error::NoSpace { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// What each device of the filesystem is on.
fn change_devices(fs: &Filesystem, images: &mut BTreeMap<u64, PathBuf>, scratch: &Scratch, random: &mut Random) {
    let pick =
        |images: &BTreeMap<u64, PathBuf>, random: &mut Random| *images.keys().nth(random.below(images.len())).unwrap();
    for _ in 0..12 {
        let changed: Result<()> = match random.below(4) {
            0 | 1 if images.len() < 7 => {
                let name = format!("{}.img", random.below(usize::MAX));
                let path = scratch.zeros(&name, 80 * MIB + random.below(100 << 20) as u64);
                let added = add(fs, &path, Occupied::Refuse);
                added.map(|devid| drop(images.insert(devid, path)))
            }
            2 => {
                let devid = pick(images, random);
                resize(fs, devid, 60 * MIB + random.below(180 << 20) as u64)
            }
            _ => {
                let devid = pick(images, random);
                remove(fs, devid).map(|()| drop(images.remove(&devid)))
            }
        };
        match changed {
            Ok(()) | Err(Error::DeviceInUse { .. } | Error::DeviceSize { .. } | Error::TooFewDevices { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn devices_change_while_chunks_do() {
    for (seed, name) in ["single", "raid1", "raid5", "nodesize-4k", "nodesize-64k"].iter().enumerate() {
        let scratch = Scratch::in_memory();
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        let mut images: BTreeMap<u64, PathBuf> = (1..).zip(images).collect();
        let paths = |images: &BTreeMap<u64, PathBuf>| images.values().cloned().collect::<Vec<_>>();
        let Some(contents) = contents(&paths(&images)) else { return };
        let mut random = Random(seed as u64 + 5);
        let mut fs = open_for_change(&paths(&images));
        for round in 0..4 {
            std::thread::scope(|scope| {
                for thread in 0..3 {
                    let fs = &fs;
                    scope.spawn(move || change_chunks(fs, (seed * 64 + round * 8 + thread + 1) as u64));
                }
                change_devices(&fs, &mut images, &scratch, &mut random);
            });
            fs.commit().unwrap();
            assert_sound(&paths(&images), &format!("{name}, round {round}"));
        }
        drop(fs);
        assert!(images.len() > 1, "{name}: some stayed");
        assert_whole(&paths(&images), &contents, name);
    }
}

/// All see it there before one has made it go.
#[test]
fn a_device_that_many_remove_at_once_goes_once() {
    for name in ["single", "raid1", "nodesize-4k"] {
        let scratch = Scratch::in_memory();
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        let Some(contents) = contents(&images) else { return };
        let mut fs = open_for_change(&images);
        let before = devices(&images);
        for round in 0..40 {
            let path = scratch.zeros(&format!("more-{round}.img"), 100 * MIB);
            let devid = add(&fs, &path, Occupied::Refuse).unwrap();
            let is_committed = round % 2 == 0;
            if is_committed {
                fs.commit().unwrap();
            }
            let start = Meeting::new(2);
            let remove = || {
                start.expect().wait();
                remove(&fs, devid)
            };
            let (one, other) = std::thread::scope(|scope| {
                let other = scope.spawn(remove);
                (remove(), other.join().unwrap())
            });
            let what = format!("{name}, round {round}: {one:?}, {other:?}");
            let (gone, refused) = if one.is_ok() { (one, other) } else { (other, one) };
            assert!(gone.is_ok() && matches!(refused, Err(Error::Device { .. })), "{what}");
            assert!(!fs.is_poisoned(), "{what}");
            fs.commit().unwrap();
            assert_eq!(devices(&images), before, "{what}");
            assert_eq!(superblocks(&path), [0_u64; 0], "{what}");
            std::fs::remove_file(&path).unwrap();
        }
        drop(fs);
        assert_whole(&images, &contents, name);
    }
}
