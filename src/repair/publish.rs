//! Publishing a repair: what is staged beside the images comes to their disks, after what it overwrites was saved.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;

use zerocopy::IntoBytes;

use crate::disk::superblock::{SUPER_INFO_SIZE, SUPER_OFFSETS, super_offsets};
use crate::disk::{Physical, Superblock};
use crate::error::{Error, Failure, PartlyPublished, Result};
use crate::image::Image;
use crate::progress::Progress;
use crate::volume::{Device, Published, read_copies, run_on_each};

use super::undo_file::{Order, Part, UndoWriter, part_at, with_new_file};
use super::undo_format::{LONGEST, UndoDevice};

/// Bytes that differ or do not: those of superblocks and of what is staged.
const PAGE: usize = SUPER_INFO_SIZE;

/// A device of which something is staged.
struct Target {
    /// The index of its image.
    device: usize,
    staged: Image,
    disk: Image,
    /// What the disk has otherwise, superblocks apart from the rest.
    ranges: Vec<Range<u64>>,
    /// New superblocks whose places are those of copies by which the device is not found, and which lead elsewhere.
    stray: Vec<Physical>,
    /// Whether the primary superblock is on the disk for sure.
    is_reached: bool,
    failures: Vec<Failure>,
}

/// Brings what is staged on `images` to their disks. They are all devices of a filesystem, each the last handle of what is
/// staged on it; seeds and others of which nothing is staged may be among them. With `undo`, a file of this name is made first
/// that [`super::undo`] puts the images back with; it is on the disk before anything else is written, and holds only what
/// differs. What a disk cannot read no file can hold: such places stay as they are published.
///
/// What is new lies where the present state has nothing, so that state stands until the first superblock by which a device is
/// found is on its way: an error ends the work until then. From there on the new state may be found, as it may after
/// [`crate::volume::WritableVolume::publish`]: what fails is noted, and the work goes on with the other devices and copies.
/// Where no primary superblock is on its disk for sure, the mirrors are left as they are.
///
/// `progress` stops the work until the first byte of an image is written. The undo file is gone then. After an error later on
/// it is there: blocks may have been written.
///
/// # Errors
/// The filesystem is in the present state: another handle of what is staged, an undo file that is there or cannot be written, a
/// write that fails; [`Error::Interrupted`].
pub fn publish(images: Vec<Image>, undo: Option<&Path>, progress: &Progress) -> Result<Published> {
    let devices = match undo {
        Some(_) => images.iter().map(record_of).collect::<Result<Vec<_>>>()?,
        None => Vec::new(),
    };
    // The others are held until all is done.
    let (staged, _others): (Vec<_>, Vec<_>) =
        images.into_iter().enumerate().partition(|(_, image)| !image.staged_ranges(LONGEST).is_empty());
    let mut targets = staged.into_iter().map(Target::of).collect::<Result<Vec<Target>>>()?;
    progress.begin("comparing", targets.iter().map(|target| length_of(&target.ranges)).sum());
    match undo {
        Some(path) => with_new_file(path, Order::SuperblocksFirst, &devices, |writer| {
            targets.iter_mut().try_for_each(|target| target.compare(Some(writer), progress))
        })?,
        None => targets.iter_mut().try_for_each(|target| target.compare(None, progress))?,
    }
    for target in &mut targets {
        target.stray = stray_mirrors(&target.disk);
    }
    let stopped = if progress.is_stopped() { Err(Error::Interrupted) } else { Ok(()) };
    if let (Err(_), Some(path)) = (&stopped, undo) {
        // Nothing was written that it could undo.
        let _ = std::fs::remove_file(path);
    }
    stopped?;

    progress.begin("writing", targets.iter().map(|target| length_of(&target.ranges)).sum());
    targets.iter().try_for_each(|target| target.write(|part, _| part == Part::Other, progress))?;
    run_on_each(targets.iter(), |target| target.disk.sync())?;
    // A primary superblock that is torn would make a device found by a mirror. One that leads to another state than the
    // primary superblock does not stay: where that state has something, blocks may just have been written.
    if targets.iter().any(|target| !target.stray.is_empty()) {
        targets.iter().try_for_each(|target| target.write(|_, offset| target.stray.contains(&offset), progress))?;
        run_on_each(targets.iter(), |target| target.disk.sync())?;
    }
    write_superblocks(&mut targets, Part::Primary, progress);
    if targets.iter().any(|target| target.is_reached) {
        write_superblocks(&mut targets, Part::Mirror, progress);
    }
    let failures: Vec<Failure> = targets.iter_mut().flat_map(|target| target.failures.drain(..)).collect();
    if failures.is_empty() {
        return Ok(Published::Wholly);
    }
    let devices = targets.len();
    let reached =
        targets.iter().filter(|target| target.is_reached).map(|target| target.disk.path().to_owned()).collect();
    Ok(Published::InPart(Box::new(PartlyPublished { reached, devices, failures })))
}

