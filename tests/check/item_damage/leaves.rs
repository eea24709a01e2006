//! A small sound leaf of each tree.

use rbtrfs::block::Block;
use rbtrfs::block::item::{ItemProblem, Rules, check_block};
use rbtrfs::block::verify::Format;
use rbtrfs::disk::extent::{ExtentDataRef, ExtentItem, SharedDataRef, TreeBlockInfo};
use rbtrfs::disk::flags::{block_group, extent, header, incompat};
use rbtrfs::disk::inode::{
    DirItem, DirLogItem, FileExtentDisk, FileExtentItem, InodeExtref, InodeItem, InodeRef, VerityDescriptorItem,
    compression, dir_type, file_extent_type,
};
use rbtrfs::disk::node::{HEADER_SIZE, Header, Item};
use rbtrfs::disk::objectid::*;
use rbtrfs::disk::quota::{QgroupInfoItem, QgroupLimitItem, QgroupStatusItem};
use rbtrfs::disk::root::{RootItem, RootRef};
use rbtrfs::disk::space::{FreeSpaceHeader, FreeSpaceInfo};
use rbtrfs::disk::volume::{
    BalanceItem, BlockGroupItem, Chunk, DevExtent, DevItem, DevReplaceItem, RaidStride, RemapItem, Stripe,
};
use rbtrfs::disk::{CsumType, DiskKey, Key, KeyType, Superblock, hash};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub const NODESIZE: u32 = 16384;
pub const SECTOR: u64 = 4096;
/// The superblock's.
pub const GENERATION: u64 = 10;
pub const MIB: u64 = 1 << 20;

/// A leaf that is not yet bytes.
pub struct Leaf {
    pub tree: u64,
    pub incompat_flags: u64,
    pub header: Header,
    pub items: Vec<(Key, Vec<u8>)>,
    /// Done to the bytes at last.
    pub scratch: fn(&mut [u8]),
}

impl Leaf {
    pub fn new(tree: u64, items: Vec<(Key, Vec<u8>)>) -> Self {
        let mut head = Header::zeroed();
        head.bytenr = (30 * MIB).into();
        head.flags = (header::WRITTEN | 1 << 56).into();
        head.generation = GENERATION.into();
        head.owner = tree.into();
        Self { tree, incompat_flags: incompat::SKINNY_METADATA, header: head, items, scratch: |_| {} }
    }

    fn entry(&mut self, key: Key) -> &mut (Key, Vec<u8>) {
        self.items.iter_mut().find(|(own, _)| *own == key).unwrap_or_else(|| panic!("no item {key}"))
    }

    /// The key of the item with this key.
    pub fn key(&mut self, key: Key) -> &mut Key {
        &mut self.entry(key).0
    }

    pub fn data(&mut self, key: Key) -> &mut Vec<u8> {
        &mut self.entry(key).1
    }

    /// The struct at `offset` of an item.
    pub fn field<T: FromBytes + IntoBytes + KnownLayout>(&mut self, key: Key, offset: usize) -> &mut T {
        T::mut_from_prefix(&mut self.data(key)[offset..])
            .unwrap_or_else(|_| panic!("the struct lies within the item"))
            .0
    }

    pub fn at<T: FromBytes + IntoBytes + KnownLayout>(&mut self, key: Key) -> &mut T {
        self.field(key, 0)
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; NODESIZE as usize];
        let mut head = self.header;
        head.nritems = (self.items.len() as u32).into();
        bytes[..HEADER_SIZE].copy_from_slice(head.as_bytes());
        let mut end = bytes.len();
        for (slot, (key, data)) in self.items.iter().enumerate() {
            let start = end - data.len();
            bytes[start..end].copy_from_slice(data);
            end = start;
            let (offset, size) = ((start - HEADER_SIZE) as u32, data.len() as u32);
            let item = Item { key: DiskKey::from(*key), offset: offset.into(), size: size.into() };
            let position = HEADER_SIZE + slot * size_of::<Item>();
            bytes[position..position + size_of::<Item>()].copy_from_slice(item.as_bytes());
        }
        (self.scratch)(&mut bytes);
        bytes
    }

    pub fn problems(&self) -> Vec<ItemProblem> {
        problems(&self.bytes(), self.tree, self.incompat_flags)
    }
}

