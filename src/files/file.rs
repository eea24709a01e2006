//! The contents of files, piece by piece.

use std::io::{self, Read, Seek, SeekFrom};

use crate::block::decompress::{Compression, Decompressor};
use crate::block::verify::BlockError;
use crate::disk::{Logical, TreeId, flags, objectid};
use crate::error::{Error, FileProblem, RangeProblem, Result};
use crate::tree::{DataEvent, DataReader, Sector, not_placed};
use crate::volume::{BadCopy, NoGoodCopy};

use super::attributes::Attributes;
use super::extents::{CompressedExtent, Extent, Source, Window};
use super::id::{FileKind, InodeId};
use super::notice::Notice;
use super::store::{Files, Subtree};

/// Bytes of an extent that are read at once, at least and at most.
const READ_LEAST: u64 = 64 << 10;
const READ_MOST: u64 = 1 << 20;

/// A range of a file.
#[derive(Debug)]
pub struct Piece<'a> {
    /// Offset in the file and length, in bytes; the length is not 0.
    pub offset: u64,
    /// Bytes of the range, never 0.
    pub length: u64,
    /// What is in it.
    pub content: Content<'a>,
}

/// What is in a range of a file.
#[derive(Debug)]
pub enum Content<'a> {
    /// A hole or preallocated space: zeroes, which need not be written anywhere.
    Zeroes,
    /// As many bytes as the piece is long.
    Data(&'a [u8]),
}

/// A regular file that is read: see [`Files::file`]. As [`Read`] and [`Seek`] it is a stream; an error of its reads is an
/// [`enum@Error`] inside, and the position stays before the range that cannot be read.
///
/// It holds the extents of one leaf and up to a MiB of data.
pub struct File<'f, 'v> {
    pub(super) files: &'f Files<'v>,
    id: InodeId,
    subtree: Subtree,
    attributes: Option<Attributes>,
    pub(super) size: u64,
    window: Option<Window>,
    reader: DataReader<'f>,
    decompressor: Decompressor,
    loaded: Loaded,
    /// Compressed data, and what its sectors are worth.
    compressed: Vec<u8>,
    sectors: Vec<Sector>,
    position: u64,
    /// Bytes are handed out that nothing vouches for.
    takes_bad: bool,
}

/// What was read last.
#[derive(Default)]
struct Loaded {
    /// The range of the file.
    start: u64,
    end: u64,
    bytes: Vec<u8>,
    /// Where in `bytes` the range begins.
    skip: usize,
    /// Where `bytes` lie, if they are as they lie there.
    logical: Logical,
    /// What each sector of `bytes` is worth; empty for what was decompressed or stands in the tree.
    sectors: Vec<Sector>,
    /// The extent that `bytes` were decompressed from.
    extent: Option<(Logical, Compression, usize, usize)>,
}

/// What begins at an offset of the file.
enum Step {
    End,
    Zeroes {
        end: u64,
    },
    /// The bytes are loaded.
    Data {
        end: u64,
    },
}

/// A range that cannot be read, and where it ends.
struct Gap {
    end: u64,
    problem: RangeProblem,
}

impl<'v> Files<'v> {
    /// A regular file, to be read from its beginning. One whose inode item is lost has the size that its extents make.
    ///
    /// # Errors
    ///
    /// There is no such inode, or it is no regular file ([`FileProblem::NotFile`]), or its inode item cannot be read.
    pub fn file(&self, id: InodeId) -> Result<File<'_, 'v>> {
        let attributes = self.find_attributes(id)?;
        match attributes.map(|attributes| attributes.kind()) {
            Some(FileKind::File | FileKind::Unknown) | None => self.contents(id, attributes),
            Some(_) => Err(id.error(FileProblem::NotFile)),
        }
    }

    /// What the extents of an inode hold.
    pub(super) fn contents(&self, id: InodeId, attributes: Option<Attributes>) -> Result<File<'_, 'v>> {
        let subtree = self.tree(id.tree)?;
        let size = match attributes {
            Some(attributes) => attributes.size,
            None => {
                let end = self.last_extent_end(id, &subtree).ok_or_else(|| id.error(FileProblem::NoInode))?;
                self.notice(|| Notice::NoInode { id });
                end
            }
        };
        let reader = self.data_reader();
        let (window, decompressor, loaded, compressed, sectors, position) = Default::default();
        let (files, takes_bad) = (self, false);
        Ok(File {
            files,
            id,
            subtree,
            attributes,
            size,
            window,
            reader,
            decompressor,
            loaded,
            compressed,
            sectors,
            position,
            takes_bad,
        })
    }

