//! `rbtrfs chunk-remove`

use clap::{ArgMatches, Args as _, FromArgMatches};

use crate::chunk::{RemoveChoice, remove_batch};
use crate::disk::Logical;

use super::Exit;
use super::change::{Changed, ChunkKind, ChunkRecord, Images, SystemRecord, Words};

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("choice").args(["chunk", "unused"]).required(true))]
struct Args {
    /// Remove the chunk at this address; may be given several times
    #[arg(long, value_name = "LOGICAL")]
    chunk: Vec<u64>,

    /// Remove all chunks that are empty, but for one of each profile of each type
    #[arg(long)]
    unused: bool,

    /// Only those of this type
    #[arg(long = "type", value_name = "TYPE", requires = "unused")]
    kind: Option<ChunkKind>,

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
    let choice = match args.unused {
        true => RemoveChoice::Unused { type_bits: args.kind.map_or(u64::MAX, ChunkKind::type_bits) },
        false => RemoveChoice::Chunks(args.chunk.iter().copied().map(Logical).collect()),
    };
    let removed = remove_batch(&fs, &choice, |_| {}).map_err(|error| args.images.explain(&fs, error))?;
    let chunks = removed.iter().map(ChunkRecord::new).collect();
    let after = SystemRecord::of(&fs);
    let words = Words {
        done: "removed",
        planned: "would remove",
        nothing: "nothing to remove: no chunk is empty but those that are kept, one of each profile of each type",
    };
    let changed = Changed { schema: "rbtrfs.chunk-remove/1", words, chunks, before, after };
    changed.finish(fs, &args.images)?;
    Ok(Exit::Done)
}
