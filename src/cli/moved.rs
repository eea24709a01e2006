//! What commands that move block groups have in common.

use serde::Serialize;

use crate::disk::Logical;
use crate::error::Error;
use crate::parallel::default_threads;
use crate::progress::Progress;
use crate::relocate::{Damaged, Moved, Options};

use super::change::ChunkRecord;
use super::exit::Exit;
use super::watch::{Display, watched};
use super::words::{HumanBytes, counted};
use super::{interrupt, output};

/// How blocks are moved, and how that is told.
pub struct Job {
    threads: usize,
    display: Display,
    progress: Progress,
}

impl Job {
    /// With as many threads as there are processors if nothing is said.
    pub fn new(threads: Option<u16>, lines: bool, quiet: bool) -> std::io::Result<Self> {
        let threads = threads.map_or_else(default_threads, usize::from);
        Ok(Self { threads, display: Display::choose(lines, quiet), progress: Progress::new(interrupt::flag()?) })
    }

    /// Tells of the progress of `work`.
    pub fn run<T>(&self, work: impl FnOnce(&Options<'_>) -> T) -> T {
        let options = Options { threads: self.threads, progress: &self.progress };
        watched(self.display, &self.progress, || work(&options))
    }
}

/// Says how the work ended: what was committed before an error or a signal is on the disk.
pub fn finish(
    moved: &Moved,
    ended: crate::Result<()>,
    tell: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<Exit> {
    finish_saying(moved, ended, || format!("emptied {}", emptied(moved)), tell)
}

/// How many block groups are empty and gone.
pub fn emptied(moved: &Moved) -> String {
    counted(moved.chunks_removed.len() as u64, "block group")
}

/// As [`finish`], with other words for what is on the disk.
pub fn finish_saying(
    moved: &Moved,
    ended: crate::Result<()>,
    done: impl FnOnce() -> String,
    tell: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<Exit> {
    let ended = ended.and(if moved.left.is_empty() { Ok(()) } else { Err(Error::Interrupted) });
    match ended {
        Ok(()) if moved.transactions == 0 => tell()?,
        Ok(()) => output::after_change(tell())?,
        Err(error) if moved.transactions == 0 => return Err(error.into()),
        Err(error @ Error::PartlyPublished(_)) => {
            let _ = tell();
            return Err(error.into());
        }
        Err(error) => {
            let _ = tell();
            return Err(output::PartlyMoved { done: done(), error: error.into() }.into());
        }
    }
    Ok(if moved.damaged.is_empty() { Exit::Done } else { Exit::Problems })
}

/// Lines for a person.
pub fn text(moved: &Moved) -> String {
    let Moved { data_bytes, tree_blocks, healed_bytes, transactions, .. } = moved;
    let mut text = format!(
        "moved {} of data and wrote {} in {}\nremoved {}, made {}\n",
        HumanBytes(*data_bytes),
        counted(*tree_blocks, "tree block"),
        counted(*transactions, "transaction"),
        counted(moved.chunks_removed.len() as u64, "chunk"),
        moved.chunks_made.len()
    );
    if *healed_bytes > 0 {
        text += &format!("{} were bad or missing in one copy and come from another\n", HumanBytes(*healed_bytes));
    }
    text + &text_of_damage(moved)
}

/// A line for each range that is bad everywhere.
pub fn text_of_damage(moved: &Moved) -> String {
    let damaged = moved.damaged.iter().map(|Damaged { tree, inode, offset, length }| {
        format!("damaged in every copy, moved as it is: tree {tree} inode {inode} offset {offset} length {length}\n")
    });
    damaged.collect()
}

/// What was moved, as a part of a JSON document.
#[derive(Serialize)]
pub struct MovedRecord {
    data_bytes: u64,
    tree_blocks: u64,
    healed_bytes: u64,
    transactions: u64,
    chunks_removed: Vec<Logical>,
    chunks_made: Vec<ChunkRecord>,
    damaged: Vec<DamagedRecord>,
}

/// A range of a file that is bad in every copy.
#[derive(Serialize)]
struct DamagedRecord {
    tree: u64,
    inode: u64,
    offset: u64,
    length: u64,
}

impl MovedRecord {
    pub fn new(moved: &Moved) -> Self {
        let damaged = moved.damaged.iter().map(|damaged| {
            let Damaged { tree, inode, offset, length } = *damaged;
            DamagedRecord { tree, inode, offset, length }
        });
        Self {
            data_bytes: moved.data_bytes,
            tree_blocks: moved.tree_blocks,
            healed_bytes: moved.healed_bytes,
            transactions: moved.transactions,
            chunks_removed: moved.chunks_removed.iter().map(|chunk| chunk.logical).collect(),
            chunks_made: moved.chunks_made.iter().map(ChunkRecord::new).collect(),
            damaged: damaged.collect(),
        }
    }
}
