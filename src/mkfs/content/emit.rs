//! Putting what threads made into the filesystem, in order.

use std::ops::Range;

use zerocopy::IntoBytes;

use crate::disk::flags::incompat;
use crate::disk::inode::compression;
use crate::disk::{Key, KeyType, Logical};
use crate::error::{Error, Result};
use crate::parallel::ordered_then;
use crate::progress::Progress;

use super::super::source::{Source, Tree};
use super::super::{DataRef, Maker, Subvolume, TreeWriter};
use super::Transfer;
use super::compress::Method;
use super::items::Encoding;
use super::names::{Named, Names};
use super::plan::{Cut, Job, Plan};
use super::read::{Batch, Data, Reading, Step};

/// The longest extent (`BTRFS_MAX_EXTENT_SIZE`).
const MAX_EXTENT: u64 = 128 << 20;
/// An extent is not cut at the end of a chunk to less than this.
const LEAST_EXTENT: u64 = 1 << 20;

/// Puts all files into the filesystem.
pub fn fill(maker: &Maker<'_>, source: &Source, transfer: Transfer, threads: usize, progress: &Progress) -> Result<()> {
    let options = maker.options();
    let encoding = Encoding {
        generation: maker.generation().0,
        nodesize: options.nodesize,
        sectorsize: options.sectorsize,
        made: maker.time(),
        is_fixed: options.identity.is_fixed,
        extref: options.has_incompat(incompat::EXTENDED_IREF),
        no_holes: options.has_incompat(incompat::NO_HOLES),
    };
    let reading = Reading { root: &source.root, encoding, csum_type: options.csum_type, transfer };
    maker.add_incompat(transfer.method().map_or(0, Method::incompat));
    progress.begin("files", source.totals.file_bytes);
    let mut filler = Filler { maker, encoding, tree: None, open: None, item: Vec::new() };
    let work = |job: Result<Job<'_>>, made: &mut Made| {
        made.outcome = job.and_then(|job| {
            made.tree = job.tree.id;
            made.batch.fill(&reading, job.work)
        });
    };
    let emit = |made: &mut Made| {
        std::mem::replace(&mut made.outcome, Ok(()))?;
        if progress.is_stopped() {
            return Err(Error::Interrupted);
        }
        filler.take(made)?;
        progress.add(made.batch.file_bytes);
        progress.add_files(made.batch.files);
        Ok(())
    };
    let plan = Plan::new(source, Cut::new(options.sectorsize, transfer));
    ordered_then(threads, plan, work, emit, |made: &mut Made| made.bring_data(maker))?;
    filler.finish()?;
    source.trees.iter().for_each(|tree| hang(maker, tree));
    Ok(())
}

/// Makes a tree a subvolume.
fn hang(maker: &Maker<'_>, tree: &Tree) {
    let Some(hanging) = &tree.hanging else { return };
    maker.add_subvolume(Subvolume {
        id: tree.id,
        parent: hanging.parent_tree,
        directory: hanging.directory,
        index: hanging.index,
        name: hanging.name.clone(),
        read_only: tree.read_only,
    });
    if tree.is_default {
        maker.set_default_subvolume(tree.id);
    }
}

/// What a thread made.
struct Made {
    tree: u64,
    batch: Batch,
    /// Where its data goes.
    placed: Vec<Placed>,
    outcome: Result<()>,
}

impl Default for Made {
    fn default() -> Self {
        Self { tree: 0, batch: Batch::default(), placed: Vec::new(), outcome: Ok(()) }
    }
}

impl Made {
    /// Writes the data to its places, or shares it.
    fn bring_data(&mut self, maker: &Maker<'_>) -> Result<()> {
        let (data, origin) = (self.batch.data(), self.batch.origin.as_ref());
        let brought = self.placed.drain(..).try_for_each(|placed| {
            let origin = origin.map(|(file, start)| file.origin(start + placed.data.start as u64));
            maker.write_data(placed.logical, &data[placed.data], origin)
        });
        // What was shared is what was summed, and what could not be shared is not what became too short meanwhile.
        origin.map_or(Ok(()), |(file, _)| file.check_unchanged()).and(brought)
    }
}

struct Filler<'m, 'r> {
    maker: &'m Maker<'r>,
    encoding: Encoding,
    /// The tree that is being filled, and its id.
    tree: Option<(u64, TreeWriter<'m, 'r>)>,
    /// What is left of an extent whose data comes in parts.
    open: Option<(Logical, u64)>,
    /// An item that is put together.
    item: Vec<u8>,
}

/// A range of what a batch holds, and the address that it begins at.
struct Placed {
    logical: Logical,
    data: Range<usize>,
}