/// The device as it is known once all is published.
fn record_of(image: &Image) -> Result<UndoDevice> {
    Device::open(image.again()?, None).map(|device| UndoDevice::of(&device))
}

fn length_of(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}

impl Target {
    fn of((device, staged): (usize, Image)) -> Result<Self> {
        let size = staged.size();
        // The end of an image need not be that of a page.
        let mut ranges = staged.staged_ranges(LONGEST);
        ranges.iter_mut().for_each(|range| range.end = range.end.min(size));
        let held = || Error::Internal { problem: format!("{} is still read as it was", staged.path().display()) };
        let disk = staged.unstaged()?.ok_or_else(held)?;
        Ok(Self { device, staged, disk, ranges, stray: Vec::new(), is_reached: false, failures: Vec::new() })
    }

    /// Leaves the ranges that the disk has otherwise, or cannot read, and adds them to an undo file.
    fn compare(&mut self, mut undo: Option<&mut UndoWriter>, progress: &Progress) -> Result<()> {
        let (mut old, mut new) = (Vec::new(), Vec::new());
        for range in std::mem::take(&mut self.ranges) {
            if progress.is_stopped() {
                return Err(Error::Interrupted);
            }
            let length = (range.end - range.start) as usize;
            [&mut old, &mut new].into_iter().for_each(|buffer| buffer.resize(length, 0));
            self.staged.read(Physical(range.start), &mut new)?;
            let unreadable = read_pages(&self.disk, range.start, &mut old);
            let state_of = |page: &Range<usize>| match old[page.clone()] == new[page.clone()] {
                _ if unreadable.contains(&page.start) => State::Unreadable,
                true => State::Same,
                false => State::Changed,
            };
            for (state, part) in parts(range.start, length, self.disk.size(), state_of) {
                let offset = Physical(range.start + part.start as u64);
                match &mut undo {
                    Some(undo) if state == State::Changed => {
                        undo.add(self.device, offset, &old[part.clone()], &new[part.clone()])?;
                    }
                    Some(undo) => undo.add_unreadable(self.device, offset, &new[part.clone()])?,
                    None => {}
                }
                self.ranges.push(offset.0..range.start + part.end as u64);
            }
            progress.add(length as u64);
        }
        Ok(())
    }

    /// Writes the ranges that are `wanted`, by what they are and where they begin.
    fn write(&self, wanted: impl Fn(Part, Physical) -> bool, progress: &Progress) -> Result<()> {
        let mut bytes = Vec::new();
        for range in &self.ranges {
            let offset = Physical(range.start);
            if !wanted(part_at(range.start, self.disk.size()), offset) {
                continue;
            }
            bytes.resize((range.end - range.start) as usize, 0);
            self.staged.read(offset, &mut bytes)?;
            self.disk.write(offset, &bytes)?;
            progress.add(bytes.len() as u64);
        }
        Ok(())
    }
}