pub fn problems(bytes: &[u8], tree: u64, incompat_flags: u64) -> Vec<ItemProblem> {
    let format =
        Format { csum_type: CsumType::Crc32c, nodesize: NODESIZE, sectorsize: SECTOR as u32, fsids: Vec::new() };
    let mut superblock = Superblock::zeroed();
    superblock.generation = GENERATION.into();
    superblock.incompat_flags = incompat_flags.into();
    let mut problems = Vec::new();
    let block = Block::new(bytes).unwrap();
    check_block(block, tree, &Rules::new(&format, &superblock), &mut |problem| problems.push(problem));
    problems
}

/// The bytes of a zeroed struct that `fill` then fills.
pub fn with<T: FromBytes + IntoBytes + Immutable>(fill: impl FnOnce(&mut T)) -> Vec<u8> {
    let mut value = T::new_zeroed();
    fill(&mut value);
    value.as_bytes().to_vec()
}

pub fn joined(parts: &[Vec<u8>]) -> Vec<u8> {
    parts.concat()
}

const fn key(objectid: u64, key_type: KeyType, offset: u64) -> Key {
    Key::new(objectid, key_type, offset)
}

pub const DIRECTORY: Key = key(256, KeyType::INODE_ITEM, 0);
pub const DIRECTORY_REF: Key = key(256, KeyType::INODE_REF, 256);
pub const INDEX: Key = key(256, KeyType::DIR_INDEX, 2);
pub const SUBVOLUME_INDEX: Key = key(256, KeyType::DIR_INDEX, 3);
pub const FILE: Key = key(257, KeyType::INODE_ITEM, 0);
pub const FILE_REF: Key = key(257, KeyType::INODE_REF, 256);
pub const VERITY_HEADER: Key = key(257, KeyType::VERITY_DESC_ITEM, 0);
pub const VERITY_DESCRIPTOR: Key = key(257, KeyType::VERITY_DESC_ITEM, 1);
pub const MERKLE: Key = key(257, KeyType::VERITY_MERKLE_ITEM, 0);
pub const MERKLE_NEXT: Key = key(257, KeyType::VERITY_MERKLE_ITEM, 2048);
pub const REGULAR: Key = key(257, KeyType::EXTENT_DATA, 0);
pub const COMPRESSED: Key = key(257, KeyType::EXTENT_DATA, 2 * SECTOR);
pub const HOLE: Key = key(257, KeyType::EXTENT_DATA, 4 * SECTOR);
pub const PREALLOC: Key = key(257, KeyType::EXTENT_DATA, 5 * SECTOR);
pub const SMALL_FILE: Key = key(258, KeyType::INODE_ITEM, 0);
pub const INLINE: Key = key(258, KeyType::EXTENT_DATA, 0);
pub const FILE_ORPHAN: Key = key(ORPHAN, KeyType::ORPHAN_ITEM, 259);

/// Keys that depend on a hash.
pub fn dir_item() -> Key {
    key(256, KeyType::DIR_ITEM, hash::dir_item(b"file"))
}

pub fn xattr() -> Key {
    key(257, KeyType::XATTR_ITEM, hash::dir_item(b"user.a/b"))
}

pub fn extref() -> Key {
    key(257, KeyType::INODE_EXTREF, hash::inode_extref(256, b"other"))
}

pub fn keyed_data_ref() -> Key {
    key(15 * MIB, KeyType::EXTENT_DATA_REF, hash::extent_data_ref(5, 257, 0))
}

pub fn inode(mode: u32) -> Vec<u8> {
    with::<InodeItem>(|inode| {
        inode.generation = 7.into();
        inode.transid = GENERATION.into();
        inode.nlink = 1.into();
        inode.mode = mode.into();
    })
}

pub fn entry(location: Key, file_type: u8, name: &[u8], data: &[u8]) -> Vec<u8> {
    let head = with::<DirItem>(|entry| {
        entry.location = location.into();
        entry.transid = 7.into();
        entry.name_len = (name.len() as u16).into();
        entry.data_len = (data.len() as u16).into();
        entry.r#type = file_type;
    });
    joined(&[head, name.to_vec(), data.to_vec()])
}

