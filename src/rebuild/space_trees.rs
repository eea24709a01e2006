//! The trees that describe where everything is, themselves among it: their blocks change what they say, and what they
//! say the number of their blocks.

use std::collections::BTreeMap;

use crate::disk::fields::Uuid;
use crate::disk::volume::{DevExtent, DevItem, DevStatsItem};
use crate::disk::{Key, Logical, objectid};
use crate::error::{Error, Result};
use crate::tree::build::{Builder, BuiltBlock, BuiltTree, NewTree, Store};
use crate::volume::ChunkMapping;
use crate::volume::chunk_items::dev_extents;

use super::block_groups::{GroupSpace, block_group_items, free_space_tree_items};
use super::device_tree::{chunk_tree_items, device_tree_items};
use super::extent_tree::ExtentTree;
use super::records::{BlockRef, Items};
use super::stores::{OutlineStore, PlacedStore};

/// Rounds after which the blocks are begun one further on. That trees never agree with themselves takes an odd chance,
/// which another place breaks.
const ROUNDS: usize = 16;

/// Level and first key of the blocks of each tree, in the order in which they are written.
type Outlines = BTreeMap<u64, Vec<(u8, Key)>>;

/// Where blocks can go, and what is free without them. A copy of it is changed for each attempt.
pub trait SpaceMap: Clone {
    /// Takes the space of a block of `tree`.
    ///
    /// # Errors
    /// No space.
    fn take_block(&mut self, tree: u64) -> Result<Logical>;

    /// Gives back the space of a block that will not be written.
    fn give_back_block(&mut self, logical: Logical);

    /// All blocks have their space, and the trees of space so many of them: the last chance to change chunks and devices.
    fn complete(&mut self, blocks: &BTreeMap<u64, u64>);

    /// The block groups by address.
    fn groups(&self) -> impl Iterator<Item = GroupSpace<'_>>;

    /// The chunks by address.
    fn chunks(&self) -> impl Iterator<Item = &ChunkMapping>;

    /// The device items by device id.
    fn devices(&self) -> impl Iterator<Item = DevItem>;

    /// The errors that were counted on each device, by device id.
    fn stats(&self) -> impl Iterator<Item = (u64, DevStatsItem)>;

    /// The items of the root tree, where `trees` are all trees that were built.
    fn root_items(&self, trees: &BTreeMap<u64, BuiltTree>) -> Items;
}

/// What the trees of space are made of.
pub struct SpaceTrees<'a> {
    /// What their blocks have in common, whatever the owner.
    pub form: NewTree,
    /// Bytes of a block of data.
    pub sectorsize: u32,
    /// The trees to make, of those that `SpaceTrees::build` knows. Block group items stand in the extent tree if the block
    /// group tree is not among them.
    pub trees: Vec<u64>,
    /// All extents but the blocks of these trees.
    pub extents: ExtentTree<'a>,
    /// The other trees.
    pub built: &'a BTreeMap<u64, BuiltTree>,
}

/// Trees that agree with themselves, and the space that they leave.
pub struct Settled<M> {
    /// The space that is left.
    pub map: M,
    places: BTreeMap<u64, Vec<Logical>>,
    /// Those of the trees of space, in order.
    records: Vec<BlockRef>,
    trees: BTreeMap<u64, BuiltTree>,
}

