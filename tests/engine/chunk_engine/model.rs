//! Random allocations and removals by many threads, against a model that knows chunks and nothing else.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use rbtrfs::Error;
use rbtrfs::chunk::{alloc, begin, finish, remove};
use rbtrfs::disk::flags::block_group::{DATA, METADATA, SYSTEM};
use rbtrfs::disk::{Logical, Profile, STRIPE_LEN};
use rbtrfs::volume::ChunkMapping;

use super::state::{Chunks, State};
use super::{Random, assert_sound, items, make_filesystem, open_for_change, wish};
use crate::support::mounted::{Mounted, btrfs_check};
use crate::support::*;

/// Fails where two of the chunks have a byte of a device.
#[track_caller]
fn assert_apart<'c>(chunks: impl Iterator<Item = &'c ChunkMapping>) {
    let stripes = |chunk: &'c ChunkMapping| {
        chunk.stripes.iter().map(|stripe| (stripe.devid, stripe.physical.0, stripe.physical.0 + chunk.stripe_size()))
    };
    let mut stripes: Vec<(u64, u64, u64)> = chunks.flat_map(stripes).collect();
    stripes.sort_unstable();
    for pair in stripes.windows(2) {
        assert!(pair[0].0 != pair[1].0 || pair[0].2 <= pair[1].1, "{pair:?} have bytes of a device together");
    }
}

/// What one transaction is to do.
#[derive(Clone, Copy)]
struct Load<'p> {
    threads: usize,
    /// Chunks that come or go, at the least.
    changes: usize,
    /// Profiles of new chunks, any of them; those of the others of their type where there are none.
    profiles: &'p [Profile],
    seed: u64,
}

/// What threads did since the last commit.
#[derive(Default)]
struct Done {
    added: BTreeSet<Logical>,
    removed: BTreeSet<Logical>,
}