fn inode_ref(name: &[u8]) -> Vec<u8> {
    joined(&[with::<InodeRef>(|inode_ref| inode_ref.name_len = (name.len() as u16).into()), name.to_vec()])
}

fn file_extent(file_type: u8, compressed: u8, ram_bytes: u64) -> Vec<u8> {
    with::<FileExtentItem>(|extent| {
        extent.generation = 7.into();
        extent.ram_bytes = ram_bytes.into();
        extent.compression = compressed;
        extent.r#type = file_type;
    })
}

fn on_disk(disk_bytenr: u64, disk_num_bytes: u64, num_bytes: u64) -> Vec<u8> {
    with::<FileExtentDisk>(|disk| {
        disk.disk_bytenr = disk_bytenr.into();
        disk.disk_num_bytes = disk_num_bytes.into();
        disk.num_bytes = num_bytes.into();
    })
}

fn files() -> Vec<(Key, Vec<u8>)> {
    use file_extent_type::{INLINE as INLINE_TYPE, PREALLOC as PREALLOC_TYPE, REG};
    let regular = |bytenr, length| joined(&[file_extent(REG, 0, length), on_disk(bytenr, length, length)]);
    let extref_head = with::<InodeExtref>(|extref| {
        extref.parent_objectid = 256.into();
        extref.name_len = 5.into();
    });
    let compressed = joined(&[file_extent(REG, compression::ZSTD, 2 * SECTOR), on_disk(14 * MIB, SECTOR, 2 * SECTOR)]);
    let prealloc = joined(&[file_extent(PREALLOC_TYPE, 0, SECTOR), on_disk(15 * MIB, SECTOR, SECTOR)]);
    let hole = joined(&[file_extent(REG, 0, SECTOR), on_disk(0, 0, SECTOR)]);
    let mut items = vec![
        (DIRECTORY, inode(0o040755)),
        (DIRECTORY_REF, inode_ref(b"..")),
        (dir_item(), entry(FILE, dir_type::REG_FILE, b"file", b"")),
        (INDEX, entry(FILE, dir_type::REG_FILE, b"file", b"")),
        (SUBVOLUME_INDEX, entry(key(300, KeyType::ROOT_ITEM, u64::MAX), dir_type::DIR, b"snapshot", b"")),
        (FILE, inode(0o100644)),
        (FILE_REF, inode_ref(b"file")),
        (extref(), joined(&[extref_head, b"other".to_vec()])),
        (xattr(), entry(Key::default(), dir_type::XATTR, b"user.a/b", b"value")),
        (VERITY_HEADER, with::<VerityDescriptorItem>(|_| {})),
        (VERITY_DESCRIPTOR, vec![0; 256]),
        (MERKLE, vec![0; 2048]),
        (MERKLE_NEXT, vec![0; 2048]),
        (REGULAR, regular(13 * MIB, 2 * SECTOR)),
        (COMPRESSED, compressed),
        (HOLE, hole),
        (PREALLOC, prealloc),
        (SMALL_FILE, inode(0o120777)),
        (INLINE, joined(&[file_extent(INLINE_TYPE, 0, 3), b"abc".to_vec()])),
        (FILE_ORPHAN, Vec::new()),
    ];
    items.sort();
    items
}

pub const DIR_LOG: Key = key(256, KeyType::DIR_LOG_INDEX, 4);

fn log() -> Vec<(Key, Vec<u8>)> {
    vec![(DIRECTORY, inode(0o040755)), (DIR_LOG, with::<DirLogItem>(|range| range.end = 9.into()))]
}

pub const TREE: Key = key(EXTENT_TREE, KeyType::ROOT_ITEM, 0);
pub const LEGACY_TREE: Key = key(DEV_TREE, KeyType::ROOT_ITEM, 0);
pub const ROOT_REF: Key = key(FS_TREE, KeyType::ROOT_REF, 300);
pub const ROOT_DIRECTORY: Key = key(ROOT_TREE_DIR, KeyType::INODE_ITEM, 0);
pub const ROOT_BACKREF: Key = key(300, KeyType::ROOT_BACKREF, FS_TREE);
pub const CACHE_HEADER: Key = key(FREE_SPACE, KeyType::FREE_SPACE_HEADER, MIB);
pub const BALANCE_STATE: Key = key(BALANCE, KeyType::TEMPORARY_ITEM, 0);

