//! A search of whole images for tree blocks. It needs no chunk tree: each block names its own address.

use std::collections::{BTreeMap, HashMap, HashSet};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::block::{Block, BlockKind, ItemRef};
use crate::disk::fields::Uuid;
use crate::disk::flags::{BACKREF_REV_SHIFT, MIXED_BACKREF_REV};
use crate::disk::volume::BlockGroupItem;
use crate::disk::{
    BlockGroupFlags, CsumType, Key, KeyType, Logical, MAX_LEVEL, MAX_NODESIZE, Physical, Transid, objectid,
};
use crate::error::{Error, Result};
use crate::image::Image;
use crate::progress::Progress;
use crate::table::{MemoryBudget, Part, Record, Table, Writer};

/// Tree blocks begin at multiples of this.
pub const STEP: usize = 4096;
/// Bytes that are read at once, without those of a block that begins in them.
const WINDOW: usize = 1 << 20;
/// Blocks that are remembered at the most, the newest.
const MOST: usize = 1 << 20;
/// Leaves of one tree that are read at the most.
const MOST_LEAVES: usize = 1 << 12;
const NODESIZES: [usize; 5] = [16384, 4096, 65536, 32768, 8192];

/// What all blocks of a filesystem have in common.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Form {
    pub fsid: Uuid,
    pub csum_type: CsumType,
    pub nodesize: usize,
}

/// A block of the root tree, the chunk tree or the device tree.
#[derive(Clone, Copy)]
pub struct Found {
    pub form: Form,
    pub owner: u64,
    /// The index of the image.
    pub device: usize,
    pub physical: Physical,
    pub logical: Logical,
    pub level: u8,
    pub generation: Transid,
    pub chunk_tree_uuid: Uuid,
}

/// Where a block of any tree stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Place {
    logical: u64,
    device: u64,
    physical: u64,
}

impl Record for Place {
    fn key(&self) -> u64 {
        self.logical
    }
}

impl Place {
    /// The address that the block names.
    pub fn logical(&self) -> Logical {
        Logical(self.logical)
    }

    /// The index of the image, and the place on it.
    pub fn physical(&self) -> (usize, Physical) {
        (self.device as usize, Physical(self.physical))
    }
}

/// Blocks that were found, by what a pointer says of them.
#[derive(Default)]
pub struct Blocks {
    pub list: Vec<Found>,
    by_pointer: HashMap<(u64, Logical, Transid), usize>,
    /// Where the blocks of all trees stand, by address; nothing of a filesystem that is not known yet.
    pub places: Table<Place>,
    /// Whether an extent tree has items of the skinny kind.
    pub has_metadata_items: bool,
    /// Length and flags of block groups, by the newest leaf that has them.
    pub groups: BTreeMap<Logical, (Transid, u64, BlockGroupFlags)>,
}

/// Notes of blocks while they are looked for.
struct Scan<'s> {
    found: Blocks,
    /// The forms that were met, or the one that is known.
    forms: Vec<Form>,
    is_known: bool,
    places: Writer<'s>,
    part: Part<Place>,
}

