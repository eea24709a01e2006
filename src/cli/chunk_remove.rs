//! `rbtrfs chunk-remove`

use clap::{ArgMatches, Args as _, FromArgMatches};

use crate::Error;
use crate::chunk::{begin_to_free, finish, items_to_remove, refusal, remove, unused};
use crate::disk::Logical;

use super::Exit;
use super::change::{Changed, ChunkRecord, Images, Kind, SystemRecord};

#[derive(Debug, clap::Args)]
struct Args {
    /// Remove the chunk at this address; may be given several times
    #[arg(long, value_name = "LOGICAL", required_unless_present = "unused", conflicts_with = "unused")]
    chunk: Vec<u64>,

    /// Remove all chunks that are empty, but for one of each profile of each type
    #[arg(long)]
    unused: bool,

    /// Only those of this type
    #[arg(long = "type", value_name = "TYPE", requires = "unused")]
    kind: Option<Kind>,

    #[command(flatten)]
    images: Images,
}

pub fn parser() -> clap::Command {
    Args::augment_args(clap::Command::new("chunk-remove").about("Remove empty chunks"))
}

pub fn manual() -> String {
    include_str!("chunk_remove.manual").to_owned()
}

pub fn run(program: &str, matches: &ArgMatches) -> anyhow::Result<Exit> {
    let args = Args::from_arg_matches(matches)?;
    let fs = args.images.open_for_change(program)?;
    let before = SystemRecord::of(&fs);
    let chosen: Vec<Logical> = match args.unused {
        true => unused(&fs, args.kind.map_or(u64::MAX, Kind::type_bits)),
        false => args.chunk.iter().copied().map(Logical).collect(),
    };
    let mut chunks = Vec::new();
    for logical in chosen {
        let record = fs.chunks().map.find(logical).map(ChunkRecord::new);
        let mut handle = match begin_to_free(&fs, items_to_remove(&fs, logical)) {
            // What went already makes space with the commit: the others may go after it.
            Err(Error::NoSpace { .. }) if args.unused && !chunks.is_empty() && !fs.is_poisoned() => break,
            begun => begun.map_err(|error| args.images.explain(&fs, error))?,
        };
        // Of the empty ones the last of its type stays, and one without which there would be too little space.
        if args.unused && refusal(&fs, logical).is_some() {
            finish(handle)?;
            continue;
        }
        let removed = remove(&mut handle, logical);
        finish(handle)?;
        removed?;
        chunks.extend(record);
    }
    // Copies of blocks count until then that are given up.
    fs.flush()?;
    let after = SystemRecord::of(&fs);
    let changed = Changed { schema: "rbtrfs.chunk-remove/1", verb: "removed", chunks, before, after };
    changed.finish(fs, &args.images)?;
    Ok(Exit::Done)
}
