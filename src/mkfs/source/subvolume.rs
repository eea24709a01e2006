//! Paths below the directory that are to become something special.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use crate::disk::flags::inode::{NODATACOW, NODATASUM};
use crate::disk::objectid;
use crate::error::{Error, Result};

use super::place::unreadable;
use super::{Attributes, Request};

/// A directory that becomes a subvolume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubvolumeRequest {
    /// Below the directory that is read; a leading `/` means that directory.
    pub path: PathBuf,
    pub read_only: bool,
    /// Whether it is what a mount shows without further options.
    pub is_default: bool,
}

/// A file or directory that gets flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagRequest {
    pub path: PathBuf,
    pub nodatacow: bool,
    pub nodatasum: bool,
}

/// What was asked for, by the paths below the directory as the walk meets them.
#[derive(Debug, Default)]
pub struct Wishes {
    /// Ids of subvolumes.
    subvolumes: HashMap<Vec<u8>, u64>,
    flags: HashMap<Vec<u8>, FlagRequest>,
    /// Device and number of each image.
    images: Vec<(u64, u64)>,
}

impl Wishes {
    pub fn new(request: &Request) -> Result<Self> {
        let root = canonical(&request.directory)?;
        let mut wishes = Self::default();
        for (subvolume, id) in request.subvolumes.iter().zip(objectid::FIRST_FREE..) {
            let path = below(&root, &request.directory, &subvolume.path)?;
            let unfit = |problem: &str| Error::Unfit { path: subvolume.path.clone(), problem: problem.to_owned() };
            let full = root.join(OsStr::from_bytes(&path));
            if !std::fs::metadata(&full).map_err(|error| unreadable(full, error))?.is_dir() {
                return Err(unfit("cannot become a subvolume: not a directory"));
            }
            if path.is_empty() {
                return Err(unfit("is the top-level subvolume already"));
            }
            if wishes.subvolumes.insert(path, id).is_some() {
                return Err(unfit("is asked for as a subvolume more than once"));
            }
        }
        for flags in &request.flags {
            let path = below(&root, &request.directory, &flags.path)?;
            if wishes.flags.insert(path, flags.clone()).is_some() {
                let problem = "is given inode flags more than once".to_owned();
                return Err(Error::Unfit { path: flags.path.clone(), problem });
            }
        }
        // One that is not there yet is in no directory.
        let there = request.images.iter().filter_map(|image| std::fs::metadata(image).ok());
        wishes.images = there.map(|image| (image.dev(), image.ino())).collect();
        Ok(wishes)
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
        let Some(wish) = self.flags.get(path) else { return 0 };
        let mut flags = if wish.nodatasum { NODATASUM } else { 0 };
        if wish.nodatacow {
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

fn canonical(path: &Path) -> Result<PathBuf> {
    std::fs::canonicalize(path).map_err(|error| unreadable(path.to_owned(), error))
}

/// The path below `root` that a path below `directory` means.
fn below(root: &Path, directory: &Path, path: &Path) -> Result<Vec<u8>> {
    let inside: PathBuf = path.components().filter(|component| !matches!(component, Component::RootDir)).collect();
    // The last component is not followed: a symlink has flags of its own.
    let full = directory.join(&inside);
    let found = match (full.parent(), full.file_name()) {
        (Some(parent), Some(name)) if !inside.as_os_str().is_empty() => {
            let found = canonical(parent)?.join(name);
            std::fs::symlink_metadata(&found).map_err(|error| unreadable(full.clone(), error))?;
            found
        }
        _ => canonical(&full)?,
    };
    match found.strip_prefix(root) {
        Ok(below) => Ok(below.as_os_str().as_bytes().to_vec()),
        Err(_) => {
            let problem = format!("is not in {}", directory.display());
            Err(Error::Unfit { path: path.to_owned(), problem })
        }
    }
}