impl SpaceTrees<'_> {
    /// Finds out how many blocks the trees need, and gives them their places: repeats the attempt with what the last one came
    /// to, until both agree.
    ///
    /// # Errors
    /// No space, and records that contradict each other.
    pub fn settle<M: SpaceMap>(&self, map: &M) -> Result<Settled<M>> {
        let mut outlines: Outlines = self.trees.iter().map(|tree| (*tree, vec![(0, Key::MIN)])).collect();
        for round in 0..ROUNDS * ROUNDS {
            let attempt = self.attempt(map, &outlines, round / ROUNDS)?;
            let mut next = Outlines::new();
            for tree in &self.trees {
                let mut outline = OutlineStore::default();
                self.build(*tree, &attempt, &mut outline)?;
                next.insert(*tree, outline.blocks);
            }
            if next == outlines {
                return Ok(attempt);
            }
            outlines = next;
        }
        Err(Error::Internal { problem: "the trees of space do not come to an end".to_owned() })
    }

    /// Builds the trees that were settled, and hands each block to `write`.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn write<M: SpaceMap>(
        &self,
        settled: &Settled<M>,
        mut write: impl FnMut(&BuiltBlock, &[u8]) -> Result<()>,
    ) -> Result<BTreeMap<u64, BuiltTree>> {
        let mut built = BTreeMap::new();
        for (tree, places) in &settled.places {
            let mut store = PlacedStore { places: places.iter(), write: &mut write };
            built.insert(*tree, self.build(*tree, settled, &mut store)?);
        }
        Ok(built)
    }

    /// Gives places to the blocks of the outlines, `skipped` blocks behind the first that is free.
    fn attempt<M: SpaceMap>(&self, map: &M, outlines: &Outlines, skipped: usize) -> Result<Settled<M>> {
        let mut map = map.clone();
        let gap = (0..skipped).map(|_| map.take_block(objectid::EXTENT_TREE)).collect::<Result<Vec<Logical>>>()?;
        let mut places: BTreeMap<u64, Vec<Logical>> = BTreeMap::new();
        let mut records = Vec::new();
        let mut trees = self.built.clone();
        for (tree, outline) in outlines {
            for (level, first_key) in outline {
                let logical = map.take_block(*tree)?;
                places.entry(*tree).or_default().push(logical);
                let block = BuiltBlock { logical, level: *level, first_key: *first_key };
                records.push(BlockRef::tree_block(&block, self.form.generation, *tree));
                trees.insert(*tree, BuiltTree { root: logical, level: *level, blocks: outline.len() as u64 });
            }
        }
        gap.into_iter().for_each(|logical| map.give_back_block(logical));
        map.complete(&outlines.iter().map(|(tree, outline)| (*tree, outline.len() as u64)).collect());
        records.sort();
        Ok(Settled { map, places, records, trees })
    }

    /// Builds one of the trees as an attempt has it.
    fn build<M: SpaceMap>(&self, tree: u64, attempt: &Settled<M>, store: &mut impl Store) -> Result<BuiltTree> {
        let (map, sectorsize) = (&attempt.map, self.sectorsize);
        let mut builder = Builder::new(NewTree { owner: tree, ..self.form })?;
        let mut push = |key: Key, data: &[u8]| builder.push(store, key, data);
        match tree {
            objectid::CHUNK_TREE => chunk_tree_items(map.devices(), map.chunks(), sectorsize, push)?,
            objectid::DEV_TREE => {
                device_tree_items(map.stats(), sorted_extents(map, self.form.chunk_tree_uuid).into_iter(), push)?;
            }
            objectid::FREE_SPACE_TREE => free_space_tree_items(map.groups(), sectorsize, push)?,
            objectid::BLOCK_GROUP_TREE => {
                block_group_items(map.groups()).try_for_each(|(key, item)| push(key, item.as_ref()))?;
            }
            objectid::ROOT_TREE => {
                map.root_items(&attempt.trees).iter().try_for_each(|(key, data)| push(*key, data))?;
            }
            objectid::EXTENT_TREE => {
                let has_own_tree = self.trees.contains(&objectid::BLOCK_GROUP_TREE);
                let groups = block_group_items(map.groups().filter(|_| !has_own_tree));
                self.extents.for_each(&attempt.records, groups, push)?;
            }
            other => return Err(Error::Internal { problem: format!("tree {other} is no tree of space") }),
        }
        builder.finish(store)
    }
}

fn sorted_extents(map: &impl SpaceMap, chunk_tree_uuid: Uuid) -> Vec<(Key, DevExtent)> {
    let mut extents: Vec<_> = map.chunks().flat_map(|chunk| dev_extents(chunk, chunk_tree_uuid)).collect();
    extents.sort_unstable_by_key(|(key, _)| *key);
    extents
}
