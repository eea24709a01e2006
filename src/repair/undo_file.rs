//! Undo files, written and read.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh64::{Xxh64, xxh64};
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U32, U64};

use crate::disk::Physical;
use crate::disk::superblock::{SUPER_INFO_SIZE, SUPER_OFFSETS, super_offsets};
use crate::error::{Error, Result, UndoProblem};
use crate::volume::Device;

use super::undo_format::{
    END, LONGEST, MAGIC, RANGE, SECTOR, SUPERBLOCKS_LAST, UNREADABLE, UndoDevice, UndoEnd, UndoHeader, UndoRange,
    VERSION,
};

/// Bytes of the checksum that ends each struct.
const CSUM: usize = size_of::<U64>();
const RECORD: usize = size_of::<UndoRange>();

// Either may follow a range.
const _: () = assert!(RECORD == size_of::<UndoEnd>());

/// When the superblocks that a file holds are put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// They lead to blocks that no range touches: before all others.
    SuperblocksFirst,
    /// They lead to blocks that the file holds: after all others.
    SuperblocksLast,
}

impl Order {
    /// That of a file which undoes what this one does.
    pub fn reversed(self) -> Self {
        match self {
            Self::SuperblocksFirst => Self::SuperblocksLast,
            Self::SuperblocksLast => Self::SuperblocksFirst,
        }
    }
}

/// What a range of a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The primary superblock.
    Primary,
    /// A mirror of the superblock.
    Mirror,
    /// Anything else.
    Other,
}

/// What begins at `offset` of an image of `size` bytes.
pub fn part_at(offset: u64, size: u64) -> Part {
    match super_offsets(size).find(|superblock| superblock.0 == offset) {
        Some(superblock) if superblock == SUPER_OFFSETS[0] => Part::Primary,
        Some(_) => Part::Mirror,
        None => Part::Other,
    }
}

/// A range of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Index of the device in the file.
    pub device: usize,
    /// First byte on the device.
    pub offset: Physical,
    /// Bytes of the range.
    pub length: usize,
    /// What it is.
    pub part: Part,
    /// Whether its old bytes could be read.
    pub is_saved: bool,
}

impl UndoDevice {
    /// The record of a device.
    pub fn of(device: &Device) -> Self {
        let (fsid, uuid) = (device.fsid(), device.uuid());
        let (devid, size) = (device.devid().into(), device.image().size().into());
        let mut record = Self { fsid, uuid, devid, size, csum: 0.into() };
        record.csum = csum_before_field(record.as_bytes()).into();
        record
    }
}

/// The checksum of a struct that ends with it.
fn csum_before_field(bytes: &[u8]) -> u64 {
    xxh64(&bytes[..bytes.len().saturating_sub(CSUM)], 0)
}

/// Makes a file that must not be there, fills it, and returns when it is on the disk under its name. After an error there is no
/// such file.
pub fn with_new_file(
    path: &Path,
    order: Order,
    devices: &[UndoDevice],
    fill: impl FnOnce(&mut UndoWriter) -> Result<()>,
) -> Result<()> {
    let error = |source| Error::Open { path: path.to_owned(), source };
    // Not even through a symbolic link is a file opened that is there, such as an image.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(error)?;
    let filled = UndoWriter::new(path, file, order, devices).and_then(|mut writer| {
        fill(&mut writer)?;
        writer.finish()
    });
    if filled.is_err() {
        // Of the two errors the first counts.
        let _ = std::fs::remove_file(path);
    }
    filled
}

/// An undo file that is being written.
pub struct UndoWriter {
    path: PathBuf,
    file: File,
    position: u64,
    ranges: u64,
    hash: Xxh64,
    record: Vec<u8>,
}

impl UndoWriter {
    fn new(path: &Path, file: File, order: Order, devices: &[UndoDevice]) -> Result<Self> {
        let (position, ranges, hash, record) = (0, 0, Xxh64::new(0), Vec::new());
        let mut writer = Self { path: path.to_owned(), file, position, ranges, hash, record };
        let flags = if order == Order::SuperblocksLast { SUPERBLOCKS_LAST } else { 0 };
        let (version, flags, reserved) = (VERSION.into(), flags.into(), 0.into());
        let count = number(devices.len())?;
        let mut header = UndoHeader { magic: MAGIC, version, flags, devices: count, reserved, csum: 0.into() };
        header.csum = csum_before_field(header.as_bytes()).into();
        writer.put(header.as_bytes())?;
        devices.iter().try_for_each(|device| writer.put(device.as_bytes()))?;
        Ok(writer)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        let (path, offset) = (&self.path, Physical(self.position));
        self.file.write_all(bytes).map_err(|source| Error::Write { path: path.clone(), offset, source })?;
        self.hash.update(bytes);
        self.position += bytes.len() as u64;
        Ok(())
    }

    /// Adds a range of the device with this index, in the order of the file.
    pub fn add(&mut self, device: usize, offset: Physical, old: &[u8], new: &[u8]) -> Result<()> {
        self.add_flagged(device, offset, 0, old, new)
    }