fn roots() -> Vec<(Key, Vec<u8>)> {
    let root = with::<RootItem>(|root| {
        root.generation = GENERATION.into();
        root.generation_v2 = GENERATION.into();
        root.bytenr = (30 * MIB).into();
        root.level = 1;
        root.refs = 1.into();
    });
    let mut legacy = root.clone();
    legacy.truncate(239);
    let root_ref = joined(&[
        with::<RootRef>(|root_ref| {
            root_ref.dirid = 256.into();
            root_ref.name_len = 4.into();
        }),
        b"snap".to_vec(),
    ]);
    vec![
        (TREE, root),
        (LEGACY_TREE, legacy),
        (ROOT_REF, root_ref.clone()),
        (ROOT_DIRECTORY, inode(0o040755)),
        (ROOT_BACKREF, root_ref),
        (CACHE_HEADER, with::<FreeSpaceHeader>(|header| header.location = FILE.into())),
        (BALANCE_STATE, with::<BalanceItem>(|_| {})),
    ]
    .into_iter()
    .sorted()
}

trait Sorted {
    fn sorted(self) -> Vec<(Key, Vec<u8>)>;
}

impl<I: Iterator<Item = (Key, Vec<u8>)>> Sorted for I {
    fn sorted(self) -> Vec<(Key, Vec<u8>)> {
        let mut items: Vec<_> = self.collect();
        items.sort();
        items
    }
}

/// A data extent with a reference of each kind: two by files, two by leaves.
pub const DATA: Key = key(13 * MIB, KeyType::EXTENT_ITEM, 8 * SECTOR);
pub const KEYED_DATA: Key = key(15 * MIB, KeyType::EXTENT_ITEM, SECTOR);
pub const KEYED_SHARED_DATA: Key = key(15 * MIB, KeyType::SHARED_DATA_REF, 30 * MIB);
pub const FAT_BLOCK: Key = key(30 * MIB, KeyType::EXTENT_ITEM, NODESIZE as u64);
pub const SKINNY_BLOCK: Key = key(31 * MIB, KeyType::METADATA_ITEM, 1);
pub const KEYED_BLOCK: Key = key(31 * MIB, KeyType::TREE_BLOCK_REF, 300);
pub const KEYED_SHARED_BLOCK: Key = key(31 * MIB, KeyType::SHARED_BLOCK_REF, 30 * MIB);
/// Where the references of [`DATA`] begin.
pub const DATA_REF: usize = 24;
pub const SECOND_DATA_REF: usize = DATA_REF + 29;
pub const SHARED_REF: usize = SECOND_DATA_REF + 29;

fn extent_item(flags: u64, refs: u64) -> Vec<u8> {
    with::<ExtentItem>(|item| {
        item.refs = refs.into();
        item.generation = 7.into();
        item.flags = flags.into();
    })
}

fn data_ref(objectid: u64) -> Vec<u8> {
    with::<ExtentDataRef>(|data_ref| {
        data_ref.root = FS_TREE.into();
        data_ref.objectid = objectid.into();
        data_ref.count = 2.into();
    })
}

fn inline(ref_type: KeyType, number: u64) -> Vec<u8> {
    joined(&[vec![ref_type.0], number.to_le_bytes().to_vec()])
}

