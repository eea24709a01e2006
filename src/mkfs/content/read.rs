//! What a thread does: reads, compresses and sums, and makes the items of inodes.

use std::ops::Range;
use std::sync::Arc;

use zerocopy::IntoBytes;

use crate::disk::csum::CsumType;
use crate::disk::flags::inode::{NODATACOW, NODATASUM};
use crate::disk::inode::compression;
use crate::disk::{Key, KeyType, objectid};
use crate::error::{Error, Result};

use super::super::options::MAX_INLINE;
use super::super::source::{At, Source, SourceFile};
use super::compress::{self, Compressor, Method};
use super::items::{Encoding, Items, Name, Sizes};
use super::names::Names;
use super::plan::{InodeKind, Large, Piece, Planned, PlannedName, Work, segments};
use super::transfer::Transfer;

/// How to read.
pub struct Reading<'a, S> {
    pub source: &'a S,
    pub encoding: Encoding,
    pub csum_type: CsumType,
    pub transfer: Transfer,
}

/// What comes next in a tree.
#[derive(Debug)]
pub enum Step {
    /// So many items.
    Items(usize),
    Data(Data),
    /// The entries of a directory.
    Names(u64, Names),
}

/// A part of a file that has a place of its own.
#[derive(Clone, Copy, Debug)]
pub struct Data {
    pub inode: u64,
    /// In the file.
    pub offset: u64,
    pub num_bytes: u64,
    /// Bytes on disk.
    pub length: u64,
    pub compression: u8,
    /// Bytes of data in the file from `offset` on. More than `length` if the next part goes on with them.
    pub run: u64,
    pub has_csums: bool,
}

/// What a thread made of a job. Its buffers serve the next one.
pub struct Batch<S: Source> {
    pub steps: Vec<Step>,
    pub items: Items,
    /// The data of all [`Step::Data`], one after the other.
    data: Vec<u8>,
    data_end: usize,
    /// The file that all of the data is shared with, and where in it the data begins.
    pub origin: Option<(Arc<Large<S::File>>, u64)>,
    /// The checksums of those that have some.
    pub csums: Vec<u8>,
    /// Bytes of files.
    pub file_bytes: u64,
    pub files: u64,
    /// Items that a step was made for.
    stepped: usize,
    plain: Vec<u8>,
    values: Vec<(Vec<u8>, Vec<u8>)>,
    compressor: Option<Compressor>,
    reader: S::Reader,
}

impl<S: Source> Default for Batch<S> {
    fn default() -> Self {
        let (steps, items, data, data_end, origin, csums, file_bytes, files) = Default::default();
        let (stepped, plain, values, compressor, reader) = Default::default();
        Self {
            steps,
            items,
            data,
            data_end,
            origin,
            csums,
            file_bytes,
            files,
            stepped,
            plain,
            values,
            compressor,
            reader,
        }
    }
}

impl<S: Source> Batch<S> {
    pub fn data(&self) -> &[u8] {
        &self.data[..self.data_end]
    }

    /// Does a job.
    pub fn fill(&mut self, reading: &Reading<'_, S>, work: Work<S::File>) -> Result<()> {
        self.steps.clear();
        self.items.clear();
        self.csums.clear();
        (self.data_end, self.stepped, self.file_bytes, self.files) = (0, 0, 0, 0);
        self.origin = None;
        match work {
            Work::Inodes(inodes) => {
                for planned in inodes {
                    self.add(reading, planned)?;
                }
                reading.source.rest(&mut self.reader);
            }
            Work::Piece(piece) => self.add_piece(reading, &piece)?,
        }
        self.step_items();
        Ok(())
    }

    fn step_items(&mut self) {
        let new = self.items.len() - self.stepped;
        if new > 0 {
            self.steps.push(Step::Items(new));
            self.stepped += new;
        }
    }

