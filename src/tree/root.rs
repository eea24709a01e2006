//! Where trees begin.

use crate::block::verify::Expected;
use crate::disk::root::RootItem;
use crate::disk::{Key, KeyType, Logical, Superblock, Transid, objectid};
use crate::volume::Volume;

/// The root of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeRoot {
    /// The key of its root item. The trees that the superblock points to have none and go by their object id.
    pub key: Key,
    /// Logical address of the root block.
    pub logical: Logical,
    /// Level of the root block.
    pub level: u8,
    /// Nothing for the log root tree, whose generation is written nowhere else.
    pub generation: Option<Transid>,
}

impl TreeRoot {
    fn of_superblock(tree: u64, logical: Logical, level: u8, generation: Option<Transid>) -> Self {
        Self { key: Key::new(tree, KeyType::ROOT_ITEM, 0), logical, level, generation }
    }

    /// The root that a root item describes.
    pub fn of_item(key: Key, item: &RootItem) -> Self {
        let (logical, generation) = (item.bytenr.into(), Some(item.generation.into()));
        Self { key, logical, level: item.level, generation }
    }

    /// The root tree that the superblock leads to.
    pub fn root_tree(volume: &Volume) -> Self {
        Self::root_tree_of(volume.superblock())
    }

    /// The root tree that this superblock points to.
    pub fn root_tree_of(superblock: &Superblock) -> Self {
        let generation = Some(superblock.generation());
        Self::of_superblock(objectid::ROOT_TREE, superblock.root(), superblock.root_level, generation)
    }

    /// The chunk tree that the superblock leads to.
    pub fn chunk_tree(volume: &Volume) -> Self {
        Self::chunk_tree_of(volume.superblock())
    }

    /// The chunk tree that this superblock points to.
    pub fn chunk_tree_of(superblock: &Superblock) -> Self {
        let generation = Some(superblock.chunk_root_generation.into());
        Self::of_superblock(objectid::CHUNK_TREE, superblock.chunk_root(), superblock.chunk_root_level, generation)
    }

    /// The tree of log trees, if there is an unreplayed log.
    pub fn log_root_tree(volume: &Volume) -> Option<Self> {
        let superblock = volume.superblock();
        let logical = Logical::from(superblock.log_root);
        let root = Self::of_superblock(objectid::TREE_LOG, logical, superblock.log_root_level, None);
        (logical != Logical(0)).then_some(root)
    }

    /// What the root promises of its block.
    pub fn expected(&self) -> Expected {
        Expected { logical: self.logical, level: Some(self.level), generation: self.generation, first_key: None }
    }
}