/// One transaction of random changes. Returns the chunks that there are to be after it, and the number of changes.
fn transaction(images: &[PathBuf], before: &Chunks, load: Load<'_>) -> (Chunks, usize) {
    let mut fs = open_for_change(images);
    let done = Mutex::new(Done::default());
    let changes = AtomicUsize::new(0);
    let work = |thread: usize| {
        let mut random = Random((load.seed << 16) + thread as u64 + 1);
        while changes.load(Ordering::Relaxed) < load.changes {
            let mut handle = begin(&fs, items(&fs)).unwrap();
            if random.below(5) < 3 {
                let type_bits = [DATA, DATA, DATA, DATA, METADATA, SYSTEM][random.below(6)];
                let size = (1 + random.below(16) as u64) * STRIPE_LEN;
                let profile = match load.profiles {
                    [] => None,
                    profiles => Some(profiles[random.below(profiles.len())]),
                };
                match alloc(&mut handle, &wish(type_bits, profile, size)) {
                    Ok(Some(logical)) => {
                        assert!(done.lock().unwrap().added.insert(logical));
                        changes.fetch_add(1, Ordering::Relaxed);
                    }
                    // Another thread was faster.
                    Ok(None) => {}
                    Err(Error::SysChunkArrayFull { .. }) if type_bits == SYSTEM => {}
                    Err(error) => panic!("{error}"),
                }
                // Others may try to remove it before it is finished.
                std::thread::yield_now();
            } else {
                let candidates: Vec<Logical> = fs.chunks().map.iter().map(|chunk| chunk.logical).collect();
                let logical = candidates[random.below(candidates.len())];
                match remove(&mut handle, logical) {
                    Ok(()) => {
                        assert!(done.lock().unwrap().removed.insert(logical), "{logical} removed twice");
                        changes.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(Error::ChunkInUse { .. } | Error::LastChunk { .. } | Error::NoChunk { .. }) => {}
                    // What others were promised is in there.
                    Err(Error::NoSpace { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            finish(handle).unwrap();
        }
    };
    std::thread::scope(|scope| (0..load.threads).for_each(|thread| drop(scope.spawn(move || work(thread)))));
    let Done { added, removed } = done.into_inner().unwrap();
    let mut expected = before.clone();
    for chunk in fs.chunks().map.iter().filter(|chunk| !before.contains_key(&chunk.logical)) {
        // Of its own accord the engine makes room for metadata and for chunks.
        assert!(added.contains(&chunk.logical) || !chunk.flags.contains(DATA) || chunk.flags.contains(METADATA));
        expected.insert(chunk.logical, chunk.clone());
    }
    // Those that went are among them: what is freed in a transaction is not used again in it.
    assert_apart(expected.values());
    assert!(added.iter().all(|logical| expected.contains_key(logical)));
    expected.retain(|logical, _| !removed.contains(logical));
    fs.commit().unwrap();
    (expected, added.len() + removed.len())
}

/// Transactions one after the other, each judged by the model, by our check and by that of btrfs-progs. Returns the number
/// of changes.
fn transactions(images: &[PathBuf], rounds: usize, load: Load<'_>, what: &str) -> usize {
    let mut changes = 0;
    let mut state = State::of(images);
    for round in 0..rounds {
        let what = format!("{what}, round {round}");
        let seed = (load.seed << 16) + round as u64;
        let (expected, count) = transaction(images, &state.chunks, Load { seed, ..load });
        state.chunks = expected;
        state.assert_follows(images, &what);
        assert_sound(images, &what);
        or_skip(btrfs_check(images));
        changes += count;
    }
    changes
}

#[test]
fn threads_that_change_chunks_at_random_agree_with_a_model() {
    for (seed, (options, devices, threads)) in [
        (&["-m", "single", "-d", "single", "-n", "4k"][..], 1, 1),
        (&["-m", "dup", "-d", "dup"][..], 1, 4),
        (&["-m", "raid1", "-d", "raid0", "-n", "4k"][..], 3, 16),
        (&["-m", "raid10", "-d", "raid6", "-n", "64k"][..], 4, 7),
        (&["-M", "-n", "4k"][..], 1, 8),
        (&["-M", "-m", "dup", "-d", "dup", "-n", "4k"][..], 1, 8),
        (&["-m", "raid1c3", "-d", "raid5", "-R", "^free-space-tree"][..], 3, 16),
        (&["-m", "raid5", "-d", "raid10", "-O", "^skinny-metadata"][..], 5, 8),
    ]
    .into_iter()
    .enumerate()
    {
        let scratch = Scratch::in_memory();
        let Some(images) = make_filesystem(options, devices, 8 << 30, &scratch) else { return };
        let load = Load { threads, changes: 300, profiles: &[], seed: seed as u64 + 1 };
        let changes = transactions(&images, 4, load, &format!("{options:?}"));
        assert!(changes >= 1200, "{options:?}: {changes} changes");
    }
}

/// As mkfs.btrfs makes them only since 6.8 by itself.
#[test]
fn threads_that_change_chunks_agree_with_a_model_where_block_groups_have_a_tree_of_their_own() {
    let scratch = Scratch::in_memory();
    for (seed, nodesize) in [4096, 16384, 65536].into_iter().enumerate() {
        let options = small_image::Options {
            size: 8 << 30,
            nodesize,
            no_holes: true,
            block_group_tree: true,
            ..Default::default()
        };
        let image = scratch.path(&format!("{nodesize}.img"));
        small_image::write_small_image(&options, &File::create(&image).unwrap()).unwrap();
        let images = [image];
        let load = Load { threads: 8, changes: 300, profiles: &[], seed: seed as u64 + 100 };
        let changes = transactions(&images, 4, load, &format!("block group tree, nodesize {nodesize}"));
        assert!(changes >= 1200, "nodesize {nodesize}: {changes} changes");
    }
}

#[test]
fn files_stay_what_they_were_while_chunks_come_and_go_at_random() {
    for (seed, name) in ["mixed", "raid1", "raid5", "raid10", "dup", "quota"].into_iter().enumerate() {
        let scratch = Scratch::in_memory();
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        images.iter().for_each(|image| File::options().write(true).open(image).unwrap().set_len(8 << 30).unwrap());
        let Some(mounted) = or_skip(Mounted::new(&images, "rw", &scratch)) else { return };
        let contents = mounted.contents();
        for devid in 1..=images.len() {
            let path = mounted.path().to_str().unwrap();
            tool("btrfs", ["filesystem", "resize", &format!("{devid}:max"), path]).unwrap();
        }
        drop(mounted);
        let load = Load { threads: 8, changes: 200, profiles: &[], seed: seed as u64 + 200 };
        transactions(&images, 3, load, name);
        let mounted = Mounted::new(&images, "rw", &scratch).unwrap();
        assert_eq!(mounted.contents(), contents, "{name}");
        mounted.scrub();
    }
}

/// RBTRFS_SOAK_CHANGES and RBTRFS_SOAK_THREADS make it longer and the herd larger; `scripts/bench soak` does.
#[test]
fn a_herd_that_runs_free_loses_no_chunk_and_makes_none_up() {
    let number = |name: &str, otherwise: usize| {
        std::env::var(name).map_or(otherwise, |number| number.parse().expect("a number"))
    };
    let threads = number("RBTRFS_SOAK_THREADS", 64);
    let changes = number("RBTRFS_SOAK_CHANGES", 16_000);
    use Profile::*;
    let profiles = [Single, Dup, Raid0, Raid1, Raid1c3, Raid1c4, Raid10, Raid5, Raid6];
    for (seed, (options, devices)) in
        [(&["-m", "raid1", "-d", "single", "-n", "4k"][..], 6), (&["-m", "raid1c4", "-d", "raid6"][..], 4)]
            .into_iter()
            .enumerate()
    {
        let scratch = Scratch::in_memory();
        let Some(images) = make_filesystem(options, devices, 1 << 40, &scratch) else { return };
        let profiles = if seed == 0 { &profiles[..] } else { &[] };
        let rounds = (changes / 2 / 5000).max(2);
        let load = Load { threads, changes: changes.div_ceil(2 * rounds), profiles, seed: seed as u64 + 1000 };
        let started = Instant::now();
        let done = transactions(&images, rounds, load, &format!("herd, {options:?}"));
        let (seconds, left) = (started.elapsed().as_secs_f64(), open(&images).chunks().iter().count());
        println!(
            "{options:?} devices={devices} threads={threads} changes={done} commits={rounds} chunks_left={left} \
             seconds={seconds:.1}"
        );
        assert!(done * 2 >= changes);
    }
}
