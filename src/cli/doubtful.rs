//! Files that a repair may leave otherwise than they were.

use serde::Serialize;

use crate::disk::{Ino, TreeId};
use crate::extract::{DoubtfulInodes, Doubts};
use crate::files::{Files, InodeId, Start};
use crate::problem::FileName;
use crate::volume::Volume;

use super::check::paths::Paths;

/// Files that are looked up at the most.
const MOST: usize = 1000;
/// Inodes that are looked at at once.
const AT_ONCE: usize = 256;

/// A file whose items may be of an earlier commit, or missing in part.
#[derive(Debug, Serialize)]
pub struct Doubtful {
    subvolume: TreeId,
    inode: Ino,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<FileName>,
}

/// The files that `doubts` are about, [`MOST`] of them at the most.
pub fn files(volume: &Volume, doubts: &[DoubtfulInodes]) -> Vec<Doubtful> {
    let mut doubtful = Vec::new();
    if doubts.is_empty() {
        return doubtful;
    }
    let files = Files::open(volume, Start::TopLevel).or_else(|_| Files::open(volume, Start::Default));
    let Ok(files) = files else { return doubtful };
    let (all, mut paths) = (Doubts::new(doubts), Paths::new(volume));
    for tree in files.subvolumes().iter().map(|subvolume| subvolume.id) {
        for (first, last) in all.of_tree(tree) {
            let mut next = Some(first);
            while let Some(Ok((inodes, rest))) = next.map(|from| files.inodes(tree, from, AT_ONCE)) {
                next = rest.filter(|rest| *rest <= last);
                for inode in inodes.into_iter().map(|inode| inode.ino).filter(|ino| *ino <= last) {
                    if doubtful.len() == MOST {
                        return doubtful;
                    }
                    let path = paths.of_inode(InodeId::new(tree, inode));
                    doubtful.push(Doubtful { subvolume: tree, inode, path });
                }
            }
        }
    }
    doubtful
}

impl std::fmt::Display for Doubtful {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { subvolume, inode, path } = self;
        match path {
            Some(path) => write!(f, "{path}"),
            None => write!(f, "subvolume {subvolume} inode {inode}"),
        }
    }
}