/// What the disk has of a page that is staged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Same,
    Changed,
    Unreadable,
}

/// Fills `buffer` from `start`, page by page where it cannot be read at once. Returns where in the buffer the pages begin that
/// cannot be read.
fn read_pages(disk: &Image, start: u64, buffer: &mut [u8]) -> HashSet<usize> {
    if disk.read(Physical(start), buffer).is_ok() {
        return HashSet::new();
    }
    let pages = buffer.chunks_mut(PAGE).enumerate().map(|(number, page)| (number * PAGE, page));
    pages.filter_map(|(at, page)| disk.read(Physical(start + at as u64), page).err().map(|_| at)).collect()
}

/// The ranges of a buffer that are not the same on the disk, as pages of one state that follow each other; a superblock is one of
/// its own.
fn parts(
    start: u64,
    length: usize,
    size: u64,
    state_of: impl Fn(&Range<usize>) -> State,
) -> Vec<(State, Range<usize>)> {
    let is_superblock = |page: &Range<usize>| part_at(start + page.start as u64, size) != Part::Other;
    let mut parts: Vec<(State, Range<usize>)> = Vec::new();
    let pages = (0..length).step_by(PAGE).map(|first| first..(first + PAGE).min(length));
    for (state, page) in pages.map(|page| (state_of(&page), page)).filter(|(state, _)| *state != State::Same) {
        match parts.last_mut() {
            Some((of_last, last))
                if (*of_last, last.end) == (state, page.start) && !is_superblock(&page) && !is_superblock(last) =>
            {
                last.end = page.end;
            }
            _ => parts.push((state, page)),
        }
    }
    parts
}

/// Where mirrors of the superblock stand that are intact and lead elsewhere than the primary superblock does; none where the
/// device is found by a mirror.
fn stray_mirrors(disk: &Image) -> Vec<Physical> {
    let copies = read_copies(disk).unwrap_or_default();
    let is_primary = |offset: Physical| offset == SUPER_OFFSETS[0];
    let intact = || copies.iter().filter(|copy| copy.superblock.is_intact());
    let Some(primary) = intact().find(|copy| is_primary(copy.offset)) else { return Vec::new() };
    let state = |superblock: &Superblock| {
        let mut state = Box::new(*superblock);
        state.csum.fill(0);
        state.bytenr = 0.into();
        state
    };
    let expect = state(&primary.superblock);
    let is_other = |superblock: &Superblock| state(superblock).as_bytes() != expect.as_bytes();
    intact().filter(|copy| !is_primary(copy.offset) && is_other(&copy.superblock)).map(|copy| copy.offset).collect()
}

/// Writes one kind of superblocks of all devices, and waits until they are on the disks. Notes what fails.
fn write_superblocks(targets: &mut [Target], part: Part, progress: &Progress) {
    let what = if part == Part::Primary { "primary superblock" } else { "mirror of the superblock" };
    for target in targets.iter_mut() {
        // Where the primary superblock may be lost, the mirrors are written one after the other.
        let is_sure = part == Part::Primary || target.is_reached;
        for offset in super_offsets(target.disk.size()) {
            let is_due = |other: Part, start| other == part && start == offset && !target.stray.contains(&start);
            let written = target.write(is_due, progress);
            let written = if is_sure { written } else { written.and_then(|()| target.disk.sync()) };
            target.failures.extend(written.err().map(|error| Failure { what, error }));
        }
    }
    // After a write that failed, too: it may have been done in part. Each error is noted with its device.
    let sync = |target: &mut Target| {
        target.failures.extend(target.disk.sync().err().map(|error| Failure { what, error }));
        Ok(())
    };
    let _ = run_on_each(targets.iter_mut(), sync);
    if part == Part::Primary {
        targets.iter_mut().for_each(|target| target.is_reached = target.failures.is_empty());
    }
}
