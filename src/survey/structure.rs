//! The items of the small trees that say how the filesystem is laid out: chunks, devices, block groups, free space, roots.

use std::collections::{BTreeMap, BTreeSet};

use crate::disk::flags::{compat_ro, incompat, superblock as flags};
use crate::disk::root::RootItem;
use crate::disk::{Key, KeyType, Logical, Superblock, objectid};
use crate::tree::{BlockPlace, Levels, Tree, TreeRoot, Visit, Walk};
use crate::volume::Volume;

use super::items::{Items, ItemsPart};

/// Features with which block groups and extents are laid out in another way.
pub const NOT_UNDERSTOOD: u64 = incompat::EXTENT_TREE_V2 | incompat::REMAP_TREE;

/// What of each tree is wanted.
type Wanted = fn(Key) -> bool;

fn all(_: Key) -> bool {
    true
}

fn block_groups(key: Key) -> bool {
    key.key_type == KeyType::BLOCK_GROUP_ITEM
}

/// Root items, and the hidden files of the v1 cache of free space.
fn of_root_tree(key: Key) -> bool {
    key.objectid == objectid::FREE_SPACE
        || [KeyType::ROOT_ITEM, KeyType::INODE_ITEM, KeyType::EXTENT_DATA].contains(&key.key_type)
}

fn root_key(tree: u64) -> Key {
    Key::new(tree, KeyType::ROOT_ITEM, 0)
}

/// Which trees are gathered.
pub struct StructureRules {
    wanted: BTreeMap<u64, Wanted>,
}

impl StructureRules {
    /// Nothing is wanted of filesystems whose block groups and extents are laid out in another way.
    pub fn new(superblock: &Superblock) -> Self {
        let mut wanted: BTreeMap<u64, Wanted> = BTreeMap::new();
        if !superblock.has_incompat(NOT_UNDERSTOOD) {
            wanted.insert(objectid::ROOT_TREE, of_root_tree);
            wanted.insert(objectid::CHUNK_TREE, all);
            wanted.insert(objectid::DEV_TREE, all);
            wanted.insert(objectid::EXTENT_TREE, block_groups);
            // A conversion moves the items from one tree to the other before the feature is on, or after it is off.
            let is_moving = superblock.has_flag(flags::CHANGING_BG_TREE);
            if is_moving || superblock.has_compat_ro(compat_ro::BLOCK_GROUP_TREE) {
                wanted.insert(objectid::BLOCK_GROUP_TREE, block_groups);
            }
            if superblock.has_compat_ro(compat_ro::FREE_SPACE_TREE_VALID) {
                wanted.insert(objectid::FREE_SPACE_TREE, all);
            }
        }
        Self { wanted }
    }

    fn of(&self, tree: &Tree) -> Option<Wanted> {
        self.wanted.get(&tree.id()).copied().filter(|_| tree.root.key == root_key(tree.id()))
    }
}

/// What one thread gathers, by tree.
#[derive(Default)]
pub struct StructurePart {
    trees: BTreeMap<(u64, Logical), ItemsPart>,
    /// Blocks of the chunk tree.
    chunk_tree_blocks: Vec<Logical>,
}

impl StructurePart {
    fn of(&mut self, place: &BlockPlace<'_>) -> &mut ItemsPart {
        if place.tree.id() == objectid::CHUNK_TREE {
            self.chunk_tree_blocks.push(place.expected.logical);
        }
        self.trees.entry((place.tree.id(), place.tree.root.logical)).or_default()
    }

    pub fn visit(&mut self, rules: &StructureRules, place: &BlockPlace<'_>, visit: Visit<'_>) {
        let Some(wanted) = rules.of(place.tree) else { return };
        let items = self.of(place);
        if let Visit::Leaf(leaf) = visit {
            items.leaf(leaf, wanted);
        }
    }

    pub fn unreadable(&mut self, rules: &StructureRules, place: &BlockPlace<'_>) {
        if rules.of(place.tree).is_some() {
            self.of(place).unreadable(place);
        }
    }

