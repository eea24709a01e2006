//! The layout of a new filesystem, as the trees that describe it are made of it.

use std::collections::BTreeMap;

use crate::disk::Logical;
use crate::disk::objectid;
use crate::disk::volume::{DevItem, DevStatsItem};
use crate::error::Result;
use crate::rebuild::{GroupSpace, Items, SpaceMap};
use crate::tree::build::BuiltTree;
use crate::volume::ChunkMapping;

use super::layout::{Group, Layout};
use super::maker::kind_of;
use super::trees::{self, Roots};

/// The trees of which the kernel keeps the size free, to be able to write them.
const GLOBAL_TREES: [u64; 4] =
    [objectid::ROOT_TREE, objectid::EXTENT_TREE, objectid::FREE_SPACE_TREE, objectid::BLOCK_GROUP_TREE];

#[derive(Clone)]
pub struct NewSpace<'a> {
    pub layout: Layout,
    pub roots: &'a Roots<'a>,
    /// Blocks of the checksum tree.
    pub csum_blocks: u64,
    /// Bytes to be left behind the last chunk, if devices are to end there.
    pub shrunk: Option<u64>,
}

impl SpaceMap for NewSpace<'_> {
    fn take_block(&mut self, tree: u64) -> Result<Logical> {
        self.layout.take_block(kind_of(tree))
    }

    fn give_back_block(&mut self, logical: Logical) {
        self.layout.give_back_block(logical);
    }

    fn complete(&mut self, blocks: &BTreeMap<u64, u64>) {
        let counted = GLOBAL_TREES.iter().filter_map(|tree| blocks.get(tree)).sum::<u64>();
        let global = (counted + self.csum_blocks) * u64::from(self.roots.options.nodesize);
        if self.shrunk.is_some() || self.layout.grows() {
            self.layout.leave_room(global);
        }
        if let Some(slack) = self.shrunk {
            self.layout.cut(global);
            self.layout.shrink_devices(slack);
        }
    }

    fn groups(&self) -> impl Iterator<Item = GroupSpace<'_>> {
        self.layout.groups.iter().map(|Group { chunk, free, used }| {
            let ChunkMapping { logical, length, flags, .. } = *chunk;
            GroupSpace { logical, length, flags, used: *used, free }
        })
    }

    fn chunks(&self) -> impl Iterator<Item = &ChunkMapping> {
        self.layout.groups.iter().map(|group| &group.chunk)
    }

    fn devices(&self) -> impl Iterator<Item = DevItem> {
        self.layout.devices.iter().map(|device| trees::dev_item(self.roots.options, device))
    }

    fn stats(&self) -> impl Iterator<Item = (u64, DevStatsItem)> {
        self.layout.devices.iter().map(|device| (device.devid, DevStatsItem::zeroed()))
    }

    fn root_items(&self, trees: &BTreeMap<u64, BuiltTree>) -> Items {
        self.roots.items(trees)
    }
}