impl<'m, 'r> Filler<'m, 'r> {
    /// Takes items and checksums, and gives the data its places.
    fn take(&mut self, made: &mut Made) -> Result<()> {
        let Made { tree, batch, placed, .. } = made;
        if self.tree.as_ref().is_none_or(|(id, _)| id != tree) {
            self.finish_tree()?;
            self.tree = Some((*tree, self.maker.tree(*tree)?));
        }
        let mut items = 0;
        let mut sums = 0;
        for step in &batch.steps {
            match step {
                Step::Items(count) => {
                    for index in items..items + count {
                        let (key, data) = batch.items.get(index);
                        self.push(key, data)?;
                    }
                    items += count;
                }
                Step::Names(directory, names) => self.push_names(*directory, names)?,
                Step::Data(data) => self.place(data, batch, &mut sums, placed)?,
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        self.finish_tree()
    }

    fn finish_tree(&mut self) -> Result<()> {
        self.tree.take().map_or(Ok(()), |(_, writer)| writer.finish())
    }

    fn push(&mut self, key: Key, data: &[u8]) -> Result<()> {
        match &mut self.tree {
            Some((_, writer)) => writer.push(key, data),
            None => Ok(()),
        }
    }

    fn push_names(&mut self, directory: u64, names: &Names) -> Result<()> {
        let encoding = self.encoding;
        let append = |item: &mut Vec<u8>, named: Named<'_>| {
            let entry = encoding.entry(named.location, named.entry_type, named.name, &[]);
            item.extend_from_slice(entry.as_bytes());
            item.extend_from_slice(named.name);
        };
        let mut item = std::mem::take(&mut self.item);
        for (hash, same) in names.by_hash() {
            item.clear();
            same.for_each(|named| append(&mut item, named));
            self.push(Key::new(directory, KeyType::DIR_ITEM, hash), &item)?;
        }
        for named in names.by_index() {
            item.clear();
            append(&mut item, named);
            self.push(Key::new(directory, KeyType::DIR_INDEX, named.index), &item)?;
        }
        self.item = item;
        Ok(())
    }

    /// Gives data its place. What is not compressed may be cut where a chunk ends, and may be a part of what one extent
    /// has room for.
    fn place(&mut self, data: &Data, batch: &Batch, sums: &mut usize, placed: &mut Vec<Placed>) -> Result<()> {
        let csum_size = self.maker.options().csum_type.size() as u64;
        let sectorsize = u64::from(self.encoding.sectorsize);
        let mut done = 0;
        while done < data.length {
            let (logical, left) = match self.open.take() {
                Some(open) => open,
                None => self.begin_extent(data, done)?,
            };
            let length = left.min(data.length - done);
            self.open = (left > length).then_some((Logical(logical.0 + length), left - length));
            let start = placed.last().map_or(0, |last| last.data.end);
            match placed.last_mut().filter(|last| last.logical.0 + last.data.len() as u64 == logical.0) {
                Some(last) => last.data.end += length as usize,
                None => placed.push(Placed { logical, data: start..start + length as usize }),
            }
            if data.has_sums {
                let end = *sums + (length / sectorsize * csum_size) as usize;
                self.maker.add_csums(logical, &batch.sums[*sums..end])?;
                *sums = end;
            }
            done += length;
        }
        Ok(())
    }

    /// Allocates an extent for data from `done` bytes on.
    fn begin_extent(&mut self, data: &Data, done: u64) -> Result<(Logical, u64)> {
        let is_compressed = data.compression != compression::NONE;
        let (least, most) = match is_compressed {
            true => (data.length, data.length),
            false => {
                let most = (data.run - done).min(MAX_EXTENT);
                (most.min(LEAST_EXTENT), most)
            }
        };
        let (logical, length) = self.maker.allocate_data(least, most)?;
        let offset = data.offset + done;
        let num_bytes = if is_compressed { data.num_bytes } else { length };
        let (extent, disk) = self.encoding.extent(num_bytes, data.compression, Some((logical.0, length)));
        let mut item = std::mem::take(&mut self.item);
        item.clear();
        item.extend_from_slice(extent.as_bytes());
        item.extend_from_slice(disk.as_bytes());
        self.push(Key::new(data.inode, KeyType::EXTENT_DATA, offset), &item)?;
        self.item = item;
        let root = self.tree.as_ref().map_or(0, |(id, _)| *id);
        self.maker.add_data_ref(&DataRef { start: logical.0, length, root, inode: data.inode, offset, count: 1 });
        Ok((logical, length))
    }
}
