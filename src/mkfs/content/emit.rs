//! Putting what threads made into the filesystem, in order.

use zerocopy::IntoBytes;

use crate::disk::flags::incompat;
use crate::disk::inode::compression;
use crate::disk::{Key, KeyType};
use crate::error::{Error, Result};
use crate::parallel::ordered_then;
use crate::progress::Progress;

use super::super::extent::{NewExtent, OpenExtent, PlacedData};
use super::super::maker::{Maker, Subvolume, TreeWriter};
use super::super::source::{Inventory, Source, SourceFile, Tree};
use super::compress::Method;
use super::items::Encoding;
use super::names::{Named, Names};
use super::plan::{Cut, Job, Plan};
use super::read::{Batch, Data, Reading, Step};
use super::transfer::Transfer;

/// The longest extent (`BTRFS_MAX_EXTENT_SIZE`).
const MAX_EXTENT: u64 = 128 << 20;
/// An extent is not cut at the end of a chunk to less than this.
const LEAST_EXTENT: u64 = 1 << 20;

/// Puts all files into the filesystem.
///
/// # Errors
/// No space, a source that cannot be read or that changes, a write that fails.
pub fn fill<S: Source>(
    maker: &Maker<'_>,
    source: &S,
    inventory: &Inventory,
    transfer: Transfer,
    threads: usize,
    progress: &Progress,
) -> Result<()> {
    let options = maker.options();
    let encoding = Encoding {
        generation: maker.generation(),
        nodesize: options.nodesize,
        sectorsize: options.sectorsize,
        made: maker.time(),
        is_fixed: options.identity.is_fixed,
        extref: options.has_incompat(incompat::EXTENDED_IREF),
        no_holes: options.has_incompat(incompat::NO_HOLES),
    };
    let reading = Reading { source, encoding, csum_type: options.csum_type, transfer };
    maker.add_incompat(transfer.method().map_or(0, Method::incompat));
    progress.begin("files", inventory.totals.file_bytes);
    let mut filler = Filler { maker, encoding, tree: None, open: None, item: Vec::new() };
    let work = |job: Result<Job<'_, S::File>>, made: &mut Made<S>| {
        made.outcome = job.and_then(|job| {
            made.tree = job.tree.id;
            made.batch.fill(&reading, job.work)
        });
    };
    let emit = |made: &mut Made<S>| {
        std::mem::replace(&mut made.outcome, Ok(()))?;
        if progress.is_stopped() {
            return Err(Error::Interrupted);
        }
        filler.take(made)?;
        progress.add(made.batch.file_bytes);
        progress.add_files(made.batch.files);
        Ok(())
    };
    let plan = Plan::new(source, inventory, Cut::new(options.sectorsize, transfer));
    ordered_then(threads, plan, work, emit, |made: &mut Made<S>| made.bring_data(maker))?;
    filler.finish()?;
    inventory.trees.iter().for_each(|tree| hang(maker, tree));
    Ok(())
}

/// Makes a tree a subvolume.
fn hang(maker: &Maker<'_>, tree: &Tree) {
    let Some(hanging) = &tree.hanging else {
        if tree.read_only {
            maker.set_read_only();
        }
        return;
    };
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
struct Made<S: Source> {
    tree: u64,
    batch: Batch<S>,
    /// Where its data goes, part after part.
    placed: Vec<PlacedData>,
    outcome: Result<()>,
}

impl<S: Source> Default for Made<S> {
    fn default() -> Self {
        Self { tree: 0, batch: Batch::default(), placed: Vec::new(), outcome: Ok(()) }
    }
}

impl<S: Source> Made<S> {
    /// Writes the data to its places, or shares it.
    fn bring_data(&mut self, maker: &Maker<'_>) -> Result<()> {
        let (mut rest, origin) = (self.batch.data(), self.batch.origin.as_ref());
        let mut done = 0;
        let brought = self.placed.drain(..).try_for_each(|placed| {
            let length = placed.length();
            let origin = origin.and_then(|(large, start)| large.file.origin(start + done));
            let (bytes, tail) = rest.split_at((length as usize).min(rest.len()));
            (rest, done) = (tail, done + length);
            maker.write_data(placed, bytes, origin)
        });
        // What was shared is what was summed, and what could not be shared is not what became too short meanwhile.
        origin.map_or(Ok(()), |(large, _)| large.file.check_unchanged()).and(brought)
    }
}

struct Filler<'m, 'r> {
    maker: &'m Maker<'r>,
    encoding: Encoding,
    /// The tree that is being filled, and its id.
    tree: Option<(u64, TreeWriter<'m, 'r>)>,
    /// What is left of an extent whose data comes in parts.
    open: Option<OpenExtent>,
    /// An item that is put together.
    item: Vec<u8>,
}

impl<'m, 'r> Filler<'m, 'r> {
    /// Takes items and checksums, and gives the data its places.
    fn take<S: Source>(&mut self, made: &mut Made<S>) -> Result<()> {
        let Made { tree, batch, placed, .. } = made;
        if self.tree.as_ref().is_none_or(|(id, _)| id != tree) {
            self.finish_tree()?;
            self.tree = Some((*tree, self.maker.tree(*tree)?));
        }
        let mut items = 0;
        let mut csums = 0;
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
                Step::Data(data) => self.place(data, &batch.csums, &mut csums, placed)?,
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
    /// has room for. `csums` are those of a batch, of which so many bytes are `used`.
    fn place(&mut self, data: &Data, csums: &[u8], used: &mut usize, placed: &mut Vec<PlacedData>) -> Result<()> {
        let csum_size = self.maker.options().csum_type.size() as u64;
        let sectorsize = u64::from(self.encoding.sectorsize);
        let mut done = 0;
        while done < data.length {
            let mut extent = match self.open.take() {
                Some(open) => open,
                None => self.begin_extent(data, done)?,
            };
            let length = extent.left().min(data.length - done);
            let own = data.has_csums.then(|| {
                let start = *used;
                *used += (length / sectorsize * csum_size) as usize;
                csums.get(start..*used).unwrap_or_default()
            });
            let next = self.maker.place_data(&mut extent, length, own)?;
            let apart = match placed.last_mut() {
                Some(last) => last.join(next),
                None => Some(next),
            };
            placed.extend(apart);
            self.open = (extent.left() > 0).then_some(extent);
            done += length;
        }
        Ok(())
    }

    /// Makes an extent for data from `done` bytes on.
    fn begin_extent(&mut self, data: &Data, done: u64) -> Result<OpenExtent> {
        let compressed = (data.compression != compression::NONE).then_some((data.compression, data.num_bytes));
        let (least, most) = match compressed {
            Some(_) => (data.length, data.length),
            None => {
                let most = (data.run - done).min(MAX_EXTENT);
                (most.min(LEAST_EXTENT), most)
            }
        };
        let missing = || Error::Internal { problem: "data comes before its tree".to_owned() };
        let (_, tree) = self.tree.as_mut().ok_or_else(missing)?;
        tree.add_extent(&NewExtent { inode: data.inode, offset: data.offset + done, least, most, compressed })
    }
}
