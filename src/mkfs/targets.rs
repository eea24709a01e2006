//! The files and devices that a filesystem is made on.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use crate::disk::Physical;
use crate::disk::superblock::{SUPER_INFO_SIZE, SUPER_OFFSETS};
use crate::error::{Error, Result};
use crate::image::Image;
use crate::volume::identify;

use super::layout::Layout;
use super::{Estimate, NewDevice, Options, Order};

/// What is zeroed at both ends, where other filesystems and partition tables have their marks.
const ENDS: u64 = 1 << 20;

/// How targets are prepared.
#[derive(Clone, Copy, Debug)]
pub struct Preparation<'a> {
    pub options: &'a Options,
    pub estimate: &'a Estimate,
    /// Bytes of the filesystem on each of them; as many as there are if nothing is said.
    pub byte_count: Option<u64>,
    /// Bytes of a file that is missing or empty, if `byte_count` does not say it.
    pub size: u64,
    /// Whether such a file becomes as large as the content needs, `size` at the least.
    pub grows: bool,
    /// Whether what stands on them may be lost.
    pub force: bool,
    /// Whether devices are told that nothing on them is needed any more.
    pub discard: bool,
}

/// Opened files and devices on which nothing stands any more. Files that were created are removed if it is dropped
/// before it is told to keep them.
#[derive(Debug)]
pub struct Targets {
    created: Vec<PathBuf>,
    all_created: bool,
}

/// One that was looked at and not touched yet.
enum Candidate<'p> {
    Missing(&'p Path),
    Existing(Image),
}

impl Targets {
    /// Opens all of them, and creates those that are missing. Nothing is changed unless all of them may be: images in
    /// use, too small ones and those with something on them are refused first.
    pub fn prepare(paths: &[PathBuf], preparation: &Preparation<'_>) -> Result<(Self, Vec<NewDevice>)> {
        let candidates = paths.iter().map(|path| look(path, preparation)).collect::<Result<Vec<_>>>()?;
        preparation.try_layout(&candidates)?;
        let all_created = candidates.iter().all(|candidate| matches!(candidate, Candidate::Missing(_)));
        let mut targets = Self { created: Vec::new(), all_created };
        let mut devices = Vec::new();
        for candidate in candidates {
            devices.push(match candidate {
                Candidate::Missing(path) => targets.create(path, preparation)?,
                Candidate::Existing(image) => preparation.take_over(image)?,
            });
        }
        Ok((targets, devices))
    }

    /// When superblocks may reach the disks.
    pub fn order(&self) -> Order {
        if self.all_created { Order::Any } else { Order::Last }
    }

    /// Keeps the files that were created.
    pub fn keep(mut self) {
        self.created.clear();
    }

    fn create(&mut self, path: &Path, preparation: &Preparation<'_>) -> Result<NewDevice> {
        let created = OpenOptions::new().write(true).create_new(true).open(path);
        created.map_err(|source| Error::Open { path: path.to_owned(), source })?;
        self.created.push(path.to_owned());
        preparation.size_new(Image::open_for_writing(path)?)
    }
}

impl Drop for Targets {
    fn drop(&mut self) {
        for path in &self.created {
            // Whoever asked for the filesystem learns of the error that led here.
            let _ = std::fs::remove_file(path);
        }
    }
}

fn look<'p>(path: &'p Path, preparation: &Preparation<'_>) -> Result<Candidate<'p>> {
    if let Err(error) = path.metadata()
        && error.kind() == std::io::ErrorKind::NotFound
    {
        return Ok(Candidate::Missing(path));
    }
    let image = Image::open_for_writing(path)?;
    if !preparation.force
        && let Some(found) = identify(&image)
    {
        return Err(Error::Occupied { path: path.to_owned(), found });
    }
    let (wanted, has) = (preparation.byte_count.unwrap_or_default(), image.size());
    if image.is_device() && wanted > has {
        return Err(Error::TooSmall { path: path.to_owned(), wanted, has });
    }
    Ok(Candidate::Existing(image))
}

impl Preparation<'_> {
    fn aligned(&self, size: u64) -> u64 {
        size - size % u64::from(self.options.sectorsize)
    }

    /// Bytes of the filesystem on a file that is empty, and whether they may become more.
    fn new_size(&self) -> (u64, bool) {
        (self.aligned(self.byte_count.unwrap_or(self.size)), self.grows && self.byte_count.is_none())
    }

    /// Whether there is room for a filesystem. Nothing was touched yet.
    fn try_layout(&self, candidates: &[Candidate<'_>]) -> Result<()> {
        let size = |candidate: &Candidate<'_>| match candidate {
            Candidate::Existing(image) if image.size() > 0 => {
                (self.aligned(self.byte_count.unwrap_or(image.size())), false)
            }
            _ => self.new_size(),
        };
        Layout::begin(self.options, candidates.iter().map(size), self.estimate).map(drop)
    }

    /// Makes an empty file as large as it is to be.
    fn size_new(&self, mut image: Image) -> Result<NewDevice> {
        let (size, grows) = self.new_size();
        image.set_size(size)?;
        Ok(NewDevice { image, size, grows })
    }

    /// Clears what stands on an image.
    fn take_over(&self, mut image: Image) -> Result<NewDevice> {
        if image.size() == 0 {
            return self.size_new(image);
        }
        if let Some(size) = self.byte_count.filter(|_| !image.is_device()) {
            image.set_size(self.aligned(size))?;
        }
        let size = self.aligned(self.byte_count.unwrap_or(image.size()));
        let is_zero = self.discard && image.discard();
        if image.is_device() || !is_zero {
            wipe(&image)?;
        }
        Ok(NewDevice { image, size, grows: false })
    }
}

/// Zeroes the ends and all places of superblocks.
fn wipe(image: &Image) -> Result<()> {
    let size = image.size();
    let end = size.saturating_sub(ENDS).max(ENDS.min(size));
    image.write(Physical(0), &vec![0; ENDS.min(size) as usize])?;
    for offset in SUPER_OFFSETS {
        if offset.0 >= ENDS && offset.0.saturating_add(SUPER_INFO_SIZE as u64) <= end {
            image.write(offset, &[0; SUPER_INFO_SIZE])?;
        }
    }
    image.write(Physical(end), &vec![0; (size - end) as usize])
}
