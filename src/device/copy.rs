//! Copying what is in use of stripes to their new places. Checksums are verified meanwhile; what is bad in one copy is taken from
//! another or rebuilt, and parity is made anew of its row.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::block::verify::Expected;
use crate::disk::extent::ExtentItem;
use crate::disk::flags::block_group::DATA;
use crate::disk::flags::extent::TREE_BLOCK;
use crate::disk::{Key, KeyType, Logical, Physical, STRIPE_LEN, Transid, objectid};
use crate::error::{AddressProblem, Addressed, Error, ExtentProblem, Result};
use crate::image::Image;
use crate::parallel::lock;
use crate::relocate::{Options, in_portions};
use crate::trans::Filesystem;
use crate::tree::csums::CsumRoot;
use crate::tree::{BlockCache, DataEvent, DataReader, Sector, TreeRoot};
use crate::volume::{ChunkMapping, Content, StripeMapping, Volume, compute_parity};

/// Bytes that are read and written at once: as many as checksums are read for.
const PIECE: u64 = 1 << 20;
/// After so many bytes the kernel is told to bring them to the disk, so that little is left for the commit to wait for.
const SYNCED: u64 = 32 << 20;
/// Pieces that one thread takes at once.
const PORTION: usize = 16;

/// A stripe and its new place.
#[derive(Clone, Copy, Debug)]
pub struct StripeMove {
    /// Its chunk.
    pub logical: Logical,
    /// Its number in the chunk.
    pub index: usize,
    /// Where it is to lie.
    pub to: StripeMapping,
}

/// What became of stripes while they were copied.
#[derive(Debug, Default)]
pub struct Copied {
    /// Bytes that were written.
    pub bytes: u64,
    /// Bytes that were taken from another copy.
    pub healed: u64,
    /// Sectors that are bad in every copy. They were copied as they are.
    pub lost: Vec<Logical>,
}

/// A range of addresses that is in use.
#[derive(Clone, Copy, Debug)]
struct Used {
    start: u64,
    end: u64,
    /// Of a tree block, its generation.
    block: Option<Transid>,
}

/// A chunk of which stripes move.
struct Moving<'v> {
    chunk: &'v ChunkMapping,
    used: Vec<Used>,
}

/// What is written in one piece.
struct Job {
    /// The chunk by its number.
    chunk: usize,
    target: usize,
    physical: Physical,
    source: Source,
}

#[derive(Clone, Copy)]
enum Source {
    /// Addresses from start to end, which are in use.
    Used(Used),
    /// A column of a row with parity, all of it: what is not in use counts in the parity, too.
    Column(Content),
}

/// Copies stripes from where the last commit has them.
///
/// # Errors
/// A tree block of which no copy is good, data without checksums that cannot be read, and what cannot be written.
pub fn copy_stripes(fs: &Filesystem, moves: &[StripeMove], options: &Options<'_>) -> Result<Copied> {
    let volume = fs.volume();
    let root_tree = TreeRoot::root_tree(volume);
    let extent_tree = root_tree.find_child(volume, objectid::EXTENT_TREE)?;
    let extent_tree = extent_tree.ok_or(Error::NoTree { tree: objectid::EXTENT_TREE, name: "EXTENT_TREE" })?;
    let (mut targets, mut jobs) = (Targets::default(), Vec::new());
    let mut chunks: Vec<Moving<'_>> = Vec::new();
    for of_chunk in moves.chunk_by(|one, next| one.logical == next.logical) {
        let Some(chunk) = of_chunk.first().and_then(|first| volume.chunks().find(first.logical)) else { continue };
        let moving = Moving { chunk, used: used(volume, &extent_tree, chunk)? };
        for one in of_chunk {
            let target = targets.index(fs, one)?;
            let job = |(physical, source)| Job { chunk: chunks.len(), target, physical, source };
            jobs.extend(moving.pieces(one).into_iter().map(job));
        }
        chunks.push(moving);
    }
    // The next transaction reads trees from there, and no data.
    let has_trees = |job: &Job| match job.source {
        Source::Used(used) => used.block.is_some(),
        Source::Column(_) => chunks.get(job.chunk).is_some_and(|moving| moving.chunk.flags.type_bits() != DATA),
    };
    jobs.retain(|job| !fs.is_rehearsal() || has_trees(job));
    options.progress.begin("copying stripes", jobs.iter().map(|job| job.source.length()).sum());
    let copier = Copier {
        volume,
        csums: CsumRoot::of(volume, &root_tree)?,
        cache: BlockCache::default(),
        chunks,
        targets: targets.images,
        written: AtomicU64::new(0),
        healed: AtomicU64::new(0),
        lost: Mutex::new(Vec::new()),
    };
    in_portions(options.threads, &jobs, PORTION, |jobs| {
        if options.progress.is_stopped() {
            return Err(Error::Interrupted);
        }
        let mut reader = DataReader::new(volume, &copier.cache, Some(copier.csums));
        let mut buffer = Vec::new();
        jobs.iter().try_for_each(|job| {
            copier.copy(job, &mut reader, &mut buffer)?;
            options.progress.add(job.source.length());
            Ok(())
        })
    })?;
    let mut lost = copier.lost.into_inner().unwrap_or_else(PoisonError::into_inner);
    lost.sort_unstable();
    lost.dedup();
    Ok(Copied { bytes: copier.written.into_inner(), healed: copier.healed.into_inner(), lost })
}

