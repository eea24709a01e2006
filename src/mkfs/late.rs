//! The trees that describe where everything is, themselves among it: their blocks change what they say, and what they
//! say the number of their blocks.

use std::collections::BTreeMap;

use crate::disk::flags::compat_ro;
use crate::disk::{Key, Logical, objectid};
use crate::error::{Error, Result};
use crate::tree::build::{Builder, BuiltBlock, BuiltTree, Store};
use crate::volume::FirstWriter;

use super::extents::{BlockRecord, Extents};
use super::layout::Layout;
use super::maker::{State, kind_of, new_tree};
use super::trees::{self, Items, Roots};

/// Rounds after which the blocks are begun one further on. That trees never agree with themselves takes an odd chance,
/// which another place breaks.
const ROUNDS: usize = 16;

/// Level and first key of the blocks of each tree, in the order in which they are written.
type Outlines = BTreeMap<u64, Vec<(u8, Key)>>;

/// What the late trees are made of.
pub struct LateTrees<'a> {
    pub extents: Extents<'a>,
    /// Those of the other trees.
    pub roots: Roots<'a>,
    /// Bytes to be left behind the last chunk, if devices are to end there.
    pub shrunk: Option<u64>,
}

/// The late trees as they would be, were their outlines right.
struct Attempt {
    layout: Layout,
    places: BTreeMap<u64, Vec<Logical>>,
    /// Those of the late trees, in order.
    records: Vec<BlockRecord>,
    items: BTreeMap<u64, Items>,
}

