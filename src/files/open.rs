//! Where paths begin.

use std::ops::ControlFlow;

use crate::disk::{Ino, Key, KeyType, TreeId, hash, objectid};
use crate::error::{FileProblem, Result};
use crate::volume::Volume;

use super::entries::raw_entries;
use super::id::InodeId;
use super::notice::Notice;
use super::store::{Files, Options};

/// The subvolume whose root directory paths begin at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start<'p> {
    /// The subvolume that is mounted where none is named.
    #[default]
    Default,
    /// The top level, with the id 5.
    TopLevel,
    /// The subvolume with this id.
    Subvolume(TreeId),
    /// The subvolume at a path from the top level.
    Path(&'p [u8]),
}

impl<'v> Files<'v> {
    /// The files of a volume. Damage that reading gets over is not reported: see [`Files::open_with`].
    ///
    /// # Errors
    ///
    /// There is no such subvolume, or its root cannot be found.
    pub fn open(volume: &'v Volume, start: Start<'_>) -> Result<Self> {
        Self::open_with(volume, start, Options::default())
    }

    /// As [`Files::open`], read as `options` say.
    ///
    /// # Errors
    ///
    /// The same.
    pub fn open_with(volume: &'v Volume, start: Start<'_>, options: Options<'v>) -> Result<Self> {
        let mut files = Self::new(volume, options);
        let tree = match start {
            Start::TopLevel => TreeId(objectid::FS_TREE),
            Start::Subvolume(tree) => tree,
            Start::Default => files.default_subvolume(),
            Start::Path(path) => {
                let found = files.lookup(path)?;
                if files.tree(found.tree)?.directory != found.ino {
                    return Err(found.error(FileProblem::NotSubvolume));
                }
                found.tree
            }
        };
        files.root = InodeId::new(tree, files.tree(tree)?.directory);
        Ok(files)
    }

    /// The subvolume that is mounted where none is named: the entry `default` of the root tree's directory leads to it.
    pub fn default_subvolume(&self) -> TreeId {
        const NAME: &[u8] = b"default";
        let directory = match Ino::from(self.volume.superblock().root_dir_objectid) {
            Ino(0) => Ino(objectid::ROOT_TREE_DIR),
            directory => directory,
        };
        let key = Key::new(directory.0, KeyType::DIR_ITEM, hash::dir_item(NAME));
        let mut found = None;
        self.scan_root_tree(key, key, |item| {
            let is_default = |location: Key| location.key_type == KeyType::ROOT_ITEM;
            let entries = raw_entries(item.key, item.data).flatten();
            found = entries.filter(|raw| raw.name == NAME).map(|raw| raw.location).find(|key| is_default(*key));
            ControlFlow::Break(())
        });
        match found {
            Some(location) => TreeId(location.objectid),
            None => {
                self.notice(|| Notice::NoDefault);
                TreeId(objectid::FS_TREE)
            }
        }
    }
}
