//! Reads every copy of every tree block of a filesystem and verifies its checksum, and nothing else: what a check cannot
//! do without. Prints the seconds that it took. For scripts/bench.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use rbtrfs::block::verify::Expected;
use rbtrfs::image::Image;
use rbtrfs::tree::{Levels, TreeRoot, Walk};
use rbtrfs::volume::Volume;

/// Blocks that a thread takes at once.
const BATCH: usize = 64;

fn main() -> ExitCode {
    let images = std::env::args_os().skip(1).map(|path| Image::open(Path::new(&path)));
    match images.collect::<Result<Vec<_>, _>>().and_then(Volume::open) {
        Ok(volume) => {
            read(&volume);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("read-blocks: {error}");
            ExitCode::from(2)
        }
    }
}

fn read(volume: &Volume) {
    let root_tree = TreeRoot::root_tree(volume);
    let mut roots = root_tree.children(volume);
    roots.extend([root_tree, TreeRoot::chunk_tree(volume)]);
    let walks = roots.iter().flat_map(|root| Walk::new(volume, root.expected(), Levels::All));
    let blocks: BTreeSet<_> = walks.map(|expected| expected.logical).collect();
    let blocks: Vec<_> = blocks.into_iter().collect();
    let (next, bad) = (AtomicUsize::new(0), AtomicU64::new(0));
    let worker = || {
        let mut buffer = Vec::new();
        loop {
            let first = next.fetch_add(BATCH, Ordering::Relaxed);
            let batch = blocks.iter().skip(first).take(BATCH);
            if batch.len() == 0 {
                return;
            }
            for logical in batch {
                for mirror in 1..=volume.mirrors(*logical) {
                    let read = volume.read_copy(&Expected::at(*logical), mirror, &mut buffer);
                    bad.fetch_add(read.is_err().into(), Ordering::Relaxed);
                }
            }
        }
    };
    let start = Instant::now();
    std::thread::scope(|scope| {
        (0..std::thread::available_parallelism().map_or(1, usize::from)).for_each(|_| drop(scope.spawn(worker)));
    });
    println!("{:.3}", start.elapsed().as_secs_f64());
    eprintln!("{} blocks, {} bad copies", blocks.len(), bad.into_inner());
}