    /// Adds a range whose old bytes could not be read.
    pub fn add_unreadable(&mut self, device: usize, offset: Physical, new: &[u8]) -> Result<()> {
        self.add_flagged(device, offset, UNREADABLE, &vec![0; new.len()], new)
    }

    fn add_flagged(&mut self, device: usize, offset: Physical, flags: u32, old: &[u8], new: &[u8]) -> Result<()> {
        let head = UndoRange {
            kind: RANGE.into(),
            device: number(device)?,
            offset: offset.0.into(),
            length: number(old.len())?,
            flags: flags.into(),
            csum: 0.into(),
        };
        let mut record = std::mem::take(&mut self.record);
        record.clear();
        record.extend_from_slice(head.as_bytes());
        record.extend_from_slice(old);
        new.chunks(SECTOR).for_each(|sector| record.extend_from_slice(&xxh64(sector, 0).to_le_bytes()));
        let csum = csum_of_range(&record);
        record[RECORD - CSUM..RECORD].copy_from_slice(&csum.to_le_bytes());
        let put = self.put(&record);
        self.record = record;
        self.ranges += 1;
        put
    }

    fn finish(mut self) -> Result<()> {
        let (kind, reserved, ranges, unused) = (END.into(), 0.into(), self.ranges.into(), 0.into());
        let mut end = UndoEnd { kind, reserved, ranges, unused, csum: 0.into() };
        self.hash.update(&end.as_bytes()[..RECORD - CSUM]);
        end.csum = self.hash.digest().into();
        self.put(end.as_bytes())?;
        let error = |source| Error::Sync { path: self.path.clone(), source };
        self.file.sync_all().map_err(error)?;
        // Its name, too.
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new("."))).and_then(|directory| directory.sync_all()).map_err(error)
    }
}

/// A number as the file has it. There are never as many devices, nor is a range as long, as would not fit.
fn number(value: usize) -> Result<U32> {
    let problem = || Error::Internal { problem: format!("an undo file cannot hold the number {value}") };
    u32::try_from(value).map(U32::from).map_err(|_| problem())
}

/// The checksum of a range with all that belongs to it.
fn csum_of_range(record: &[u8]) -> u64 {
    let mut hash = Xxh64::new(0);
    hash.update(&record[..RECORD - CSUM]);
    hash.update(&record[RECORD..]);
    hash.digest()
}

/// What a range held, and what was written to it.
pub struct Saved<'f> {
    /// Where it is.
    pub place: Place,
    /// The bytes that stood there.
    pub old: &'f [u8],
    csums: &'f [u8],
}

impl Saved<'_> {
    /// The first byte of the first sector of `now` that is neither what stood there nor what was written.
    pub fn first_changed(&self, now: &[u8]) -> Option<Physical> {
        let sectors = now.chunks(SECTOR).zip(self.old.chunks(SECTOR)).zip(self.csums.chunks(CSUM));
        let is_changed =
            |((now, old), csum): ((&[u8], &[u8]), &[u8])| now != old && xxh64(now, 0).to_le_bytes() != *csum;
        let index = sectors.map(is_changed).position(|is_changed| is_changed)?;
        self.place.offset.checked_add((index * SECTOR) as u64)
    }
}

/// An undo file that was verified from its beginning to its end.
#[derive(Debug)]
pub struct UndoFile {
    path: PathBuf,
    file: File,
    /// When its superblocks are put back.
    pub order: Order,
    /// The devices, in the order of their indexes.
    pub devices: Vec<UndoDevice>,
    /// How many ranges each device has.
    pub ranges: Vec<u64>,
    /// Bytes of all ranges.
    pub bytes: u64,
    /// Where the records of ranges stand.
    records: Range<u64>,
}

impl UndoFile {
    /// Opens a file, and reads all of it.
    ///
    /// # Errors
    /// It cannot be read, or [`Error::Undo`].
    pub fn open(path: &Path) -> Result<Self> {
        let error = |source| Error::Open { path: path.to_owned(), source };
        let metadata = std::fs::metadata(path).map_err(error)?;
        let problem = |problem| Error::Undo { path: path.to_owned(), problem };
        // To open a pipe may take forever.
        if !metadata.is_file() {
            return Err(problem(UndoProblem::NotUndoFile));
        }
        let file = File::open(path).map_err(error)?;
        let (devices, ranges, order) = (Vec::new(), Vec::new(), Order::SuperblocksFirst);
        let mut opened = Self { path: path.to_owned(), file, order, devices, ranges, bytes: 0, records: 0..0 };
        opened.verify()?;
        Ok(opened)
    }

    /// An error of this file.
    pub fn error(&self, problem: UndoProblem) -> Error {
        Error::Undo { path: self.path.clone(), problem }
    }

