//! The files and devices that a filesystem is made on.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use crate::disk::Physical;
use crate::disk::superblock::{SUPER_INFO_SIZE, super_offsets};
use crate::error::{Error, Result};
use crate::image::{Image, is_in_dev};
use crate::progress::Progress;
use crate::volume::identify;

use super::estimate::Estimate;
use super::finish::Order;
use super::layout::Layout;
use super::maker::NewDevice;
use super::options::Options;

/// What is zeroed at both ends, where other filesystems and partition tables have their marks.
const ENDS: u64 = 1 << 20;

/// How targets are prepared.
#[derive(Clone, Copy, Debug)]
pub struct Preparation<'a> {
    /// What the filesystem will be.
    pub options: &'a Options,
    /// What its content needs.
    pub estimate: &'a Estimate,
    /// Bytes of the filesystem on each of them; as many as there are if nothing is said.
    pub byte_count: Option<u64>,
    /// Bytes of a file that is missing or empty, if `byte_count` does not say it.
    pub size: u64,
    /// Whether files become larger if the content needs that: one that is too small for it is made as if it were missing.
    pub grows: bool,
    /// Whether what stands on them may be lost.
    pub force: bool,
    /// The directory whose files share their blocks with the images.
    pub shared: Option<&'a Path>,
    /// Whether devices are told that nothing on them is needed any more.
    pub discard: bool,
    /// Stops it.
    pub progress: &'a Progress,
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

impl Candidate<'_> {
    fn path(&self) -> &Path {
        match self {
            Candidate::Missing(path) => path,
            Candidate::Existing(image) => image.path(),
        }
    }
}

impl Targets {
    /// Opens all of them, and creates those that are missing. Nothing that stands on one is touched before all are there:
    /// images in use, too small ones and those with something on them are refused first.
    pub fn prepare(paths: &[PathBuf], preparation: &Preparation<'_>) -> Result<(Self, Vec<NewDevice>)> {
        let candidates = paths.iter().map(|path| look(path, preparation)).collect::<Result<Vec<_>>>()?;
        let sizes = preparation.sizes(&candidates)?;
        let all_created = candidates.iter().all(|candidate| matches!(candidate, Candidate::Missing(_)));
        let mut targets = Self { created: Vec::new(), all_created };
        let mut devices = Vec::new();
        for (candidate, (size, grows)) in candidates.into_iter().zip(sizes) {
            let image = match candidate {
                Candidate::Missing(path) => targets.create(path)?,
                Candidate::Existing(image) => image,
            };
            preparation.shared.map_or(Ok(()), |directory| image.check_sharing(directory))?;
            devices.push(NewDevice { image, size, grows });
        }
        for device in &devices {
            let is_occupied = device.image.size() > 0;
            if device.image.size() < device.size {
                device.image.set_size(device.size)?;
            }
            if is_occupied {
                preparation.take_over(device)?;
            }
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

    fn create(&mut self, path: &Path) -> Result<Image> {
        let created = OpenOptions::new().write(true).create_new(true).open(path);
        created.map_err(|source| Error::Open { path: path.to_owned(), source })?;
        self.created.push(path.to_owned());
        Image::open_for_writing(path)
    }
}

impl Drop for Targets {
    fn drop(&mut self) {
        for path in &self.created {
            // The caller learns of the error that led here.
            let _ = std::fs::remove_file(path);
        }
    }
}

fn look<'p>(path: &'p Path, preparation: &Preparation<'_>) -> Result<Candidate<'p>> {
    if let Err(error) = path.metadata()
        && error.kind() == std::io::ErrorKind::NotFound
    {
        return if is_in_dev(path) {
            let source = std::io::Error::new(error.kind(), "there is no such device, and no files are made below /dev");
            Err(Error::Open { path: path.to_owned(), source })
        } else {
            Ok(Candidate::Missing(path))
        };
    }
    let image = Image::open_for_writing(path)?;
    if !preparation.force
        && let Some(found) = identify(&image)?
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

    /// Bytes of the filesystem on each, and whether they may become more. Nothing was touched yet: it is an error if they
    /// have no room for it.
    fn sizes(&self, candidates: &[Candidate<'_>]) -> Result<Vec<(u64, bool)>> {
        let grows = self.grows && self.byte_count.is_none();
        let new_size = self.aligned(self.byte_count.unwrap_or(self.size));
        let size = |candidate: &Candidate<'_>| match candidate {
            Candidate::Existing(image) if image.size() > 0 => {
                (self.aligned(self.byte_count.unwrap_or(image.size())), grows && !image.is_device())
            }
            _ => (new_size, grows),
        };
        let sizes: Vec<(u64, bool)> = candidates.iter().map(size).collect();
        let as_they_are = self.try_layout(sizes.iter().map(|(size, _)| (*size, false)));
        if !sizes.iter().any(|(_, grows)| *grows) {
            return match as_they_are {
                Err(error @ Error::NoSpace { .. }) => Err(self.too_small(candidates, &sizes, error)),
                laid_out => laid_out.map(|_| sizes),
            };
        }
        if as_they_are.is_ok_and(|layout| layout.has_room()) {
            return Ok(sizes);
        }
        let enlarged = |(size, grows): (u64, bool)| (if grows { size.max(new_size) } else { size }, grows);
        let sizes: Vec<(u64, bool)> = sizes.into_iter().map(enlarged).collect();
        self.try_layout(sizes.iter().copied()).map(|_| sizes)
    }

    /// The error for devices without room for a filesystem that has no content: names one, and what it needs.
    fn too_small(&self, candidates: &[Candidate<'_>], sizes: &[(u64, bool)], error: Error) -> Error {
        if self.estimate.metadata > 0 {
            return error;
        }
        let least = Layout::least_size(self.options, candidates.len());
        let small = candidates.iter().zip(sizes).find(|(_, (size, _))| *size < least);
        match small {
            Some((candidate, (has, _))) => Error::SmallDevice { path: candidate.path().to_owned(), has: *has, least },
            None => error,
        }
    }

    /// The chunks that the filesystem begins with, if there is room for them and for what is sure to come.
    fn try_layout(&self, sizes: impl Iterator<Item = (u64, bool)>) -> Result<Layout> {
        let layout = Layout::begin(self.options, sizes, self.estimate)?;
        if !layout.grows() {
            layout.try_least()?;
        }
        Ok(layout)
    }

    /// Clears what stands on an image, as far as the filesystem is to reach.
    fn take_over(&self, device: &NewDevice) -> Result<()> {
        let NewDevice { image, size, .. } = device;
        if self.byte_count.is_some() && !image.is_device() {
            image.set_size(*size)?;
        }
        let end = if self.byte_count.is_some() { *size } else { image.size() };
        let is_zero = self.discard && image.discard(end, self.progress);
        if self.progress.is_stopped() {
            return Err(Error::Interrupted);
        }
        if image.is_device() || !is_zero {
            wipe(image, end)?;
        }
        Ok(())
    }
}

/// Zeroes the ends and all places of superblocks of the first `size` bytes.
fn wipe(image: &Image, size: u64) -> Result<()> {
    let end = size.saturating_sub(ENDS).max(ENDS.min(size));
    image.write(Physical(0), &vec![0; ENDS.min(size) as usize])?;
    for offset in super_offsets(end).filter(|offset| offset.0 >= ENDS) {
        image.write(offset, &[0; SUPER_INFO_SIZE])?;
    }
    image.write(Physical(end), &vec![0; (size - end) as usize])
}
