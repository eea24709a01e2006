//! A herd of threads allocates while devices come, go and change their size.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rbtrfs::Error;
use rbtrfs::device::{Occupied, add, remove, resize};
use rbtrfs::disk::STRIPE_LEN;
use rbtrfs::disk::flags::block_group::{DATA, METADATA};

use super::support::change::{allocate, make_filesystem, open_for_change, wish};
use super::support::meeting::Meeting;
use super::support::mounted::{Mounted, btrfs_check};
use super::support::random::Random;
use super::support::soundness::assert_sound;
use super::support::{Scratch, or_skip, output_of};
use super::{MIB, assert_whole};

const THREADS: usize = 64;

/// What each device has, by the chunks alone.
fn model(images: &[PathBuf]) -> BTreeMap<u64, u64> {
    let mut used = BTreeMap::new();
    for chunk in super::support::open(images).chunks().iter() {
        for stripe in &chunk.stripes {
            *used.entry(stripe.devid).or_default() += chunk.stripe_size();
        }
    }
    used
}

#[test]
fn devices_change_while_a_herd_allocates() {
    let scratch = Scratch::in_memory();
    let Some(mut images) = make_filesystem(&["-d", "single", "-m", "raid1"], 3, 1024 * MIB, &scratch) else { return };
    let Some(mounted) = or_skip(Mounted::new(&images, "rw", &scratch)) else { return };
    mounted.write_something();
    let expected = mounted.contents();
    drop(mounted);
    let (going, coming) = (scratch.zeros("going.img", 100 * MIB), scratch.zeros("coming.img", 900 * MIB));
    let mut fs = open_for_change(&images);
    let gone = add(&fs, &going, Occupied::Refuse).unwrap();
    let start = Meeting::new(THREADS + 1);
    let allocated: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (fs, start) = (&fs, &start);
                scope.spawn(move || {
                    let mut random = Random(thread as u64 + 1);
                    start.expect().wait();
                    let mut count = 0;
                    for _ in 0..6 {
                        let size = (1 + random.below(8) as u64) * STRIPE_LEN;
                        match allocate(fs, &wish([DATA, DATA, METADATA][random.below(3)], None, size)) {
                            Ok(logical) => count += usize::from(logical.is_some()),
                            Err(Error::NoSpace { .. } | Error::SysChunkArrayFull { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                    count
                })
            })
            .collect();
        start.expect().wait();
        add(&fs, &coming, Occupied::Refuse).unwrap();
        match resize(&fs, 3, 1000 * MIB) {
            Ok(()) | Err(Error::DeviceSize { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        match remove(&fs, gone) {
            Ok(()) | Err(Error::DeviceInUse { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert!(allocated > THREADS, "{allocated}");
    fs.commit().unwrap();
    let is_gone = fs.chunks().device(gone).is_err();
    drop(fs);
    if !is_gone {
        images.push(going.clone());
    }
    images.push(coming);
    let used: BTreeMap<u64, u64> = super::document("device list", &images)["devices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|device| (device["devid"].as_u64().unwrap(), device["used"].as_u64().unwrap()))
        .filter(|(_, used)| *used > 0)
        .collect();
    assert_eq!(used, model(&images));
    assert_sound(&images, "after the herd");
    // What came onto the device goes to the others.
    if !is_gone {
        output_of(&format!("device remove --devid {gone} --quiet"), &images);
        images.retain(|image| *image != going);
    }
    output_of("resize --devid 1 700M --quiet", &images);
    or_skip(btrfs_check(&images));
    assert_whole(&images, &expected, "after the herd, one removed and one shrunk");
}