    /// The same file where its attributes are known.
    ///
    /// # Errors
    ///
    /// There is no such tree.
    pub fn file_with(&self, id: InodeId, attributes: Attributes) -> Result<File<'_, 'v>> {
        self.contents(id, Some(attributes))
    }

    /// A file whose inode item is lost or cannot be read. It has the size that its extents make.
    ///
    /// # Errors
    ///
    /// There is no such tree, or no extent is found.
    pub fn file_by_extents(&self, id: InodeId) -> Result<File<'_, 'v>> {
        self.contents(id, None)
    }

    /// Fills `buffer` from `offset` on: see [`File::read_at`]. A file that is read more than once is better opened
    /// ([`Files::file`]), which keeps what was read last.
    ///
    /// # Errors
    ///
    /// As [`Files::file`] and [`File::read_at`].
    pub fn read(&self, id: InodeId, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        self.file(id)?.read_at(offset, buffer)
    }
}

impl File<'_, '_> {
    /// The inode.
    pub fn id(&self) -> InodeId {
        self.id
    }

    /// In bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Turns to another file, with the memory of this one.
    ///
    /// # Errors
    ///
    /// There is no such tree.
    pub fn turn_to(&mut self, id: InodeId, attributes: Attributes) -> Result<()> {
        self.subtree = self.files.tree(id.tree)?;
        (self.id, self.attributes, self.size) = (id, Some(attributes), attributes.size);
        (self.window, self.position) = (None, 0);
        self.forget_loaded();
        Ok(())
    }

    /// Nothing where the inode item is lost.
    pub fn attributes(&self) -> Option<&Attributes> {
        self.attributes.as_ref()
    }