    fn damaged(&self, offset: u64) -> Error {
        self.error(UndoProblem::Damaged { offset })
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(buffer, offset).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => self.error(UndoProblem::Cut),
            _ => Error::Read { path: self.path.clone(), offset: Physical(offset), source },
        })
    }

    fn verify(&mut self) -> Result<()> {
        let mut header = UndoHeader::zeroed();
        let mut hash = Xxh64::new(0);
        self.read(0, header.as_mut_bytes()).map_err(|error| match error {
            Error::Undo { .. } => self.error(UndoProblem::NotUndoFile),
            error => error,
        })?;
        if header.magic != MAGIC {
            return Err(self.error(UndoProblem::NotUndoFile));
        }
        if header.version.get() != VERSION {
            return Err(self.error(UndoProblem::Version { have: header.version.get(), known: VERSION }));
        }
        let flags = header.flags.get();
        if header.csum.get() != csum_before_field(header.as_bytes()) || flags & !SUPERBLOCKS_LAST != 0 {
            return Err(self.damaged(0));
        }
        self.order = if flags & SUPERBLOCKS_LAST == 0 { Order::SuperblocksFirst } else { Order::SuperblocksLast };
        hash.update(header.as_bytes());
        let mut position = header.as_bytes().len() as u64;
        let mut uuids = HashSet::new();
        for _ in 0..header.devices.get() {
            let mut device = UndoDevice::zeroed();
            self.read(position, device.as_mut_bytes())?;
            if device.csum.get() != csum_before_field(device.as_bytes()) || !uuids.insert(device.uuid) {
                return Err(self.damaged(position));
            }
            hash.update(device.as_bytes());
            position += device.as_bytes().len() as u64;
            self.devices.push(device);
            self.ranges.push(0);
        }
        self.records.start = position;
        let (mut record, mut before) = (Vec::new(), (0, 0));
        loop {
            self.read_head(position, &mut record)?;
            if let Some((end, _)) = UndoEnd::read_prefix(&record).filter(|(end, _)| end.kind.get() == END) {
                hash.update(&record[..RECORD - CSUM]);
                let is_right = end.ranges.get() == self.ranges.iter().sum::<u64>() && end.csum.get() == hash.digest();
                let length = self.file.metadata().map_or(0, |metadata| metadata.len());
                if !is_right || length != position + RECORD as u64 {
                    return Err(self.damaged(position));
                }
                self.records.end = position;
                return Ok(());
            }
            let place = self.place(position, &record)?;
            let start = (place.device, place.offset.0);
            if start < before {
                return Err(self.damaged(position));
            }
            before = (place.device, place.offset.0 + place.length as u64);
            self.read_rest(position, place, &mut record)?;
            hash.update(&record);
            self.ranges[place.device] += 1;
            self.bytes += place.length as u64;
            position += record.len() as u64;
        }
    }

    fn read_head(&self, position: u64, record: &mut Vec<u8>) -> Result<()> {
        record.clear();
        record.resize(RECORD, 0);
        self.read(position, record)
    }

    /// The place that a record at `position` is of: a range within its device, and a superblock whole or not at all.
    fn place(&self, position: u64, record: &[u8]) -> Result<Place> {
        let damaged = || self.damaged(position);
        let (head, _) = UndoRange::read_prefix(record).ok_or_else(damaged)?;
        let device = head.device.get() as usize;
        let size = self.devices.get(device).ok_or_else(damaged)?.size.get();
        let (offset, length) = (head.offset.get(), u64::from(head.length.get()));
        let end = offset.checked_add(length).filter(|end| *end <= size).ok_or_else(damaged)?;
        let superblock = SUPER_INFO_SIZE as u64;
        let is_split = |other: Physical| {
            offset < other.0 + superblock && other.0 < end && (offset, length) != (other.0, superblock)
        };
        let flags = head.flags.get();
        if head.kind.get() != RANGE
            || flags & !UNREADABLE != 0
            || length == 0
            || length > LONGEST
            || super_offsets(size).any(is_split)
        {
            return Err(damaged());
        }
        let (part, is_saved) = (part_at(offset, size), flags & UNREADABLE == 0);
        Ok(Place { device, offset: Physical(offset), length: length as usize, part, is_saved })
    }

    /// Reads what comes behind the head of a record.
    fn read_rest(&self, position: u64, place: Place, record: &mut Vec<u8>) -> Result<()> {
        record.resize(RECORD + length_of_rest(place), 0);
        self.read(position + RECORD as u64, &mut record[RECORD..])?;
        let stored = UndoRange::read_prefix(record).map(|(head, _)| head.csum.get());
        if stored != Some(csum_of_range(record)) {
            return Err(self.damaged(position));
        }
        Ok(())
    }

    /// Hands the ranges that are `wanted` to `visit`, in the order of the file. The first error ends that.
    pub fn for_each(
        &self,
        wanted: impl Fn(&Place) -> bool,
        mut visit: impl FnMut(&Saved<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut record = Vec::new();
        let mut position = self.records.start;
        while position < self.records.end {
            self.read_head(position, &mut record)?;
            let place = self.place(position, &record)?;
            if wanted(&place) {
                self.read_rest(position, place, &mut record)?;
                let (old, csums) = record[RECORD..].split_at(place.length);
                visit(&Saved { place, old, csums })?;
            }
            position += (RECORD + length_of_rest(place)) as u64;
        }
        Ok(())
    }
}

/// Bytes behind the head of a range's record.
fn length_of_rest(place: Place) -> usize {
    place.length + place.length.div_ceil(SECTOR) * CSUM
}
