//! Opening what the operands name.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::image::{Image, Mount, mount_of};
use crate::volume::{Notice, RootChoice, Volume};

use super::{hint, output};

#[derive(Debug, Default, clap::Args)]
pub struct Images {
    /// Images or block devices of one filesystem, in any order
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<PathBuf>,

    /// Print nothing but errors
    #[arg(short, long)]
    pub quiet: bool,

    /// Read the images instead of mapping them
    #[arg(long, hide = true)]
    no_map: bool,
}

impl Images {
    /// Opens the filesystem, and warns of what is unusual. Returns whether an image is cut short, which is an
    /// error for commands that read all of it.
    pub fn open(&self, program: &str) -> anyhow::Result<(Volume, Completeness)> {
        self.open_at(program, &RootChoice::default())
    }

    /// As [`Images::open_at`], without a word of what is unusual.
    pub fn open_silently(&self, choice: &RootChoice) -> Result<Volume, Error> {
        Volume::open_at(self.open_images()?, choice)
    }

    /// Opens the images alone.
    pub fn open_images(&self) -> Result<Vec<Image>, Error> {
        let open = |path: &PathBuf| if self.no_map { Image::open_unmapped(path) } else { Image::open(path) };
        self.images.iter().map(open).collect()
    }

    /// Opens a filesystem without its chunk tree, which cannot be read.
    pub fn open_without_chunk_tree(&self, choice: &RootChoice) -> Result<Volume, Error> {
        Volume::open_without_chunk_tree(self.open_images()?, choice)
    }

    /// As [`Images::open`], from the superblock and the roots that were chosen.
    pub fn open_at(&self, program: &str, choice: &RootChoice) -> anyhow::Result<(Volume, Completeness)> {
        let volume = self.open_silently(choice)?;
        let mut completeness = Completeness::Whole;
        for notice in volume.notices() {
            if let Notice::Truncated { .. } = notice {
                completeness = Completeness::Truncated;
                output::error(program, &with_hint(notice, &self.images, &volume));
            } else if !self.quiet {
                output::warning(program, &with_hint(notice, &self.images, &volume));
            }
        }
        Ok((volume, completeness))
    }
}

/// A notice of the filesystem on `images`, and what helps.
pub fn with_hint(notice: &Notice, images: &[PathBuf], volume: &Volume) -> String {
    match hint::of_notice(notice, images, volume) {
        Some(hint) => format!("{notice}; {hint}"),
        None => notice.to_string(),
    }
}

/// The devices that are mounted read-write, and where.
pub fn mounted(volume: &Volume) -> impl Iterator<Item = (&Path, Mount)> {
    let paths = volume.devices().iter().map(|device| device.image().path());
    paths.filter_map(|path| Some((path, mount_of(path).filter(|mount| mount.read_write)?)))
}

/// Whether the images are as long as their devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    Whole,
    Truncated,
}
