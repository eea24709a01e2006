//! The search of all metadata chunks for blocks that no tree leads to.

use std::io;
use std::sync::Mutex;

use crate::block::reference::Reference;
use crate::block::{Block, BlockKind};
use crate::disk::flags::extent::TREE_BLOCK;
use crate::disk::node::{HEADER_SIZE, Header, Item, leaf_data_size, node_ptrs};
use crate::disk::{Logical, MAX_LEVEL, STRIPE_LEN, objectid};
use crate::error::{Error, Result};
use crate::parallel::{lock, on_threads};
use crate::survey::{BlockRecord, Cursor, Extent, ExtentReferences, Job, ReferenceRecord, ReferenceRecords, Survey};
use crate::table::{self, MemoryBudget, Part, Table, Writer};
use crate::volume::{Content, Volume};

use super::block::{OlderRecord, PointerRecord, State, StrayRecord, WantedRecord};
use super::blocks::OlderBlocks;
use super::roots::backup_roots;
use super::stretches::{Stretch, Window, stretches, windows};

/// What threads of the scan share.
struct Search<'s> {
    volume: &'s Volume,
    survey: Option<&'s Survey>,
    blocks: [Writer<'s>; MAX_LEVEL],
    pointers: Writer<'s>,
    strays: Writer<'s>,
}

/// What one thread finds, and its buffers.
#[derive(Default)]
struct Found {
    blocks: [Part<OlderRecord>; MAX_LEVEL],
    pointers: Part<PointerRecord>,
    strays: Part<StrayRecord>,
    reached: table::Cursor<BlockRecord>,
    extents: Cursor,
    window: Vec<u8>,
    block: Vec<u8>,
}

impl OlderBlocks {
    /// Reads all copies of all chunks that may hold metadata. Found is each block that has the fsid of the filesystem, stands at
    /// the address that it names, is not newer than the superblock and has the right checksum. Those that the survey reached, which is
    /// one with `keep_blocks`, are noted once, and only of trees that may share blocks; a version of another generation at an
    /// address that it reached is one that it did not reach. Without a survey all blocks are such. A block that stands elsewhere than
    /// at the address that it names is found, too: the address may be that of a lost one, of this step or of a later one.
    ///
    /// `references` are those that the extent tree and the trees do not agree about ([`Survey::references`]): those that the extent
    /// tree alone has tell what lost nodes led to.
    ///
    /// # Errors
    /// [`Error::Interrupted`], or [`Error::Temporary`] where temporary files cannot be used.
    pub fn scan(
        job: &Job<'_>,
        survey: Option<&Survey>,
        references: Option<&ReferenceRecords>,
        memory: &MemoryBudget,
    ) -> Result<Self> {
        let volume = job.volume;
        let stretches = stretches(volume);
        let total = stretches.iter().fold(0_u64, |sum, stretch| sum.saturating_add(stretch.length));
        job.progress.begin("older blocks", total);
        let blocks = std::array::from_fn(|_| Writer::new(memory));
        let (pointers, strays) = (Writer::new(memory), Writer::new(memory));
        let search = Search { volume, survey, blocks, pointers, strays };
        let source = Mutex::new(windows(&stretches, volume.format().sectorsize.into()));
        let parts = on_threads(job.threads, || {
            let mut found = Found::default();
            while !job.progress.is_stopped() {
                // Bound to a name so that the source is unlocked before the work begins.
                let next = lock(&source).next();
                let Some(window) = next else { break };
                search.read_window(&window, &mut found);
                job.progress.add(window.skipped.saturating_add(window.length));
            }
            found
        });
        if job.progress.is_stopped() {
            return Err(Error::Interrupted);
        }
        let mut of_levels: [Vec<Part<OlderRecord>>; MAX_LEVEL] = Default::default();
        let (mut pointers, mut strays) = (Vec::new(), Vec::new());
        for found in parts {
            of_levels.iter_mut().zip(found.blocks).for_each(|(parts, part)| parts.push(part));
            pointers.push(found.pointers);
            strays.push(found.strays);
        }
        let mut older = Self { backups: backup_roots(volume), ..Self::default() };
        for ((table, writer), parts) in older.levels.iter_mut().zip(search.blocks).zip(of_levels) {
            *table = writer.finish(parts).map_err(Error::Temporary)?;
        }
        older.pointers = search.pointers.finish(pointers).map_err(Error::Temporary)?;
        older.strays = search.strays.finish(strays).map_err(Error::Temporary)?;
        if let Some(references) = references {
            older.wanted = wanted(references, memory).map_err(Error::Temporary)?;
        }
        Ok(older)
    }
}

/// The references to tree blocks that the extent tree alone has.
fn wanted(references: &ReferenceRecords, memory: &MemoryBudget) -> io::Result<Table<WantedRecord>> {
    let writer = Writer::new(memory);
    let mut part = Part::default();
    for ExtentReferences { extent, references, .. } in references.iter() {
        for ReferenceRecord { reference, claimed, found } in references {
            let root = match reference {
                Reference::TreeBlock { root } => root,
                Reference::SharedBlock { .. } => 0,
                _ => continue,
            };
            if claimed > found {
                writer.push(&mut part, WantedRecord { logical: extent, root });
            }
        }
    }
    match references.failure() {
        Some(error) => Err(error),
        None => writer.finish(vec![part]),
    }
}

