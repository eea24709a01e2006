//! `rbtrfs chunk-alloc`

use clap::{ArgMatches, Args as _, FromArgMatches, ValueEnum};

use crate::chunk::{AllocBatch, AllocRequest, Force, alloc_batch};
use crate::disk::Profile;

use super::change::{Changed, ChunkKind, ChunkRecord, Images, SystemRecord, Words};
use super::exit::Exit;
use super::watch::busy;
use super::{profile, size};

#[derive(Debug, clap::Args)]
struct Args {
    /// What the chunks are for
    #[arg(long = "type", value_name = "TYPE")]
    kind: ChunkKind,

    /// How they are replicated; as the others of their type by default
    #[arg(long, value_name = "PROFILE", value_parser = profile::parse)]
    profile: Option<Profile>,

    /// How many
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
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
    let request = AllocRequest {
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
    let batch = AllocBatch { request, count: args.count, threads: args.threads.into() };
    let allocated = busy("allocating chunks", args.images.quiet, || alloc_batch(&fs, &batch, |_| {}));
    let allocated = allocated.map_err(|error| args.images.explain(&fs, error))?;
    let chunks = allocated.iter().map(ChunkRecord::new).collect();
    let after = SystemRecord::of(&fs);
    let words = Words {
        done: "allocated",
        planned: "would allocate",
        nothing: "nothing to allocate: there is space left (--force force allocates anyway)",
    };
    let changed = Changed { schema: "rbtrfs.chunk-alloc/1", words, chunks, before, after };
    changed.finish(fs, &args.images)?;
    Ok(Exit::Done)
}
