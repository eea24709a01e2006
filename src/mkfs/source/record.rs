//! What a source told, in a temporary file: directory after directory, each with its entries.
//!
//! Inodes are numbered in the order of this file, so that reading it from the beginning yields them in the order of
//! their keys; and the directories among them come in the order in which their own entries follow.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::attributes::Attributes;

/// Bytes read and written at once.
const BUFFER: usize = 256 << 10;

/// A directory; its entries follow. Its path below the root of the source follows at once.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct DirectoryRecord {
    inode: u64,
    flags: u64,
    entries: u64,
    /// Bytes of all entries.
    length: u64,
    path_len: u64,
}

/// What an entry leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct What(u64);

impl What {
    /// An inode that has its first name here.
    pub const INODE: What = What(0);
    /// An inode that has a name already.
    pub const LINK: What = What(1);
    pub const SUBVOLUME: What = What(2);
}

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct EntryRecord {
    attributes: Attributes,
    what: What,
    target: u64,
    flags: u64,
    id: u64,
    name_len: u64,
}

/// An entry of a directory.
#[derive(Clone, Debug)]
pub struct Entry {
    pub attributes: Attributes,
    pub what: What,
    /// The inode, or the subvolume.
    pub target: u64,
    /// The inode's flags.
    pub flags: u64,
    /// What the source finds the contents by.
    pub id: u64,
    pub name: Vec<u8>,
}

/// An entry to be written.
#[derive(Clone, Copy, Debug)]
pub struct NewEntry<'e> {
    pub attributes: &'e Attributes,
    pub what: What,
    pub target: u64,
    pub flags: u64,
    pub id: u64,
    pub name: &'e [u8],
}

/// A directory that was read.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    pub inode: u64,
    /// The inode's flags.
    pub flags: u64,
    /// Below the root of the source.
    pub path: Vec<u8>,
    /// Number of its entries.
    pub entries: u64,
    /// Where they begin, and end, among the records.
    start: u64,
    end: u64,
}

impl Directory {
    /// A directory that is about to be read.
    pub fn new(inode: u64, flags: u64, path: Vec<u8>) -> Self {
        Self { inode, flags, path, ..Self::default() }
    }
}

/// Writes records.
#[derive(Debug)]
pub struct Writer<'f> {
    file: &'f File,
    buffer: Vec<u8>,
    /// Bytes written to the file.
    written: u64,
}

impl<'f> Writer<'f> {
    pub fn new(file: &'f File) -> Self {
        Self { file, buffer: Vec::with_capacity(2 * BUFFER), written: 0 }
    }

    /// Bytes of all records so far.
    pub fn position(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Begins a directory with the entries that follow; their names have `name_bytes` in all.
    pub fn begin(&mut self, directory: &Directory, entries: u64, name_bytes: u64) -> io::Result<()> {
        let record = DirectoryRecord {
            inode: directory.inode,
            flags: directory.flags,
            entries,
            length: entries * size_of::<EntryRecord>() as u64 + name_bytes,
            path_len: directory.path.len() as u64,
        };
        self.buffer.extend_from_slice(record.as_bytes());
        self.buffer.extend_from_slice(&directory.path);
        self.flush_full()
    }

    pub fn push(&mut self, entry: &NewEntry<'_>) -> io::Result<()> {
        let NewEntry { attributes, what, target, flags, id, name } = *entry;
        let record = EntryRecord { attributes: *attributes, what, target, flags, id, name_len: name.len() as u64 };
        self.buffer.extend_from_slice(record.as_bytes());
        self.buffer.extend_from_slice(name);
        self.flush_full()
    }

    fn flush_full(&mut self) -> io::Result<()> {
        if self.buffer.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.buffer, self.written)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// Reads a range of the file.
#[derive(Debug)]
struct Reader<'f> {
    file: &'f File,
    buffer: Vec<u8>,
    /// What is read of the buffer.
    used: usize,
    /// Where the file goes on after the buffer, and where to stop.
    next: u64,
    end: u64,
}

impl<'f> Reader<'f> {
    fn new(file: &'f File, start: u64, end: u64) -> Self {
        Self { file, buffer: Vec::new(), used: 0, next: start, end }
    }

    fn position(&self) -> u64 {
        self.next - (self.buffer.len() - self.used) as u64
    }

    fn is_at_end(&self) -> bool {
        self.position() >= self.end
    }

    fn skip_to(&mut self, position: u64) {
        let used = position.checked_sub(self.next - self.buffer.len() as u64).map(|used| used as usize);
        match used.filter(|used| *used <= self.buffer.len()) {
            Some(used) => self.used = used,
            None => {
                (self.used, self.next) = (0, position);
                self.buffer.clear();
            }
        }
    }

    fn bytes(&mut self, count: usize) -> io::Result<&[u8]> {
        if self.buffer.len() - self.used < count {
            self.buffer.drain(..self.used);
            self.used = 0;
            let (held, wanted) = (self.buffer.len(), count.max(BUFFER) as u64);
            let more = wanted.min(self.end.saturating_sub(self.next)) as usize;
            self.buffer.resize(held + more, 0);
            self.file.read_exact_at(&mut self.buffer[held..], self.next)?;
            self.next += more as u64;
        }
        let bytes = self.buffer.get(self.used..self.used + count).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.used += count;
        Ok(bytes)
    }

    fn record<T: FromBytes>(&mut self) -> io::Result<T> {
        T::read_from_bytes(self.bytes(size_of::<T>())?).map_err(|_| io::ErrorKind::UnexpectedEof.into())
    }
}

/// The directories in a range of the records.
#[derive(Debug)]
pub struct Directories<'f>(Reader<'f>);

impl<'f> Directories<'f> {
    pub fn new(file: &'f File, start: u64, end: u64) -> Self {
        Self(Reader::new(file, start, end))
    }

    fn read(&mut self) -> io::Result<Directory> {
        let record: DirectoryRecord = self.0.record()?;
        let path = self.0.bytes(record.path_len as usize)?.to_vec();
        let start = self.0.position();
        let end = start + record.length;
        self.0.skip_to(end);
        Ok(Directory { inode: record.inode, flags: record.flags, path, entries: record.entries, start, end })
    }
}

impl Iterator for Directories<'_> {
    type Item = io::Result<Directory>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.0.is_at_end()).then(|| self.read())
    }
}

/// The entries of a directory.
#[derive(Debug)]
pub struct Entries<'f>(Reader<'f>);

impl<'f> Entries<'f> {
    pub fn new(file: &'f File, directory: &Directory) -> Self {
        Self(Reader::new(file, directory.start, directory.end))
    }

    /// The entry at a position among the records.
    pub fn at(file: &'f File, position: u64) -> io::Result<Entry> {
        let most = (size_of::<EntryRecord>() + 255) as u64;
        let end = file.metadata()?.len().min(position + most);
        Self(Reader::new(file, position, end)).read()
    }

    fn read(&mut self) -> io::Result<Entry> {
        let record: EntryRecord = self.0.record()?;
        let name = self.0.bytes(record.name_len as usize)?.to_vec();
        let EntryRecord { attributes, what, target, flags, id, .. } = record;
        Ok(Entry { attributes, what, target, flags, id, name })
    }
}

impl Iterator for Entries<'_> {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.0.is_at_end()).then(|| self.read())
    }
}
