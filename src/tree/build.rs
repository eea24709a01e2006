//! Building a tree from the bottom up: items in the order of their keys become full leaves, and those the nodes above.
//! Each block is made once; of each level one block is held in memory.

use crate::block::edit::{EditError, LeafMut, NewBlock, NewItem, NodeMut};
use crate::disk::fields::Uuid;
use crate::disk::node::{KeyPtr, leaf_data_size, node_ptrs};
use crate::disk::{CsumType, Key, Logical, MAX_LEVEL, Transid};
use crate::error::{EditProblem, Error, Result};

/// A block that is done.
#[derive(Clone, Copy, Debug)]
pub struct BuiltBlock {
    /// Logical address of the block.
    pub logical: Logical,
    /// Its level; 0 for a leaf.
    pub level: u8,
    /// Of the root of an empty tree the least key.
    pub first_key: Key,
}

/// Where a tree gets the addresses of its blocks, and where the blocks go.
pub trait Store {
    /// Whether blocks are written. Where they are only counted they have no items.
    const WRITES: bool = true;

    /// An address for the next block. Blocks are written in the order in which addresses are given to them.
    fn allocate(&mut self) -> Result<Logical>;

    /// Writes a finished block to the address that was taken for it.
    fn write(&mut self, block: &BuiltBlock, bytes: &[u8]) -> Result<()>;
}

/// What all blocks of a new tree have in common.
#[derive(Clone, Copy, Debug)]
pub struct NewTree {
    /// The id of the tree.
    pub owner: u64,
    /// Generation of all blocks.
    pub generation: Transid,
    /// Uuid of the filesystem: [`crate::disk::Superblock::metadata_fsid`].
    pub fsid: Uuid,
    /// Uuid of the chunk tree.
    pub chunk_tree_uuid: Uuid,
    /// Bytes of a tree block.
    pub nodesize: u32,
    /// Type of all checksums.
    pub csum_type: CsumType,
}

/// Bytes for the elements of a block.
fn capacity(nodesize: u32, level: usize) -> usize {
    match level {
        0 => leaf_data_size(nodesize) as usize,
        _ => node_ptrs(nodesize) as usize * size_of::<KeyPtr>(),
    }
}

/// A tree that was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuiltTree {
    /// Logical address of the root block.
    pub root: Logical,
    /// Level of the root block.
    pub level: u8,
    /// Number of its blocks.
    pub blocks: u64,
}

/// A tree that is being built.
#[derive(Debug)]
pub struct Builder {
    tree: NewTree,
    /// The last block of each level; none but the leaf of an empty tree is empty.
    levels: Vec<Level>,
    last_key: Option<Key>,
    blocks: u64,
}

#[derive(Debug)]
struct Level {
    bytes: Vec<u8>,
    first_key: Key,
    count: usize,
    /// Bytes for further elements.
    room: usize,
}

impl Builder {
    /// A tree without items.
    pub fn new(tree: NewTree) -> Result<Self> {
        let mut builder = Self { tree, levels: Vec::new(), last_key: None, blocks: 0 };
        builder.add_level()?;
        Ok(builder)
    }

    /// Adds an item, whose key is above those of all before it.
    pub fn push<S: Store>(&mut self, store: &mut S, key: Key, data: &[u8]) -> Result<()> {
        let limit = leaf_data_size(self.tree.nodesize) as usize - NewItem { key, data: &[] }.space();
        if data.len() > limit {
            return Err(self.refuse(key, EditProblem::TooLarge { size: data.len(), limit }));
        }
        if self.last_key.is_some_and(|last| last >= key) {
            return Err(self.refuse(key, EditProblem::OutOfOrder));
        }
        self.last_key = Some(key);
        let item = NewItem { key, data };
        if self.levels[0].room < item.space() {
            self.close(store, 0)?;
        }
        let leaf = &mut self.levels[0];
        if S::WRITES {
            let inserted = LeafMut::new(&mut leaf.bytes).and_then(|mut block| block.insert(leaf.count, &[item]));
            inserted.map_err(|error| malformed(key, error))?;
        }
        leaf.added(key, item.space());
        Ok(())
    }

