//! `rbtrfs chunk-alloc`

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::{ArgMatches, Args as _, FromArgMatches, ValueEnum};

use crate::chunk::{Force, Wish, alloc, begin_to_alloc, finish, items_of_chunk};
use crate::disk::{Logical, Profile};
use crate::parallel::{lock, on_threads};
use crate::trans::{Filesystem, Handle};

use super::change::{Changed, ChunkRecord, Images, Kind, SystemRecord};
use super::{Exit, profile, size};

#[derive(Debug, clap::Args)]
struct Args {
    /// What the chunks are for
    #[arg(long = "type", value_name = "TYPE")]
    kind: Kind,

    /// How they are replicated; as the others of their type by default
    #[arg(long, value_name = "PROFILE", value_parser = profile::parse)]
    profile: Option<Profile>,

    /// How many
    #[arg(long, value_name = "N", default_value_t = 1)]
    count: u64,

    /// Bytes of each at the most; as many as the kernel would give it by default
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    size: Option<u64>,

    /// Number of threads
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,

    /// Whether to allocate although there is space left: "no", "limited" (if it is little) or "force"
    #[arg(long, value_name = "HOW", default_value = "force")]
    force: Forcing,

    #[command(flatten)]
    images: Images,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Forcing {
    No,
    Limited,
    Force,
}

pub fn parser() -> clap::Command {
    Args::augment_args(clap::Command::new("chunk-alloc").about("Allocate chunks"))
}

pub fn manual() -> String {
    include_str!("chunk_alloc.manual").to_owned()
}

pub fn run(program: &str, matches: &ArgMatches) -> anyhow::Result<Exit> {
    let args = Args::from_arg_matches(matches)?;
    let fs = args.images.open_for_change(program)?;
    let wish = Wish {
        type_bits: args.kind.type_bits(),
        profile: args.profile,
        size: args.size,
        force: match args.force {
            Forcing::No => Force::No,
            Forcing::Limited => Force::Limited,
            Forcing::Force => Force::Force,
        },
    };
    let before = SystemRecord::of(&fs);
    let existing: std::collections::BTreeSet<Logical> = fs.chunks().map.iter().map(|chunk| chunk.logical).collect();
    let allocated = allocate(&fs, &wish, args.count, args.threads);
    allocated.map_err(|error| args.images.explain(&fs, error))?;
    // The engine may have added system or metadata chunks of its own accord.
    let chunks: Vec<ChunkRecord> = {
        let chunks = fs.chunks();
        let new = chunks.map.iter().filter(|chunk| !existing.contains(&chunk.logical));
        new.map(ChunkRecord::new).collect()
    };
    // Copies of blocks count until then that are given up.
    fs.flush()?;
    let after = SystemRecord::of(&fs);
    let changed = Changed { schema: "rbtrfs.chunk-alloc/1", verb: "allocated", chunks, before, after };
    changed.finish(fs, &args.images)?;
    Ok(Exit::Done)
}

/// Chunks of one handle: their items are inserted together.
const TOGETHER: u64 = 64;

fn allocate(fs: &Filesystem, wish: &Wish, count: u64, threads: u16) -> crate::Result<()> {
    let next = AtomicU64::new(0);
    // Phase 1 is under one lock anyway, and phase 2 of one handle runs beside phase 1 of another: they need not fight for
    // each chunk.
    let turn = Mutex::new(());
    let items = items_of_chunk(fs);
    let work = || -> crate::Result<()> {
        loop {
            let first = next.fetch_add(TOGETHER, Ordering::Relaxed);
            let mut left = count.saturating_sub(first).min(TOGETHER);
            if left == 0 {
                return Ok(());
            }
            while left > 0 {
                // No metadata is allocated only to be promised to many at once.
                let (mut handle, together) = match fs.begin(items * left) {
                    Err(crate::Error::NoSpace { .. }) => (begin_to_alloc(fs, wish, items)?, 1),
                    begun => (begun?, left),
                };
                let allocated = {
                    let _turn = lock(&turn);
                    (0..together).try_for_each(|_| allocate_one(&mut handle, wish))
                };
                // An attempt that found no room has changed nothing.
                finish(handle)?;
                allocated?;
                left -= together;
            }
        }
    };
    on_threads(threads.into(), work).into_iter().collect()
}

fn allocate_one(handle: &mut Handle<'_>, wish: &Wish) -> crate::Result<()> {
    // Where another thread was faster, what it allocated is not enough.
    while alloc(handle, wish)?.is_none() && wish.force == Force::Force {}
    Ok(())
}