    /// The piece that begins at `offset`; nothing at the end of the file. How long a piece is follows from how the data lies.
    ///
    /// # Errors
    ///
    /// A range that begins there cannot be read ([`FileProblem::Range`] has its length): what is behind it may be readable.
    pub fn piece_at(&mut self, offset: u64) -> Result<Option<Piece<'_>>> {
        let step = self.step(offset, READ_MOST);
        let step = step.map_err(|gap| self.error(offset, gap))?;
        let (end, is_data) = match step {
            Step::End => return Ok(None),
            Step::Zeroes { end } => (end, false),
            Step::Data { end } => (end, true),
        };
        let end = end.min(self.size);
        let content = if is_data { Content::Data(self.loaded.range(offset, end)) } else { Content::Zeroes };
        Ok(Some(Piece { offset, length: end - offset, content }))
    }

    /// The next piece of the stream; nothing at its end. Behind a range that cannot be read it goes on with the next: so all
    /// that can be read of a damaged file is read.
    ///
    /// # Errors
    ///
    /// As [`File::piece_at`].
    pub fn next_piece(&mut self) -> Result<Option<Piece<'_>>> {
        let offset = self.position;
        match self.step(offset, READ_MOST) {
            Err(gap) => {
                self.position = gap.end.min(self.size);
                Err(self.error(offset, gap))
            }
            Ok(Step::End) => Ok(None),
            Ok(Step::Zeroes { end }) => {
                self.position = end.min(self.size);
                Ok(Some(Piece { offset, length: self.position - offset, content: Content::Zeroes }))
            }
            Ok(Step::Data { end }) => {
                self.position = end.min(self.size);
                let content = Content::Data(self.loaded.range(offset, self.position));
                Ok(Some(Piece { offset, length: self.position - offset, content }))
            }
        }
    }

    /// Fills `buffer` from `offset` on, and returns how many bytes it has then. It is fewer than there is room for at the end
    /// of the file, and before a range that cannot be read.
    ///
    /// # Errors
    ///
    /// A range that begins at `offset` cannot be read: see [`File::piece_at`].
    pub fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let Some(at) = offset.checked_add(filled as u64) else { break };
            let step = match self.step(at, rest.len() as u64) {
                Ok(step) => step,
                Err(gap) if filled == 0 => return Err(self.error(at, gap)),
                Err(_) => break,
            };
            let end_of = |end: u64| end.min(self.size).min(at.saturating_add(rest.len() as u64));
            let length = match step {
                Step::End => break,
                Step::Zeroes { end } => {
                    let length = (end_of(end) - at) as usize;
                    rest[..length].fill(0);
                    length
                }
                Step::Data { end } => {
                    let bytes = self.loaded.range(at, end_of(end));
                    rest[..bytes.len()].copy_from_slice(bytes);
                    bytes.len()
                }
            };
            if length == 0 {
                break;
            }
            filled += length;
        }
        Ok(filled)
    }

    /// Fills `buffer` from `offset` on, as [`File::read_at`] does, with bytes for which nothing vouches: sectors that no copy
    /// has as their checksum says are those of some copy, and data that lacks its checksums is read without. It is for a range that was
    /// found to be unreadable otherwise.
    ///
    /// # Errors
    ///
    /// What begins at `offset` cannot be read at all.
    pub fn read_bad_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        self.takes_bad = true;
        self.forget_loaded();
        let read = self.read_at(offset, buffer);
        self.takes_bad = false;
        self.forget_loaded();
        read
    }

    fn forget_loaded(&mut self) {
        self.loaded.end = self.loaded.start;
        self.loaded.extent = None;
    }

    /// As [`File::read_at`], and an error also where a range further on cannot be read.
    pub(super) fn read_full(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read_at(offset.saturating_add(filled as u64), &mut buffer[filled..])? {
                0 => break,
                count => filled += count,
            }
        }
        Ok(filled)
    }

    fn error(&self, offset: u64, gap: Gap) -> Error {
        let length = gap.end.min(self.size).saturating_sub(offset);
        self.id.error(FileProblem::Range { offset, length, problem: gap.problem })
    }

    /// Finds what begins at `offset`, and loads it if that is data. About `wanted` bytes of it are wanted.
    fn step(&mut self, offset: u64, wanted: u64) -> Result<Step, Gap> {
        if offset >= self.size {
            return Ok(Step::End);
        }
        if !self.loaded.holds(offset) {
            let window = self.window_at(offset);
            if let Some(problem) = &window.unknown {
                return Err(Gap { end: window.end, problem: problem.clone() });
            }
            let extent = match window.find(offset) {
                Ok(extent) => extent.clone(),
                Err(end) => return Ok(Step::Zeroes { end }),
            };
            if let Some(gap) = self.unmapped(&extent, offset) {
                return Err(gap);
            }
            let end = extent.end;
            match self.load(extent, offset, wanted) {
                Ok(true) => {}
                Ok(false) => return Ok(Step::Zeroes { end }),
                Err(problem) => return Err(Gap { end, problem }),
            }
        }
        self.loaded_step(offset)
    }

    /// The extents around `offset`.
    pub(super) fn window_at(&mut self, offset: u64) -> &Window {
        let window = match self.window.take().filter(|window| window.holds(offset)) {
            Some(window) => window,
            None => self.files.window(self.id, &self.subtree, offset),
        };
        self.window.insert(window)
    }

    /// What of an extent from `offset` on lies in no chunk: it is one gap however long the item says that it is.
    fn unmapped(&self, extent: &Extent, offset: u64) -> Option<Gap> {
        let Source::Plain { logical, .. } = extent.source else { return None };
        let address = Logical(logical.0.saturating_add(offset.saturating_sub(extent.start)));
        let chunks = self.files.volume.chunks();
        if chunks.find(address).is_some() {
            return None;
        }
        let next = chunks.iter().find(|chunk| chunk.logical > address);
        let end = next.map_or(extent.end, |next| offset.saturating_add(next.logical.0 - address.0).min(extent.end));
        let lost = NoGoodCopy { logical: address, bad: Vec::new() };
        Some(Gap { end, problem: RangeProblem::Data { logical: address, problem: lost } })
    }

    /// Loads data of an extent from `offset` on; whether it has any.
    fn load(&mut self, extent: Extent, offset: u64, wanted: u64) -> Result<bool, RangeProblem> {
        self.loaded.end = self.loaded.start;
        let Extent { start, end, source } = extent;
        let skip = match source {
            Source::Hole | Source::Prealloc => return Ok(false),
            Source::Damaged(problem) => return Err(problem),
            Source::Plain { logical, .. } => {
                let end = end.min(self.size).min(offset.saturating_add(wanted.clamp(READ_LEAST, READ_MOST)));
                self.load_plain(logical, start, offset, end)?;
                return Ok(true);
            }
            Source::Compressed(extent) => {
                self.load_compressed(extent, start, end)?;
                extent.offset
            }
            Source::Inline(data) => {
                self.loaded.bytes = data;
                self.loaded.extent = None;
                0
            }
            Source::InlineCompressed { method, data, ram_bytes } => {
                self.loaded.extent = None;
                self.loaded.bytes.resize(ram_bytes, 0);
                let sectorsize = self.files.volume.format().sectorsize;
                let done = self.decompressor.decompress(method, &data, sectorsize, &mut self.loaded.bytes);
                let method = method.name();
                done.map_err(|problem| RangeProblem::Compressed { logical: None, method, problem })?;
                0
            }
        };
        self.loaded.sectors.clear();
        let length = self.loaded.bytes.len().saturating_sub(skip) as u64;
        (self.loaded.start, self.loaded.end, self.loaded.skip) = (start, end.min(start.saturating_add(length)), skip);
        Ok(true)
    }

    /// Fails where the chunk does not tell where its data lies.
    fn refuse_elsewhere(&self, logical: Logical) -> Result<(), RangeProblem> {
        let volume = self.files.volume;
        match volume.chunks().find(logical).and_then(|chunk| not_placed(volume, chunk)) {
            Some(reason) => Err(RangeProblem::NotPlaced { logical, reason }),
            None => Ok(()),
        }
    }

    /// Loads `offset..end` of an extent that begins at `start` of the file and at `logical`.
    fn load_plain(&mut self, logical: Logical, start: u64, offset: u64, end: u64) -> Result<(), RangeProblem> {
        let sectorsize = u64::from(self.files.volume.format().sectorsize);
        let address = logical.0.saturating_add(offset.saturating_sub(start));
        let skip = address % sectorsize;
        let address = Logical(address - skip);
        self.refuse_elsewhere(address)?;
        let length = end.saturating_sub(offset).saturating_add(skip).next_multiple_of(sectorsize);
        let Loaded { bytes, sectors, extent, logical: loaded_from, .. } = &mut self.loaded;
        *extent = None;
        *loaded_from = address;
        bytes.resize(length as usize, 0);
        let (files, id) = (self.files, self.id);
        self.reader.read(address, bytes, sectors, &mut |event| notice_data(files, id, event));
        if self.takes_bad {
            read_bad(files, address, bytes, sectors);
        }
        (self.loaded.start, self.loaded.end, self.loaded.skip) = (offset, end, skip as usize);
        self.notice_unverified();
        Ok(())
    }

    /// Reads a compressed extent and decompresses it, unless that was the last thing that was done.
    fn load_compressed(&mut self, extent: CompressedExtent, start: u64, end: u64) -> Result<(), RangeProblem> {
        let CompressedExtent { logical, method, disk_num_bytes, ram_bytes, .. } = extent;
        let this = Some((logical, method, disk_num_bytes, ram_bytes));
        if self.loaded.extent == this {
            return Ok(());
        }
        self.loaded.extent = None;
        self.refuse_elsewhere(logical)?;
        let (files, id, sectorsize) = (self.files, self.id, self.files.volume.format().sectorsize);
        self.compressed.resize(disk_num_bytes, 0);
        let Self { reader, compressed, sectors, .. } = self;
        reader.read(logical, compressed, sectors, &mut |event| notice_data(files, id, event));
        if self.takes_bad {
            read_bad(files, logical, compressed, sectors);
        }
        let mut is_unverified = false;
        for (index, sector) in self.sectors.iter().enumerate() {
            let address = Logical(logical.0.saturating_add(index as u64 * u64::from(sectorsize)));
            match self.problem_of(sector, address) {
                Some(problem) => return Err(problem),
                None => is_unverified |= *sector == Sector::Unverified,
            }
        }
        if is_unverified && self.needs_csums() {
            files.notice(|| Notice::Unverified { id, offset: start, length: end - start });
        }
        self.loaded.bytes.resize(ram_bytes, 0);
        let done = self.decompressor.decompress(method, &self.compressed, sectorsize, &mut self.loaded.bytes);
        let method = method.name();
        done.map_err(|problem| RangeProblem::Compressed { logical: Some(logical), method, problem })?;
        self.loaded.extent = this;
        Ok(())
    }

    /// Whether data without checksums is not what it should be.
    fn needs_csums(&self) -> bool {
        self.attributes.is_none_or(|attributes| attributes.flags & flags::inode::NODATASUM == 0)
    }

    fn problem_of(&self, sector: &Sector, logical: Logical) -> Option<RangeProblem> {
        match sector {
            Sector::Verified => None,
            Sector::Unverified if !self.needs_csums() || self.files.options.read_unverified || self.takes_bad => None,
            Sector::Unverified => Some(RangeProblem::Unverified { logical }),
            Sector::Lost(lost) => Some(RangeProblem::Data { logical, problem: lost.clone() }),
        }
    }

    fn notice_unverified(&self) {
        let Loaded { start, end, skip, sectors, .. } = &self.loaded;
        if !self.needs_csums() || !self.files.options.read_unverified {
            return;
        }
        let sectorsize = u64::from(self.files.volume.format().sectorsize);
        let in_file = |sector: usize| {
            let place = (sector as u64).saturating_mul(sectorsize).saturating_sub(*skip as u64);
            start.saturating_add(place).min(*end)
        };
        let mut first = 0;
        for run in sectors.chunk_by(|a, b| (*a == Sector::Unverified) == (*b == Sector::Unverified)) {
            let (from, to) = (in_file(first), in_file(first + run.len()));
            if run.first() == Some(&Sector::Unverified) {
                self.files.notice(|| Notice::Unverified { id: self.id, offset: from, length: to.saturating_sub(from) });
            }
            first += run.len();
        }
    }

    /// What of the loaded bytes begins at `offset`: a run of sectors that may be handed out, or of those that may not.
    fn loaded_step(&self, offset: u64) -> Result<Step, Gap> {
        let Loaded { start, end, skip, logical, sectors, .. } = &self.loaded;
        if sectors.is_empty() {
            return Ok(Step::Data { end: *end });
        }
        let sectorsize = u64::from(self.files.volume.format().sectorsize);
        let place = offset.saturating_sub(*start).saturating_add(*skip as u64);
        let first = (place / sectorsize) as usize;
        let address = |sector: usize| Logical(logical.0.saturating_add(sector as u64 * sectorsize));
        let problem = |index: usize| sectors.get(index).and_then(|sector| self.problem_of(sector, address(index)));
        let first_problem = problem(first);
        let is_like_first = |index: &usize| problem(*index).is_some() == first_problem.is_some();
        let count = (first..sectors.len()).take_while(is_like_first).count();
        let behind = (first + count) as u64 * sectorsize;
        let run_end = start.saturating_add(behind.saturating_sub(*skip as u64)).min(*end);
        match first_problem {
            None => Ok(Step::Data { end: run_end }),
            Some(problem) => Err(Gap { end: run_end, problem }),
        }
    }
}

