//! The data of an item, by its type.

use zerocopy::FromBytes;
use zerocopy::little_endian::U64;

use crate::block::ItemRef;
use crate::disk::extent::{
    ExtentDataRef, ExtentItem, ExtentOwnerRef, InlineRef, InlineRefs, SharedDataRef, TreeBlockInfo,
};
use crate::disk::fields::{FieldVisitor, Fields};
use crate::disk::flags::extent::TREE_BLOCK;
use crate::disk::inode::{
    DirItem, DirLogItem, Entries, Entry, FileExtentDisk, FileExtentItem, InodeExtref, InodeItem, InodeRef, Named,
    VerityDescriptorItem, file_extent_type,
};
use crate::disk::quota::{QgroupInfoItem, QgroupLimitItem, QgroupStatusItem, QgroupStatusSimple};
use crate::disk::root::{RootItem, RootRef};
use crate::disk::space::{FreeSpaceHeader, FreeSpaceInfo};
use crate::disk::volume::{
    BalanceItem, BlockGroupItem, BlockGroupRemap, Chunk, DevExtent, DevItem, DevReplaceItem, DevStatsItem, RaidStride,
    RemapItem,
};
use crate::disk::{KeyType, objectid};

use super::super::Style;
use super::super::put::{HexBytes, put};
use super::object::Object;

/// An item's data. Bytes that the item's type does not account for stand under `rest`, all bytes of an unknown type or
/// of an item too short for its type under `data`.
pub struct Payload<'a> {
    pub item: &'a ItemRef<'a>,
    pub style: &'a Style,
}

/// Bytes past what was put; nothing if the data is not what its type should be.
type Rest<'a> = Option<&'a [u8]>;

/// Puts a struct, and returns what follows it.
fn fields<'a, T: Fields>(read: Option<(&T, &'a [u8])>, object: &mut Object<'_>) -> Rest<'a> {
    let (fields, rest) = read?;
    fields.visit(object);
    Some(rest)
}

impl<'a> Payload<'a> {
    pub fn put(&self, object: &mut Object<'_>) {
        match self.put_fields(object) {
            Some([]) => {}
            Some(rest) => object.bytes("rest", rest),
            None if self.item.data.is_empty() => {}
            None => object.bytes("data", self.item.data),
        }
    }

