//! All references to extents that trees have, as the records that an extent tree is built of.
//!
//! The repair tells anew what refers to what. A block that its owner's tree reaches stands for references by the name of the tree; one that
//! others keep after its owner gave it up refers by its address (`BTRFS_BLOCK_FLAG_FULL_BACKREF`), as the kernel has it when it
//! copies a shared block (`update_ref_for_cow` in fs/btrfs/ctree.c).

use std::collections::HashSet;

use crate::block::reference::{Reference, file_extent};
use crate::block::{Block, BlockKind};
use crate::disk::flags::header::RELOC;
use crate::disk::{Key, Logical, Transid, objectid};
use crate::error::{Error, Result};
use crate::rebuild::{BlockRef, DataRange, DataRef};
use crate::survey::{Cursor, ExtentList, Job, root_reference};
use crate::table::{MemoryBudget, Part, Table, Writer};
use crate::tree::build::BuiltBlock;
use crate::tree::{BlockPlace, Tree, Visit, Visitor};
use crate::volume::{BadCopy, NoGoodCopy};

use super::nodes::for_each_node;

/// The records, by extent.
pub struct References {
    /// References to tree blocks.
    pub blocks: Table<BlockRef>,
    /// References to data.
    pub data: Table<DataRef>,
}

/// Where blocks hang that their owners' trees reach.
struct Owned {
    /// Nodes that the trees of their owners reach.
    nodes: HashSet<Logical>,
    /// Leaves below such nodes, with the owner of the node; and the roots of trees.
    leaves: HashSet<(Logical, u64)>,
}

impl Owned {
    /// No block of a tree hangs below another tree's: a copy of a node has copies of all nodes above it.
    fn of(job: &Job<'_>, trees: &[Tree]) -> Self {
        let mut owned = Self { nodes: HashSet::new(), leaves: HashSet::new() };
        // Each tree is walked for itself: another one may reach a node first.
        for tree in trees.iter().filter(|tree| objectid::may_share_blocks(tree.id())) {
            owned.leaves.insert((tree.root.logical, tree.id()));
            for_each_node(job.volume, std::slice::from_ref(tree), |tree, node, first| {
                let owner = node.block().header().owner.get();
                if owner != tree.id() {
                    return false;
                }
                owned.nodes.insert(node.block().logical());
                if node.block().level() == 1 {
                    let children = node.ptrs().iter().skip(first);
                    owned.leaves.extend(children.map(|ptr| (Logical::from(ptr.blockptr), owner)));
                }
                true
            });
        }
        owned
    }

    fn has(&self, block: Block<'_>, owner: u64) -> bool {
        let logical = block.logical();
        match block.kind() {
            BlockKind::Node(_) => self.nodes.contains(&logical),
            BlockKind::Leaf(_) => self.leaves.contains(&(logical, owner)),
        }
    }
}

/// Notes the references of each block.
struct Collector<'c> {
    owned: &'c Owned,
    extents: &'c ExtentList,
    /// That of the filesystem: no extent is newer.
    newest: Transid,
    blocks: &'c Writer<'c>,
    data: &'c Writer<'c>,
}

#[derive(Default)]
struct Collected {
    blocks: Part<BlockRef>,
    data: Part<DataRef>,
    cursor: Cursor,
    /// What it refers to is unknown.
    unread: Option<NoGoodCopy>,
}

impl Visitor for Collector<'_> {
    type Part = Collected;

    fn unreadable(&self, part: &mut Collected, place: &BlockPlace<'_>, bad: Vec<BadCopy>) {
        part.unread = Some(NoGoodCopy { logical: place.expected.logical, bad });
    }

    fn visit(&self, part: &mut Collected, place: &BlockPlace<'_>, visit: Visit<'_>) {
        let block = visit.block();
        let tree = place.tree;
        let (owner, logical) = (tree.owner_of(block), block.logical());
        let is_full = objectid::may_share_blocks(tree.id())
            && (block.header().flag_bits() & RELOC != 0 || !self.owned.has(block, owner));
        // Its blocks are made anew, the files in it stay.
        let is_kept = tree.id() != objectid::ROOT_TREE;
        let built = |logical, level, first_key| BuiltBlock { logical, level, first_key };
        let own = built(logical, block.level(), block.first_key().unwrap_or(Key::MIN));
        if is_full && is_kept {
            self.blocks.push(&mut part.blocks, BlockRef::full_backref(&own, block.generation()));
        }
        if logical == tree.root.logical && is_kept {
            let root = match root_reference(tree) {
                (_, Reference::SharedBlock { parent }) => BlockRef::shared_block(&own, block.generation(), parent),
                _ => BlockRef::tree_block(&own, block.generation(), tree.id()),
            };
            self.blocks.push(&mut part.blocks, root);
        }
        match visit {
            Visit::Node(node, first) if is_kept => {
                for ptr in node.ptrs().iter().skip(first) {
                    let child = built(ptr.blockptr.into(), block.level() - 1, Key::from(&ptr.key));
                    let generation = ptr.generation.into();
                    let record = match is_full {
                        true => BlockRef::shared_block(&child, generation, logical),
                        false => BlockRef::tree_block(&child, generation, owner),
                    };
                    self.blocks.push(&mut part.blocks, record);
                }
            }
            Visit::Node(..) => {}
            Visit::Leaf(leaf) => {
                for file in leaf.items().flatten().filter_map(|item| file_extent(&item, owner)) {
                    // What the kernel knows of the extent; if it is lost or cannot be, a generation that has it copied rather than
                    // written in place (`check_committed_ref`).
                    let known = self.extents.find(file.extent, &mut part.cursor);
                    let generation = known.map(|extent| Transid(extent.generation));
                    let generation = generation.filter(|known| *known <= self.newest).unwrap_or(Transid(1));
                    let range = DataRange { start: file.extent, length: file.length, generation };
                    let record = match file.reference {
                        _ if is_full => DataRef::shared_data(range, logical, 1),
                        Reference::ExtentData { root, objectid, offset } => {
                            DataRef::extent_data(range, root, objectid, offset, 1)
                        }
                        _ => continue,
                    };
                    self.data.push(&mut part.data, record);
                    if let Some(owner) = known.and_then(|extent| extent.owner()) {
                        self.data.push(&mut part.data, DataRef::owner(range, owner));
                    }
                }
            }
        }
    }
}

/// Collects all references that the blocks of `trees` have, and those to their roots; of the root tree those to data alone. `extents` are what the extent tree knew.
///
/// # Errors
/// A block that cannot be read, and temporary files that cannot be used.
pub fn collect(job: &Job<'_>, trees: &[Tree], extents: &ExtentList, budget: &MemoryBudget) -> Result<References> {
    let owned = Owned::of(job, trees);
    let (blocks, data) = (Writer::new(budget), Writer::new(budget));
    let newest = job.volume.superblock().generation();
    let collector = Collector { owned: &owned, extents, newest, blocks: &blocks, data: &data };
    let parts = job.scan().run(trees, &collector);
    let (mut block_parts, mut data_parts) = (Vec::new(), Vec::new());
    for part in parts {
        if let Some(unread) = part.unread {
            return Err(unread.into());
        }
        block_parts.push(part.blocks);
        data_parts.push(part.data);
    }
    let blocks = blocks.finish(block_parts).map_err(Error::Temporary)?;
    let data = data.finish(data_parts).map_err(Error::Temporary)?;
    Ok(References { blocks, data })
}
