//! Blocks of trees that lead to all others, by where they stand on an image whose addresses nothing translates.

use std::collections::{BTreeMap, HashMap};

use crate::block::{Block, BlockKind};
use crate::disk::fields::Uuid;
use crate::disk::flags::{BACKREF_REV_SHIFT, MIXED_BACKREF_REV};
use crate::disk::volume::BlockGroupItem;
use crate::disk::{
    BlockGroupFlags, CsumType, Key, KeyType, Logical, MAX_LEVEL, MAX_NODESIZE, Physical, Transid, objectid,
};
use crate::error::{Error, Result};
use crate::image::Image;
use crate::progress::Progress;

/// Tree blocks begin at multiples of this.
pub const STEP: usize = 4096;
/// Bytes that are read at once, without those of a block that begins in them.
const WINDOW: usize = 1 << 20;
/// Blocks that are remembered at the most, the newest.
const MOST: usize = 1 << 20;
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
    pub physical: Physical,
    pub logical: Logical,
    pub level: u8,
    pub generation: Transid,
    pub chunk_tree_uuid: Uuid,
}

/// Blocks that were found, by what a pointer says of them.
#[derive(Default)]
pub struct Blocks {
    pub list: Vec<Found>,
    places: HashMap<(u64, Logical, Transid), usize>,
    /// Whether an extent tree has items of the skinny kind.
    pub has_metadata_items: bool,
    /// Length and flags of block groups, by the newest leaf that has them.
    pub groups: BTreeMap<Logical, (Transid, u64, BlockGroupFlags)>,
}

impl Blocks {
    /// Looks for blocks all over an image, of the filesystem of `form` if it is known.
    ///
    /// # Errors
    /// The work was stopped.
    pub fn scan(image: &Image, form: Option<Form>, progress: &Progress) -> Result<Self> {
        progress.begin("blocks", image.size());
        let (mut found, mut forms) = (Self::default(), Vec::from_iter(form));
        let is_known = form.is_some();
        let mut buffer = vec![0; WINDOW + MAX_NODESIZE as usize];
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
                    found.add(Physical(start + offset as u64), &buffer[offset..length], &mut forms, is_known);
                }
                progress.add(WINDOW as u64);
                start += WINDOW as u64;
            }
            at = data.end;
        }
        found.places = found.list.iter().enumerate().map(|(index, block)| (block.place(), index)).collect();
        Ok(found)
    }

    /// Adds what begins with `bytes`, if that is a block that counts.
    fn add(&mut self, physical: Physical, bytes: &[u8], forms: &mut Vec<Form>, is_known: bool) {
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
        if !(is_remembered || has_groups) || !is_likely {
            return;
        }
        let Some(form) = form_of(header.fsid, bytes, forms, is_known) else { return };
        let Some(block) = Block::new(&bytes[..form.nodesize]) else { return };
        if !is_remembered {
            self.add_groups(block);
            return;
        }
        let (logical, level, generation) = (block.logical(), block.level(), block.generation());
        let chunk_tree_uuid = block.header().chunk_tree_uuid;
        self.list.push(Found { form, owner, physical, logical, level, generation, chunk_tree_uuid });
        if self.list.len() > MOST {
            self.list.sort_by_key(|block| std::cmp::Reverse(block.generation));
            self.list.truncate(MOST / 2);
        }
    }

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
        self.list.get(*self.places.get(&(owner, logical, generation))?)
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

    /// All items below a block; nothing if some of it was not found.
    pub fn items(&self, image: &Image, root: &Found) -> Option<Vec<(Key, Vec<u8>)>> {
        let (mut items, mut pending, mut visits) = (Vec::new(), vec![(root.physical, root.level)], 0);
        while let Some((physical, level)) = pending.pop() {
            visits += 1;
            if visits > self.list.len() {
                return None;
            }
            let mut bytes = vec![0; root.form.nodesize];
            image.read(physical, &mut bytes).ok()?;
            let block = Block::new(&bytes).filter(|block| block.level() == level)?;
            match block.kind() {
                BlockKind::Leaf(leaf) => {
                    items.extend(leaf.items().flatten().map(|item| (item.key, item.data.to_vec())))
                }
                BlockKind::Node(node) => {
                    for ptr in node.ptrs() {
                        let child = self.find(root.owner, ptr.blockptr.into(), ptr.generation.into())?;
                        pending.push((child.physical, level.checked_sub(1)?));
                    }
                }
            }
        }
        Some(items)
    }
}

impl Found {
    fn place(&self) -> (u64, Logical, Transid) {
        (self.owner, self.logical, self.generation)
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