impl Blocks {
    /// Looks for blocks all over images, of the filesystem of `form` if it is known. The records of places stay within `budget`.
    ///
    /// # Errors
    /// The work was stopped, or a temporary file cannot be used.
    pub fn scan(images: &[&Image], form: Option<Form>, budget: &MemoryBudget, progress: &Progress) -> Result<Self> {
        progress.begin("blocks", images.iter().map(|image| image.size()).sum());
        let (found, forms, is_known) = (Self::default(), Vec::from_iter(form), form.is_some());
        let mut scan = Scan { found, forms, is_known, places: Writer::new(budget), part: Part::default() };
        let mut buffer = vec![0; WINDOW + MAX_NODESIZE as usize];
        for (device, image) in images.iter().enumerate() {
            let mut at = 0;
            while let Some(data) = image.next_data(Physical(at)) {
                let mut start = data.start - data.start % STEP as u64;
                while start < data.end {
                    if progress.is_stopped() {
                        return Err(Error::Interrupted);
                    }
                    let length = (image.size() - start).min(buffer.len() as u64) as usize;
                    read(image, start, &mut buffer[..length]);
                    for offset in (0..length.min(WINDOW)).step_by(STEP) {
                        scan.add((device, Physical(start + offset as u64)), &buffer[offset..length]);
                    }
                    progress.add(WINDOW as u64);
                    start += WINDOW as u64;
                }
                at = data.end;
            }
        }
        let Scan { mut found, places, part, .. } = scan;
        found.places = places.finish(vec![part]).map_err(Error::Temporary)?;
        found.by_pointer = found.list.iter().enumerate().map(|(index, block)| (block.pointer(), index)).collect();
        Ok(found)
    }
}

impl Scan<'_> {
    /// Adds what begins with `bytes`, if that is a block that counts.
    fn add(&mut self, (device, physical): (usize, Physical), bytes: &[u8]) {
        let Some(block) = Block::new(bytes) else { return };
        let header = block.header();
        let owner = header.owner.get();
        let is_remembered = matches!(owner, objectid::ROOT_TREE | objectid::CHUNK_TREE | objectid::DEV_TREE);
        let has_groups = matches!(owner, objectid::EXTENT_TREE | objectid::BLOCK_GROUP_TREE) && block.level() == 0;
        let is_likely = header.flags.get() >> BACKREF_REV_SHIFT == u64::from(MIXED_BACKREF_REV)
            && usize::from(block.level()) < MAX_LEVEL
            && block.nritems() > 0
            && header.bytenr.get() % STEP as u64 == 0
            && header.fsid != Uuid::default();
        if !(is_remembered || has_groups || self.is_known) || !is_likely {
            return;
        }
        let Some(form) = form_of(header.fsid, bytes, &mut self.forms, self.is_known) else { return };
        let Some(block) = Block::new(&bytes[..form.nodesize]) else { return };
        let (logical, level, generation) = (block.logical(), block.level(), block.generation());
        if self.is_known {
            let place = Place { logical: logical.0, device: device as u64, physical: physical.0 };
            self.places.push(&mut self.part, place);
        }
        if has_groups {
            self.found.add_groups(block);
        }
        if !is_remembered {
            return;
        }
        let chunk_tree_uuid = block.header().chunk_tree_uuid;
        let list = &mut self.found.list;
        list.push(Found { form, owner, device, physical, logical, level, generation, chunk_tree_uuid });
        if list.len() > MOST {
            list.sort_by_key(|block| std::cmp::Reverse(block.generation));
            list.truncate(MOST / 2);
        }
    }
}

impl Blocks {
    fn add_groups(&mut self, block: Block<'_>) {
        let BlockKind::Leaf(leaf) = block.kind() else { return };
        for item in leaf.items().flatten() {
            self.has_metadata_items |= item.key.key_type == KeyType::METADATA_ITEM;
            let Some((group, _)) = BlockGroupItem::read_prefix(item.data) else { continue };
            let newest = self.groups.get(&Logical(item.key.objectid)).map(|(generation, ..)| *generation);
            if item.key.key_type == KeyType::BLOCK_GROUP_ITEM && newest.is_none_or(|newest| newest < block.generation())
            {
                let group = (block.generation(), item.key.offset, BlockGroupFlags(group.flags.get()));
                self.groups.insert(Logical(item.key.objectid), group);
            }
        }
    }

    /// The block that a pointer or a root item leads to.
    pub fn find(&self, owner: u64, logical: Logical, generation: Transid) -> Option<&Found> {
        self.list.get(*self.by_pointer.get(&(owner, logical, generation))?)
    }