    /// Writes what is left; the last block is the root.
    pub fn finish(mut self, store: &mut impl Store) -> Result<BuiltTree> {
        let mut level = 0;
        while level + 1 < self.levels.len() {
            self.close(store, level)?;
            level += 1;
        }
        let root = self.write(store, level)?;
        Ok(BuiltTree { root, level: level as u8, blocks: self.blocks })
    }

    /// Writes the block of a level, has the level above point to it, and begins an empty one.
    fn close<S: Store>(&mut self, store: &mut S, level: usize) -> Result<()> {
        let logical = self.write(store, level)?;
        let first_key = self.levels[level].first_key;
        self.levels[level] = self.new_level(level)?;
        if level + 1 == self.levels.len() {
            self.add_level()?;
        }
        if self.levels[level + 1].room < size_of::<KeyPtr>() {
            self.close(store, level + 1)?;
        }
        let (blockptr, generation) = (logical.0.into(), self.tree.generation.0.into());
        let node = &mut self.levels[level + 1];
        let ptr = KeyPtr { key: first_key.into(), blockptr, generation };
        if S::WRITES {
            let inserted = NodeMut::new(&mut node.bytes).and_then(|mut block| block.insert(node.count, &[ptr]));
            inserted.map_err(|error| malformed(first_key, error))?;
        }
        node.added(first_key, size_of::<KeyPtr>());
        Ok(())
    }

    fn write<S: Store>(&mut self, store: &mut S, level: usize) -> Result<Logical> {
        let logical = store.allocate()?;
        let Level { bytes, first_key, .. } = &mut self.levels[level];
        if S::WRITES {
            crate::block::edit::set_logical(bytes, logical).map_err(|error| malformed(*first_key, error))?;
            self.tree.csum_type.stamp(bytes);
        }
        store.write(&BuiltBlock { logical, level: level as u8, first_key: *first_key }, bytes)?;
        self.blocks += 1;
        Ok(logical)
    }

    fn add_level(&mut self) -> Result<()> {
        let level = self.new_level(self.levels.len())?;
        self.levels.push(level);
        Ok(())
    }

    fn new_level(&self, level: usize) -> Result<Level> {
        let tree = &self.tree;
        if level >= MAX_LEVEL {
            return Err(self.refuse(self.last_key.unwrap_or_default(), EditProblem::TooHigh));
        }
        let new = NewBlock {
            logical: Logical(0),
            level: level as u8,
            generation: tree.generation,
            owner: tree.owner,
            fsid: tree.fsid,
            chunk_tree_uuid: tree.chunk_tree_uuid,
        };
        let mut bytes = vec![0; tree.nodesize as usize];
        new.write(&mut bytes).map_err(|error| malformed(Key::MIN, error))?;
        Ok(Level { bytes, first_key: Key::MIN, count: 0, room: capacity(tree.nodesize, level) })
    }

    fn refuse(&self, key: Key, problem: EditProblem) -> Error {
        Error::Edit { tree: self.tree.owner, key, problem }
    }
}

impl Level {
    fn added(&mut self, key: Key, space: usize) {
        if self.count == 0 {
            self.first_key = key;
        }
        self.count += 1;
        self.room -= space;
    }
}