/// The devices that are written, each once.
#[derive(Default)]
struct Targets {
    uuids: Vec<crate::disk::fields::Uuid>,
    images: Vec<Image>,
}

impl Targets {
    fn index(&mut self, fs: &Filesystem, one: &StripeMove) -> Result<usize> {
        let uuid = one.to.dev_uuid;
        if let Some(index) = self.uuids.iter().position(|other| *other == uuid) {
            return Ok(index);
        }
        let chunks = fs.chunks();
        let new =
            chunks.devices.iter().find(|device| device.item.uuid == uuid).and_then(|device| device.image.as_ref());
        let of_volume = || fs.volume().devices().iter().find(|device| device.uuid() == uuid);
        let image = new.or_else(|| of_volume().map(|device| device.image()));
        self.images.push(image.ok_or_else(|| fs.volume().missing_error(one.to.devid, uuid))?.again()?);
        self.uuids.push(uuid);
        Ok(self.uuids.len() - 1)
    }
}

/// What is in use of a chunk, by address. Data that lies side by side is one range.
fn used(volume: &Volume, extent_tree: &TreeRoot, chunk: &ChunkMapping) -> Result<Vec<Used>> {
    let nodesize = u64::from(volume.format().nodesize);
    let (start, end) = (chunk.logical.0, chunk.end().0);
    let (mut used, mut bad) = (Vec::<Used>::new(), None);
    let (from, to) = (Key::new(start, KeyType(0), 0), Key::new(end.saturating_sub(1), KeyType(u8::MAX), u64::MAX));
    extent_tree.range(volume, from, to, |item| {
        let (is_skinny, start) = (item.key.key_type == KeyType::METADATA_ITEM, item.key.objectid);
        if !is_skinny && item.key.key_type != KeyType::EXTENT_ITEM {
            return;
        }
        let extent = ExtentItem::read_prefix(item.data).map(|(extent, _)| *extent);
        let is_block = is_skinny || extent.is_some_and(|extent| extent.flags.get() & TREE_BLOCK != 0);
        let length = if is_block { nodesize } else { item.key.offset };
        let reach = start.checked_add(length).filter(|reach| *reach <= end);
        let (Some(extent), Some(reach)) = (extent, reach) else {
            bad = bad.or(Some(Logical(start)));
            return;
        };
        match used.last_mut() {
            Some(last) if !is_block && last.block.is_none() && last.end == start => last.end = reach,
            _ => used.push(Used { start, end: reach, block: is_block.then(|| extent.generation.into()) }),
        }
    })?;
    match bad {
        Some(logical) => Err(Error::Extent { logical, problem: ExtentProblem::BadItem }),
        None => Ok(used),
    }
}

impl Used {
    /// What of it lies between two addresses.
    fn within(&self, start: u64, end: u64) -> Option<Self> {
        let (start, end) = (self.start.max(start), self.end.min(end));
        (start < end).then_some(Self { start, end, block: self.block })
    }