    fn add(&mut self, reading: &Reading<'_, S>, planned: Planned<S::File>) -> Result<()> {
        let Planned { inode, attributes, flags, names, directory, id, kind } = planned;
        let at = At { id, directory: &directory, name: opened_as(inode, &names), attributes: &attributes };
        let new = Inode { reading, inode, at, flags, names: &names };
        match kind {
            InodeKind::Directory(mut entries) => {
                self.read_xattrs(&new, None)?;
                self.push_inode(&new, Sizes { size: entries.size(), nbytes: 0 })?;
                entries.sort();
                self.step_items();
                self.steps.push(Step::Names(inode, entries));
            }
            InodeKind::Large(large) => {
                self.read_xattrs(&new, Some(&large.file))?;
                let nbytes = large.segments.iter().map(|segment| segment.end - segment.start).sum();
                self.push_inode(&new, Sizes { size: attributes.size, nbytes })?;
                if large.segments.is_empty() {
                    self.push_hole(&new, 0);
                }
                self.files += 1;
            }
            // One without contents is not opened: that takes longer than all else.
            InodeKind::Other if attributes.is_file() && attributes.size > 0 => {
                let file = reading.source.open(&mut self.reader, &at)?;
                self.read_xattrs(&new, Some(&file))?;
                self.add_file(&new, &file)?;
                self.files += 1;
            }
            InodeKind::Other => {
                self.read_xattrs(&new, None)?;
                let is_symlink = attributes.is_symlink();
                let target = if is_symlink { reading.source.symlink(&mut self.reader, &at)? } else { Vec::new() };
                let (size, limit) = (target.len() as u64, reading.encoding.inline_limit());
                self.push_inode(&new, Sizes { size, nbytes: size })?;
                if target.len() > limit {
                    let nodesize = reading.encoding.nodesize;
                    return Err(new.unfit(format!("symlink of {size} bytes, nodesize {nodesize} has room for {limit}")));
                }
                if !target.is_empty() {
                    reading.encoding.push_inline(&mut self.items, inode, target.len(), compression::NONE, &target);
                }
            }
        }
        Ok(())
    }

    fn read_xattrs(&mut self, new: &Inode<'_, S>, file: Option<&S::File>) -> Result<()> {
        self.values.clear();
        let values = &mut self.values;
        let mut visit = |name: &[u8], value: &[u8]| values.push((name.to_vec(), value.to_vec()));
        new.reading.source.xattrs(&mut self.reader, &new.at, file, &mut visit)
    }

    /// Adds an inode, its names and the extended attributes that were read.
    fn push_inode(&mut self, new: &Inode<'_, S>, sizes: Sizes) -> Result<()> {
        let Inode { reading, inode, at, flags, names } = *new;
        let item = reading.encoding.inode(at.attributes, flags, names.len() as u32, sizes);
        self.items.push(Key::new(inode, KeyType::INODE_ITEM, 0), &[item.as_bytes()]);
        let all: Vec<Name<'_>> =
            names.iter().map(|name| Name { parent: name.parent, index: name.index, name: &name.name }).collect();
        if !reading.encoding.push_names(&mut self.items, inode, &all) {
            return Err(new.unfit(format!("has {} names, too many without the feature extref", all.len())));
        }
        let pushed = reading.encoding.push_xattrs(&mut self.items, inode, &mut self.values);
        pushed.map_err(|name| {
            let (name, nodesize) = (name.escape_ascii(), reading.encoding.nodesize);
            new.unfit(format!("extended attribute {name} is too large for nodesize {nodesize}"))
        })
    }

    /// Adds a hole from `start` to the end of a file.
    fn push_hole(&mut self, new: &Inode<'_, S>, start: u64) {
        let sectorsize = u64::from(new.reading.encoding.sectorsize);
        let end = new.at.attributes.size.next_multiple_of(sectorsize);
        new.reading.encoding.push_hole(&mut self.items, new.inode, start..end.max(start));
    }

    /// Adds a file that is read at once.
    fn add_file(&mut self, new: &Inode<'_, S>, file: &S::File) -> Result<()> {
        let (size, sectorsize) = (new.at.attributes.size, u64::from(new.reading.encoding.sectorsize));
        let segments = segments(new.reading.source, &new.at, file, sectorsize)?;
        // Past the end as far as the last sector: zeros.
        let end = size.next_multiple_of(sectorsize);
        let mut plain = std::mem::take(&mut self.plain);
        reserve(&mut plain, end as usize);
        let outcome = self.read_segments(file, &mut plain, &segments, size).and_then(|()| {
            file.check_unchanged()?;
            self.add_contents(new, &plain[..end as usize], &segments)
        });
        self.plain = plain;
        outcome
    }

    fn read_segments(&mut self, file: &S::File, plain: &mut [u8], segments: &[Range<u64>], size: u64) -> Result<()> {
        for segment in segments {
            let end = segment.end.min(size) as usize;
            file.read_exact_at(&mut plain[segment.start as usize..end], segment.start)?;
            plain[end..segment.end as usize].fill(0);
            self.file_bytes += end as u64 - segment.start;
        }
        Ok(())
    }