impl Loaded {
    fn holds(&self, offset: u64) -> bool {
        (self.start..self.end).contains(&offset)
    }

    /// The bytes of a range of the file that is loaded.
    fn range(&self, start: u64, end: u64) -> &[u8] {
        let place = |offset: u64| self.skip.saturating_add(offset.saturating_sub(self.start) as usize);
        self.bytes.get(place(start)..place(end)).unwrap_or_default()
    }
}

/// Puts the bytes of some copy in the place of sectors that are lost. Those of which no copy can be read stay so.
fn read_bad(files: &Files<'_>, logical: Logical, bytes: &mut [u8], sectors: &mut [Sector]) {
    let sectorsize = files.volume.format().sectorsize as usize;
    for (index, (sector, bytes)) in sectors.iter_mut().zip(bytes.chunks_exact_mut(sectorsize)).enumerate() {
        let Sector::Lost(lost) = sector else { continue };
        let is_read = |copy: &&BadCopy| matches!(copy.error, BlockError::Csum { .. });
        let Some(mirror) = lost.bad.iter().find(is_read).map(|copy| copy.mirror) else { continue };
        let address = Logical(logical.0.saturating_add((index * sectorsize) as u64));
        if files.volume.read(address, mirror, bytes).is_ok() {
            *sector = Sector::Unverified;
        }
    }
}

fn notice_data(files: &Files<'_>, id: InodeId, event: DataEvent<'_>) {
    match event {
        DataEvent::BadCopy(logical, copy) => files.notice(|| Notice::DataCopy { id, logical, copy: copy.clone() }),
        DataEvent::BadCsumBlock(logical, copy) => files.notice_copy(TreeId(objectid::CSUM_TREE), logical, copy),
        DataEvent::UnreadableCsums(unreadable) => files.notice_block(TreeId(objectid::CSUM_TREE), &unreadable.block),
    }
}

impl Read for File<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.read_at(self.position, buffer).map_err(io::Error::other)?;
        self.position = self.position.saturating_add(count as u64);
        Ok(count)
    }
}

impl Seek for File<'_, '_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(offset) => self.size.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}
