//! The trees that tell of space, built anew beside the old ones: extents, block groups, free space, devices, and the root tree
//! that leads to them.

use std::collections::BTreeMap;

use zerocopy::IntoBytes;

use crate::disk::flags::{compat_ro, incompat};
use crate::disk::root::RootItem;
use crate::disk::volume::{DevItem, DevStatsItem};
use crate::disk::{Key, KeyType, Logical, Transid, objectid};
use crate::error::{Error, ExtentProblem, Result};
use crate::rebuild::{ExtentTree, GroupSpace, Items, SpaceMap, SpaceTrees};
use crate::space::FreeExtents;
use crate::survey::{ExtentList, Job, trees_of};
use crate::table::MemoryBudget;
use crate::tree::build::BuiltTree;
use crate::tree::{BlockPlace, Entered, Tree, TreeRoot, Visit, Visitor, walk};
use crate::volume::{ChunkMap, ChunkMapping, Volume};

use super::draft::Draft;
use super::free::FreeBlocks;
use super::references::{References, collect};

/// What a rebuild works with.
pub struct Rebuild<'a> {
    /// Threads and progress.
    pub threads: usize,
    /// Told of the work, and able to stop it.
    pub progress: &'a crate::progress::Progress,
    /// Bytes of memory for records.
    pub memory: u64,
    /// What the extent tree knew of extents.
    pub extents: &'a ExtentList,
    /// Whether the device tree is built anew, too.
    pub with_devices: bool,
}

/// The trees that root items lead to, and the items of the root tree.
#[derive(Default)]
struct Roots {
    trees: Vec<Tree>,
    items: Items,
}

struct ReadRoots;

impl Visitor for ReadRoots {
    type Part = Roots;

    fn visit(&self, part: &mut Roots, _: &BlockPlace<'_>, visit: Visit<'_>) {
        if let Visit::Leaf(leaf) = visit {
            part.trees.extend(trees_of(leaf));
            part.items.extend(leaf.items().flatten().map(|item| (item.key, item.data.to_vec())));
        }
    }
}

impl Rebuild<'_> {
    /// Builds the trees of space of the filesystem that `draft` begins with, and publishes them.
    ///
    /// # Errors
    /// References that contradict each other, no space, and what cannot be read or written.
    pub fn run(&self, mut draft: Draft) -> Result<()> {
        let superblock = &draft.superblock;
        let has_free_space_tree = superblock.has_compat_ro(compat_ro::FREE_SPACE_TREE);
        let has_block_group_tree = superblock.has_compat_ro(compat_ro::BLOCK_GROUP_TREE);
        let mut of_space = vec![objectid::ROOT_TREE, objectid::EXTENT_TREE];
        of_space.extend(has_free_space_tree.then_some(objectid::FREE_SPACE_TREE));
        of_space.extend(has_block_group_tree.then_some(objectid::BLOCK_GROUP_TREE));
        of_space.extend(self.with_devices.then_some(objectid::DEV_TREE));

        let mut roots = Roots::default();
        let chunks = draft.volume().chunks().clone();
        let volume = draft.volume();
        walk(volume, &Tree::whole(TreeRoot::root_tree(volume)), &mut Entered::default(), &ReadRoots, &mut roots);
        let mut kept: Vec<Tree> = roots.trees.iter().filter(|tree| !of_space.contains(&tree.id())).copied().collect();
        kept.push(Tree::whole(TreeRoot::chunk_tree(volume)));
        kept.push(Tree::whole(TreeRoot::root_tree(volume)));
        let job = Job { volume, threads: self.threads, progress: self.progress };
        let budget = MemoryBudget::new(self.memory);
        let references = collect(&job, &kept, self.extents, &budget)?;
        if self.progress.is_stopped() {
            return Err(Error::Interrupted);
        }

        let form = draft.form(0);
        let extents = ExtentTree {
            nodesize: form.nodesize,
            is_skinny: draft.superblock.has_incompat(incompat::SKINNY_METADATA),
            blocks: &references.blocks,
            data: &references.data,
        };
        let built = BTreeMap::new();
        let sectorsize = volume.format().sectorsize;
        let trees = SpaceTrees { form, sectorsize, trees: of_space, extents, built: &built };
        let map = Map {
            free: draft.free.clone(),
            groups: groups(&chunks, &references, form.nodesize)?,
            devices: TreeRoot::chunk_tree(volume).dev_items(volume)?,
            stats: stats(volume),
            roots: &roots.items,
            nodesize: form.nodesize,
            generation: form.generation,
        };
        let settled = trees.settle(&map)?;
        let written = trees.write(&settled, |block, bytes| draft.write(block.logical, bytes))?;
        let root_of = |tree: u64| {
            let built = written.get(&tree)?;
            let key = Key::new(tree, KeyType::ROOT_ITEM, 0);
            Some(TreeRoot { key, logical: built.root, level: built.level, generation: Some(form.generation) })
        };
        let no_root = || Error::Internal { problem: "no root tree was built".to_owned() };
        let root = root_of(objectid::ROOT_TREE).ok_or_else(no_root)?;
        draft.roots = roots.trees.iter().map(|tree| (tree.id(), tree.root)).collect();
        let new: Vec<(u64, TreeRoot)> = written.keys().filter_map(|tree| Some((*tree, root_of(*tree)?))).collect();
        draft.roots.extend(new);
        let used = settled.map.groups.iter().fold(0, |sum: u64, group| sum.saturating_add(group.used));
        draft.superblock.bytes_used = used.into();
        if has_free_space_tree {
            draft.superblock.compat_ro_flags |= compat_ro::FREE_SPACE_TREE_VALID;
        }
        // The kernel builds a v1 cache of another generation anew.
        draft.superblock.cache_generation =
            if has_free_space_tree { 0 } else { draft.superblock.cache_generation.get() }.into();
        let chunk_root = TreeRoot::chunk_tree(draft.volume());
        draft.publish(&root, &chunk_root)
    }
}