    fn put_fields(&self, object: &mut Object<'_>) -> Rest<'a> {
        let data = self.item.data;
        match self.item.key.key_type {
            KeyType::INODE_ITEM => fields(InodeItem::read_prefix(data), object),
            KeyType::INODE_REF => self.entries::<InodeRef>("refs", object),
            KeyType::INODE_EXTREF => self.entries::<InodeExtref>("refs", object),
            KeyType::DIR_ITEM | KeyType::DIR_INDEX | KeyType::XATTR_ITEM => self.entries::<DirItem>("entries", object),
            KeyType::DIR_LOG_ITEM | KeyType::DIR_LOG_INDEX => fields(DirLogItem::read_prefix(data), object),
            KeyType::VERITY_DESC_ITEM if self.item.key.offset == 0 => {
                fields(VerityDescriptorItem::read_prefix(data), object)
            }
            KeyType::EXTENT_DATA => self.file_extent(object),
            KeyType::EXTENT_CSUM => self.csums(object),
            KeyType::ROOT_ITEM => {
                RootItem::read(data)?.visit(object);
                Some(data.get(size_of::<RootItem>()..).unwrap_or_default())
            }
            KeyType::ROOT_REF | KeyType::ROOT_BACKREF => self.root_ref(object),
            KeyType::EXTENT_ITEM | KeyType::METADATA_ITEM => self.extent_item(object),
            KeyType::EXTENT_DATA_REF => fields(ExtentDataRef::read_prefix(data), object),
            KeyType::SHARED_DATA_REF => fields(SharedDataRef::read_prefix(data), object),
            KeyType::EXTENT_OWNER_REF => fields(ExtentOwnerRef::read_prefix(data), object),
            KeyType::BLOCK_GROUP_ITEM => match fields(BlockGroupItem::read_prefix(data), object)? {
                [] => Some(&[]),
                rest => fields(BlockGroupRemap::read_prefix(rest), object).or(Some(rest)),
            },
            KeyType::FREE_SPACE_INFO => fields(FreeSpaceInfo::read_prefix(data), object),
            KeyType::FREE_SPACE_BITMAP => {
                object.bytes("bitmap", data);
                Some(&[])
            }
            KeyType(0) if self.item.key.objectid == objectid::FREE_SPACE => {
                fields(FreeSpaceHeader::read_prefix(data), object)
            }
            KeyType::DEV_EXTENT => fields(DevExtent::read_prefix(data), object),
            KeyType::DEV_ITEM => fields(DevItem::read_prefix(data), object),
            KeyType::CHUNK_ITEM => {
                let (chunk, stripes, rest) = Chunk::read_with_stripes(data)?;
                chunk.visit(object);
                object.structures("stripes", stripes);
                Some(rest)
            }
            KeyType::RAID_STRIPE => {
                let count = data.len() / size_of::<RaidStride>();
                let (strides, rest) = <[RaidStride]>::ref_from_prefix_with_elems(data, count).ok()?;
                object.structures("strides", strides);
                Some(rest)
            }
            KeyType::REMAP | KeyType::REMAP_BACKREF => fields(RemapItem::read_prefix(data), object),
            KeyType::QGROUP_STATUS => match fields(QgroupStatusItem::read_prefix(data), object)? {
                rest if self.style.simple_quota => fields(QgroupStatusSimple::read_prefix(rest), object).or(Some(rest)),
                rest => Some(rest),
            },
            KeyType::QGROUP_INFO => fields(QgroupInfoItem::read_prefix(data), object),
            KeyType::QGROUP_LIMIT => fields(QgroupLimitItem::read_prefix(data), object),
            KeyType::TEMPORARY_ITEM if self.item.key.objectid == objectid::BALANCE => {
                fields(BalanceItem::read_prefix(data), object)
            }
            KeyType::PERSISTENT_ITEM if self.item.key.objectid == objectid::DEV_STATS => {
                fields(DevStatsItem::read_prefix(data), object)
            }
            KeyType::DEV_REPLACE => fields(DevReplaceItem::read_prefix(data), object),
            KeyType::UUID_KEY_SUBVOL | KeyType::UUID_KEY_RECEIVED_SUBVOL => {
                let count = data.len() / size_of::<U64>();
                let (subvolumes, rest) = <[U64]>::ref_from_prefix_with_elems(data, count).ok()?;
                object.integers("subvol_ids", subvolumes.iter().map(|id| id.get()));
                Some(rest)
            }
            _ => None,
        }
    }

    fn entries<T: Entry + Fields + 'a>(&self, name: &'static str, object: &mut Object<'_>) -> Rest<'a> {
        let mut read = 0;
        let entries = Entries::<T>::new(self.item.data).map_while(Result::ok);
        object.array(name, entries, |named, out| {
            read += size_of::<T>() + named.name.len() + named.data.len();
            Object::put(out, |object| self.entry(&named, object));
        });
        self.item.data.get(read..)
    }

    fn entry<T: Fields>(&self, named: &Named<'_, T>, object: &mut Object<'_>) {
        named.entry.visit(object);
        self.put_text("name", named.name, object);
        if !named.data.is_empty() {
            self.put_text("data", named.data, object);
        }
    }

    /// Text, or null where names are hidden.
    fn put_text(&self, name: &'static str, text: &[u8], object: &mut Object<'_>) {
        if self.style.hide_names { object.null(name) } else { object.text(name, text) }
    }

    fn file_extent(&self, object: &mut Object<'_>) -> Rest<'a> {
        let (extent, rest) = FileExtentItem::read_prefix(self.item.data)?;
        extent.visit(object);
        if extent.r#type == file_extent_type::INLINE {
            // The contents of files are left out: dumps are sent to other people.
            object.plain("inline_size", rest.len());
            return Some(&[]);
        }
        fields(FileExtentDisk::read_prefix(rest), object).or(Some(rest))
    }

    fn csums(&self, object: &mut Object<'_>) -> Rest<'a> {
        let csums = self.item.data.chunks_exact(self.style.csum_type.size());
        let rest = csums.remainder();
        object.array("csums", csums, |csum, out| put!(out, "\"", HexBytes(csum), "\""));
        Some(rest)
    }

    fn root_ref(&self, object: &mut Object<'_>) -> Rest<'a> {
        let (root_ref, rest) = RootRef::read_prefix(self.item.data)?;
        let (name, rest) = rest.split_at_checked(root_ref.name_len.get().into())?;
        root_ref.visit(object);
        self.put_text("name", name, object);
        Some(rest)
    }

    fn extent_item(&self, object: &mut Object<'_>) -> Rest<'a> {
        let (extent, mut rest) = ExtentItem::read_prefix(self.item.data)?;
        extent.visit(object);
        if self.item.key.key_type == KeyType::EXTENT_ITEM && extent.flags.get() & TREE_BLOCK != 0 {
            let Some((info, refs)) = TreeBlockInfo::read_prefix(rest) else { return Some(rest) };
            object.structure("tree_block_info", info);
            rest = refs;
        }
        let mut bytes_left = 0;
        let inline_refs = InlineRefs::new(rest);
        let inline_refs = inline_refs.map_while(|result| result.map_err(|bad| bytes_left = bad.bytes_left).ok());
        object.array("inline_refs", inline_refs, |inline_ref, out| {
            Object::put(out, |object| put_inline_ref(inline_ref, object));
        });
        Some(&rest[rest.len() - bytes_left..])
    }
}

fn put_inline_ref(inline_ref: InlineRef<'_>, object: &mut Object<'_>) {
    let key_type = inline_ref.key_type();
    object.plain("type", key_type.0);
    object.string("type_name", key_type.name().unwrap_or_default());
    match inline_ref {
        InlineRef::TreeBlock { root } => object.plain("root", root),
        InlineRef::SharedBlock { parent } => object.plain("parent", parent),
        InlineRef::ExtentData(data_ref) => data_ref.visit(object),
        InlineRef::SharedData { parent, count } => {
            object.plain("parent", parent);
            object.plain("count", count);
        }
        InlineRef::Owner { root } => object.plain("root_id", root),
    }
}
