//! The extent items of a filesystem, read in the simplest way.

use rbtrfs::block::Kind;
use rbtrfs::check::{Extent, ExtentList};
use rbtrfs::disk::extent::ExtentItem;
use rbtrfs::disk::{KeyType, Logical, objectid};
use rbtrfs::tree::{Levels, TreeRoot, Walk};
use rbtrfs::volume::Volume;

pub fn read_extents(volume: &Volume) -> ExtentList {
    let roots = TreeRoot::root_tree(volume).children(volume);
    let root = roots.iter().find(|root| root.key.objectid == objectid::EXTENT_TREE);
    let mut extents = Vec::new();
    let mut buffer = Vec::new();
    for block in root.into_iter().flat_map(|root| Walk::new(volume, root.expected(), Levels::Only(0))) {
        let Ok(read) = volume.read_block(&block, &mut buffer) else { continue };
        let Kind::Leaf(leaf) = read.block.kind() else { continue };
        for item in leaf.items().flatten() {
            let nodesize = u64::from(volume.format().nodesize);
            let (length, level) = match item.key.key_type {
                KeyType::EXTENT_ITEM => (item.key.offset, None),
                KeyType::METADATA_ITEM => (nodesize, Some(item.key.offset as u8)),
                _ => continue,
            };
            let Some((extent, _)) = ExtentItem::read_prefix(item.data) else { continue };
            let (refs, generation, flags) = (extent.refs.get(), extent.generation.get(), extent.flags.get());
            let logical = Logical(item.key.objectid);
            extents.push(Extent { logical, length, refs, generation, flags, level });
        }
    }
    ExtentList::new(extents)
}
