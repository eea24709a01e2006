//! Each kind of damage, as something done to a sound leaf.

use rbtrfs::disk::extent::{ExtentDataRef, ExtentItem, SharedDataRef, TreeBlockInfo};
use rbtrfs::disk::flags::{block_group, header as header_flags, incompat, inode as inode_flags};
use rbtrfs::disk::inode::{
    DirItem, DirLogItem, FileExtentDisk, FileExtentItem, InodeExtref, InodeItem, InodeRef, VerityDescriptorItem,
    compression, dir_type, file_extent_type,
};
use rbtrfs::disk::node::{HEADER_SIZE, Header};
use rbtrfs::disk::objectid::*;
use rbtrfs::disk::quota::QgroupStatusItem;
use rbtrfs::disk::root::{RootItem, RootRef};
use rbtrfs::disk::space::{FreeSpaceHeader, FreeSpaceInfo};
use rbtrfs::disk::volume::{
    BalanceItem, BlockGroupItem, Chunk, DevExtent, DevItem, DevReplaceItem, RaidStride, RemapItem, Stripe,
};
use rbtrfs::disk::{DiskKey, Key, KeyType};
use zerocopy::FromBytes;

use crate::item_damage::leaves::*;

/// A code, the tree whose leaf is changed, and the change. The code is all that is found, unless more follow it.
pub type Mutation = (&'static str, u64, fn(&mut Leaf));

fn header(bytes: &mut [u8]) -> &mut Header {
    Header::mut_from_prefix(bytes).ok().unwrap().0
}

/// Where the offset of the item in this slot stands.
fn item_offset(slot: usize) -> usize {
    HEADER_SIZE + slot * 25 + 17
}

const OFFSET: usize = size_of::<FileExtentItem>();

#[rustfmt::skip]
pub const MUTATIONS: &[Mutation] = &[
    ("block-flags", FS_TREE, |leaf| leaf.header.flags |= 1 << 20),
    ("block-backref-rev", FS_TREE, |leaf| leaf.header.flags |= 1 << 57),
    ("block-backref-rev", FS_TREE, |leaf| {
        leaf.incompat_flags |= incompat::MIXED_BACKREF;
        leaf.header.flags = header_flags::WRITTEN.into();
    }),
    ("block-reloc-flag", CSUM_TREE, |leaf| leaf.header.flags |= header_flags::RELOC),
    ("block-not-written", FS_TREE, |leaf| leaf.header.flags = (1 << 56).into()),
    ("block-generation", FS_TREE, |leaf| leaf.header.generation = (GENERATION + 1).into()),
    ("block-generation", TREE_LOG, |leaf| leaf.header.generation = (GENERATION + 2).into()),
    ("leaf-empty", FS_TREE, |leaf| leaf.items.clear()),
    ("leaf-nritems key-order leaf-item-offset leaf-headers-overlap", UUID_TREE, |leaf| leaf.scratch = |bytes| header(bytes).nritems = 70000.into()),
    ("key-order", DEV_TREE, |leaf| leaf.items.swap(0, 1)),
    ("leaf-item-outside", FS_TREE, |leaf| leaf.scratch = |bytes| bytes[item_offset(3) + 2] = 1),
    ("leaf-item-offset", FS_TREE, |leaf| leaf.scratch = |bytes| bytes[item_offset(3)] ^= 1),
    ("leaf-item-offset", FS_TREE, |leaf| leaf.scratch = |bytes| bytes[item_offset(3) + 4] ^= 8),
    ("leaf-headers-overlap", UUID_TREE, |leaf| leaf.data(SUBVOLUME_UUID).resize(16384 - HEADER_SIZE - 20, 1)),
    ("item-misplaced", FS_TREE, |leaf| leaf.key(FILE_ORPHAN).key_type = KeyType::CHUNK_ITEM),
    ("item-misplaced", EXTENT_TREE, |leaf| leaf.key(KEYED_BLOCK).key_type = KeyType::EXTENT_REF_V0),
    ("item-type-unknown", FS_TREE, |leaf| leaf.key(FILE_ORPHAN).key_type = KeyType(77)),
    ("item-type-unknown", FS_TREE, |leaf| {
        (leaf.tree, leaf.header.owner) = (DATA_RELOC_TREE, DATA_RELOC_TREE.into());
        leaf.key(FILE_ORPHAN).key_type = KeyType(77);
    }),
    ("item-type-new", FS_TREE, |leaf| {
        leaf.incompat_flags |= 1 << 60;
        leaf.key(FILE_ORPHAN).key_type = KeyType(77);
    }),
    ("item-type-new", DEV_TREE, |leaf| leaf.items.last_mut().unwrap().0.key_type = KeyType(254)),
    ("inode-cache", FS_TREE, |leaf| {
        leaf.items.push((Key::new(FREE_INO, KeyType::INODE_ITEM, 0), inode(0o100600)));
        leaf.items.sort();
    }),

    ("inode-number inode-item-not-first", FS_TREE, |leaf| leaf.key(DIRECTORY).objectid = 255),
    ("inode-key-offset", FS_TREE, |leaf| leaf.key(FILE).offset = 1),
    ("inode-item-not-first", FS_TREE, |leaf| drop(leaf.items.remove(leaf.items.iter().position(|(key, _)| *key == FILE).unwrap()))),
    ("inode-item-size", FS_TREE, |leaf| leaf.data(FILE).truncate(5)),
    ("inode-generation", FS_TREE, |leaf| leaf.at::<InodeItem>(FILE).generation = (GENERATION + 2).into()),
    ("inode-transid", FS_TREE, |leaf| leaf.at::<InodeItem>(FILE).transid = (GENERATION + 2).into()),
    ("inode-mode", FS_TREE, |leaf| leaf.at::<InodeItem>(FILE).mode = 0o644.into()),
    ("inode-mode", FS_TREE, |leaf| leaf.at::<InodeItem>(FILE).mode = 0o1100644.into()),
    ("inode-dir-nlink", FS_TREE, |leaf| leaf.at::<InodeItem>(DIRECTORY).nlink = 2.into()),
    ("inode-flags", FS_TREE, |leaf| leaf.at::<InodeItem>(FILE).flags = (1 << 40).into()),
    ("inode-flags-kind", FS_TREE, |leaf| leaf.at::<InodeItem>(FILE).flags = inode_flags::ROOT_ITEM_INIT.into()),
    ("inode-flags-kind", FS_TREE, |leaf| leaf.at::<InodeItem>(DIRECTORY).flags = inode_flags::RO_VERITY.into()),
    ("inode-flags-kind", FS_TREE, |leaf| {
        let link = leaf.at::<InodeItem>(SMALL_FILE);
        (link.mode, link.flags) = (0o120777.into(), inode_flags::IMMUTABLE.into());
    }),
    ("inode-flags-kind", FS_TREE, |leaf| {
        let link = leaf.at::<InodeItem>(SMALL_FILE);
        (link.mode, link.flags) = (0o120777.into(), inode_flags::APPEND.into());
    }),
    ("inode-size", FS_TREE, |leaf| leaf.at::<InodeItem>(FILE).size = u64::MAX.into()),
    ("inode-time", FS_TREE, |leaf| leaf.at::<InodeItem>(FILE).mtime.nsec = 1_000_000_000.into()),
    ("orphan-key", FS_TREE, |leaf| leaf.key(FILE_ORPHAN).objectid = 259),
    ("orphan-size", FS_TREE, |leaf| leaf.data(FILE_ORPHAN).push(0)),
    ("dir-log-size", TREE_LOG, |leaf| leaf.data(DIR_LOG).truncate(7)),
    ("dir-log-range", TREE_LOG, |leaf| leaf.at::<DirLogItem>(DIR_LOG).end = 3.into()),
    ("verity-descriptor-size", FS_TREE, |leaf| leaf.data(VERITY_HEADER).push(0)),
    ("verity-descriptor-size", FS_TREE, |leaf| leaf.data(VERITY_DESCRIPTOR).clear()),
    ("verity-encryption", FS_TREE, |leaf| leaf.at::<VerityDescriptorItem>(VERITY_HEADER).encryption = 1),
    ("verity-merkle-size", FS_TREE, |leaf| leaf.data(MERKLE).clear()),
    ("verity-merkle-overlap", FS_TREE, |leaf| leaf.data(MERKLE).push(0)),

    ("name-entry-cut", FS_TREE, |leaf| leaf.at::<InodeRef>(FILE_REF).name_len = 5.into()),
    ("name-entry-cut", FS_TREE, |leaf| leaf.data(FILE_REF).clear()),
    ("name-entry-cut", FS_TREE, |leaf| leaf.data(dir_item()).push(0)),
    ("name-length", FS_TREE, |leaf| *leaf.data(FILE_REF) = vec![0; 10]),
    ("name-length", FS_TREE, |leaf| *leaf.data(INDEX) = entry(FILE, dir_type::REG_FILE, &[b'n'; 256], b"")),
    ("name-character", FS_TREE, |leaf| *leaf.data(FILE_REF).last_mut().unwrap() = b'/'),
    ("name-character", FS_TREE, |leaf| *leaf.data(INDEX).last_mut().unwrap() = 0),
    ("name-twice", FS_TREE, |leaf| leaf.data(dir_item()).extend(entry(SMALL_FILE, dir_type::REG_FILE, b"file", b""))),
    ("name-twice", FS_TREE, |leaf| {
        let data = leaf.data(xattr()).clone();
        leaf.data(xattr()).extend(data);
    }),
    ("name-twice", FS_TREE, |leaf| {
        let data = leaf.data(FILE_REF).clone();
        leaf.data(FILE_REF).extend(data);
    }),
    ("name-twice", FS_TREE, |leaf| {
        let data = leaf.data(extref()).clone();
        leaf.data(extref()).extend(data);
    }),
    ("inode-ref-root", FS_TREE, |leaf| leaf.at::<InodeRef>(DIRECTORY_REF).index = 1.into()),
    ("inode-ref-parent", FS_TREE, |leaf| leaf.key(FILE_REF).offset = 0),
    ("inode-ref-parent extref-hash", FS_TREE, |leaf| leaf.at::<InodeExtref>(extref()).parent_objectid = 7.into()),
    ("extref-hash", FS_TREE, |leaf| *leaf.data(extref()).last_mut().unwrap() ^= 1),
    ("dir-item-hash", FS_TREE, |leaf| *leaf.data(dir_item()).last_mut().unwrap() ^= 1),
    ("dir-item-hash", FS_TREE, |leaf| leaf.key(xattr()).offset ^= 1),
    ("dir-index-entries", FS_TREE, |leaf| leaf.data(INDEX).extend(entry(FILE, dir_type::REG_FILE, b"more", b""))),
    ("dir-item-location", FS_TREE, |leaf| leaf.at::<DirItem>(INDEX).location.r#type = KeyType::INODE_REF.0),
    ("dir-item-location", FS_TREE, |leaf| leaf.at::<DirItem>(INDEX).location.offset = 1.into()),
    ("dir-item-location", FS_TREE, |leaf| leaf.at::<DirItem>(SUBVOLUME_INDEX).location.objectid = 7.into()),
    ("dir-item-location", FS_TREE, |leaf| leaf.at::<DirItem>(xattr()).location = DiskKey::from(FILE)),
    ("dir-item-type", FS_TREE, |leaf| leaf.at::<DirItem>(INDEX).r#type = 9),
    ("dir-item-xattr-type", FS_TREE, |leaf| leaf.at::<DirItem>(INDEX).r#type = dir_type::XATTR),
    ("dir-item-xattr-type", FS_TREE, |leaf| leaf.at::<DirItem>(xattr()).r#type = dir_type::REG_FILE),
    ("dir-item-subvolume-type", FS_TREE, |leaf| leaf.at::<DirItem>(SUBVOLUME_INDEX).r#type = dir_type::REG_FILE),
    ("dir-item-data", FS_TREE, |leaf| *leaf.data(INDEX) = entry(FILE, dir_type::REG_FILE, b"file", b"x")),
    ("dir-item-transid", FS_TREE, |leaf| leaf.at::<DirItem>(INDEX).transid = (GENERATION + 2).into()),

    ("file-extent-size", FS_TREE, |leaf| leaf.data(REGULAR).truncate(20)),
    ("file-extent-size", FS_TREE, |leaf| leaf.data(REGULAR).push(0)),
    ("file-extent-key-unaligned", FS_TREE, |leaf| leaf.key(PREALLOC).offset += 1),
    ("file-extent-type", FS_TREE, |leaf| leaf.at::<FileExtentItem>(PREALLOC).r#type = 3),
    ("file-extent-compression", FS_TREE, |leaf| leaf.at::<FileExtentItem>(COMPRESSED).compression = 4),
    ("file-extent-encryption", FS_TREE, |leaf| leaf.at::<FileExtentItem>(REGULAR).encryption = 1),
    ("file-extent-encoding", FS_TREE, |leaf| leaf.at::<FileExtentItem>(REGULAR).other_encoding = 1.into()),
    ("file-extent-generation", FS_TREE, |leaf| leaf.at::<FileExtentItem>(REGULAR).generation = (GENERATION + 2).into()),
    ("file-extent-inline-offset", FS_TREE, |leaf| leaf.key(INLINE).offset = SECTOR),
    ("file-extent-inline-size", FS_TREE, |leaf| leaf.at::<FileExtentItem>(INLINE).ram_bytes = 4.into()),
    ("file-extent-inline-too-long", FS_TREE, |leaf| {
        let extent = leaf.at::<FileExtentItem>(INLINE);
        (extent.compression, extent.ram_bytes) = (compression::LZO, (SECTOR + 1).into());
    }),
    ("file-extent-empty", FS_TREE, |leaf| leaf.field::<FileExtentDisk>(REGULAR, OFFSET).num_bytes = 0.into()),
    ("file-extent-unaligned", FS_TREE, |leaf| leaf.field::<FileExtentDisk>(REGULAR, OFFSET).disk_bytenr = (13 * MIB + 1).into()),
    ("file-extent-overflow file-extent-beyond", FS_TREE, |leaf| {
        leaf.field::<FileExtentDisk>(PREALLOC, OFFSET).num_bytes = (u64::MAX - SECTOR + 1).into();
    }),
    ("file-extent-disk-size file-extent-ram-bytes", FS_TREE, |leaf| leaf.field::<FileExtentDisk>(REGULAR, OFFSET).disk_num_bytes = 0.into()),
    ("file-extent-hole-size", FS_TREE, |leaf| leaf.field::<FileExtentDisk>(HOLE, OFFSET).disk_num_bytes = SECTOR.into()),
    ("file-extent-beyond", FS_TREE, |leaf| leaf.field::<FileExtentDisk>(REGULAR, OFFSET).offset = SECTOR.into()),
    ("file-extent-compressed-size", FS_TREE, |leaf| leaf.at::<FileExtentItem>(COMPRESSED).ram_bytes = MIB.into()),
    ("file-extent-prealloc", FS_TREE, |leaf| leaf.at::<FileExtentItem>(PREALLOC).compression = compression::ZLIB),
    ("file-extent-prealloc", FS_TREE, |leaf| leaf.at::<FileExtentItem>(HOLE).r#type = file_extent_type::PREALLOC),
    ("file-extent-ram-bytes", FS_TREE, |leaf| leaf.at::<FileExtentItem>(REGULAR).ram_bytes = (3 * SECTOR).into()),
    ("file-extent-item-overlap", FS_TREE, |leaf| leaf.key(COMPRESSED).offset = SECTOR),

    ("csum-key", CSUM_TREE, |leaf| leaf.key(NEXT_SUMS).objectid += 1),
    ("csum-unaligned", CSUM_TREE, |leaf| leaf.key(NEXT_SUMS).offset += 1),
    ("csum-size", CSUM_TREE, |leaf| leaf.data(NEXT_SUMS).push(0)),
    ("csum-size", CSUM_TREE, |leaf| leaf.data(NEXT_SUMS).clear()),
    ("csum-overflow", CSUM_TREE, |leaf| leaf.key(NEXT_SUMS).offset = u64::MAX - SECTOR + 1),
    ("csum-item-overlap", CSUM_TREE, |leaf| leaf.data(SUMS).extend([0; 4])),

    ("root-item-size", ROOT_TREE, |leaf| leaf.data(TREE).truncate(300)),
    ("root-item-key", ROOT_TREE, |leaf| leaf.key(TREE).objectid = 0),
    ("root-item-generation", ROOT_TREE, |leaf| leaf.at::<RootItem>(TREE).generation = (GENERATION + 2).into()),
    ("root-item-generation", ROOT_TREE, |leaf| leaf.at::<RootItem>(TREE).generation_v2 = (GENERATION + 2).into()),
    ("root-item-bytenr", ROOT_TREE, |leaf| leaf.at::<RootItem>(TREE).bytenr = 1.into()),
    ("root-item-level", ROOT_TREE, |leaf| leaf.at::<RootItem>(TREE).level = 8),
    ("root-item-drop-level", ROOT_TREE, |leaf| leaf.at::<RootItem>(TREE).drop_level = 2),
    ("root-item-drop-level", ROOT_TREE, |leaf| {
        let root = leaf.at::<RootItem>(TREE);
        (root.refs, root.drop_progress) = (0.into(), FILE.into());
    }),
    ("root-item-drop-of-living", ROOT_TREE, |leaf| {
        let root = leaf.at::<RootItem>(TREE);
        (root.refs, root.level, root.drop_level, root.drop_progress) = (1.into(), 1, 1, FILE.into());
    }),
    ("root-item-flags", ROOT_TREE, |leaf| leaf.at::<RootItem>(TREE).flags = 2.into()),
    ("root-item-offset", ROOT_TREE, |leaf| leaf.key(TREE).offset = GENERATION + 2),
    ("root-item-directory", ROOT_TREE, |leaf| leaf.key(LEGACY_TREE).objectid = FS_TREE),
    ("root-item-refs", ROOT_TREE, |leaf| leaf.at::<RootItem>(TREE).refs = 2.into()),
    ("root-ref-key", ROOT_TREE, |leaf| leaf.key(ROOT_REF).offset = 1),
    ("root-ref-size", ROOT_TREE, |leaf| leaf.data(ROOT_REF).push(0)),
    ("root-ref-size", ROOT_TREE, |leaf| leaf.data(ROOT_BACKREF).truncate(17)),
    ("root-ref-directory", ROOT_TREE, |leaf| leaf.at::<RootRef>(ROOT_BACKREF).dirid = 1.into()),
    ("uuid-item-size", UUID_TREE, |leaf| leaf.data(SUBVOLUME_UUID).push(0)),
    ("uuid-item-size", UUID_TREE, |leaf| leaf.data(SUBVOLUME_UUID).clear()),
    ("uuid-item-subvolume", UUID_TREE, |leaf| leaf.data(SUBVOLUME_UUID)[..2].fill(0)),

    ("extent-item-size", EXTENT_TREE, |leaf| leaf.data(KEYED_DATA).truncate(23)),
    ("extent-item-size", EXTENT_TREE, |leaf| leaf.data(FAT_BLOCK).truncate(41)),
    ("extent-item-bytenr", EXTENT_TREE, |leaf| leaf.key(DATA).objectid += 1),
    ("extent-item-length", EXTENT_TREE, |leaf| leaf.key(DATA).offset += 1),
    ("extent-item-length", EXTENT_TREE, |leaf| leaf.key(DATA).offset = 0),
    ("extent-item-node-length", EXTENT_TREE, |leaf| leaf.key(FAT_BLOCK).offset = SECTOR),
    ("metadata-item-not-skinny", EXTENT_TREE, |leaf| leaf.incompat_flags = 0),
    ("extent-item-level", EXTENT_TREE, |leaf| leaf.key(SKINNY_BLOCK).offset = 8),
    ("extent-item-level", EXTENT_TREE, |leaf| leaf.field::<TreeBlockInfo>(FAT_BLOCK, 24).level = 8),
    ("extent-item-flags", EXTENT_TREE, |leaf| leaf.at::<ExtentItem>(DATA).flags = 3.into()),
    ("metadata-item-data inline-ref-kind extent-item-full-backref", EXTENT_TREE, |leaf| leaf.at::<ExtentItem>(SKINNY_BLOCK).flags = 0x101.into()),
    ("extent-item-full-backref", EXTENT_TREE, |leaf| leaf.at::<ExtentItem>(DATA).flags = 0x101.into()),
    ("extent-item-generation", EXTENT_TREE, |leaf| leaf.at::<ExtentItem>(DATA).generation = (GENERATION + 2).into()),
    ("extent-item-no-refs", EXTENT_TREE, |leaf| leaf.at::<ExtentItem>(DATA).refs = 0.into()),
    ("extent-item-refs", EXTENT_TREE, |leaf| leaf.at::<ExtentItem>(DATA).refs = 5.into()),
    ("extent-item-overlap", EXTENT_TREE, |leaf| leaf.key(DATA).offset = 2 * MIB + SECTOR),
    ("inline-ref-type", EXTENT_TREE, |leaf| leaf.data(DATA)[DATA_REF] = 0),
    ("inline-ref-cut", EXTENT_TREE, |leaf| leaf.data(DATA).truncate(SHARED_REF + 20)),
    ("inline-ref-kind", EXTENT_TREE, |leaf| {
        leaf.incompat_flags |= incompat::SIMPLE_QUOTA;
        leaf.data(FAT_BLOCK)[42] = KeyType::EXTENT_OWNER_REF.0;
    }),
    ("inline-ref-order", EXTENT_TREE, |leaf| {
        let data = leaf.data(DATA);
        let second: Vec<u8> = data.drain(SECOND_DATA_REF..SHARED_REF).collect();
        data.splice(DATA_REF..DATA_REF, second);
    }),
    ("inline-ref-duplicate", EXTENT_TREE, |leaf| leaf.data(DATA).copy_within(DATA_REF..SECOND_DATA_REF, SECOND_DATA_REF)),
    ("inline-ref-owner", EXTENT_TREE, |leaf| {
        let owner = [vec![KeyType::EXTENT_OWNER_REF.0], FS_TREE.to_le_bytes().to_vec()].concat();
        leaf.data(DATA).splice(DATA_REF..DATA_REF, owner);
    }),
    ("extent-ref-parent", EXTENT_TREE, |leaf| leaf.data(DATA)[SHARED_REF + 1] ^= 1),
    ("extent-ref-parent", EXTENT_TREE, |leaf| leaf.key(KEYED_SHARED_BLOCK).offset = 1),
    ("extent-ref-root", EXTENT_TREE, |leaf| leaf.key(KEYED_BLOCK).offset = 0),
    ("extent-ref-root", EXTENT_TREE, |leaf| leaf.data(FAT_BLOCK)[50] = 1),
    ("extent-ref-inode extent-ref-hash", EXTENT_TREE, |leaf| leaf.at::<ExtentDataRef>(keyed_data_ref()).objectid = 255.into()),
    ("extent-ref-offset extent-ref-hash", EXTENT_TREE, |leaf| leaf.at::<ExtentDataRef>(keyed_data_ref()).offset = 1.into()),
    ("extent-ref-count", EXTENT_TREE, |leaf| leaf.at::<SharedDataRef>(KEYED_SHARED_DATA).count = 0.into()),
    ("extent-ref-count", EXTENT_TREE, |leaf| leaf.field::<ExtentDataRef>(DATA, DATA_REF + 1).count = 0.into()),
    ("extent-ref-size", EXTENT_TREE, |leaf| leaf.data(KEYED_BLOCK).push(0)),
    ("extent-ref-size", EXTENT_TREE, |leaf| leaf.data(keyed_data_ref()).clear()),
    ("extent-ref-hash", EXTENT_TREE, |leaf| leaf.key(keyed_data_ref()).offset += 16),

    ("block-group-size", BLOCK_GROUP_TREE, |leaf| leaf.data(GROUP).push(0)),
    ("block-group-item-length block-group-item-used", BLOCK_GROUP_TREE, |leaf| leaf.key(GROUP).offset = 0),
    ("block-group-chunk-objectid", BLOCK_GROUP_TREE, |leaf| leaf.at::<BlockGroupItem>(GROUP).chunk_objectid = 0.into()),
    ("block-group-item-used", BLOCK_GROUP_TREE, |leaf| leaf.at::<BlockGroupItem>(GROUP).used = (9 * MIB).into()),
    ("block-group-profile", BLOCK_GROUP_TREE, |leaf| leaf.at::<BlockGroupItem>(GROUP).flags = (4 | 0x18).into()),
    ("block-group-type", BLOCK_GROUP_TREE, |leaf| leaf.at::<BlockGroupItem>(GROUP).flags = 0.into()),
    ("block-group-type", BLOCK_GROUP_TREE, |leaf| leaf.at::<BlockGroupItem>(GROUP).flags = 5.into()),
    ("block-group-item-flags", BLOCK_GROUP_TREE, |leaf| leaf.at::<BlockGroupItem>(GROUP).flags = (4 | 1 << 20).into()),
    ("block-group-overlap", BLOCK_GROUP_TREE, |leaf| leaf.key(GROUP).offset += SECTOR),
    ("free-space-size", FREE_SPACE_TREE, |leaf| leaf.data(INFO).push(0)),
    ("free-space-size", FREE_SPACE_TREE, |leaf| leaf.data(FREE).push(0)),
    ("free-space-size", FREE_SPACE_TREE, |leaf| leaf.data(BITMAP).push(0)),
    ("free-space-range", FREE_SPACE_TREE, |leaf| leaf.key(FREE).offset = 0),
    ("free-space-bitmap-too-long", FREE_SPACE_TREE, |leaf| leaf.key(BITMAP).offset = 8 * MIB + SECTOR),
    ("free-space-info-flags", FREE_SPACE_TREE, |leaf| leaf.at::<FreeSpaceInfo>(INFO).flags = 2.into()),
    ("free-space-item-overlap", FREE_SPACE_TREE, |leaf| leaf.key(FREE).offset = 4 * MIB),
    ("free-space-header-size", ROOT_TREE, |leaf| leaf.data(CACHE_HEADER).push(0)),
    ("free-space-header-location", ROOT_TREE, |leaf| leaf.at::<FreeSpaceHeader>(CACHE_HEADER).location.offset = 1.into()),
    ("free-space-header-generation", ROOT_TREE, |leaf| leaf.at::<FreeSpaceHeader>(CACHE_HEADER).generation = (GENERATION + 2).into()),

    ("dev-item-size", CHUNK_TREE, |leaf| leaf.data(DEVICE).push(0)),
    ("dev-item-key", CHUNK_TREE, |leaf| leaf.key(DEVICE).objectid = 2),
    ("dev-item-devid", CHUNK_TREE, |leaf| leaf.at::<DevItem>(DEVICE).devid = 2.into()),
    ("dev-item-used", CHUNK_TREE, |leaf| leaf.at::<DevItem>(DEVICE).bytes_used = (257 * MIB).into()),
    ("dev-item-unaligned", CHUNK_TREE, |leaf| leaf.at::<DevItem>(DEVICE).total_bytes = (256 * MIB + 1).into()),
    ("dev-extent-size", DEV_TREE, |leaf| leaf.data(DEV_EXTENT).push(0)),
    ("dev-extent-chunk-tree", DEV_TREE, |leaf| leaf.at::<DevExtent>(DEV_EXTENT).chunk_tree = 2.into()),
    ("dev-extent-chunk-tree", DEV_TREE, |leaf| leaf.at::<DevExtent>(DEV_EXTENT).chunk_objectid = 2.into()),
    ("dev-extent-unaligned", DEV_TREE, |leaf| leaf.at::<DevExtent>(DEV_EXTENT).chunk_offset = 2.into()),
    ("dev-extent-length", DEV_TREE, |leaf| leaf.at::<DevExtent>(DEV_EXTENT).length = 0.into()),
    ("dev-extent-overlap", DEV_TREE, |leaf| leaf.at::<DevExtent>(DEV_EXTENT).length = (9 * MIB).into()),
    ("state-item-key", ROOT_TREE, |leaf| leaf.key(BALANCE_STATE).objectid -= 1),
    ("state-item-key", DEV_TREE, |leaf| leaf.key(REPLACE).offset = 1),
    ("dev-stats-size", DEV_TREE, |leaf| leaf.data(STATS).push(0)),
    ("dev-replace-size", DEV_TREE, |leaf| leaf.data(REPLACE).push(0)),
    ("dev-replace-state", DEV_TREE, |leaf| leaf.at::<DevReplaceItem>(REPLACE).replace_state = 5.into()),
    ("balance-size", ROOT_TREE, |leaf| leaf.data(BALANCE_STATE).push(0)),
    ("balance-flags", ROOT_TREE, |leaf| leaf.at::<BalanceItem>(BALANCE_STATE).flags = (1 << 20).into()),
    ("balance-flags", ROOT_TREE, |leaf| leaf.at::<BalanceItem>(BALANCE_STATE).sys.flags = (1 << 20).into()),

    ("chunk-key", CHUNK_TREE, |leaf| leaf.key(NEXT_CHUNK).objectid = 257),
    ("chunk-size", CHUNK_TREE, |leaf| leaf.data(CHUNK).push(0)),
    ("chunk-size", CHUNK_TREE, |leaf| leaf.data(CHUNK).truncate(47)),
    ("chunk-size", CHUNK_TREE, |leaf| leaf.at::<Chunk>(CHUNK).num_stripes = 3.into()),
    ("chunk-no-stripes", CHUNK_TREE, |leaf| *leaf.data(CHUNK) = chunk(block_group::SYSTEM, 0)),
    ("chunk-stripes", CHUNK_TREE, |leaf| *leaf.data(CHUNK) = chunk(block_group::SYSTEM | block_group::DUP, 1)),
    ("chunk-stripes", CHUNK_TREE, |leaf| *leaf.data(NEXT_CHUNK) = chunk(block_group::DATA | block_group::RAID10, 3)),
    ("chunk-sub-stripes", CHUNK_TREE, |leaf| leaf.at::<Chunk>(NEXT_CHUNK).sub_stripes = 1.into()),
    ("chunk-logical", CHUNK_TREE, |leaf| leaf.key(NEXT_CHUNK).offset += 1),
    ("chunk-sector-size", CHUNK_TREE, |leaf| leaf.at::<Chunk>(CHUNK).sector_size = 512.into()),
    ("chunk-item-length", CHUNK_TREE, |leaf| leaf.at::<Chunk>(CHUNK).length = 0.into()),
    ("chunk-too-long", CHUNK_TREE, |leaf| leaf.at::<Chunk>(NEXT_CHUNK).length = (1 << 60).into()),
    ("chunk-indivisible", CHUNK_TREE, |leaf| *leaf.data(NEXT_CHUNK) = chunk(block_group::DATA | block_group::RAID0, 3)),
    ("chunk-stripe-len", CHUNK_TREE, |leaf| leaf.at::<Chunk>(CHUNK).stripe_len = 4096.into()),
    ("chunk-flags", CHUNK_TREE, |leaf| *leaf.data(CHUNK) = chunk(block_group::SYSTEM | 1 << 20, 1)),
    ("chunk-profile", CHUNK_TREE, |leaf| *leaf.data(CHUNK) = chunk(block_group::SYSTEM | 0x18, 2)),
    ("chunk-no-type", CHUNK_TREE, |leaf| *leaf.data(CHUNK) = chunk(0, 1)),
    ("chunk-mixed-type", CHUNK_TREE, |leaf| *leaf.data(CHUNK) = chunk(block_group::DATA | block_group::METADATA, 1)),
    ("chunk-mixed-type", CHUNK_TREE, |leaf| {
        leaf.incompat_flags |= incompat::MIXED_GROUPS;
        *leaf.data(CHUNK) = chunk(block_group::DATA | block_group::SYSTEM, 1);
    }),
    ("chunk-remap", CHUNK_TREE, |leaf| *leaf.data(CHUNK) = chunk(block_group::DATA | block_group::REMAPPED, 1)),
    ("chunk-stripe-offset", CHUNK_TREE, |leaf| leaf.field::<Stripe>(CHUNK, 48).offset = 1.into()),
    ("chunk-item-overlap", CHUNK_TREE, |leaf| leaf.at::<Chunk>(CHUNK).length = (9 * MIB).into()),

    ("map-feature", RAID_STRIPE_TREE, |leaf| leaf.incompat_flags = 0),
    ("map-feature", REMAP_TREE, |leaf| leaf.incompat_flags = 0),
    ("map-range", RAID_STRIPE_TREE, |leaf| leaf.key(STRIPES).offset = 0),
    ("raid-stripe-size", RAID_STRIPE_TREE, |leaf| leaf.data(STRIPES).push(0)),
    ("raid-stripe-physical", RAID_STRIPE_TREE, |leaf| leaf.at::<RaidStride>(STRIPES).physical = 1.into()),
    ("remap-size", REMAP_TREE, |leaf| leaf.data(REMAPPED).push(0)),
    ("remap-size", REMAP_TREE, |leaf| leaf.key(REMAPPED).key_type = KeyType::IDENTITY_REMAP),
    ("remap-address", REMAP_TREE, |leaf| leaf.at::<RemapItem>(REMAPPED).address = 1.into()),

    ("qgroup-size", QUOTA_TREE, |leaf| leaf.data(QUOTA_STATUS).push(0)),
    ("qgroup-size", QUOTA_TREE, |leaf| leaf.data(QUOTA_INFO).push(0)),
    ("qgroup-size", QUOTA_TREE, |leaf| leaf.data(QUOTA_LIMIT).push(0)),
    ("qgroup-size", QUOTA_TREE, |leaf| leaf.data(QUOTA_RELATION).push(0)),
    ("qgroup-key", QUOTA_TREE, |leaf| leaf.key(QUOTA_STATUS).offset = 1),
    ("qgroup-version", QUOTA_TREE, |leaf| leaf.at::<QgroupStatusItem>(QUOTA_STATUS).version = 2.into()),
    ("qgroup-flags", QUOTA_TREE, |leaf| leaf.at::<QgroupStatusItem>(QUOTA_STATUS).flags = (1 << 20).into()),
    ("qgroup-generation", QUOTA_TREE, |leaf| leaf.at::<QgroupStatusItem>(QUOTA_STATUS).generation = (GENERATION + 2).into()),
    ("qgroup-relation", QUOTA_TREE, |leaf| leaf.key(QUOTA_RELATION).offset = 6),
];
