//! Log trees that wait to be replayed: where their blocks lie, and the data that they add to files.

use std::collections::{BTreeMap, BTreeSet};

use crate::block::Leaf;
use crate::disk::inode::{FileExtentDisk, FileExtentItem, InodeItem, file_extent_type};
use crate::disk::{Key, KeyType, Logical, Transid};
use crate::tree::{BlockPlace, Entered, Tree, TreeRoot, Visit, Visitor, walk};
use crate::volume::{BadCopy, Volume};

use super::csums::{Run, runs_of};

/// One log tree, or the tree of log trees.
pub struct LogTree {
    /// Root of the tree.
    pub root: TreeRoot,
    /// That of its root block, if it could be read.
    pub generation: Option<Transid>,
    /// The blocks that could be read.
    pub blocks: Vec<Logical>,
    /// What it holds of data.
    pub logged: Logged,
    /// Whether all blocks could be read.
    pub is_whole: bool,
}

/// What one thread gathers of a tree.
#[derive(Default)]
pub struct LogPart {
    generation: Option<Transid>,
    blocks: Vec<Logical>,
    logged: Logged,
    is_torn: bool,
    /// Whether a block was reached that was visited before.
    is_again: bool,
}

/// What one thread gathers, by the keys and addresses of the roots.
#[derive(Default)]
pub struct LogsPart {
    trees: BTreeMap<(Key, Logical), LogPart>,
}

impl LogPart {
    fn visit(&mut self, volume: &Volume, place: &BlockPlace<'_>, visit: Visit<'_>) {
        let block = visit.block();
        if block.logical() == place.tree.root.logical {
            self.generation = Some(block.generation());
        }
        self.blocks.push(block.logical());
        if let Visit::Leaf(leaf) = visit {
            self.logged.add(volume, leaf);
        }
    }
}

impl LogsPart {
    fn of(&mut self, place: &BlockPlace<'_>) -> &mut LogPart {
        let root = &place.tree.root;
        self.trees.entry((root.key, root.logical)).or_default()
    }

    pub fn visit(&mut self, volume: &Volume, place: &BlockPlace<'_>, visit: Visit<'_>) {
        self.of(place).visit(volume, place, visit);
    }

    pub fn unreadable(&mut self, place: &BlockPlace<'_>) {
        self.of(place).is_torn = true;
    }

    pub fn again(&mut self, place: &BlockPlace<'_>) {
        self.of(place).is_again = true;
    }
}

/// Reads one log tree by itself.
struct Reader<'v>(&'v Volume);

impl Visitor for Reader<'_> {
    type Part = LogPart;

    fn visit(&self, part: &mut LogPart, place: &BlockPlace<'_>, visit: Visit<'_>) {
        part.visit(self.0, place, visit);
    }

    fn unreadable(&self, part: &mut LogPart, _: &BlockPlace<'_>, _: Vec<BadCopy>) {
        part.is_torn = true;
    }
}

impl LogTree {
    /// Puts together what was gathered of `trees`, in their order. A tree whose blocks are reached in several ways is read
    /// again, from left to right.
    pub fn all(volume: &Volume, trees: &[Tree], parts: Vec<LogsPart>) -> Vec<Self> {
        let mut gathered: BTreeMap<(Key, Logical), LogPart> = BTreeMap::new();
        for (root, part) in parts.into_iter().flat_map(|part| part.trees) {
            let all = gathered.entry(root).or_default();
            all.generation = all.generation.or(part.generation);
            all.blocks.extend(part.blocks);
            all.logged.merge(part.logged);
            all.is_torn |= part.is_torn;
            all.is_again |= part.is_again;
        }
        let log_tree = |tree: &Tree| {
            let part = gathered.remove(&(tree.root.key, tree.root.logical)).filter(|part| !part.is_again);
            let part = part.unwrap_or_else(|| {
                let mut part = LogPart::default();
                walk(volume, &Tree::whole(tree.root), &mut Entered::default(), &Reader(volume), &mut part);
                part
            });
            let LogPart { generation, blocks, logged, is_torn, .. } = part;
            Self { root: tree.root, generation, blocks, logged, is_whole: !is_torn }
        };
        trees.iter().map(log_tree).collect()
    }
}

/// What a log tree holds of data.
#[derive(Default)]
pub struct Logged {
    /// Extents in file extent items.
    pub extents: Vec<LoggedExtent>,
    /// Data that the log has checksums of.
    pub csums: Vec<Run>,
    /// Inodes whose data has no checksums.
    pub without_csums: BTreeSet<u64>,
    /// Inodes with an inode item.
    pub inodes: BTreeSet<u64>,
}

/// An extent in a file extent item, and the part of it that needs checksums.
#[derive(Clone, Copy, Debug)]
pub struct LoggedExtent {
    /// Number of the inode.
    pub inode: u64,
    /// Logical address of the extent.
    pub extent: Logical,
    /// Bytes of the extent on the disk.
    pub length: u64,
    /// Logical address and bytes of what needs checksums; nothing for preallocated space.
    pub summed: Option<(Logical, u64)>,
}

impl Logged {
    fn add(&mut self, volume: &Volume, leaf: Leaf<'_>) {
        let format = volume.format();
        self.csums.extend(runs_of(leaf, format.csum_type.size() as u64, format.sectorsize.into()));
        for item in leaf.items().flatten() {
            let inode = item.key.objectid;
            match item.key.key_type {
                KeyType::INODE_ITEM => {
                    let Some((inode_item, _)) = InodeItem::read_prefix(item.data) else { continue };
                    self.inodes.insert(inode);
                    if !inode_item.has_csums() {
                        self.without_csums.insert(inode);
                    }
                }
                KeyType::EXTENT_DATA => self.extents.extend(LoggedExtent::read(inode, item.data)),
                _ => {}
            }
        }
    }
}

impl Logged {
    fn merge(&mut self, mut other: Logged) {
        self.extents.append(&mut other.extents);
        self.csums.append(&mut other.csums);
        self.without_csums.append(&mut other.without_csums);
        self.inodes.append(&mut other.inodes);
    }
}

impl LoggedExtent {
    /// Nothing for a hole and for data within the item.
    fn read(inode: u64, data: &[u8]) -> Option<Self> {
        let (item, rest) = FileExtentItem::read_prefix(data)?;
        let (disk, _) = FileExtentDisk::read_prefix(rest).filter(|_| item.r#type != file_extent_type::INLINE)?;
        let (extent, length) = (Logical::from(disk.disk_bytenr), disk.disk_num_bytes.get());
        let summed = match item.compression {
            0 => (extent.checked_add(disk.offset.get())?, disk.num_bytes.get()),
            _ => (extent, length),
        };
        let summed = Some(summed).filter(|_| item.r#type == file_extent_type::REG);
        (extent != Logical(0)).then_some(Self { inode, extent, length, summed })
    }
}
