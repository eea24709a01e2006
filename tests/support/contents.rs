//! What the trees of a sound filesystem say, and where it lies.

use std::collections::{BTreeMap, BTreeSet};

use rbtrfs::block::verify::Expected;
use rbtrfs::block::{BlockKind, ItemRef};
use rbtrfs::disk::inode::{FileExtentDisk, FileExtentItem, file_extent_type};
use rbtrfs::disk::{KeyType, Logical, objectid};
use rbtrfs::tree::{Levels, TreeRoot, Walk};
use rbtrfs::volume::Volume;

pub fn trees(volume: &Volume) -> Vec<TreeRoot> {
    let root_tree = TreeRoot::root_tree(volume);
    let mut trees = root_tree.children(volume);
    trees.extend([root_tree, TreeRoot::chunk_tree(volume)]);
    trees
}

pub fn tree(volume: &Volume, id: u64) -> TreeRoot {
    trees(volume).into_iter().find(|root| root.key.objectid == id).unwrap()
}

pub fn blocks(volume: &Volume) -> impl Iterator<Item = Expected> {
    trees(volume).into_iter().flat_map(|root| Walk::new(volume, root.expected(), Levels::All))
}

pub fn first_leaf(volume: &Volume, id: u64) -> Expected {
    Walk::new(volume, tree(volume, id).expected(), Levels::Only(0)).next().unwrap()
}

pub fn for_each_item(volume: &Volume, root: &TreeRoot, mut visit: impl FnMut(ItemRef)) {
    let mut buffer = Vec::new();
    for leaf in Walk::new(volume, root.expected(), Levels::Only(0)) {
        let read = volume.read_block(&leaf, &mut buffer).unwrap();
        let BlockKind::Leaf(leaf) = read.block.kind() else { panic!("a node among the leaves") };
        leaf.items().for_each(|item| visit(item.unwrap()));
    }
}

/// The checksum of each sector of data.
pub fn checksums(volume: &Volume) -> BTreeMap<u64, Vec<u8>> {
    let (size, sector) = (volume.format().csum_type.size(), u64::from(volume.format().sectorsize));
    let mut sums = BTreeMap::new();
    for_each_item(volume, &tree(volume, objectid::CSUM_TREE), |item| {
        if item.key.key_type == KeyType::EXTENT_CSUM {
            let sectors = (item.key.offset..).step_by(sector as usize);
            sums.extend(sectors.zip(item.data.chunks(size).map(<[u8]>::to_vec)));
        }
    });
    sums
}

/// Address and length of each extent that files have.
pub fn data_extents(volume: &Volume) -> BTreeSet<(u64, u64)> {
    let mut extents = BTreeSet::new();
    for root in trees(volume).iter().filter(|root| objectid::is_fs_tree(root.key.objectid)) {
        for_each_item(volume, root, |item| {
            if item.key.key_type != KeyType::EXTENT_DATA {
                return;
            }
            let (extent, rest) = FileExtentItem::read_prefix(item.data).unwrap();
            if extent.r#type == file_extent_type::REG {
                let (disk, _) = FileExtentDisk::read_prefix(rest).unwrap();
                extents.insert((disk.disk_bytenr.get(), disk.disk_num_bytes.get()));
            }
        });
    }
    extents.retain(|(address, _)| *address != 0);
    extents
}

pub fn mirrors(volume: &Volume, logical: Logical) -> u16 {
    volume.chunks().find(logical).unwrap().mirrors()
}

/// The number of the image, and the place in it, that hold the copy `mirror` of a block. Devices are numbered from 1.
pub fn place(volume: &Volume, logical: Logical, mirror: u16) -> (usize, u64) {
    let (stripe, physical) = volume.chunks().find(logical).unwrap().place(logical, mirror).unwrap();
    (stripe.devid as usize - 1, physical.0)
}

/// Places, as above, of the byte and all that is in one row with it, parity too, the byte itself first.
pub fn row(volume: &Volume, logical: Logical) -> Vec<(usize, u64)> {
    let chunk = volume.chunks().find(logical).unwrap();
    let own = place(volume, logical, 1);
    let start =
        |devid: usize| chunk.stripes.iter().find(|stripe| stripe.devid as usize == devid + 1).unwrap().physical.0;
    let within = own.1 - start(own.0);
    let others = chunk.stripes.iter().map(|stripe| (stripe.devid as usize - 1, stripe.physical.0 + within));
    let others = others.filter(|other| *other != own);
    std::iter::once(own).chain(others).collect()
}

/// All ways to choose `count` of `items`.
pub fn choices<T: Clone>(items: &[T], count: usize) -> Vec<Vec<T>> {
    match (count, items.split_first()) {
        (0, _) => vec![Vec::new()],
        (_, None) => Vec::new(),
        (_, Some((first, rest))) => {
            let with = choices(rest, count - 1).into_iter().map(|mut choice| {
                choice.insert(0, first.clone());
                choice
            });
            with.chain(choices(rest, count)).collect()
        }
    }
}