fn extents() -> Vec<(Key, Vec<u8>)> {
    let count = with::<SharedDataRef>(|shared| shared.count = 1.into());
    let mut inodes = [257, 258];
    inodes.sort_by_key(|inode| std::cmp::Reverse(hash::extent_data_ref(FS_TREE, *inode, 0)));
    let by_file = |inode| joined(&[vec![KeyType::EXTENT_DATA_REF.0], data_ref(inode)]);
    let by_leaf = |parent| joined(&[inline(KeyType::SHARED_DATA_REF, parent), count.clone()]);
    let data = joined(&[
        extent_item(extent::DATA, 6),
        by_file(inodes[0]),
        by_file(inodes[1]),
        by_leaf(31 * MIB),
        by_leaf(30 * MIB),
    ]);
    let fat = joined(&[
        extent_item(extent::TREE_BLOCK, 1),
        with::<TreeBlockInfo>(|_| {}),
        inline(KeyType::TREE_BLOCK_REF, FS_TREE),
    ]);
    let skinny = joined(&[
        extent_item(extent::TREE_BLOCK | extent::FULL_BACKREF, 4),
        inline(KeyType::TREE_BLOCK_REF, FS_TREE),
        inline(KeyType::SHARED_BLOCK_REF, 31 * MIB),
    ]);
    vec![
        (DATA, data),
        (KEYED_DATA, extent_item(extent::DATA, 3)),
        (keyed_data_ref(), data_ref(257)),
        (KEYED_SHARED_DATA, count.clone()),
        (FAT_BLOCK, fat),
        (SKINNY_BLOCK, skinny),
        (KEYED_BLOCK, Vec::new()),
        (KEYED_SHARED_BLOCK, Vec::new()),
    ]
}

pub const GROUP: Key = key(MIB, KeyType::BLOCK_GROUP_ITEM, 8 * MIB);
pub const NEXT_GROUP: Key = key(9 * MIB, KeyType::BLOCK_GROUP_ITEM, 8 * MIB);

fn block_groups() -> Vec<(Key, Vec<u8>)> {
    let group = with::<BlockGroupItem>(|group| {
        group.used = MIB.into();
        group.chunk_objectid = FIRST_CHUNK_TREE.into();
        group.flags = (block_group::METADATA | block_group::DUP).into();
    });
    vec![(GROUP, group.clone()), (NEXT_GROUP, group)]
}

pub const INFO: Key = key(MIB, KeyType::FREE_SPACE_INFO, 8 * MIB);
pub const FREE: Key = key(MIB, KeyType::FREE_SPACE_EXTENT, MIB);
pub const BITMAP: Key = key(4 * MIB, KeyType::FREE_SPACE_BITMAP, 5 * MIB);
pub const NEXT_INFO: Key = key(9 * MIB, KeyType::FREE_SPACE_INFO, 8 * MIB);

fn free_space() -> Vec<(Key, Vec<u8>)> {
    let info = with::<FreeSpaceInfo>(|info| info.extent_count = 1.into());
    vec![(INFO, info.clone()), (FREE, Vec::new()), (BITMAP, vec![0; 160]), (NEXT_INFO, info)]
}

pub const DEVICE: Key = key(DEV_ITEMS, KeyType::DEV_ITEM, 1);
pub const CHUNK: Key = key(FIRST_CHUNK_TREE, KeyType::CHUNK_ITEM, MIB);
pub const NEXT_CHUNK: Key = key(FIRST_CHUNK_TREE, KeyType::CHUNK_ITEM, 9 * MIB);

pub fn chunk(chunk_type: u64, num_stripes: u16) -> Vec<u8> {
    let head = with::<Chunk>(|chunk| {
        chunk.length = (8 * MIB).into();
        chunk.stripe_len = (64 << 10).into();
        chunk.r#type = chunk_type.into();
        chunk.sector_size = (SECTOR as u32).into();
        chunk.num_stripes = num_stripes.into();
        chunk.sub_stripes = 2.into();
    });
    let stripes =
        (0..u64::from(num_stripes)).map(|number| with::<Stripe>(|stripe| stripe.offset = (number * MIB).into()));
    joined(&[vec![head], stripes.collect()].concat())
}

fn chunks() -> Vec<(Key, Vec<u8>)> {
    let device = with::<DevItem>(|device| {
        device.devid = 1.into();
        device.total_bytes = (256 * MIB).into();
        device.bytes_used = (16 * MIB).into();
    });
    vec![
        (DEVICE, device),
        (CHUNK, chunk(block_group::SYSTEM | block_group::DUP, 2)),
        (NEXT_CHUNK, chunk(block_group::DATA | block_group::RAID10, 4)),
    ]
}

