//! The extent items of a filesystem, read in the simplest way.

use rbtrfs::block::BlockKind;
use rbtrfs::disk::extent::ExtentItem;
use rbtrfs::disk::{KeyType, Logical, objectid};
use rbtrfs::internals::{MemoryBudget, Part, Writer};
use rbtrfs::survey::{Extent, ExtentList};
use rbtrfs::tree::{Levels, TreeRoot, Walk};
use rbtrfs::volume::Volume;

pub fn read_extents(volume: &Volume) -> ExtentList {
    let roots = TreeRoot::root_tree(volume).children(volume);
    let root = roots.iter().find(|root| root.key.objectid == objectid::EXTENT_TREE);
    let budget = MemoryBudget::new(u64::MAX);
    let (writer, mut extents) = (Writer::new(&budget), Part::default());
    let mut buffer = Vec::new();
    for block in root.into_iter().flat_map(|root| Walk::new(volume, root.expected(), Levels::Only(0))) {
        let Ok(read) = volume.read_block(&block, &mut buffer) else { continue };
        let BlockKind::Leaf(leaf) = read.block.kind() else { continue };
        for item in leaf.items().flatten() {
            let nodesize = u64::from(volume.format().nodesize);
            let (length, level_or_owner) = match item.key.key_type {
                KeyType::EXTENT_ITEM => (item.key.offset, Extent::UNTOLD),
                KeyType::METADATA_ITEM => (nodesize, item.key.offset),
                _ => continue,
            };
            let Some((extent, _)) = ExtentItem::read_prefix(item.data) else { continue };
            let (refs, generation, flags) = (extent.refs.get(), extent.generation.get(), extent.flags.get());
            let logical = Logical(item.key.objectid);
            writer.push(&mut extents, Extent { logical, length, refs, generation, flags, level_or_owner });
        }
    }
    ExtentList::new(writer.finish(vec![extents]).unwrap())
}
