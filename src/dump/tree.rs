//! Which trees and blocks are dumped, in which order, and how the work is shared.

use std::collections::BTreeSet;
use std::io::Write;

use crate::block::verify::Expected;
use crate::block::{BadItem, Block};
use crate::disk::{Key, Logical, objectid};
use crate::error::Result;
use crate::parallel;
use crate::tree::{Levels, TreeRoot, Walk};
use crate::volume::{BadCopy, NoGoodCopy, Volume};

/// In which order the blocks of a tree are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Level by level, from the root down.
    #[default]
    BreadthFirst,
    /// Each node before what is below it.
    DepthFirst,
}

/// What is dumped. All of it false or empty: everything.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Only the leaves of the extent tree and the device tree.
    pub extents: bool,
    /// Only the root, chunk and device trees.
    pub devices: bool,
    /// Of each tree only where its root is.
    pub roots: bool,
    /// The backup roots of the superblock too.
    pub backups: bool,
    /// Only the uuid tree.
    pub uuid: bool,
    /// Only these blocks.
    pub blocks: BTreeSet<Logical>,
    /// With `blocks`: what is below them too.
    pub follow: bool,
    /// Only trees with this object id.
    pub tree: Option<u64>,
    /// In which order blocks follow each other.
    pub order: Order,
}

/// How much of a tree follows its heading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Nothing: the heading says where the root is.
    Nowhere,
    /// The leaves.
    Leaves,
    /// All blocks.
    Blocks,
}

/// The beginning of a tree in a dump.
#[derive(Clone, Copy, Debug)]
pub struct Heading {
    /// Root of the tree.
    pub root: TreeRoot,
    /// Whether the name of the tree is all of its heading: it has no root item, or it is the one tree that is dumped.
    pub is_bare: bool,
    /// How much of it follows.
    pub contents: Contents,
}

impl Heading {
    /// What the tree is called.
    pub fn name(&self) -> &'static str {
        let tree = self.root.key.objectid;
        match tree {
            objectid::TREE_LOG if self.is_bare => "log root",
            objectid::ROOT_TREE => "root",
            objectid::EXTENT_TREE => "extent",
            objectid::CHUNK_TREE => "chunk",
            objectid::DEV_TREE => "device",
            objectid::FS_TREE => "fs",
            objectid::ROOT_TREE_DIR => "directory",
            objectid::CSUM_TREE => "checksum",
            objectid::QUOTA_TREE => "quota",
            objectid::UUID_TREE => "uuid",
            objectid::FREE_SPACE_TREE => "free space",
            objectid::BLOCK_GROUP_TREE => "block group",
            objectid::RAID_STRIPE_TREE => "raid stripe",
            objectid::REMAP_TREE => "remap",
            objectid::ORPHAN => "orphan",
            objectid::TREE_LOG => "log",
            objectid::TREE_LOG_FIXUP => "log fixup",
            objectid::TREE_RELOC => "reloc",
            objectid::DATA_RELOC_TREE => "data reloc",
            objectid::EXTENT_CSUM => "extent checksum",
            objectid::MULTIPLE => "multiple",
            _ => "file",
        }
    }
}

/// A step of a dump.
#[derive(Clone, Debug)]
pub enum Step {
    /// The beginning of the output.
    Begin,
    /// The beginning of a tree.
    Tree {
        /// Nothing where blocks are dumped that were asked for by their addresses.
        heading: Option<Heading>,
        /// Whether it is the first tree.
        first: bool,
    },
    /// A block.
    Block {
        /// The root item's key of the tree that it was reached by.
        tree: Option<Key>,
        /// What the pointer says of the block.
        expected: Expected,
        /// Whether it is the first of its tree.
        first: bool,
    },
    /// The end of a tree.
    EndOfTree,
    /// The end of the last tree.
    EndOfTrees,
    /// The backup roots of the superblock.
    BackupRoots,
    /// What the superblock says of the whole filesystem.
    Totals,
    /// The end of the output.
    End,
}

