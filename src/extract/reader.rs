//! The data of files, with what becomes of ranges that cannot be read.

use std::ops::Range;

use crate::error::{Error, FileProblem, Result};
use crate::files::{Content, File, Files, InodeId};

use super::batch::Prepared;
use super::options::BadSectors;
use super::problem::{Problem, ProblemKind, Reports};

/// Bytes that nothing vouches for and that are read at once.
const BAD_AT_ONCE: u64 = 64 << 10;

/// Reads files, one after the other, with the same memory.
pub struct Reader<'r, 'v> {
    files: &'r Files<'v>,
    reports: &'r Reports<'r>,
    bad_sectors: BadSectors,
    file: Option<File<'r, 'v>>,
    buffer: Vec<u8>,
}

/// Whether a range is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Sound,
    Bad,
}

/// A range that is being read, and what is wrong with it.
struct Ranges<'a> {
    reports: &'a Reports<'a>,
    inode: InodeId,
    path: &'a dyn Fn() -> Vec<u8>,
    /// What is wrong up to here, to which what is next to it is added.
    last: Option<(ProblemKind, Range<u64>, String)>,
    outcome: Outcome,
}

impl Ranges<'_> {
    fn add(&mut self, kind: ProblemKind, range: Range<u64>, reason: &str) {
        self.outcome = Outcome::Bad;
        if let Some((last_kind, last, _)) = &mut self.last
            && *last_kind == kind
            && last.end == range.start
        {
            last.end = range.end;
            return;
        }
        self.tell();
        self.last = Some((kind, range, reason.to_owned()));
    }

    fn tell(&mut self) {
        if let Some((kind, range, reason)) = self.last.take() {
            let (path, inode) = ((self.path)(), Some(self.inode));
            self.reports.tell(Problem { kind, path, inode, range: Some(range), reason });
        }
    }
}

impl<'r, 'v> Reader<'r, 'v> {
    pub fn new(files: &'r Files<'v>, reports: &'r Reports<'r>, bad_sectors: BadSectors) -> Self {
        Self { files, reports, bad_sectors, file: None, buffer: Vec::new() }
    }

    /// Turns to a regular file.
    ///
    /// # Errors
    ///
    /// It cannot be read at all.
    pub fn open(&mut self, prepared: &Prepared) -> Result<&mut File<'r, 'v>> {
        let inode = prepared.entry.inode;
        let file = match (&prepared.attributes, self.file.take()) {
            (Ok(attributes), Some(mut file)) => {
                file.turn_to(inode, *attributes)?;
                file
            }
            (Ok(attributes), None) => self.files.file_with(inode, *attributes)?,
            (Err(_), _) => self.files.file_by_extents(inode)?,
        };
        Ok(self.file.insert(file))
    }

    /// The file that was turned to last.
    pub fn file(&mut self) -> Option<&mut File<'r, 'v>> {
        self.file.as_mut()
    }

    /// Reads a range of the file that was turned to last, and hands what is no zeroes to `take` with its offset. What cannot be read is
    /// told, and is left to be zeroes unless it is kept.
    ///
    /// # Errors
    ///
    /// Those of `take`.
    pub fn read(
        &mut self,
        range: Range<u64>,
        path: &dyn Fn() -> Vec<u8>,
        take: &mut dyn FnMut(u64, &[u8]) -> Result<()>,
    ) -> Result<Outcome> {
        let Some(file) = &mut self.file else { return Ok(Outcome::Bad) };
        let mut ranges = Ranges { reports: self.reports, inode: file.id(), path, last: None, outcome: Outcome::Sound };
        let mut offset = range.start;
        while offset < range.end {
            match file.piece_at(offset) {
                Ok(None) => break,
                Ok(Some(piece)) => {
                    let length = piece.length.min(range.end - offset);
                    if let Content::Data(data) = piece.content {
                        take(offset, &data[..length as usize])?;
                    }
                    offset += length;
                }
                Err(error) => {
                    let (length, reason) = lost_range(&error);
                    let end = offset.saturating_add(length.max(1)).min(range.end);
                    match self.bad_sectors {
                        BadSectors::Keep => keep(file, offset..end, &reason, &mut self.buffer, &mut ranges, take)?,
                        BadSectors::Zero => ranges.add(ProblemKind::Zeroed, offset..end, &reason),
                        BadSectors::SkipFile => {
                            ranges.reports.tell_of(ProblemKind::Missing, path(), Some(file.id()), &error);
                            return Ok(Outcome::Bad);
                        }
                    }
                    offset = end;
                }
            }
        }
        ranges.tell();
        Ok(ranges.outcome)
    }
}

/// How many bytes cannot be read, and why.
fn lost_range(error: &Error) -> (u64, String) {
    match error {
        Error::File { problem, .. } => match &**problem {
            FileProblem::Range { length, problem, .. } => (*length, problem.to_string()),
            other => (u64::MAX, other.to_string()),
        },
        other => (u64::MAX, other.to_string()),
    }
}

/// Hands out what can be read of a bad range at all.
fn keep(
    file: &mut File<'_, '_>,
    range: Range<u64>,
    reason: &str,
    buffer: &mut Vec<u8>,
    ranges: &mut Ranges<'_>,
    take: &mut dyn FnMut(u64, &[u8]) -> Result<()>,
) -> Result<()> {
    let mut offset = range.start;
    while offset < range.end {
        buffer.resize((range.end - offset).min(BAD_AT_ONCE) as usize, 0);
        let end = match file.read_bad_at(offset, buffer) {
            Ok(0) => range.end,
            Ok(count) => {
                let end = offset + count as u64;
                take(offset, &buffer[..count])?;
                ranges.add(ProblemKind::Kept, offset..end, reason);
                offset = end;
                continue;
            }
            Err(error) => offset.saturating_add(lost_range(&error).0.max(1)).min(range.end),
        };
        ranges.add(ProblemKind::Zeroed, offset..end, reason);
        offset = end;
    }
    Ok(())
}
