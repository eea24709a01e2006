//! Entries that are to become something special.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, PathBuf};

use crate::disk::flags::inode::{NODATACOW, NODATASUM};
use crate::disk::objectid;
use crate::error::{Error, Result};

use super::attributes::Attributes;
use super::interface::Source;
use super::listing::List;

const REPEATED: &str = "is asked for as a subvolume more than once";

/// A directory that becomes a subvolume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubvolumeRequest {
    /// Below the root of the source; a leading `/` means the root.
    pub path: PathBuf,
    /// Whether the kernel refuses to write it.
    pub read_only: bool,
    /// Whether it is what a mount shows without further options.
    pub is_default: bool,
}

impl SubvolumeRequest {
    /// Whether the path is that of the top level, which is a subvolume in any case.
    pub fn is_top_level(&self) -> bool {
        let mut components = self.path.components().peekable();
        components.peek().is_some() && components.all(|part| matches!(part, Component::RootDir | Component::CurDir))
    }
}

/// A file or directory that gets flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagRequest {
    /// Below the root of the source; a leading `/` means the root.
    pub path: PathBuf,
    /// Whether data is overwritten in place (`BTRFS_INODE_NODATACOW`).
    pub nodatacow: bool,
    /// Whether data has no checksums (`BTRFS_INODE_NODATASUM`).
    pub nodatasum: bool,
}

/// What is to become of the entries of a source.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Directories that become subvolumes, in the order of their ids; and what the top level is to be.
    pub subvolumes: Vec<SubvolumeRequest>,
    /// Files and directories that get inode flags.
    pub flags: Vec<FlagRequest>,
    /// What the filesystem is made on, which must not be a part of it.
    pub images: Vec<PathBuf>,
}

impl Request {
    /// The subvolumes other than the top level, by id.
    pub fn new_subvolumes(&self) -> impl Iterator<Item = (u64, &SubvolumeRequest)> {
        (objectid::FIRST_FREE..).zip(self.subvolumes.iter().filter(|subvolume| !subvolume.is_top_level()))
    }

    /// What the top level is to be.
    pub fn top_level(&self) -> impl Iterator<Item = &SubvolumeRequest> {
        self.subvolumes.iter().filter(|subvolume| subvolume.is_top_level())
    }
}

/// A request by the paths of the entries.
#[derive(Debug, Default)]
pub struct ByPath {
    /// Ids of subvolumes.
    subvolumes: HashMap<Vec<u8>, u64>,
    flags: HashMap<Vec<u8>, FlagRequest>,
    /// Device and number of each image.
    images: Vec<(u64, u64)>,
}

impl ByPath {
    pub fn new<S: Source>(request: &Request, source: &S, list: &dyn List) -> Result<Self> {
        let mut by_path = Self::default();
        if let Some(again) = request.top_level().nth(1) {
            return Err(Error::Unfit { path: again.path.clone(), problem: REPEATED.to_owned() });
        }
        for (id, subvolume) in request.new_subvolumes() {
            let path = source.resolve(&subvolume.path)?;
            let unfit = |problem: &str| Error::Unfit { path: subvolume.path.clone(), problem: problem.to_owned() };
            if !list.look_up(&path)?.0.is_directory() {
                return Err(unfit("cannot become a subvolume: not a directory"));
            }
            if path.is_empty() {
                return Err(unfit("is the top-level subvolume already"));
            }
            if by_path.subvolumes.insert(path, id).is_some() {
                return Err(unfit(REPEATED));
            }
        }
        for flags in &request.flags {
            let path = source.resolve(&flags.path)?;
            list.look_up(&path)?;
            if by_path.flags.insert(path, flags.clone()).is_some() {
                let problem = "is given inode flags more than once".to_owned();
                return Err(Error::Unfit { path: flags.path.clone(), problem });
            }
        }
        if source.directory().is_some() {
            // One that is not there yet is in no directory.
            let there = request.images.iter().filter_map(|image| std::fs::metadata(image).ok());
            by_path.images = there.map(|image| (image.dev(), image.ino())).collect();
        }
        Ok(by_path)
    }

    /// Whether any path is special.
    pub fn have_paths(&self) -> bool {
        !self.subvolumes.is_empty() || !self.flags.is_empty()
    }

    pub fn is_image(&self, attributes: &Attributes) -> bool {
        attributes.is_file() && self.images.contains(&(attributes.dev, attributes.ino))
    }

    /// The id of the subvolume that the directory becomes.
    pub fn subvolume(&self, path: &[u8]) -> Option<u64> {
        self.subvolumes.get(path).copied()
    }

    /// The path of a subvolume.
    pub fn path_of(&self, id: u64) -> Option<&[u8]> {
        self.subvolumes.iter().find(|(_, other)| **other == id).map(|(path, _)| path.as_slice())
    }

    /// The flags that an inode was given by itself.
    pub fn flags(&self, path: &[u8], is_file: bool) -> u64 {
        let Some(request) = self.flags.get(path) else { return 0 };
        let mut flags = if request.nodatasum { NODATASUM } else { 0 };
        if request.nodatacow {
            flags |= nodatacow(is_file);
        }
        flags
    }
}

/// The flags that an inode has from its directory (`btrfs_inherit_iflags`).
pub fn inherited(directory: u64, is_file: bool) -> u64 {
    if directory & NODATACOW == 0 { 0 } else { nodatacow(is_file) }
}

/// Data that is overwritten in its place has no checksums.
fn nodatacow(is_file: bool) -> u64 {
    if is_file { NODATACOW | NODATASUM } else { NODATACOW }
}