/// A form of output. Its methods append to `out`, and are called in the order of the steps; a printer is kept for each
/// thread.
pub trait Form: Sync {
    /// What a thread keeps from block to block.
    type Printer: Default + Send;

    /// Writes what belongs to a step, but for blocks.
    fn step(&self, volume: &Volume, step: &Step, out: &mut Vec<u8>);

    /// Writes a block. Returns the first item whose data lies outside of the leaf; those before it are written.
    fn block(
        &self,
        printer: &mut Self::Printer,
        tree: Option<Key>,
        block: Block<'_>,
        first: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), BadItem>;
}

/// Something that a dump met and went on from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Complaint {
    /// A tree was asked for that is not there.
    #[error("there is no tree {tree}")]
    NoTree {
        /// Its id.
        tree: u64,
    },
    /// No copy of a block is good.
    #[error("{}block {logical}: {problem}", of_tree(*tree))]
    Unreadable {
        /// Id of the tree; nothing where it is not known.
        tree: Option<u64>,
        /// Logical address of the block.
        logical: Logical,
        /// What is wrong with them.
        problem: String,
    },
    /// A copy of a block is bad; another one is written.
    #[error(
        "{}block {logical}: bad copy {}: {copy}, another one is used",
        of_tree(*tree), copy.mirror
    )]
    BadCopy {
        /// Id of the tree; nothing where it is not known.
        tree: Option<u64>,
        /// Logical address of the block.
        logical: Logical,
        /// The bad copy.
        copy: BadCopy,
    },
    /// The data of an item lies outside of its leaf.
    #[error(
        "corrupt leaf: {}block={logical} slot={}, data at {} of {} bytes is outside of the leaf; the rest of it is skipped",
        of_tree(*tree), item.slot, item.offset, item.size
    )]
    BadItem {
        /// Id of the tree; nothing where it is not known.
        tree: Option<u64>,
        /// Logical address of the block.
        logical: Logical,
        /// The item.
        item: BadItem,
    },
}

fn of_tree(tree: Option<u64>) -> String {
    tree.map(|tree| format!("tree {tree} ")).unwrap_or_default()
}

/// What a thread has made of its steps.
struct Batch<P> {
    printer: P,
    text: Vec<u8>,
    complaints: Vec<Complaint>,
    buffer: Vec<u8>,
}

impl<P: Default> Default for Batch<P> {
    fn default() -> Self {
        let (printer, text, complaints, buffer) = Default::default();
        Self { printer, text, complaints, buffer }
    }
}

/// Bytes of tree blocks that one thread works on at a time.
const BATCH_BYTES: u32 = 512 * 1024;

/// Writes what is selected to `output`. `complain` hears of what could not be read; the dump goes on after it.
pub fn dump<F: Form>(
    volume: &Volume,
    selection: &Selection,
    form: &F,
    threads: usize,
    output: &mut (dyn Write + Send),
    complain: &mut (dyn FnMut(&Complaint) + Send),
) -> Result<()> {
    let by_address = !selection.blocks.is_empty();
    let Headings { headings, totals, gaps } =
        if by_address { Headings::default() } else { headings(volume, selection) };
    gaps.iter().for_each(&mut *complain);
    // Where there are gaps, the tree may be there.
    if let Some(tree) = selection.tree.filter(|_| !by_address && headings.is_empty() && gaps.is_empty()) {
        complain(&Complaint::NoTree { tree });
    }
    let mut steps = steps(volume, selection, headings, totals);
    let batch_len = (BATCH_BYTES / volume.format().nodesize) as usize;
    let batches = std::iter::from_fn(move || {
        let batch: Vec<Step> = steps.by_ref().take(batch_len).collect();
        (!batch.is_empty()).then_some(batch)
    });
    let work = |steps: Vec<Step>, batch: &mut Batch<F::Printer>| {
        batch.text.clear();
        batch.complaints.clear();
        for step in &steps {
            match step {
                Step::Block { tree, expected, first } => {
                    let (text, complaints) = (batch.text.len(), batch.complaints.len());
                    volume.undisturbed(|| {
                        batch.text.truncate(text);
                        batch.complaints.truncate(complaints);
                        print_block(volume, form, *tree, expected, *first, batch);
                    });
                }
                _ => form.step(volume, step, &mut batch.text),
            }
        }
    };
    let emit = |batch: &mut Batch<F::Printer>| {
        output.write_all(&batch.text)?;
        batch.complaints.iter().for_each(&mut *complain);
        Ok(())
    };
    parallel::ordered(threads, batches, work, emit)
}