    /// It in pieces, none of which crosses a multiple of so many bytes.
    fn cut(self, length: u64) -> impl Iterator<Item = Self> {
        let mut next = self.start;
        std::iter::from_fn(move || {
            let end = (next / length + 1).saturating_mul(length).min(self.end);
            let piece = self.within(next, end)?;
            next = end;
            Some(piece)
        })
    }
}

impl Source {
    fn length(&self) -> u64 {
        match self {
            Self::Used(used) => used.end - used.start,
            Self::Column(_) => STRIPE_LEN,
        }
    }
}

impl Moving<'_> {
    /// What is written for a stripe, each piece with its place.
    fn pieces(&self, one: &StripeMove) -> Vec<(Physical, Source)> {
        let mut pieces = Vec::new();
        let mut push = |offset: u64, source| {
            pieces.extend(one.to.physical.checked_add(offset).map(|physical| (physical, source)));
        };
        let first = self.chunk.logical.0;
        if !self.chunk.is_striped() {
            for used in &self.used {
                let length = if used.block.is_some() { u64::MAX } else { PIECE };
                used.cut(length).for_each(|used| push(used.start - first, Source::Used(used)));
            }
            return pieces;
        }
        let row_length = self.chunk.data_stripes() * STRIPE_LEN;
        let has_parity = self.chunk.row_length().is_some();
        let mut last = None;
        for used in &self.used {
            for row in (used.start - first) / row_length..=(used.end - 1 - first) / row_length {
                let offset = row * STRIPE_LEN;
                let content = self.chunk.content(one.index, offset);
                if has_parity {
                    let is_next = last.replace(row) != Some(row);
                    content.filter(|_| is_next).into_iter().for_each(|content| push(offset, Source::Column(content)));
                } else if let Some(Content::Data(start)) = content
                    && let Some(used) = used.within(start.0, start.0.saturating_add(STRIPE_LEN))
                {
                    push(offset + (used.start - start.0), Source::Used(used));
                }
            }
        }
        pieces
    }
}

struct Copier<'v> {
    volume: &'v Volume,
    csums: CsumRoot,
    cache: BlockCache,
    chunks: Vec<Moving<'v>>,
    targets: Vec<Image>,
    written: AtomicU64,
    healed: AtomicU64,
    lost: Mutex<Vec<Logical>>,
}

