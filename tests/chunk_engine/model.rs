//! Random allocations and removals by many threads, against a model that knows chunks and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Mutex;

use rbtrfs::Error;
use rbtrfs::chunk::{alloc, begin, finish, remove};
use rbtrfs::disk::flags::block_group::{DATA, METADATA, SYSTEM};
use rbtrfs::disk::{Logical, STRIPE_LEN};
use rbtrfs::volume::ChunkMapping;

use super::support::mounted::btrfs_check;
use super::support::*;
use super::{Random, assert_sound, items, make_filesystem, open_for_change, wish};

type ChunksByAddress = BTreeMap<Logical, ChunkMapping>;

/// What threads did since the last commit.
#[derive(Default)]
struct Done {
    added: BTreeSet<Logical>,
    removed: BTreeSet<Logical>,
}

fn committed(images: &[PathBuf]) -> ChunksByAddress {
    open(images).chunks().iter().map(|chunk| (chunk.logical, chunk.clone())).collect()
}

/// The units of devices that a chunk has.
fn units(chunk: &ChunkMapping) -> impl Iterator<Item = (u64, u64)> {
    chunk.stripes.iter().flat_map(|stripe| {
        let first = stripe.physical.0 / STRIPE_LEN;
        (first..first + chunk.stripe_size() / STRIPE_LEN).map(|unit| (stripe.devid, unit))
    })
}

/// Fails on a unit that two have.
fn claim(claimed: &mut BTreeSet<(u64, u64)>, chunk: &ChunkMapping) {
    for unit in units(chunk) {
        assert!(claimed.insert(unit), "{unit:?} of chunk {} is that of another too", chunk.logical);
    }
}

/// One transaction of random changes. Returns the chunks that there are to be after it, and the number of changes.
fn transaction(images: &[PathBuf], before: &ChunksByAddress, threads: usize, seed: u64) -> (ChunksByAddress, usize) {
    let mut fs = open_for_change(images);
    let done = Mutex::new(Done::default());
    let work = |thread: usize| {
        let mut random = Random((seed << 8) + thread as u64 + 1);
        for _ in 0..1000 / threads {
            let mut handle = begin(&fs, items(&fs)).unwrap();
            if random.below(5) < 3 {
                let type_bits = [DATA, DATA, DATA, DATA, METADATA, SYSTEM][random.below(6)];
                let size = (1 + random.below(16) as u64) * STRIPE_LEN;
                match alloc(&mut handle, &wish(type_bits, None, size)) {
                    Ok(Some(logical)) => assert!(done.lock().unwrap().added.insert(logical)),
                    // Another thread was faster.
                    Ok(None) => {}
                    Err(Error::SystemArrayFull { .. }) if type_bits == SYSTEM => {}
                    Err(error) => panic!("{error}"),
                }
                // Others may try to remove it before it is finished.
                std::thread::yield_now();
            } else {
                let candidates: Vec<Logical> = fs.chunks().map.iter().map(|chunk| chunk.logical).collect();
                let logical = candidates[random.below(candidates.len())];
                match remove(&mut handle, logical) {
                    Ok(()) => assert!(done.lock().unwrap().removed.insert(logical), "{logical} removed twice"),
                    Err(Error::ChunkInUse { .. } | Error::LastChunk { .. } | Error::NoChunk { .. }) => {}
                    // What others were promised is in there.
                    Err(Error::NoSpace { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            finish(handle).unwrap();
        }
    };
    std::thread::scope(|scope| (0..threads).for_each(|thread| drop(scope.spawn(move || work(thread)))));
    let Done { added, removed } = done.into_inner().unwrap();
    // What is freed in a transaction is not used again in it.
    let mut claimed = BTreeSet::new();
    before.values().for_each(|chunk| claim(&mut claimed, chunk));
    let mut expected = before.clone();
    for chunk in fs.chunks().map.iter().filter(|chunk| !before.contains_key(&chunk.logical)) {
        claim(&mut claimed, chunk);
        // Of its own accord the engine makes room for metadata and for chunks.
        assert!(added.contains(&chunk.logical) || !chunk.flags.contains(DATA) || chunk.flags.contains(METADATA));
        expected.insert(chunk.logical, chunk.clone());
    }
    assert!(added.iter().all(|logical| expected.contains_key(logical)));
    expected.retain(|logical, _| !removed.contains(logical));
    fs.commit().unwrap();
    (expected, added.len() + removed.len())
}

fn assert_totals(images: &[PathBuf], chunks: &ChunksByAddress) {
    let fs = open_for_change(images);
    let state = fs.chunks();
    for device in &state.devices {
        let devid = device.item.devid.get();
        let used = chunks.values().flat_map(units).filter(|(of, _)| *of == devid).count() as u64 * STRIPE_LEN;
        assert_eq!(device.item.bytes_used.get(), used, "device {devid}");
    }
    let array = state.superblock.sys_chunk_array_size.get() as usize;
    let system = chunks.values().filter(|chunk| chunk.flags.contains(SYSTEM));
    assert_eq!(array, system.map(|chunk| 65 + 32 * chunk.stripes.len()).sum::<usize>());
}

#[test]
fn threads_that_change_chunks_at_random_agree_with_a_model() {
    for (seed, (options, devices, threads)) in [
        (&["-m", "single", "-d", "single", "-n", "4k"][..], 1, 1),
        (&["-m", "dup", "-d", "dup"][..], 1, 4),
        (&["-m", "raid1", "-d", "raid0", "-n", "4k"][..], 3, 16),
        (&["-m", "raid10", "-d", "raid6", "-n", "64k"][..], 4, 7),
        (&["-M", "-n", "4k"][..], 1, 8),
        (&["-m", "raid1c3", "-d", "raid5", "-R", "^free-space-tree"][..], 3, 16),
    ]
    .into_iter()
    .enumerate()
    {
        let scratch = Scratch::new();
        let Some(images) = make_filesystem(options, devices, 8 << 30, &scratch) else { return };
        let mut chunks = committed(&images);
        let mut changes = 0;
        for round in 0..6 {
            let (expected, count) = transaction(&images, &chunks, threads, (seed * 16 + round + 1) as u64);
            changes += count;
            chunks = committed(&images);
            assert_eq!(chunks, expected, "{options:?}, round {round}");
            assert_sound(&images, &format!("{options:?}, round {round}"));
            assert_totals(&images, &chunks);
        }
        assert!(changes > 2000, "{options:?}: {changes} changes");
        btrfs_check(&images).unwrap();
    }
}