fn print_block<F: Form>(
    volume: &Volume,
    form: &F,
    tree: Option<Key>,
    expected: &Expected,
    first: bool,
    batch: &mut Batch<F::Printer>,
) {
    let (id, logical) = (tree.map(|key| key.objectid), expected.logical);
    match volume.read_block(expected, &mut batch.buffer) {
        Ok(read) => {
            let complaints = &mut batch.complaints;
            // A missing device is a notice of the volume, once; not news of each block.
            let bad = read.bad.into_iter().filter(|copy| !copy.is_missing());
            complaints.extend(bad.map(|copy| Complaint::BadCopy { tree: id, logical, copy }));
            if let Err(item) = form.block(&mut batch.printer, tree, read.block, first, &mut batch.text) {
                complaints.push(Complaint::BadItem { tree: id, logical, item });
            }
        }
        Err(error) => {
            batch.complaints.push(Complaint::Unreadable { tree: id, logical, problem: error.to_string() });
        }
    }
}

/// The steps of a dump, made as they are needed.
fn steps<'v>(
    volume: &'v Volume,
    selection: &Selection,
    headings: Vec<Heading>,
    totals: bool,
) -> impl Iterator<Item = Step> + Send + use<'v> {
    let order = selection.order;
    let blocks = (!selection.blocks.is_empty()).then(|| {
        let follow = selection.follow;
        let expected = selection.blocks.clone().into_iter().map(Expected::at);
        let blocks = expected.flat_map(move |block| match follow {
            true => walk(volume, block, order),
            false => Box::new(std::iter::once(block)),
        });
        tree_steps(None, true, blocks)
    });
    let trees = headings.into_iter().enumerate().flat_map(move |(index, heading)| {
        // A root that moved on is printed as it is found: dumps are made of damaged filesystems too.
        let root = Expected::at(heading.root.logical);
        let blocks: Blocks<'v> = match heading.contents {
            Contents::Nowhere => Box::new(std::iter::empty()),
            Contents::Leaves => Box::new(Walk::new(volume, root, Levels::Leaves)),
            Contents::Blocks => walk(volume, root, order),
        };
        tree_steps(Some(heading), index == 0, blocks)
    });
    let backups = selection.backups.then_some(Step::BackupRoots);
    let ending = totals.then(|| backups.into_iter().chain([Step::Totals])).into_iter().flatten();
    let trees = blocks.into_iter().flatten().chain(trees).chain([Step::EndOfTrees]);
    std::iter::once(Step::Begin).chain(trees).chain(ending).chain([Step::End])
}

fn tree_steps(
    heading: Option<Heading>,
    first: bool,
    blocks: impl Iterator<Item = Expected>,
) -> impl Iterator<Item = Step> {
    let tree = heading.map(|heading| heading.root.key);
    let blocks = blocks.enumerate().map(move |(index, expected)| Step::Block { tree, expected, first: index == 0 });
    std::iter::once(Step::Tree { heading, first }).chain(blocks).chain([Step::EndOfTree])
}