#[derive(Clone)]
struct Group<'c> {
    chunk: &'c ChunkMapping,
    free: FreeExtents,
    used: u64,
}

#[derive(Clone)]
struct Map<'a> {
    free: FreeBlocks,
    groups: Vec<Group<'a>>,
    devices: Vec<DevItem>,
    stats: Vec<(u64, DevStatsItem)>,
    roots: &'a Items,
    nodesize: u32,
    generation: Transid,
}

impl<'a> Map<'a> {
    fn group_of(&mut self, logical: Logical) -> Option<&mut Group<'a>> {
        let after = self.groups.partition_point(|group| group.chunk.logical <= logical);
        let group = self.groups.get_mut(after.checked_sub(1)?)?;
        (logical < group.chunk.end()).then_some(group)
    }
}

impl SpaceMap for Map<'_> {
    fn take_block(&mut self, tree: u64) -> Result<Logical> {
        let (logical, nodesize) = (self.free.take(tree)?, u64::from(self.nodesize));
        if let Some(group) = self.group_of(logical) {
            group.free.remove(logical, nodesize);
            group.used += nodesize;
        }
        Ok(logical)
    }

    fn give_back_block(&mut self, logical: Logical) {
        let nodesize = u64::from(self.nodesize);
        if let Some(group) = self.group_of(logical) {
            group.free.add(logical, nodesize);
            group.used -= nodesize;
        }
    }

    fn complete(&mut self, _: &BTreeMap<u64, u64>) {}

    fn groups(&self) -> impl Iterator<Item = GroupSpace<'_>> {
        self.groups.iter().map(|Group { chunk, free, used }| {
            let ChunkMapping { logical, length, flags, .. } = **chunk;
            GroupSpace { logical, length, flags, used: *used, free }
        })
    }

    fn chunks(&self) -> impl Iterator<Item = &ChunkMapping> {
        self.groups.iter().map(|group| group.chunk)
    }

    fn devices(&self) -> impl Iterator<Item = DevItem> {
        self.devices.iter().copied()
    }

    fn stats(&self) -> impl Iterator<Item = (u64, DevStatsItem)> {
        self.stats.iter().copied()
    }

    fn root_items(&self, trees: &BTreeMap<u64, BuiltTree>) -> Items {
        let mut items = self.roots.clone();
        for (tree, built) in trees.iter().filter(|(tree, _)| **tree != objectid::ROOT_TREE) {
            let key = Key::new(*tree, KeyType::ROOT_ITEM, 0);
            let old = items.get(&key).and_then(|data| RootItem::read(data));
            let mut item = old.unwrap_or_else(|| RootItem::new(self.nodesize));
            (item.bytenr, item.level) = (built.root.0.into(), built.level);
            (item.generation, item.generation_v2) = (self.generation.0.into(), self.generation.0.into());
            item.bytes_used = built.blocks.saturating_mul(self.nodesize.into()).into();
            items.insert(key, item.as_bytes().to_vec());
        }
        items
    }
}

/// The block groups, one for each chunk, with what the references leave free.
fn groups<'c>(chunks: &'c ChunkMap, references: &References, nodesize: u32) -> Result<Vec<Group<'c>>> {
    let whole = |chunk: &'c ChunkMapping| {
        let mut free = FreeExtents::default();
        free.add(chunk.logical, chunk.length);
        Group { chunk, free, used: 0 }
    };
    let mut groups: Vec<Group<'c>> = chunks.iter().map(whole).collect();
    let mut take = |extents: &mut dyn Iterator<Item = (Logical, u64)>| -> Result<()> {
        let mut last = None;
        for (logical, length) in extents {
            // A record for each reference, sorted by extent.
            if last.replace(logical) == Some(logical) {
                continue;
            }
            let after = groups.partition_point(|group| group.chunk.logical <= logical);
            let group = after.checked_sub(1).and_then(|index| groups.get_mut(index));
            let group = group.filter(|group| logical.0.saturating_add(length) <= group.chunk.end().0);
            let outside = Error::Extent { logical, problem: ExtentProblem::OutsideChunk };
            let group = group.ok_or(outside)?;
            group.free.remove(logical, length);
            group.used += length;
        }
        Ok(())
    };
    take(&mut references.blocks.iter().map(|record| (record.block().logical, nodesize.into())))?;
    take(&mut references.data.iter().map(|record| record.range()))?;
    Ok(groups)
}

/// The errors that were counted on each device, as far as they can be read.
fn stats(volume: &Volume) -> Vec<(u64, DevStatsItem)> {
    let key = |devid| Key::new(objectid::DEV_STATS, KeyType::PERSISTENT_ITEM, devid);
    let mut stats = Vec::new();
    if let Ok(Some(root)) = TreeRoot::root_tree(volume).find_child(volume, objectid::DEV_TREE) {
        // What cannot be read is counted anew.
        let _ = root.range(volume, key(0), key(u64::MAX), |item| {
            stats.extend(DevStatsItem::read_prefix(item.data).map(|(stats, _)| (item.key.offset, *stats)));
        });
    }
    stats
}