    /// The highest blocks of a tree in each generation, the newest first.
    pub fn newest_first(&self, owner: u64) -> Vec<Found> {
        let mut highest: BTreeMap<Transid, Vec<Found>> = BTreeMap::new();
        for block in self.list.iter().filter(|block| block.owner == owner) {
            let blocks = highest.entry(block.generation).or_default();
            let level = blocks.first().map_or(0, |first| first.level);
            if block.level > level {
                blocks.clear();
            }
            if block.level >= level {
                blocks.push(*block);
            }
        }
        highest.into_values().rev().flatten().collect()
    }

    /// All items below a block, as far as the blocks were found, and whether that is all of them.
    pub fn items(&self, images: &[&Image], root: &Found) -> (Vec<(Key, Vec<u8>)>, bool) {
        let (mut items, mut pending, mut is_whole) = (Vec::new(), vec![*root], true);
        let mut seen = HashSet::from([root.pointer()]);
        while let Some(found) = pending.pop() {
            let bytes = found.read(images);
            let block = bytes.as_deref().and_then(Block::new).filter(|block| block.level() == found.level);
            match block.map(|block| block.kind()) {
                Some(BlockKind::Leaf(leaf)) => {
                    items.extend(leaf.items().flatten().map(|item| (item.key, item.data.to_vec())));
                }
                Some(BlockKind::Node(node)) => {
                    for ptr in node.ptrs() {
                        let child = self.find(root.owner, ptr.blockptr.into(), ptr.generation.into());
                        let child = child.filter(|child| child.level < found.level && seen.insert(child.pointer()));
                        is_whole &= child.is_some();
                        pending.extend(child);
                    }
                }
                None => is_whole = false,
            }
        }
        (items, is_whole)
    }

    /// Hands the items of the leaves of a tree that were found to `visit`, of the newest leaf first.
    pub fn for_each_item(&self, images: &[&Image], owner: u64, mut visit: impl FnMut(ItemRef<'_>)) {
        let of_tree = self.list.iter().filter(|block| (block.owner, block.level) == (owner, 0));
        let mut leaves: Vec<&Found> = of_tree.collect();
        leaves.sort_by_key(|leaf| std::cmp::Reverse(leaf.generation));
        for leaf in leaves.into_iter().take(MOST_LEAVES) {
            let bytes = leaf.read(images);
            if let Some(BlockKind::Leaf(block)) = bytes.as_deref().and_then(Block::new).map(|block| block.kind()) {
                block.items().flatten().for_each(&mut visit);
            }
        }
    }
}

impl Found {
    fn pointer(&self) -> (u64, Logical, Transid) {
        (self.owner, self.logical, self.generation)
    }

    fn read(&self, images: &[&Image]) -> Option<Vec<u8>> {
        let mut bytes = vec![0; self.form.nodesize];
        images.get(self.device)?.read(self.physical, &mut bytes).ok()?;
        Some(bytes)
    }
}

/// What cannot be read counts as zeroes.
fn read(image: &Image, start: u64, buffer: &mut [u8]) {
    if image.read(Physical(start), buffer).is_ok() {
        return;
    }
    for (index, page) in buffer.chunks_mut(STEP).enumerate() {
        if image.read(Physical(start + (index * STEP) as u64), page).is_err() {
            page.fill(0);
        }
    }
}

/// The form in which the checksum of a block is right; `forms` are those that were met, or all that there are.
fn form_of(fsid: Uuid, bytes: &[u8], forms: &mut Vec<Form>, is_known: bool) -> Option<Form> {
    let is_right = |form: &Form| bytes.get(..form.nodesize).is_some_and(|block| form.csum_type.matches(block));
    if let Some(known) = forms.iter().find(|form| form.fsid == fsid && is_right(form)) {
        return Some(*known);
    }
    if is_known {
        return None;
    }
    let all =
        CsumType::ALL.into_iter().flat_map(|csum_type| NODESIZES.map(|nodesize| Form { fsid, csum_type, nodesize }));
    let form = all.into_iter().find(is_right)?;
    forms.push(form);
    Some(form)
}
