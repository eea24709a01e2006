//! A superblock for an image that has lost all of them, made of tree blocks that are found on it.

use std::collections::BTreeSet;

use zerocopy::IntoBytes;

use crate::chunk::array;
use crate::disk::flags::{block_group, compat_ro, incompat, superblock};
use crate::disk::superblock::{MAGIC, SUPER_OFFSETS};
use crate::disk::volume::{Chunk, DevItem, Stripe};
use crate::disk::{KeyType, Logical, Superblock, Transid, objectid};
use crate::error::{Error, Result};
use crate::image::Image;
use crate::progress::Progress;
use crate::table::MemoryBudget;
use crate::volume::{RootChoice, Volume, identify_other};

use super::super::fix::Fix;
use super::blocks::{Blocks, Form, Found, STEP};

/// Generations of which the root tree's level is compared.
const RECENT: usize = 5;

/// Stages a superblock if the only one of `images` has none, and holds nothing else: on what was made anew as another filesystem the
/// trees of the former one may still lie. Returns what was done.
///
/// # Errors
/// The image cannot be read or staged, or the work was stopped.
pub fn stage(images: &[Image], progress: &Progress) -> Result<Option<Fix>> {
    let [image] = images else { return Ok(None) };
    match Volume::open_without_chunk_tree(vec![image.again()?], &RootChoice::default()) {
        Err(Error::NotBtrfs { .. } | Error::Superblock { .. }) if image.size() > SUPER_OFFSETS[0].0 => {}
        _ => return Ok(None),
    }
    if identify_other(image)?.is_some() {
        return Ok(None);
    }
    let Some(superblock) = find(image, progress)? else { return Ok(None) };
    image.write(SUPER_OFFSETS[0], superblock.as_bytes())?;
    let (root, chunk_root, generation) = (superblock.root(), superblock.chunk_root(), superblock.generation());
    Ok(Some(Fix::SuperblockMade { root, chunk_root, generation }))
}

/// The superblock that leads to the newest root tree and chunk tree on the image. Nothing if they are not found, or of a filesystem with
/// several devices.
fn find(image: &Image, progress: &Progress) -> Result<Option<Box<Superblock>>> {
    let images = [image];
    let found = Blocks::scan(&images, None, &MemoryBudget::new(0), progress)?;
    let of_chunks = found.newest_first(objectid::CHUNK_TREE);
    let chunks = of_chunks.iter().find_map(|root| ChunkTree::read(&images, &found, root));
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
        let (items, true) = found.items(&images, root) else { return None };
        let trees = items.into_iter().filter(|(key, _)| key.key_type == KeyType::ROOT_ITEM);
        let trees: BTreeSet<u64> = trees.map(|(key, _)| key.objectid).collect();
        let has_all =
            [objectid::EXTENT_TREE, objectid::DEV_TREE, objectid::FS_TREE].iter().all(|id| trees.contains(id));
        has_all.then_some((*root, trees))
    });
    Ok(whole.and_then(|(root, trees)| chunks.superblock(&root, &trees, found.has_metadata_items)))
}

/// A chunk tree of one device.
struct ChunkTree {
    root: Found,
    dev_item: DevItem,
    chunks: Vec<(Logical, Vec<u8>)>,
}

impl ChunkTree {
    /// The chunk tree below a block; nothing unless all of it is there and says that the block stands where it was found.
    fn read(images: &[&Image], found: &Blocks, root: &Found) -> Option<Self> {
        let (mut dev_items, mut chunks) = (Vec::new(), Vec::new());
        let (items, true) = found.items(images, root) else { return None };
        for (key, data) in items {
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