impl Search<'_> {
    fn read_window(&self, window: &Window<'_>, found: &mut Found) {
        let format = self.volume.format();
        let (sector, nodesize) = (format.sectorsize as usize, format.nodesize as usize);
        let mut bytes = std::mem::take(&mut found.window);
        self.fill(window, sector, nodesize, &mut bytes);
        for within in (0..window.length as usize).step_by(sector) {
            let Some(header) = bytes.get(within..within + HEADER_SIZE) else { break };
            let Some((header, _)) = Header::read_prefix(header) else { break };
            if !format.fsids.contains(&header.fsid) {
                continue;
            }
            let offset = window.offset + within as u64;
            let Some(place) = self.place(&window.stretch, offset, header) else { continue };
            let mirror = window.stretch.mirror();
            let is_whole = !window.stretch.chunk.is_striped() || offset % STRIPE_LEN + nodesize as u64 <= STRIPE_LEN;
            match bytes.get(within..within + nodesize).filter(|_| is_whole) {
                Some(bytes) => self.take(bytes, place, mirror, found),
                None => {
                    let mut block = std::mem::take(&mut found.block);
                    block.resize(nodesize, 0);
                    if self.volume.read(place, mirror, &mut block).is_ok() {
                        self.take(&block, place, mirror, found);
                    }
                    found.block = block;
                }
            }
        }
        found.window = bytes;
    }

    /// Reads a window and, as far as there is any, what the last block in it may have behind it. What cannot be read is zero.
    fn fill(&self, window: &Window<'_>, sector: usize, nodesize: usize, bytes: &mut Vec<u8>) {
        let Window { stretch, offset, length, .. } = window;
        bytes.clear();
        let Some(device) = stretch.device else {
            bytes.resize(*length as usize, 0);
            let content = stretch.chunk.content(stretch.stripe, *offset);
            let is_read = matches!(content, Some(Content::Data(logical))
                if self.volume.read(logical, stretch.mirror(), bytes).is_ok());
            if !is_read {
                bytes.fill(0);
            }
            return;
        };
        let Some(start) = stretch.physical(*offset) else { return };
        let image = device.image();
        let length = length.saturating_add(nodesize as u64).min(image.size().saturating_sub(start.0));
        bytes.resize(length as usize, 0);
        if image.read(start, bytes).is_ok() {
            return;
        }
        for (index, part) in bytes.chunks_mut(sector).enumerate() {
            let at = start.checked_add((index * sector) as u64);
            if at.is_none_or(|at| image.read(at, part).is_err()) {
                part.fill(0);
            }
        }
    }

    /// The address of `offset` of a stretch, if the header there may be that of a block.
    fn place(&self, stretch: &Stretch<'_>, offset: u64, header: &Header) -> Option<Logical> {
        let Some(Content::Data(place)) = stretch.chunk.content(stretch.stripe, offset) else { return None };
        let format = self.volume.format();
        let most = match header.level {
            0 => leaf_data_size(format.nodesize) / size_of::<Item>() as u32,
            _ => node_ptrs(format.nodesize),
        };
        let is_likely = usize::from(header.level) < MAX_LEVEL
            && (1..=most).contains(&header.nritems.get())
            && (1..=self.newest()).contains(&header.generation.get());
        is_likely.then_some(place)
    }

    /// Log trees are written for the commit after the superblock's.
    fn newest(&self) -> u64 {
        self.volume.superblock().generation().0.saturating_add(1)
    }

    fn take(&self, bytes: &[u8], place: Logical, mirror: u16, found: &mut Found) {
        let Some(block) = Block::new(bytes) else { return };
        let logical = block.logical();
        if logical != place {
            if self.volume.format().csum_type.matches(bytes) {
                self.strays.push(&mut found.strays, StrayRecord { logical, place, mirror: mirror.into() });
            }
            return;
        }
        let generation = block.generation().0;
        let reached = self.survey.and_then(|survey| survey.blocks.records.find(logical.0, &mut found.reached));
        let reached = reached.filter(|reached| reached.generation == generation);
        if let Some(reached) = reached {
            let is_first_good = reached.bad_mirrors.trailing_ones() + 1 == u32::from(mirror);
            if is_first_good && objectid::may_share_blocks(reached.owner) {
                self.note(block, mirror, State::Reached, found);
            }
            return;
        }
        if !self.volume.format().csum_type.matches(bytes) {
            return;
        }
        let level = u64::from(block.level());
        let is_this = |extent: &Extent| {
            extent.flags & TREE_BLOCK != 0
                && extent.generation == generation
                && [level, Extent::UNTOLD].contains(&extent.level_or_owner)
        };
        let claim = self.survey.and_then(|survey| survey.claims.extents.find(logical, &mut found.extents));
        let state = if claim.is_some_and(|claim| is_this(&claim)) { State::Claimed } else { State::Older };
        self.note(block, mirror, state, found);
        if let BlockKind::Node(node) = block.kind() {
            for ptr in node.ptrs() {
                let (child, node) = (ptr.blockptr.into(), logical);
                let record =
                    PointerRecord { child, generation: ptr.generation.get(), node, node_generation: generation };
                self.pointers.push(&mut found.pointers, record);
            }
        }
    }

    fn note(&self, block: Block<'_>, mirror: u16, state: State, found: &mut Found) {
        let Some(record) = OlderRecord::new(block, mirror, state) else { return };
        let index = usize::from(block.level());
        if let (Some(writer), Some(part)) = (self.blocks.get(index), found.blocks.get_mut(index)) {
            writer.push(part, record);
        }
    }
}