pub const STATS: Key = key(DEV_STATS, KeyType::PERSISTENT_ITEM, 1);
pub const REPLACE: Key = key(0, KeyType::DEV_REPLACE, 0);
pub const DEV_EXTENT: Key = key(1, KeyType::DEV_EXTENT, MIB);
pub const NEXT_DEV_EXTENT: Key = key(1, KeyType::DEV_EXTENT, 9 * MIB);

fn device_extents() -> Vec<(Key, Vec<u8>)> {
    let extent = with::<DevExtent>(|extent| {
        extent.chunk_tree = CHUNK_TREE.into();
        extent.chunk_objectid = FIRST_CHUNK_TREE.into();
        extent.chunk_offset = MIB.into();
        extent.length = (8 * MIB).into();
    });
    vec![
        (STATS, vec![0; 40]),
        (REPLACE, with::<DevReplaceItem>(|_| {})),
        (DEV_EXTENT, extent.clone()),
        (NEXT_DEV_EXTENT, extent),
    ]
}

pub const SUMS: Key = key(EXTENT_CSUM, KeyType::EXTENT_CSUM, 13 * MIB);
pub const NEXT_SUMS: Key = key(EXTENT_CSUM, KeyType::EXTENT_CSUM, 13 * MIB + 4 * SECTOR);

pub const QUOTA_STATUS: Key = key(0, KeyType::QGROUP_STATUS, 0);
pub const QUOTA_INFO: Key = key(0, KeyType::QGROUP_INFO, 5);
pub const QUOTA_LIMIT: Key = key(0, KeyType::QGROUP_LIMIT, 5);
pub const QUOTA_RELATION: Key = key(5, KeyType::QGROUP_RELATION, 1 << 48);

fn quotas() -> Vec<(Key, Vec<u8>)> {
    vec![
        (QUOTA_STATUS, with::<QgroupStatusItem>(|status| status.version = 1.into())),
        (QUOTA_INFO, with::<QgroupInfoItem>(|_| {})),
        (QUOTA_LIMIT, with::<QgroupLimitItem>(|_| {})),
        (QUOTA_RELATION, Vec::new()),
    ]
}

pub const SUBVOLUME_UUID: Key = key(1, KeyType::UUID_KEY_SUBVOL, 2);
pub const STRIPES: Key = key(13 * MIB, KeyType::RAID_STRIPE, SECTOR);
pub const REMAPPED: Key = key(13 * MIB, KeyType::REMAP, SECTOR);

pub const TREES: [u64; 13] = [
    FS_TREE,
    TREE_LOG,
    ROOT_TREE,
    EXTENT_TREE,
    BLOCK_GROUP_TREE,
    FREE_SPACE_TREE,
    CHUNK_TREE,
    DEV_TREE,
    CSUM_TREE,
    QUOTA_TREE,
    UUID_TREE,
    RAID_STRIPE_TREE,
    REMAP_TREE,
];

/// A leaf of this tree with nothing wrong.
pub fn sound(tree: u64) -> Leaf {
    let items = match tree {
        FS_TREE => files(),
        TREE_LOG => log(),
        ROOT_TREE => roots(),
        EXTENT_TREE => extents(),
        BLOCK_GROUP_TREE => block_groups(),
        FREE_SPACE_TREE => free_space(),
        CHUNK_TREE => chunks(),
        DEV_TREE => device_extents(),
        CSUM_TREE => vec![(SUMS, vec![0; 16]), (NEXT_SUMS, vec![0; 4])],
        QUOTA_TREE => quotas(),
        UUID_TREE => vec![(SUBVOLUME_UUID, 300_u64.to_le_bytes().to_vec())],
        RAID_STRIPE_TREE => vec![(STRIPES, with::<RaidStride>(|stride| stride.physical = MIB.into()))],
        REMAP_TREE => vec![(REMAPPED, with::<RemapItem>(|remap| remap.address = MIB.into()))],
        _ => panic!("no leaf for tree {tree}"),
    };
    let mut leaf = Leaf::new(tree, items);
    leaf.incompat_flags |= match tree {
        RAID_STRIPE_TREE => incompat::RAID_STRIPE_TREE,
        REMAP_TREE => incompat::REMAP_TREE,
        _ => 0,
    };
    leaf
}