/// Pointers to blocks, found as they are needed.
type Blocks<'v> = Box<dyn Iterator<Item = Expected> + Send + 'v>;

/// The blocks of a tree in this order.
fn walk(volume: &Volume, root: Expected, order: Order) -> Blocks<'_> {
    if order == Order::DepthFirst {
        return Box::new(Walk::new(volume, root, Levels::All));
    }
    match volume.read_block(&root, &mut Vec::new()) {
        Ok(read) => {
            let levels = (0..=read.block.level()).rev();
            Box::new(levels.flat_map(move |level| Walk::new(volume, root, Levels::Only(level))))
        }
        Err(_) => Box::new(std::iter::once(root)),
    }
}

/// The trees that are selected.
#[derive(Default)]
struct Headings {
    headings: Vec<Heading>,
    /// Whether totals follow them.
    totals: bool,
    /// What could not be read of trees that name others, except for those that are dumped themselves.
    gaps: Vec<Complaint>,
}

fn headings(volume: &Volume, selection: &Selection) -> Headings {
    let root_tree = TreeRoot::root_tree(volume);
    let log_root_tree = TreeRoot::log_root_tree(volume);
    let contents = if selection.roots { Contents::Nowhere } else { Contents::Blocks };
    let top = [Some(root_tree), Some(TreeRoot::chunk_tree(volume)), log_root_tree];
    let top = top.into_iter().flatten();
    let bare = |root, contents| Heading { root, is_bare: true, contents };
    if let Some(root) = top.clone().find(|root| Some(root.key.objectid) == selection.tree) {
        let headings = vec![bare(root, Contents::Blocks)];
        return Headings { headings, ..Headings::default() };
    }

    let (mut children, mut gaps) = (Vec::new(), Vec::new());
    for parent in std::iter::once(root_tree).chain(log_root_tree) {
        let (roots, unreadable) = parent.find_children(volume);
        let tree = Some(parent.key.objectid);
        let gap = |bad: NoGoodCopy| Complaint::Unreadable { tree, logical: bad.logical, problem: bad.to_string() };
        children.extend(roots);
        gaps.extend(unreadable.into_iter().map(gap));
    }
    let below = |contents, wanted: &dyn Fn(u64) -> bool| -> Vec<Heading> {
        let headings = children.iter().filter(|root| wanted(root.key.objectid));
        headings.map(|root| Heading { root: *root, is_bare: false, contents }).collect()
    };
    let only = |tree: u64| move |other: u64| other == tree;
    let with_top = |below: Vec<Heading>| top.map(|root| bare(root, contents)).chain(below).collect();

    let (headings, totals): (Vec<Heading>, bool) = match (selection.tree, selection.extents, selection.devices) {
        // As btrfs-progs, which has the tree at hand.
        (Some(tree @ objectid::BLOCK_GROUP_TREE), ..) => {
            let found = below(Contents::Blocks, &only(tree)).into_iter();
            (found.map(|heading| bare(heading.root, heading.contents)).collect(), false)
        }
        (Some(tree), ..) => (below(contents, &only(tree)), true),
        _ if selection.uuid && (selection.extents || selection.devices) => (Vec::new(), false),
        _ if selection.uuid => (below(contents, &only(objectid::UUID_TREE)), false),
        (None, false, false) => (with_top(below(contents, &|_| true)), true),
        (None, false, true) => (with_top(below(contents, &only(objectid::DEV_TREE))), false),
        (None, true, devices) => {
            let wanted = |tree| tree == objectid::DEV_TREE || (!devices && tree == objectid::EXTENT_TREE);
            (below(Contents::Leaves, &wanted), false)
        }
    };
    let is_root_tree = |heading: &Heading| heading.root.key.objectid == objectid::ROOT_TREE;
    if headings.iter().any(|heading| is_root_tree(heading) && heading.contents == Contents::Blocks) {
        gaps.clear();
    }
    Headings { headings, totals, gaps }
}
