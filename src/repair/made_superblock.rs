//! A superblock for an image that has lost all of them, made of tree blocks that are found on it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use zerocopy::IntoBytes;

use crate::block::{Block, BlockKind};
use crate::chunk::array;
use crate::disk::fields::Uuid;
use crate::disk::flags::{BACKREF_REV_SHIFT, MIXED_BACKREF_REV, block_group, compat_ro, incompat, superblock};
use crate::disk::superblock::{MAGIC, SUPER_OFFSETS};
use crate::disk::volume::{Chunk, DevItem, Stripe};
use crate::disk::{CsumType, Key, KeyType, Logical, MAX_LEVEL, MAX_NODESIZE, Physical, Superblock, Transid, objectid};
use crate::error::{Error, Result};
use crate::image::Image;
use crate::progress::Progress;
use crate::volume::{RootChoice, Volume};

use super::fix::Fix;

/// Tree blocks begin at multiples of this.
const STEP: usize = 4096;
/// Bytes that are read at once, without those of a block that begins in them.
const WINDOW: usize = 1 << 20;
/// Blocks that are remembered at the most, the newest.
const MOST: usize = 1 << 20;
/// Generations of which the root tree's level is compared.
const RECENT: usize = 5;
const NODESIZES: [usize; 5] = [16384, 4096, 65536, 32768, 8192];

/// What all blocks of a filesystem have in common.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Form {
    fsid: Uuid,
    csum_type: CsumType,
    nodesize: usize,
}

/// A block of the root tree or of the chunk tree.
#[derive(Clone, Copy)]
struct Found {
    form: Form,
    owner: u64,
    physical: Physical,
    logical: Logical,
    level: u8,
    generation: Transid,
}

/// Stages a superblock if the only one of `images` has none. Returns what was done.
///
/// # Errors
/// The image cannot be read or staged, or the work was stopped.
pub fn stage(images: &[Image], progress: &Progress) -> Result<Option<Fix>> {
    let [image] = images else { return Ok(None) };
    match Volume::open_without_chunk_tree(vec![image.again()?], &RootChoice::default()) {
        Err(Error::NotBtrfs { .. } | Error::Superblock { .. }) if image.size() > SUPER_OFFSETS[0].0 => {}
        _ => return Ok(None),
    }
    let Some(superblock) = find(image, progress)? else { return Ok(None) };
    image.write(SUPER_OFFSETS[0], superblock.as_bytes())?;
    let (root, chunk_root, generation) = (superblock.root(), superblock.chunk_root(), superblock.generation());
    Ok(Some(Fix::SuperblockMade { root, chunk_root, generation }))
}

/// The superblock that leads to the newest root tree and chunk tree on the image. Nothing if they are not found, or of a filesystem with
/// several devices.
fn find(image: &Image, progress: &Progress) -> Result<Option<Box<Superblock>>> {
    let found = Blocks::scan(image, progress)?;
    let of_chunks = found.newest_first(objectid::CHUNK_TREE);
    let chunks = of_chunks.iter().find_map(|root| ChunkTree::read(image, &found, root));
    let Some(chunks) = chunks else { return Ok(None) };
    let form = chunks.root.form;
    let mut of_roots = found.newest_first(objectid::ROOT_TREE);
    of_roots.retain(|block| block.form == form && chunks.has(block));
    // A leaf whose root is lost is not the whole tree.
    let generations: BTreeSet<Transid> = of_roots.iter().map(|block| block.generation).collect();
    let recent = generations.iter().rev().nth(RECENT - 1).copied().unwrap_or_default();
    let level = of_roots.iter().filter(|block| block.generation >= recent).map(|block| block.level).max();
    of_roots.retain(|block| Some(block.level) >= level);
    let whole = of_roots.iter().find_map(|root| {
        let trees = found.items(image, root)?.into_iter().filter(|(key, _)| key.key_type == KeyType::ROOT_ITEM);
        let trees: BTreeSet<u64> = trees.map(|(key, _)| key.objectid).collect();
        let has_all =
            [objectid::EXTENT_TREE, objectid::DEV_TREE, objectid::FS_TREE].iter().all(|id| trees.contains(id));
        has_all.then_some((*root, trees))
    });
    Ok(whole.and_then(|(root, trees)| chunks.superblock(&root, &trees, found.has_metadata_items)))
}