    /// Adds the contents of a file that is in memory.
    fn add_contents(&mut self, new: &Inode<'_, S>, plain: &[u8], segments: &[Range<u64>]) -> Result<()> {
        let Inode { reading, inode, at, .. } = *new;
        let size = at.attributes.size as usize;
        let covers_all = matches!(segments, [only] if only.start == 0 && only.end as usize == plain.len());
        if covers_all && let Some((compression, length)) = self.inline(new, &plain[..size])? {
            self.push_inode(new, Sizes { size: size as u64, nbytes: size as u64 })?;
            let data =
                if compression == compression::NONE { &plain[..size] } else { &self.data[self.data_end..][..length] };
            reading.encoding.push_inline(&mut self.items, inode, size, compression, data);
            return Ok(());
        }
        let nbytes = segments.iter().map(|segment| segment.end - segment.start).sum();
        self.push_inode(new, Sizes { size: size as u64, nbytes })?;
        let mut position = 0;
        for segment in segments {
            reading.encoding.push_hole(&mut self.items, inode, position..segment.start);
            let data = &plain[segment.start as usize..segment.end as usize];
            let length = size.min(segment.end as usize) - segment.start as usize;
            self.add_data(reading, inode, new.flags, segment.start, data, length, data.len() as u64)?;
            position = segment.end;
        }
        self.push_hole(new, position);
        Ok(())
    }

    /// Whether a whole file stands in its leaf, and how: its compression, and how long the compressed data is, which
    /// stands behind the data of the batch then.
    fn inline(&mut self, new: &Inode<'_, S>, contents: &[u8]) -> Result<Option<(u8, usize)>> {
        let encoding = &new.reading.encoding;
        let limit = (MAX_INLINE as usize).min(encoding.inline_limit());
        let (size, sectorsize) = (contents.len(), encoding.sectorsize as usize);
        if size == 0 || size > sectorsize {
            return Ok(None);
        }
        if let Some(method) = new.reading.method_for(new.flags) {
            let room = limit.min(size - 1);
            if let Some(length) = self.compress(method, contents, sectorsize, room)? {
                return Ok(Some((method.raw(), length)));
            }
        }
        Ok((size <= limit && size < sectorsize).then_some((compression::NONE, size)))
    }

    /// Compresses to the end of the data, where at most `room` bytes may be taken.
    fn compress(&mut self, method: Method, plain: &[u8], sectorsize: usize, room: usize) -> Result<Option<usize>> {
        let end = self.data_end;
        reserve(&mut self.data, end + room);
        let compressor = match &mut self.compressor {
            Some(compressor) => compressor,
            none => none.insert(Compressor::new(method)?),
        };
        Ok(compressor.compress(plain, sectorsize, &mut self.data[end..end + room]))
    }

    fn add_piece(&mut self, reading: &Reading<'_, S>, piece: &Piece<S::File>) -> Result<()> {
        let Piece { inode, flags, file, range, hole_before, hole_after, run } = piece;
        reading.encoding.push_hole(&mut self.items, *inode, hole_before.clone());
        let length = (range.end - range.start) as usize;
        let inside = (range.end.min(file.size) - range.start) as usize;
        let mut plain = std::mem::take(&mut self.plain);
        // What is not compressed is read to where it is written from.
        let is_compressed = reading.method_for(*flags).is_some();
        let buffer = if is_compressed { &mut plain } else { &mut self.data };
        reserve(buffer, length);
        let read = file.file.read_exact_at(&mut buffer[..inside], range.start);
        buffer[inside..length].fill(0);
        read?;
        file.file.check_unchanged()?;
        self.file_bytes += inside as u64;
        self.origin = (reading.transfer == Transfer::Shared).then(|| (Arc::clone(file), range.start));
        if is_compressed {
            self.add_data(reading, *inode, *flags, range.start, &plain[..length], inside, *run)?;
        } else {
            self.push_data(reading, *flags, Data::plain(*inode, range.start, length as u64, *run));
        }
        self.plain = plain;
        reading.encoding.push_hole(&mut self.items, *inode, hole_after.clone());
        Ok(())
    }