    pub fn again(&mut self, rules: &StructureRules, place: &BlockPlace<'_>) {
        if rules.of(place.tree).is_some() {
            self.of(place).again(place);
        }
    }
}

/// The items. What stands in blocks that cannot be read is unknown.
pub struct Structure {
    /// Root items, and the files of the v1 cache of free space.
    pub root_tree: Items,
    /// Chunks and devices.
    pub chunk_tree: Items,
    /// The blocks of the chunk tree, those that cannot be read among them.
    pub chunk_tree_blocks: BTreeSet<Logical>,
    /// Device extents, errors of devices and a device replacement.
    pub device_tree: Items,
    /// Block group items.
    pub extent_tree: Items,
    /// Block group items; empty where the feature is off, and no conversion under way.
    pub block_group_tree: Items,
    /// Empty unless it is marked valid.
    pub free_space_tree: Items,
    /// Trees that should be there and have no root item.
    pub missing: Vec<u64>,
}

impl Structure {
    /// Puts together what was gathered of `trees`; nothing where nothing was wanted. A tree whose blocks are reached in
    /// several ways is read again, from left to right.
    pub fn new(volume: &Volume, rules: &StructureRules, trees: &[Tree], parts: Vec<StructurePart>) -> Option<Self> {
        let mut chunk_tree_blocks = BTreeSet::new();
        let mut gathered: BTreeMap<(u64, Logical), Vec<ItemsPart>> = BTreeMap::new();
        for part in parts {
            chunk_tree_blocks.extend(part.chunk_tree_blocks);
            for (tree, items) in part.trees {
                gathered.entry(tree).or_default().push(items);
            }
        }
        let mut take = |root: &TreeRoot, wanted: Wanted| {
            let parts = gathered.remove(&(root.key.objectid, root.logical)).unwrap_or_default();
            let mut same = trees.iter().filter(|tree| (tree.root.key, tree.root.logical) == (root.key, root.logical));
            let is_whole = |tree: &Tree| tree.root == *root && tree.drop_progress.is_none();
            let is_sure = same.next().is_some_and(is_whole) && same.next().is_none();
            let items = if is_sure { Items::of_parts(parts) } else { None };
            (items.is_some(), items.unwrap_or_else(|| Items::of_tree(volume, root, wanted)))
        };
        let chunk_root = TreeRoot::chunk_tree(volume);
        let (is_gathered, chunk_tree) = take(&chunk_root, *rules.wanted.get(&objectid::CHUNK_TREE)?);
        if !is_gathered {
            chunk_tree_blocks =
                Walk::new(volume, chunk_root.expected(), Levels::All).map(|block| block.logical).collect();
        }
        let (_, root_tree) = take(&TreeRoot::root_tree(volume), of_root_tree);
        let has_block_group_tree = volume.superblock().has_compat_ro(compat_ro::BLOCK_GROUP_TREE);
        let mut missing = Vec::new();
        let mut tree = |tree: u64| {
            let Some(wanted) = rules.wanted.get(&tree) else { return Items::default() };
            let key = root_key(tree);
            if let Some(item) = root_tree.get(key).and_then(RootItem::read) {
                return take(&TreeRoot::of_item(key, &item), *wanted).1;
            }
            // One that is missing is as one that cannot be read.
            if root_tree.lacks(key) {
                if tree == objectid::BLOCK_GROUP_TREE && !has_block_group_tree {
                    return Items::default();
                }
                missing.push(tree);
            }
            Items::unread()
        };
        let device_tree = tree(objectid::DEV_TREE);
        let extent_tree = tree(objectid::EXTENT_TREE);
        let block_group_tree = tree(objectid::BLOCK_GROUP_TREE);
        let free_space_tree = tree(objectid::FREE_SPACE_TREE);
        Some(Self {
            chunk_tree,
            chunk_tree_blocks,
            device_tree,
            extent_tree,
            block_group_tree,
            free_space_tree,
            missing,
            root_tree,
        })
    }
}