impl Copier<'_> {
    fn copy(&self, job: &Job, reader: &mut DataReader<'_>, buffer: &mut Vec<u8>) -> Result<()> {
        let (Some(moving), Some(target)) = (self.chunks.get(job.chunk), self.targets.get(job.target)) else {
            return Ok(());
        };
        let length = job.source.length();
        buffer.resize(length as usize, 0);
        match job.source {
            Source::Used(used) => self.read(&used, reader, buffer)?,
            Source::Column(Content::Data(start)) => self.read_column(moving, start.0, reader, buffer)?,
            Source::Column(Content::Parity { index, row }) => self.parity(moving, row, index, reader, buffer)?,
        }
        target.write(job.physical, buffer)?;
        let before = self.written.fetch_add(length, Ordering::Relaxed);
        if before / SYNCED != (before + length) / SYNCED {
            target.begin_sync();
        }
        Ok(())
    }

    /// What is in use, verified.
    fn read(&self, used: &Used, reader: &mut DataReader<'_>, buffer: &mut [u8]) -> Result<()> {
        match used.block {
            Some(generation) => self.read_block(used, generation, buffer),
            None => {
                let mut rest = buffer;
                for piece in used.cut(PIECE) {
                    let (part, tail) = rest.split_at_mut((piece.end - piece.start) as usize);
                    self.read_data(Logical(piece.start), reader, part)?;
                    rest = tail;
                }
                Ok(())
            }
        }
    }

    /// A part of a tree block: as new as its extent item says, if there is such a copy.
    fn read_block(&self, used: &Used, generation: Transid, buffer: &mut [u8]) -> Result<()> {
        let nodesize = u64::from(self.volume.format().nodesize);
        let start = self.start_of_block(used.start).unwrap_or(used.start);
        let expected = Expected { generation: Some(generation), ..Expected::at(Logical(start)) };
        let mut block = Vec::new();
        let read = self.volume.read_block(&expected, &mut block);
        let (bytes, bad) = match read {
            Ok(read) => (read.block.bytes().to_vec(), read.bad),
            Err(_) => {
                let read = self.volume.read_block(&Expected::at(Logical(start)), &mut block)?;
                (read.block.bytes().to_vec(), read.bad)
            }
        };
        if bad.iter().any(|copy| !copy.is_missing()) {
            self.healed.fetch_add(nodesize, Ordering::Relaxed);
        }
        let from = (used.start - start) as usize;
        if let Some(part) = bytes.get(from..from + buffer.len()) {
            buffer.copy_from_slice(part);
        }
        Ok(())
    }

    /// Where the tree block begins that an address is in.
    fn start_of_block(&self, logical: u64) -> Option<u64> {
        let moving =
            self.chunks.iter().find(|moving| (moving.chunk.logical.0..moving.chunk.end().0).contains(&logical))?;
        let index = moving.used.partition_point(|used| used.end <= logical);
        moving.used.get(index).map(|used| used.start)
    }

    fn read_data(&self, logical: Logical, reader: &mut DataReader<'_>, buffer: &mut [u8]) -> Result<()> {
        let sectorsize = self.volume.format().sectorsize as usize;
        let (mut sectors, mut healed) = (Vec::new(), 0);
        reader.read(logical, buffer, &mut sectors, &mut |event| {
            healed += if let DataEvent::BadCopy(..) = event { sectorsize as u64 } else { 0 };
        });
        self.healed.fetch_add(healed, Ordering::Relaxed);
        for (index, bytes) in buffer.chunks_mut(sectorsize).enumerate() {
            let logical = Logical(logical.0 + (index * sectorsize) as u64);
            if !matches!(sectors.get(index), Some(Sector::Verified | Sector::Unverified)) {
                self.read_lost(logical, reader, bytes)?;
            }
        }
        Ok(())
    }

    /// A sector that is bad in every copy, as it is: it has a checksum that tells so.
    fn read_lost(&self, logical: Logical, reader: &DataReader<'_>, bytes: &mut [u8]) -> Result<()> {
        if !reader.has_csum(logical) {
            return Err(Error::Block { what: Addressed::Data, logical, problem: AddressProblem::NoCsum });
        }
        self.read_any(logical, bytes);
        lock(&self.lost).push(logical);
        Ok(())
    }

    /// What some copy has, or zeroes.
    fn read_any(&self, logical: Logical, bytes: &mut [u8]) {
        let is_read = (1..=self.volume.mirrors(logical)).any(|mirror| self.volume.read(logical, mirror, bytes).is_ok());
        if !is_read {
            bytes.fill(0);
        }
    }

    /// A column of data of a row with parity.
    fn read_column(
        &self,
        moving: &Moving<'_>,
        start: u64,
        reader: &mut DataReader<'_>,
        buffer: &mut [u8],
    ) -> Result<()> {
        let end = start.saturating_add(STRIPE_LEN);
        let first = moving.used.partition_point(|used| used.end <= start);
        let here: Vec<Used> = moving.used[first..].iter().map_while(|used| used.within(start, end)).collect();
        if here.iter().map(|used| used.end - used.start).sum::<u64>() < STRIPE_LEN {
            self.read_any(Logical(start), buffer);
        }
        here.iter().try_for_each(|used| {
            self.read(used, reader, &mut buffer[(used.start - start) as usize..(used.end - start) as usize])
        })
    }

    fn parity(
        &self,
        moving: &Moving<'_>,
        row: Logical,
        index: usize,
        reader: &mut DataReader<'_>,
        buffer: &mut [u8],
    ) -> Result<()> {
        let mut columns = Vec::new();
        for column in 0..moving.chunk.data_stripes() {
            let mut bytes = vec![0; STRIPE_LEN as usize];
            let start = row.0.saturating_add(column * STRIPE_LEN);
            self.read_column(moving, start, reader, &mut bytes)?;
            columns.push(bytes);
        }
        let columns: Vec<&[u8]> = columns.iter().map(Vec::as_slice).collect();
        let mut other = vec![0; buffer.len()];
        match index {
            0 => compute_parity(&columns, buffer, &mut other),
            _ => compute_parity(&columns, &mut other, buffer),
        }
        Ok(())
    }
}