    /// Adds data in whole sectors, of which `length` bytes are the file's.
    #[expect(clippy::too_many_arguments, reason = "a range of a file, and the file")]
    fn add_data(
        &mut self,
        reading: &Reading<'_, S>,
        inode: u64,
        flags: u64,
        start: u64,
        plain: &[u8],
        length: usize,
        run: u64,
    ) -> Result<()> {
        let Some(method) = reading.method_for(flags) else {
            self.append(plain);
            self.push_data(reading, flags, Data::plain(inode, start, plain.len() as u64, run));
            return Ok(());
        };
        let sectorsize = reading.encoding.sectorsize as usize;
        let mut plain_end = None;
        for (sectors, offset) in plain.chunks(compress::LIMIT).zip((0..).step_by(compress::LIMIT)) {
            let contents = &sectors[..sectors.len().min(length - offset)];
            let offset = start + offset as u64;
            // A sector must be saved at least.
            let room = sectors.len() - sectorsize;
            let compressed = if room == 0 { None } else { self.compress(method, contents, sectorsize, room)? };
            let num_bytes = sectors.len() as u64;
            if let Some(length) = compressed {
                let whole = length.next_multiple_of(sectorsize);
                self.data[self.data_end + length..self.data_end + whole].fill(0);
                let compression = method.raw();
                let length = whole as u64;
                self.push_data(
                    reading,
                    flags,
                    Data { inode, offset, num_bytes, length, compression, run: 0, has_csums: true },
                );
                continue;
            }
            self.append(sectors);
            // Neighbours that are stored as they are make one extent.
            if plain_end == Some(offset)
                && let Some(Step::Data(last)) = self.steps.last_mut()
            {
                (last.num_bytes, last.length, last.run) =
                    (last.num_bytes + num_bytes, last.length + num_bytes, last.run + num_bytes);
                self.data_end += sectors.len();
                self.push_csums(reading, sectors.len());
            } else {
                self.push_data(reading, flags, Data::plain(inode, offset, num_bytes, num_bytes));
            }
            plain_end = Some(offset + num_bytes);
        }
        Ok(())
    }

    /// Copies behind the data, for [`Batch::push_data`] to take it.
    fn append(&mut self, plain: &[u8]) {
        let end = self.data_end + plain.len();
        reserve(&mut self.data, end);
        self.data[self.data_end..end].copy_from_slice(plain);
    }

    /// Takes data that stands behind that of the batch.
    fn push_data(&mut self, reading: &Reading<'_, S>, flags: u64, data: Data) {
        self.step_items();
        self.data_end += data.length as usize;
        let has_csums = flags & NODATASUM == 0;
        if has_csums {
            self.push_csums(reading, data.length as usize);
        }
        self.steps.push(Step::Data(Data { has_csums, ..data }));
    }

    /// Sums the last `length` bytes of data.
    fn push_csums(&mut self, reading: &Reading<'_, S>, length: usize) {
        let size = reading.csum_type.size();
        for sector in self.data[self.data_end - length..self.data_end].chunks(reading.encoding.sectorsize as usize) {
            self.csums.extend_from_slice(&reading.csum_type.compute(sector)[..size]);
        }
    }
}

impl Data {
    fn plain(inode: u64, offset: u64, length: u64, run: u64) -> Self {
        Self { inode, offset, num_bytes: length, length, compression: compression::NONE, run, has_csums: true }
    }
}

impl<S> Reading<'_, S> {
    /// The kernel compresses nothing that has no checksums.
    fn method_for(&self, flags: u64) -> Option<Method> {
        self.transfer.method().filter(|_| flags & (NODATACOW | NODATASUM) == 0)
    }
}

/// An inode that is being made.
struct Inode<'a, S> {
    reading: &'a Reading<'a, S>,
    inode: u64,
    at: At<'a>,
    flags: u64,
    names: &'a [PlannedName],
}

impl<S: Source> Inode<'_, S> {
    fn unfit(&self, problem: String) -> Error {
        Error::Unfit { path: self.reading.source.path_of(&self.at.path()), problem }
    }
}

/// What an inode is called in its directory. The top of a tree has no name.
fn opened_as(inode: u64, names: &[PlannedName]) -> &[u8] {
    if inode == objectid::ROOT_DIR { b"." } else { &names[0].name }
}

/// Makes room, and keeps what is there.
fn reserve(buffer: &mut Vec<u8>, length: usize) {
    if buffer.len() < length {
        buffer.resize(length, 0);
    }
}
