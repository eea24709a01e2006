//! `rbtrfs chunk-remove`

use std::io::Write;

use anyhow::bail;
use clap::{ArgMatches, Args as _, FromArgMatches};
use serde::Serialize;

use crate::balance::{self, Balance, Plan};
use crate::chunk::{RemoveChoice, remove_batch};
use crate::disk::Logical;
use crate::error::BalanceProblem;
use crate::relocate::Moved;
use crate::trans::Filesystem;
use crate::volume::ChunkMapping;

use super::change::{Changed, ChunkKind, ChunkRecord, Images, SystemRecord, Words};
use super::exit::Exit;
use super::moved::{self, Job, MovedRecord};
use super::watch::busy;
use super::words::HumanBytes;
use super::{document, output};

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

    /// Move what is in the chunks to others first
    #[arg(long, requires = "chunk")]
    relocate: bool,

    /// Number of threads that move; as many as there are processors by default
    #[arg(long, value_name = "N", requires = "relocate", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,

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
    if args.relocate {
        return args.move_and_remove(fs);
    }
    let before = SystemRecord::of(&fs);
    let choice = match args.unused {
        true => RemoveChoice::Unused { type_bits: args.kind.map_or(u64::MAX, ChunkKind::type_bits) },
        false => RemoveChoice::Chunks(args.chunk.iter().copied().map(Logical).collect()),
    };
    let removed = busy("removing chunks", args.images.quiet, || remove_batch(&fs, &choice, |_| {}));
    let removed = removed.map_err(|error| args.images.explain(&fs, error))?;
    let chunks = removed.iter().map(ChunkRecord::new).collect();
    let after = SystemRecord::of(&fs);
    let words = Words {
        done: "removed",
        planned: "would remove",
        nothing: "nothing to remove: no chunk is empty but those that are kept, one of each profile of each type",
    };
    let changed = Changed { schema: SCHEMA, words, chunks, before, after };
    changed.finish(fs, &args.images)?;
    Ok(Exit::Done)
}

const SCHEMA: &str = "rbtrfs.chunk-remove/1";

#[derive(Serialize)]
struct MovedDocument {
    schema: &'static str,
    dry_run: bool,
    chunks: Vec<ChunkRecord>,
    system: SystemRecord,
    moved: MovedRecord,
}

impl Args {
    /// Removes chunks that are in use.
    fn move_and_remove(&self, fs: Filesystem) -> anyhow::Result<Exit> {
        if let Some(item) = fs.balance_item()? {
            return Err(BalanceProblem::Paused { balance: Balance::of_item(&item)?.to_string() }.into());
        }
        let chunks: Vec<Logical> = self.chunk.iter().copied().map(Logical).collect();
        let plan = Plan::of_chunks(&fs, &chunks)?;
        let mut moved = Moved::default();
        let mut system = SystemRecord::of(&fs);
        if self.images.dry_run {
            let bytes = plan.bytes(u64::MAX);
            let chunks = plan.steps.iter().map(|step| &step.chunk);
            self.tell(chunks, &moved, system, &format!("would move {}\n", HumanBytes(bytes)))?;
            return match plan.without_room {
                0 => Ok(Exit::Done),
                count => bail!("no room for {count} of them: {} more would do for the first", HumanBytes(plan.lack)),
            };
        }
        let job = Job::new(self.threads, false, self.images.quiet)?;
        let ended = job.run(|options| balance::run(fs, &plan, options, &mut moved)).map(|fs| {
            system = SystemRecord::of(&fs);
        });
        moved::finish(&moved, ended, || self.tell(moved.chunks_removed.iter(), &moved, system, &moved::text(&moved)))
    }

    fn tell<'a>(
        &self,
        chunks: impl Iterator<Item = &'a ChunkMapping>,
        moved: &Moved,
        system: SystemRecord,
        text: &str,
    ) -> anyhow::Result<()> {
        let dry_run = self.images.dry_run;
        let chunks: Vec<ChunkRecord> = chunks.map(ChunkRecord::new).collect();
        let mut out = output::stdout()?;
        if self.images.json {
            let moved = MovedRecord::new(moved);
            document::write(&mut out, &MovedDocument { schema: SCHEMA, dry_run, chunks, system, moved })?;
        } else if !self.images.quiet {
            let verb = if dry_run { "would remove" } else { "removed" };
            let lines: String = chunks.iter().map(|chunk| format!("{verb} {chunk}\n")).collect();
            out.write_all((lines + text).as_bytes())?;
        }
        Ok(())
    }
}
