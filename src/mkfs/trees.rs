//! What stands in the trees of a filesystem beside its files and extents.

use std::collections::BTreeMap;

use zerocopy::IntoBytes;
use zerocopy::little_endian::U64;

use crate::disk::flags::{inode, qgroup_status, root};
use crate::disk::inode::{DirItem, InodeItem, InodeRef, Timespec, dir_type};
use crate::disk::quota::{QgroupInfoItem, QgroupLimitItem, QgroupStatusItem, QgroupStatusSimple};
use crate::disk::root::{RootItem, RootRef};
use crate::disk::volume::DevItem;
use crate::disk::{Key, KeyType, hash, objectid};
use crate::rebuild::Items;
use crate::tree::build::BuiltTree;
use crate::volume::chunk_items;

use super::features::Quotas;
use super::layout::Device;
use super::maker::{GENERATION, Subvolume};
use super::options::Options;
use super::usage::Usage;

/// The version of the quota status item (`BTRFS_QGROUP_STATUS_VERSION`).
const QGROUP_STATUS_VERSION: u64 = 1;
const DIRECTORY_MODE: u32 = 0o40755;

fn directory_inode(time: Timespec, nbytes: u64) -> InodeItem {
    let mut inode = InodeItem::zeroed();
    (inode.generation, inode.transid) = (GENERATION.0.into(), GENERATION.0.into());
    (inode.nbytes, inode.nlink, inode.mode) = (nbytes.into(), 1.into(), DIRECTORY_MODE.into());
    (inode.atime, inode.ctime, inode.mtime, inode.otime) = (time, time, time, time);
    inode
}

/// An empty directory that is the root of its tree.
pub fn root_directory(number: u64, time: Timespec, nbytes: u64) -> Items {
    let dots = InodeRef { index: 0.into(), name_len: 2.into() };
    Items::from([
        (Key::new(number, KeyType::INODE_ITEM, 0), directory_inode(time, nbytes).as_bytes().to_vec()),
        (Key::new(number, KeyType::INODE_REF, number), [dots.as_bytes(), b".."].concat()),
    ])
}

/// The item of a device as it is now.
pub fn dev_item(options: &Options, device: &Device) -> DevItem {
    let fsid = options.identity.fsid;
    let item = chunk_items::dev_item(device.devid, device.uuid, device.size, options.sectorsize, fsid);
    DevItem { bytes_used: device.used.into(), ..item }
}

/// The top-level tree and the other subvolumes, by the halves of their uuids.
pub fn uuid_tree(options: &Options, subvolumes: &[Subvolume]) -> Items {
    let ids = subvolumes.iter().map(|subvolume| subvolume.id).chain([objectid::FS_TREE]);
    let item = |id: u64| {
        let bytes = u128::from_le_bytes(options.identity.subvolume(id).0);
        let key = Key::new(bytes as u64, KeyType::UUID_KEY_SUBVOL, (bytes >> 64) as u64);
        (key, U64::new(id).as_bytes().to_vec())
    };
    ids.map(item).collect()
}

/// What a kernel that counts from the first write on has to find.
pub fn quota_tree(
    options: &Options,
    quotas: Quotas,
    trees: &BTreeMap<u64, BuiltTree>,
    usage: &BTreeMap<u64, Usage>,
) -> Items {
    let mut status = QgroupStatusItem::zeroed();
    status.version = QGROUP_STATUS_VERSION.into();
    status.generation = GENERATION.0.into();
    let mut items = Items::new();
    let status = match quotas {
        Quotas::Full => {
            status.flags = qgroup_status::ON.into();
            status.as_bytes().to_vec()
        }
        Quotas::Simple => {
            status.flags = (qgroup_status::ON | qgroup_status::SIMPLE_MODE).into();
            let simple = QgroupStatusSimple { enable_gen: GENERATION.0.into() };
            [status.as_bytes(), simple.as_bytes()].concat()
        }
    };
    items.insert(Key::new(0, KeyType::QGROUP_STATUS, 0), status);
    for (id, tree) in trees.iter().filter(|(id, _)| objectid::is_fs_tree(**id)) {
        let usage = usage.get(id).copied().unwrap_or_default();
        let blocks = tree.blocks * u64::from(options.nodesize);
        let (referenced, exclusive) = match quotas {
            Quotas::Full => (blocks + usage.referenced, blocks + usage.exclusive),
            Quotas::Simple => (blocks + usage.owned, blocks + usage.owned),
        };
        let mut info = QgroupInfoItem::zeroed();
        info.generation = GENERATION.0.into();
        (info.rfer, info.rfer_cmpr) = (referenced.into(), referenced.into());
        (info.excl, info.excl_cmpr) = (exclusive.into(), exclusive.into());
        items.insert(Key::new(0, KeyType::QGROUP_INFO, *id), info.as_bytes().to_vec());
        items.insert(Key::new(0, KeyType::QGROUP_LIMIT, *id), QgroupLimitItem::zeroed().as_bytes().to_vec());
    }
    items
}

