//! A chunk tree made of device extents and block groups, where its root is lost and no former one is there.

use std::collections::BTreeMap;

use zerocopy::IntoBytes;

use crate::block::edit::{LeafMut, NewBlock, NewItem};
use crate::disk::root::RootItem;
use crate::disk::volume::DevExtent;
use crate::disk::{Key, KeyType, Logical, Physical, Superblock, Transid, objectid};
use crate::error::{Error, Result};
use crate::image::Image;
use crate::progress::Progress;
use crate::volume::chunk_items::{chunk_item, chunk_key, new_chunk};
use crate::volume::{ChunkMapping, Volume};

use super::super::fix::Fix;
use super::blocks::{Blocks, Form, Found};

/// Stages a leaf with all chunks in the place of the lost root of the chunk tree. Returns what was done; nothing if the filesystem has
/// several devices, if any chunk is not told, or if there are more of them than fit.
///
/// # Errors
/// The image cannot be staged, or the work was stopped.
pub fn stage(images: &[Image], volume: &Volume, progress: &Progress) -> Result<Option<Fix>> {
    let ([image], [device]) = (images, volume.devices()) else { return Ok(None) };
    let (superblock, format) = (volume.superblock(), volume.format());
    let form =
        Form { fsid: superblock.metadata_fsid(), csum_type: format.csum_type, nodesize: format.nodesize as usize };
    let found = Blocks::scan(image, Some(form), progress)?;
    let Some((root, chunks)) = chunks(image, &found, superblock) else { return Ok(None) };
    let own = Key::new(objectid::DEV_ITEMS, KeyType::DEV_ITEM, device.devid());
    let mut items = vec![(own, superblock.dev_item.as_bytes().to_vec())];
    items.extend(chunks.iter().map(|chunk| (chunk_key(chunk.logical), chunk_item(chunk, format.sectorsize))));
    let items: Vec<NewItem<'_>> = items.iter().map(|(key, data)| NewItem { key: *key, data }).collect();
    let logical = superblock.chunk_root();
    let mut leaf = vec![0; form.nodesize];
    let new = NewBlock {
        logical,
        level: 0,
        generation: Transid::from(superblock.chunk_root_generation),
        owner: objectid::CHUNK_TREE,
        fsid: form.fsid,
        chunk_tree_uuid: root.chunk_tree_uuid,
    };
    let internal = |error: crate::block::edit::EditError| Error::Internal { problem: error.to_string() };
    new.write(&mut leaf).map_err(internal)?;
    if LeafMut::new(&mut leaf).and_then(|mut leaf| leaf.insert(0, &items)).is_err() {
        return Ok(None);
    }
    form.csum_type.stamp(&mut leaf);
    let home = chunks.iter().find(|chunk| chunk.logical <= logical && logical < chunk.end());
    let Some(home) = home else { return Ok(None) };
    for mirror in 1..=home.mirrors() {
        if let Some((_, physical)) = home.place(logical, mirror) {
            image.write(physical, &leaf)?;
        }
    }
    if superblock.chunk_root_level != 0 {
        let mut lower = Box::new(*volume.stored_superblock());
        lower.chunk_root_level = 0;
        form.csum_type.stamp(lower.as_mut_bytes());
        image.write(Physical(lower.bytenr.get()), lower.as_bytes())?;
    }
    Ok(Some(Fix::ChunkTreeMade { count: chunks.len() as u64 }))
}

/// The root tree's root, and all chunks that the device tree knows of.
fn chunks(image: &Image, found: &Blocks, superblock: &Superblock) -> Option<(Found, Vec<ChunkMapping>)> {
    let root = *found.find(objectid::ROOT_TREE, superblock.root(), superblock.generation())?;
    let roots = found.items(image, &root)?;
    let (_, dev_root) =
        roots.iter().find(|(key, _)| (key.objectid, key.key_type) == (objectid::DEV_TREE, KeyType::ROOT_ITEM))?;
    let dev_root = RootItem::read(dev_root)?;
    let dev_root = found.find(objectid::DEV_TREE, dev_root.bytenr.into(), dev_root.generation.into())?;
    let mut stripes: BTreeMap<Logical, Vec<(u64, Physical)>> = BTreeMap::new();
    for (key, data) in found.items(image, dev_root)? {
        if key.key_type == KeyType::DEV_EXTENT {
            let (extent, _) = DevExtent::read_prefix(&data)?;
            stripes.entry(extent.chunk()).or_default().push((key.objectid, Physical(key.offset)));
        }
    }
    let item = &superblock.dev_item;
    let sectorsize = superblock.sectorsize.get();
    let chunk = |(logical, stripes): (&Logical, &Vec<(u64, Physical)>)| {
        let (_, length, flags) = found.groups.get(logical)?;
        let profile = flags.profile()?;
        let geometry = profile.geometry();
        // The order of copies does not matter, that of other stripes is not told.
        let are_copies = stripes.len() == 1 || geometry.nparity == 0 && stripes.len() == usize::from(geometry.ncopies);
        let is_own = stripes.iter().all(|(devid, _)| *devid == item.devid.get());
        let new = new_chunk(*logical, *length, stripes, *flags, profile, sectorsize, |_| item.uuid).ok()?;
        (are_copies && is_own && new.stripe_size() > 0).then_some(new)
    };
    let chunks: Option<Vec<ChunkMapping>> = stripes.iter().map(chunk).collect();
    Some((root, chunks?))
}