/// Blocks that were found, by what a pointer says of them.
#[derive(Default)]
struct Blocks {
    list: Vec<Found>,
    places: HashMap<(u64, Logical, Transid), Physical>,
    /// Whether an extent tree has items of the skinny kind.
    has_metadata_items: bool,
}

impl Blocks {
    fn scan(image: &Image, progress: &Progress) -> Result<Self> {
        progress.begin("superblock", image.size());
        let (mut found, mut forms) = (Self::default(), Vec::new());
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
                    found.add(Physical(start + offset as u64), &buffer[offset..length], &mut forms);
                }
                progress.add(WINDOW as u64);
                start += WINDOW as u64;
            }
            at = data.end;
        }
        found.places = found.list.iter().map(|block| (block.place(), block.physical)).collect();
        Ok(found)
    }

    /// Adds what begins with `bytes`, if that is a block that counts.
    fn add(&mut self, physical: Physical, bytes: &[u8], forms: &mut Vec<Form>) {
        let Some(block) = Block::new(bytes) else { return };
        let header = block.header();
        let owner = header.owner.get();
        let is_wanted = matches!(owner, objectid::ROOT_TREE | objectid::CHUNK_TREE)
            || owner == objectid::EXTENT_TREE && block.level() == 0 && !self.has_metadata_items;
        let is_likely = header.flags.get() >> BACKREF_REV_SHIFT == u64::from(MIXED_BACKREF_REV)
            && usize::from(block.level()) < MAX_LEVEL
            && block.nritems() > 0
            && header.bytenr.get() % STEP as u64 == 0
            && header.fsid != Uuid::default();
        if !is_wanted || !is_likely {
            return;
        }
        let Some(form) = form_of(header.fsid, bytes, forms) else { return };
        let Some(block) = Block::new(&bytes[..form.nodesize]) else { return };
        if owner == objectid::EXTENT_TREE {
            if let BlockKind::Leaf(leaf) = block.kind() {
                self.has_metadata_items |= leaf.headers().iter().any(|item| {
                    let key = Key::from(&item.key);
                    key.key_type == KeyType::METADATA_ITEM
                });
            }
            return;
        }
        let (logical, level, generation) = (block.logical(), block.level(), block.generation());
        self.list.push(Found { form, owner, physical, logical, level, generation });
        if self.list.len() > MOST {
            self.list.sort_by_key(|block| std::cmp::Reverse(block.generation));
            self.list.truncate(MOST / 2);
        }
    }

    /// The highest blocks of a tree in each generation, the newest first.
    fn newest_first(&self, owner: u64) -> Vec<Found> {
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
    fn items(&self, image: &Image, root: &Found) -> Option<Vec<(Key, Vec<u8>)>> {
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
                        let place = (root.owner, Logical::from(ptr.blockptr), Transid::from(ptr.generation));
                        pending.push((*self.places.get(&place)?, level.checked_sub(1)?));
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

/// The form in which the checksum of a block is right; `forms` are those that were met.
fn form_of(fsid: Uuid, bytes: &[u8], forms: &mut Vec<Form>) -> Option<Form> {
    let is_right = |form: &Form| bytes.get(..form.nodesize).is_some_and(|block| form.csum_type.matches(block));
    if let Some(known) = forms.iter().find(|form| form.fsid == fsid && is_right(form)) {
        return Some(*known);
    }
    let all =
        CsumType::ALL.into_iter().flat_map(|csum_type| NODESIZES.map(|nodesize| Form { fsid, csum_type, nodesize }));
    let form = all.into_iter().find(is_right)?;
    forms.push(form);
    Some(form)
}

/// A chunk tree of one device.
struct ChunkTree {
    root: Found,
    dev_item: DevItem,
    chunks: Vec<(Logical, Vec<u8>)>,
}

impl ChunkTree {
    /// The chunk tree below a block; nothing unless all of it is there and says that the block stands where it was found.
    fn read(image: &Image, found: &Blocks, root: &Found) -> Option<Self> {
        let (mut dev_items, mut chunks) = (Vec::new(), Vec::new());
        for (key, data) in found.items(image, root)? {
            match key.key_type {
                KeyType::DEV_ITEM => dev_items.push(*DevItem::read_prefix(&data)?.0),
                KeyType::CHUNK_ITEM => chunks.push((Logical(key.offset), data)),
                _ => {}
            }
        }
        let [dev_item] = dev_items[..] else { return None };
        let tree = Self { root: *root, dev_item, chunks };
        tree.has(root).then_some(tree)
    }

    fn chunks(&self) -> impl Iterator<Item = (Logical, &Chunk, &[Stripe])> {
        self.chunks.iter().filter_map(|(logical, data)| {
            let (chunk, stripes, _) = Chunk::read_with_stripes(data)?;
            Some((*logical, chunk, stripes))
        })
    }

    /// Whether a stripe holds the block where it was found. On one device blocks are not spread.
    fn has(&self, block: &Found) -> bool {
        self.chunks().any(|(start, chunk, stripes)| {
            let inside = block.logical.0.checked_sub(start.0).filter(|inside| *inside < chunk.length.get());
            let is_there =
                |inside| stripes.iter().any(|stripe| stripe.physical().0.checked_add(inside) == Some(block.physical.0));
            inside.is_some_and(is_there)
        })
    }

    fn superblock(&self, root: &Found, trees: &BTreeSet<u64>, has_metadata_items: bool) -> Option<Box<Superblock>> {
        let Form { fsid, csum_type, nodesize } = self.root.form;
        let sectorsize = self.dev_item.sector_size;
        let mut made = Box::new(Superblock::zeroed());
        made.fsid = fsid;
        made.bytenr = SUPER_OFFSETS[0].0.into();
        made.flags = superblock::WRITTEN.into();
        made.magic = MAGIC.into();
        made.generation = root.generation.0.into();
        (made.root, made.root_level) = (root.logical.0.into(), root.level);
        (made.chunk_root, made.chunk_root_level) = (self.root.logical.0.into(), self.root.level);
        made.chunk_root_generation = self.root.generation.0.into();
        made.total_bytes = self.dev_item.total_bytes;
        // What is in use is counted by the check.
        made.bytes_used = self.dev_item.bytes_used;
        made.root_dir_objectid = objectid::ROOT_TREE_DIR.into();
        made.num_devices = 1.into();
        (made.sectorsize, made.stripesize) = (sectorsize, sectorsize);
        made.nodesize = u32::try_from(nodesize).ok()?.into();
        made.__unused_leafsize = made.nodesize;
        made.csum_type = csum_type.raw().into();
        made.dev_item = self.dev_item;
        let has = |tree: u64, flags: u64| if trees.contains(&tree) { flags } else { 0 };
        let free_space_tree = compat_ro::FREE_SPACE_TREE | compat_ro::FREE_SPACE_TREE_VALID;
        made.compat_ro_flags = (has(objectid::FREE_SPACE_TREE, free_space_tree)
            | has(objectid::BLOCK_GROUP_TREE, compat_ro::BLOCK_GROUP_TREE))
        .into();
        made.cache_generation = if trees.contains(&objectid::FREE_SPACE_TREE) { 0 } else { u64::MAX }.into();
        let mut features = incompat::MIXED_BACKREF | incompat::EXTENDED_IREF | incompat::NO_HOLES;
        features |= if nodesize > STEP { incompat::BIG_METADATA } else { 0 };
        features |= if has_metadata_items { incompat::SKINNY_METADATA } else { 0 };
        features |= has(objectid::RAID_STRIPE_TREE, incompat::RAID_STRIPE_TREE);
        for (logical, chunk, stripes) in self.chunks() {
            let flags = chunk.block_group_flags();
            if flags.contains(block_group::DATA) && flags.contains(block_group::METADATA) {
                features |= incompat::MIXED_GROUPS;
            }
            if flags.contains(block_group::SYSTEM) && !array::append(&mut made, logical, chunk, stripes) {
                break;
            }
        }
        made.incompat_flags = features.into();
        csum_type.stamp(made.as_mut_bytes());
        Some(made)
    }
}