/// What the root tree says of trees and subvolumes.
#[derive(Clone, Copy)]
pub struct Roots<'a> {
    pub options: &'a Options,
    pub subvolumes: &'a [Subvolume],
    pub default_subvolume: u64,
    /// Whether the top level is.
    pub is_read_only: bool,
}

impl Roots<'_> {
    /// `trees` are all that were built. The superblock leads to the root tree and the chunk tree.
    pub fn items(&self, trees: &BTreeMap<u64, BuiltTree>) -> Items {
        let mut items = Items::new();
        for (id, tree) in trees.iter().filter(|(id, _)| ![objectid::ROOT_TREE, objectid::CHUNK_TREE].contains(id)) {
            let item = self.root_item(*id, tree);
            items.insert(Key::new(*id, KeyType::ROOT_ITEM, 0), item.as_bytes().to_vec());
        }
        for subvolume in self.subvolumes {
            let root_ref = RootRef {
                dirid: subvolume.directory.into(),
                sequence: subvolume.index.into(),
                name_len: (subvolume.name.len() as u16).into(),
            };
            let data = [root_ref.as_bytes(), &subvolume.name].concat();
            items.insert(Key::new(subvolume.parent, KeyType::ROOT_REF, subvolume.id), data.clone());
            items.insert(Key::new(subvolume.id, KeyType::ROOT_BACKREF, subvolume.parent), data);
        }
        self.add_default(&mut items);
        items
    }

    fn root_item(&self, id: u64, tree: &BuiltTree) -> RootItem {
        let (nodesize, generation) = (u64::from(self.options.nodesize), GENERATION.0.into());
        let mut item = RootItem::new(self.options.nodesize);
        (item.generation, item.generation_v2) = (generation, generation);
        (item.bytenr, item.level) = (tree.root.0.into(), tree.level);
        item.bytes_used = (tree.blocks * nodesize).into();
        if objectid::is_fs_tree(id) || id == objectid::DATA_RELOC_TREE {
            item.root_dirid = objectid::ROOT_DIR.into();
        }
        if objectid::is_fs_tree(id) {
            item.inode.flags = inode::ROOT_ITEM_INIT.into();
            item.uuid = self.options.identity.subvolume(id);
            (item.ctransid, item.otransid) = (generation, generation);
            (item.ctime, item.otime) = (self.options.identity.time, self.options.identity.time);
        }
        let is_read_only = self.subvolumes.iter().any(|subvolume| subvolume.id == id && subvolume.read_only);
        if is_read_only || id == objectid::FS_TREE && self.is_read_only {
            item.flags = root::RDONLY.into();
        }
        item
    }

    /// The directory that names the subvolume which is mounted by default.
    fn add_default(&self, items: &mut Items) {
        const NAME: &[u8] = b"default";
        let directory = objectid::ROOT_TREE_DIR;
        items.extend(root_directory(directory, self.options.identity.time, self.options.nodesize.into()));
        let mut entry = DirItem::zeroed();
        entry.location = Key::new(self.default_subvolume, KeyType::ROOT_ITEM, u64::MAX).into();
        entry.name_len = (NAME.len() as u16).into();
        entry.r#type = dir_type::DIR;
        items.insert(Key::new(directory, KeyType::DIR_ITEM, hash::dir_item(NAME)), [entry.as_bytes(), NAME].concat());
    }
}
