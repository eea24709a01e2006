//! What is to be written to an image, kept beside it: readers find it in its place, and the image itself stays as it is.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

/// Bytes that are kept together: superblocks, tree blocks and sectors are made of them and aligned to them.
const PAGE: u64 = 4096;

/// Pages that stand before those of an image. They are in a nameless temporary file, so that the memory does not grow with them.
#[derive(Debug, Default)]
pub struct Overlay {
    pages: RwLock<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    /// Where each page of the image stands in the file, in pages.
    slots: BTreeMap<u64, u64>,
    file: Option<File>,
}

/// The pages that a range touches.
fn pages_of(start: u64, length: u64) -> Range<u64> {
    start / PAGE..start.saturating_add(length).div_ceil(PAGE)
}

impl Overlay {
    fn read_lock(&self) -> RwLockReadGuard<'_, Pages> {
        self.pages.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether any of a range stands here.
    pub fn touches(&self, start: u64, length: u64) -> bool {
        self.read_lock().slots.range(pages_of(start, length)).next().is_some()
    }

    /// Fills `buffer` with what `below` reads, and with what stands here before it. Nothing is asked of `below` that is here
    /// whole.
    pub fn read<E: From<io::Error>>(
        &self,
        start: u64,
        buffer: &mut [u8],
        below: impl Fn(&mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let pages = self.read_lock();
        let touched = pages_of(start, buffer.len() as u64);
        let here: Vec<(u64, u64)> = pages.slots.range(touched.clone()).map(|(page, slot)| (*page, *slot)).collect();
        if (here.len() as u64) < touched.end - touched.start {
            below(buffer)?;
        }
        let end = start + buffer.len() as u64;
        for (page, slot) in here {
            let from = (page * PAGE).max(start);
            let to = (page * PAGE + PAGE).min(end);
            let part = &mut buffer[(from - start) as usize..(to - start) as usize];
            pages.file()?.read_exact_at(part, slot * PAGE + from % PAGE)?;
        }
        Ok(())
    }

    /// Puts `bytes` before those of the image. `below` reads the rest of pages that are written in part.
    pub fn write<E: From<io::Error>>(
        &self,
        start: u64,
        bytes: &[u8],
        below: impl Fn(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut pages = self.pages.write().unwrap_or_else(PoisonError::into_inner);
        let end = start + bytes.len() as u64;
        for page in pages_of(start, bytes.len() as u64) {
            let from = (page * PAGE).max(start);
            let to = (page * PAGE + PAGE).min(end);
            let part = &bytes[(from - start) as usize..(to - start) as usize];
            let known = pages.slots.get(&page).copied();
            let slot = known.unwrap_or(pages.slots.len() as u64);
            let file = match &pages.file {
                Some(file) => file,
                None => &*pages.file.insert(tempfile::tempfile()?),
            };
            if known.is_none() && (part.len() as u64) < PAGE {
                let mut whole = [0; PAGE as usize];
                below(page * PAGE, &mut whole)?;
                file.write_all_at(&whole, slot * PAGE)?;
            }
            file.write_all_at(part, slot * PAGE + from % PAGE)?;
            pages.slots.insert(page, slot);
        }
        Ok(())
    }

    /// The ranges of the image that stand here, in their order; none is longer than `longest`, which is a number of pages.
    pub fn ranges(&self, longest: u64) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for page in self.read_lock().slots.keys() {
            let start = page * PAGE;
            match ranges.last_mut().filter(|last| last.end == start && last.end - last.start < longest) {
                Some(last) => last.end += PAGE,
                None => ranges.push(start..start + PAGE),
            }
        }
        ranges
    }
}

impl Pages {
    fn file(&self) -> io::Result<&File> {
        self.file.as_ref().ok_or_else(|| io::Error::other("there is no temporary file"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_what_was_written_over_what_was_there() {
        let mut model = (0..5 * PAGE).map(|n| n as u8).collect::<Vec<u8>>();
        let image = model.clone();
        let overlay = Overlay::default();
        let below = |start: u64, buffer: &mut [u8]| -> io::Result<()> {
            buffer.copy_from_slice(&image[start as usize..][..buffer.len()]);
            Ok(())
        };
        for (start, length, byte) in [(0, 1, 7), (4095, 2, 8), (8192, 4096, 9), (8000, 300, 10), (20479, 1, 11)] {
            model[start..start + length].fill(byte);
            overlay.write(start as u64, &vec![byte; length], below).unwrap();
            for (from, to) in [(0, model.len()), (4000, 4200), (8192, 12288), (16384, 20480), (5, 5)] {
                let mut read = vec![0; to - from];
                overlay.read(from as u64, &mut read, |buffer| below(from as u64, buffer)).unwrap();
                assert!(read == model[from..to], "{from}..{to} after {start}");
            }
        }
        assert_eq!(overlay.ranges(PAGE * 2), [0..8192, 8192..12288, 16384..20480]);
        assert!(overlay.touches(4096, 1) && !overlay.touches(12288, 4096));
    }

    #[test]
    fn what_cannot_be_read_beneath_is_not_asked_for() {
        let overlay = Overlay::default();
        let fails = |_: u64, _: &mut [u8]| Err(io::Error::other("bad sector"));
        overlay.write(4096, &[1; 8192], fails).unwrap();
        let mut buffer = [0; 8192];
        overlay.read(4096, &mut buffer, |_| Err(io::Error::other("bad sector"))).unwrap();
        assert_eq!(buffer, [1; 8192]);
        assert!(overlay.read(0, &mut buffer, |_| Err(io::Error::other("bad sector"))).is_err());
    }
}