fn malformed(key: Key, problem: EditError) -> Error {
    Error::Internal { problem: format!("new block at key {key}: {problem}") }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::block::edit::check_layout;
    use crate::block::verify::{Expected, Format};
    use crate::block::{Block, BlockKind};
    use crate::disk::KeyType;

    const NODESIZE: u32 = 4096;

    fn new_tree() -> NewTree {
        let (fsid, chunk_tree_uuid) = (Uuid([1; 16]), Uuid([2; 16]));
        let (generation, csum_type) = (Transid(3), CsumType::Xxhash);
        NewTree { owner: 5, generation, fsid, chunk_tree_uuid, nodesize: NODESIZE, csum_type }
    }

    #[derive(Default)]
    struct Memory {
        blocks: BTreeMap<Logical, Vec<u8>>,
        next: u64,
        order: Vec<(u8, Key)>,
    }

    impl Store for Memory {
        fn allocate(&mut self) -> Result<Logical> {
            self.next += u64::from(NODESIZE);
            Ok(Logical(self.next))
        }

        fn write(&mut self, block: &BuiltBlock, bytes: &[u8]) -> Result<()> {
            assert_eq!(block.logical.0, self.next, "written out of order");
            self.order.push((block.level, block.first_key));
            assert!(self.blocks.insert(block.logical, bytes.to_vec()).is_none(), "written twice");
            Ok(())
        }
    }

    #[derive(Default)]
    struct Counted(Vec<(u8, Key)>);

    impl Store for Counted {
        const WRITES: bool = false;

        fn allocate(&mut self) -> Result<Logical> {
            Ok(Logical(0))
        }

        fn write(&mut self, block: &BuiltBlock, _: &[u8]) -> Result<()> {
            self.0.push((block.level, block.first_key));
            Ok(())
        }
    }

    impl Memory {
        /// The items below a block, which is what `expected` says.
        fn items(&self, expected: &Expected, items: &mut Vec<(Key, Vec<u8>)>) {
            let format = Format {
                csum_type: CsumType::Xxhash,
                nodesize: NODESIZE,
                sectorsize: 4096,
                fsids: vec![Uuid([1; 16])],
            };
            let block: Block<'_> = format.verify(&self.blocks[&expected.logical], expected).unwrap();
            check_layout(block).unwrap();
            match block.kind() {
                BlockKind::Leaf(leaf) => {
                    items.extend(leaf.items().map(|item| item.unwrap()).map(|item| (item.key, item.data.to_vec())));
                }
                BlockKind::Node(node) => {
                    node.ptrs().iter().for_each(|ptr| self.items(&Expected::child(ptr, block.level()), items));
                }
            }
        }
    }

    fn key(index: u64) -> Key {
        Key::new(index / 3, KeyType((index % 3) as u8), index)
    }

    #[test]
    fn a_tree_holds_what_it_was_built_of() {
        // Empty, one leaf, one more than a leaf holds, and up to three levels of nodes, with items of all sizes.
        for (count, largest, least_level) in
            [(0, 1, 0), (1, 3970, 0), (159, 1, 0), (160, 1, 1), (159 * 121 + 1, 1, 2), (30_000, 400, 2)]
        {
            let items: Vec<_> = (0..count).map(|n| (key(n), vec![n as u8; (n * 7919 % largest) as usize])).collect();
            let mut store = Memory::default();
            let mut builder = Builder::new(new_tree()).unwrap();
            items.iter().for_each(|(key, data)| builder.push(&mut store, *key, data).unwrap());
            let built = builder.finish(&mut store).unwrap();
            assert_eq!(built.blocks, store.blocks.len() as u64);
            let mut counted = Counted::default();
            let mut builder = Builder::new(new_tree()).unwrap();
            items.iter().for_each(|(key, data)| builder.push(&mut counted, *key, data).unwrap());
            builder.finish(&mut counted).unwrap();
            assert!(counted.0 == store.order, "{count} items are counted as other blocks");
            assert!(built.level >= least_level, "{count} items make {} levels", built.level);
            let (level, generation) = (Some(built.level), Some(Transid(3)));
            let mut found = Vec::new();
            store.items(&Expected { level, generation, ..Expected::at(built.root) }, &mut found);
            assert!(found == items, "{count} items");
        }
    }

    #[test]
    fn leaves_and_nodes_are_full() {
        let mut store = Memory::default();
        let mut builder = Builder::new(new_tree()).unwrap();
        (0..121 * 40).for_each(|n| builder.push(&mut store, key(n), &[0; 74]).unwrap());
        let built = builder.finish(&mut store).unwrap();
        // 40 items of 99 bytes fill a leaf, 121 pointers a node.
        assert_eq!((built.level, built.blocks), (1, 121 + 1));
    }

    #[test]
    fn what_would_make_a_bad_tree_is_refused() {
        let mut store = Memory::default();
        let mut builder = Builder::new(new_tree()).unwrap();
        builder.push(&mut store, key(5), &[]).unwrap();
        let problem = |error: Error| match error {
            Error::Edit { problem, .. } => problem,
            other => panic!("{other}"),
        };
        for again in [4, 5] {
            assert_eq!(problem(builder.push(&mut store, key(again), &[]).unwrap_err()), EditProblem::OutOfOrder);
        }
        let too_large = builder.push(&mut store, key(6), &[0; 3971]).unwrap_err();
        assert_eq!(problem(too_large), EditProblem::TooLarge { size: 3971, limit: 3970 });
    }
}