impl LateTrees<'_> {
    /// Finds out how many blocks the trees need, and writes them.
    pub fn write(&self, state: &mut State, writer: &FirstWriter) -> Result<()> {
        let attempt = self.settle(&state.layout)?;
        state.layout = attempt.layout.clone();
        state.layout.fit_images(writer)?;
        for (tree, places) in &attempt.places {
            let mut store = PlacedStore { layout: &state.layout, writer, places: places.iter() };
            let built = self.build(*tree, &attempt, &mut store)?;
            state.trees.insert(*tree, built);
        }
        Ok(())
    }

    fn trees(&self) -> impl Iterator<Item = u64> + use<> {
        let always = [objectid::CHUNK_TREE, objectid::EXTENT_TREE, objectid::DEV_TREE, objectid::ROOT_TREE];
        let options = self.extents.options;
        let groups = options.has_compat_ro(compat_ro::BLOCK_GROUP_TREE).then_some(objectid::BLOCK_GROUP_TREE);
        let free_space = options.has_compat_ro(compat_ro::FREE_SPACE_TREE).then_some(objectid::FREE_SPACE_TREE);
        always.into_iter().chain(groups).chain(free_space)
    }

    /// Repeats the attempt with what the last one came to, until both agree.
    fn settle(&self, layout: &Layout) -> Result<Attempt> {
        let mut outlines: Outlines = self.trees().map(|tree| (tree, vec![(0, Key::MIN)])).collect();
        for round in 0..ROUNDS * ROUNDS {
            let attempt = self.attempt(layout, &outlines, round / ROUNDS)?;
            let mut next = Outlines::new();
            for tree in self.trees() {
                let mut outline = OutlineStore::default();
                self.build(tree, &attempt, &mut outline)?;
                next.insert(tree, outline.blocks);
            }
            if next == outlines {
                return Ok(attempt);
            }
            outlines = next;
        }
        Err(Error::Damaged { problem: "the new trees do not come to an end".to_owned() })
    }

    /// Gives places to the blocks of the outlines, `skipped` blocks behind the first that is free.
    fn attempt(&self, layout: &Layout, outlines: &Outlines, skipped: usize) -> Result<Attempt> {
        let mut layout = layout.clone();
        let gap: Vec<Logical> =
            (0..skipped).map(|_| layout.take_block(kind_of(objectid::EXTENT_TREE))).collect::<Result<_>>()?;
        let mut places: BTreeMap<u64, Vec<Logical>> = BTreeMap::new();
        let mut records = Vec::new();
        let mut roots = self.roots.trees.clone();
        for (tree, outline) in outlines {
            for (level, first_key) in outline {
                let logical = layout.take_block(kind_of(*tree))?;
                places.entry(*tree).or_default().push(logical);
                records.push(BlockRecord::new(&BuiltBlock { logical, level: *level, first_key: *first_key }, *tree));
                let built = BuiltTree { root: logical, level: *level, blocks: outline.len() as u64 };
                roots.insert(*tree, built);
            }
        }
        gap.into_iter().for_each(|logical| layout.give_back_block(logical));
        let global = self.global_bytes(outlines);
        if self.shrunk.is_some() || layout.grows() {
            layout.leave_room(global);
        }
        if let Some(slack) = self.shrunk {
            layout.cut(global);
            layout.shrink_devices(slack);
        }
        records.sort();
        let options = self.extents.options;
        roots.retain(|tree, _| ![objectid::ROOT_TREE, objectid::CHUNK_TREE].contains(tree));
        let items = self.trees().map(|tree| {
            let items = match tree {
                objectid::CHUNK_TREE => trees::chunk_tree(options, &layout),
                objectid::DEV_TREE => trees::dev_tree(options, &layout),
                objectid::FREE_SPACE_TREE => trees::free_space_tree(options, &layout)?,
                objectid::BLOCK_GROUP_TREE => trees::block_groups(&layout),
                objectid::ROOT_TREE => Roots { trees: std::mem::take(&mut roots), ..self.roots }.items(),
                _ if options.has_compat_ro(compat_ro::BLOCK_GROUP_TREE) => Items::new(),
                _ => trees::block_groups(&layout),
            };
            Ok((tree, items))
        });
        let items = items.collect::<Result<_>>()?;
        Ok(Attempt { layout, places, records, items })
    }

    /// Bytes of the trees of which the kernel keeps the size free, to be able to write them.
    fn global_bytes(&self, outlines: &Outlines) -> u64 {
        const TREES: [u64; 4] =
            [objectid::ROOT_TREE, objectid::EXTENT_TREE, objectid::FREE_SPACE_TREE, objectid::BLOCK_GROUP_TREE];
        let late = TREES.iter().filter_map(|tree| outlines.get(tree)).map(|outline| outline.len() as u64);
        let csums = self.roots.trees.get(&objectid::CSUM_TREE).map_or(0, |built| built.blocks);
        (late.sum::<u64>() + csums) * u64::from(self.extents.options.nodesize)
    }

    /// Builds a late tree of the items that an attempt has for it.
    fn build(&self, tree: u64, attempt: &Attempt, store: &mut impl Store) -> Result<BuiltTree> {
        let mut builder = Builder::new(new_tree(self.extents.options, tree))?;
        let mut push = |key, data: &[u8]| builder.push(store, key, data);
        match attempt.items.get(&tree) {
            Some(items) if tree == objectid::EXTENT_TREE => self.extents.for_each(&attempt.records, items, push)?,
            items => items.into_iter().flatten().try_for_each(|(key, data)| push(*key, data))?,
        }
        builder.finish(store)
    }
}

/// Blocks that are noted instead of written: where they would stand does not change how many there are.
#[derive(Default)]
struct OutlineStore {
    blocks: Vec<(u8, Key)>,
}

impl Store for OutlineStore {
    const WRITES: bool = false;

    fn allocate(&mut self) -> Result<Logical> {
        Ok(Logical(0))
    }

    fn write(&mut self, block: &BuiltBlock, _: &[u8]) -> Result<()> {
        self.blocks.push((block.level, block.first_key));
        Ok(())
    }
}

/// Blocks whose places are known.
struct PlacedStore<'a> {
    layout: &'a Layout,
    writer: &'a FirstWriter,
    places: std::slice::Iter<'a, Logical>,
}

impl Store for PlacedStore<'_> {
    fn allocate(&mut self) -> Result<Logical> {
        let error = || Error::Damaged { problem: "a new tree has more blocks than were counted".to_owned() };
        self.places.next().copied().ok_or_else(error)
    }

    fn write(&mut self, block: &BuiltBlock, bytes: &[u8]) -> Result<()> {
        self.writer.write(self.layout.chunk_at(block.logical)?, block.logical, bytes)
    }
}
