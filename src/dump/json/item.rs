//! The data of an item, by its type.

use serde::ser::{Error, SerializeMap};
use serde::{Serialize, Serializer};
use zerocopy::FromBytes;
use zerocopy::little_endian::U64;

use crate::block::ItemRef;
use crate::disk::extent::{
    ExtentDataRef, ExtentItem, ExtentOwnerRef, InlineRef, InlineRefs, SharedDataRef, TreeBlockInfo,
};
use crate::disk::fields::{Fields, Hex};
use crate::disk::flags::extent::TREE_BLOCK;
use crate::disk::inode::{
    DirItem, DirLogItem, Entries, Entry, FileExtentDisk, FileExtentItem, InodeExtref, InodeItem, InodeRef,
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

/// An item's data as an object. Bytes that the item's type does not account for stand under `rest`, all bytes of an
/// unknown type or of an item too short for its type under `data`.
pub struct Payload<'a> {
    pub item: &'a ItemRef<'a>,
    pub style: &'a Style,
}

impl Serialize for Payload<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        let rest = match self.fields(&mut object)? {
            Some(rest) => ("rest", rest),
            None => ("data", self.item.data),
        };
        if !rest.1.is_empty() {
            object.serialize_entry(rest.0, &Hex(rest.1))?;
        }
        object.end()
    }
}

/// Puts struct `T` into `object`, and returns what follows it in `data`.
fn fields<'a, T, M>(read: Option<(&T, &'a [u8])>, object: &mut M) -> Result<Option<&'a [u8]>, M::Error>
where
    T: Fields,
    M: SerializeMap,
{
    let Some((fields, rest)) = read else { return Ok(None) };
    fields.serialize_fields(object)?;
    Ok(Some(rest))
}

/// What is not accounted for: all of it, nothing of it, or nothing known.
type Rest<'a, M> = Result<Option<&'a [u8]>, <M as SerializeMap>::Error>;

impl<'a> Payload<'a> {
    /// Puts the fields into `object`, and returns the bytes that are left; nothing if the data is not what its type
    /// should be.
    fn fields<M: SerializeMap>(&self, object: &mut M) -> Rest<'a, M> {
        let data = self.item.data;
        match self.item.key.key_type {
            KeyType::INODE_ITEM => fields(InodeItem::read_prefix(data), object),
            KeyType::INODE_REF => self.entries::<InodeRef, M>("refs", object),
            KeyType::INODE_EXTREF => self.entries::<InodeExtref, M>("refs", object),
            KeyType::DIR_ITEM | KeyType::DIR_INDEX | KeyType::XATTR_ITEM => {
                self.entries::<DirItem, M>("entries", object)
            }
            KeyType::DIR_LOG_ITEM | KeyType::DIR_LOG_INDEX => fields(DirLogItem::read_prefix(data), object),
            KeyType::VERITY_DESC_ITEM if self.item.key.offset == 0 => {
                fields(VerityDescriptorItem::read_prefix(data), object)
            }
            KeyType::EXTENT_DATA => self.file_extent(object),
            KeyType::EXTENT_CSUM => self.csums(object),
            KeyType::ROOT_ITEM => self.root_item(object),
            KeyType::ROOT_REF | KeyType::ROOT_BACKREF => self.root_ref(object),
            KeyType::EXTENT_ITEM | KeyType::METADATA_ITEM => self.extent_item(object),
            KeyType::EXTENT_DATA_REF => fields(ExtentDataRef::read_prefix(data), object),
            KeyType::SHARED_DATA_REF => fields(SharedDataRef::read_prefix(data), object),
            KeyType::EXTENT_OWNER_REF => fields(ExtentOwnerRef::read_prefix(data), object),
            KeyType::BLOCK_GROUP_ITEM => match fields(BlockGroupItem::read_prefix(data), object)? {
                Some(rest) if !rest.is_empty() => fields(BlockGroupRemap::read_prefix(rest), object),
                rest => Ok(rest),
            },
            KeyType::FREE_SPACE_INFO => fields(FreeSpaceInfo::read_prefix(data), object),
            KeyType::FREE_SPACE_BITMAP => {
                object.serialize_entry("bitmap", &Hex(data))?;
                Ok(Some(&[]))
            }
            KeyType(0) if self.item.key.objectid == objectid::FREE_SPACE => {
                fields(FreeSpaceHeader::read_prefix(data), object)
            }
            KeyType::DEV_EXTENT => fields(DevExtent::read_prefix(data), object),
            KeyType::DEV_ITEM => fields(DevItem::read_prefix(data), object),
            KeyType::CHUNK_ITEM => self.chunk(object),
            KeyType::RAID_STRIPE => list::<RaidStride, M>("strides", data, object),
            KeyType::REMAP | KeyType::REMAP_BACKREF => fields(RemapItem::read_prefix(data), object),
            KeyType::QGROUP_STATUS => match fields(QgroupStatusItem::read_prefix(data), object)? {
                Some(rest) if self.style.simple_quota => fields(QgroupStatusSimple::read_prefix(rest), object),
                rest => Ok(rest),
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
            KeyType::UUID_KEY_SUBVOL | KeyType::UUID_KEY_RECEIVED_SUBVOL => self.subvolumes(object),
            _ => Ok(None),
        }
    }

    fn entries<T: Entry + Fields + 'a, M: SerializeMap>(&self, name: &'static str, object: &mut M) -> Rest<'a, M> {
        let entries: Vec<NamedRecord<'_, T>> = Entries::new(self.item.data)
            .map_while(Result::ok)
            .map(|named| NamedRecord { named, hide_names: self.style.hide_names })
            .collect();
        let read: usize = entries.iter().map(|record| record.size()).sum();
        object.serialize_entry(name, &entries)?;
        Ok(self.item.data.get(read..))
    }

    fn file_extent<M: SerializeMap>(&self, object: &mut M) -> Rest<'a, M> {
        let extent = FileExtentItem::read_prefix(self.item.data);
        match (extent, fields(extent, object)?) {
            (Some((extent, _)), Some(inline)) if extent.r#type == file_extent_type::INLINE => {
                let shown = (!self.style.hide_names).then_some(Hex(inline));
                object.serialize_entry("data", &shown)?;
                Ok(Some(&[]))
            }
            (_, Some(rest)) => fields(FileExtentDisk::read_prefix(rest), object),
            (_, None) => Ok(None),
        }
    }

    fn csums<M: SerializeMap>(&self, object: &mut M) -> Rest<'a, M> {
        let csums = self.item.data.chunks_exact(self.style.csum_type.size());
        let rest = csums.remainder();
        object.serialize_entry("csums", &csums.map(Hex).collect::<Vec<_>>())?;
        Ok(Some(rest))
    }

    fn root_item<M: SerializeMap>(&self, object: &mut M) -> Rest<'a, M> {
        let data = self.item.data;
        match RootItem::read(data) {
            Some(root) => {
                root.serialize_fields(object)?;
                Ok(Some(data.get(size_of::<RootItem>()..).unwrap_or_default()))
            }
            None => Ok(None),
        }
    }

    fn root_ref<M: SerializeMap>(&self, object: &mut M) -> Rest<'a, M> {
        let Some((root_ref, rest)) = RootRef::read_prefix(self.item.data) else { return Ok(None) };
        let Some((name, rest)) = rest.split_at_checked(root_ref.name_len.get().into()) else { return Ok(None) };
        root_ref.serialize_fields(object)?;
        put_name(name, self.style.hide_names, object)?;
        Ok(Some(rest))
    }

    fn extent_item<M: SerializeMap>(&self, object: &mut M) -> Rest<'a, M> {
        let extent = ExtentItem::read_prefix(self.item.data);
        let Some(mut rest) = fields(extent, object)? else { return Ok(None) };
        let is_tree_block = extent.is_some_and(|(extent, _)| extent.flags.get() & TREE_BLOCK != 0);
        if is_tree_block && self.item.key.key_type == KeyType::EXTENT_ITEM {
            let Some((info, refs)) = TreeBlockInfo::read_prefix(rest) else { return Ok(Some(rest)) };
            object.serialize_entry("tree_block_info", info)?;
            rest = refs;
        }
        let mut refs = Vec::new();
        let mut unread: &[u8] = &[];
        for inline_ref in InlineRefs::new(rest) {
            match inline_ref {
                Ok(inline_ref) => refs.push(InlineRefRecord(inline_ref)),
                Err(bad) => unread = &rest[rest.len() - bad.bytes_left..],
            }
        }
        object.serialize_entry("inline_refs", &refs)?;
        Ok(Some(unread))
    }

    fn chunk<M: SerializeMap>(&self, object: &mut M) -> Rest<'a, M> {
        let Some((chunk, stripes, rest)) = Chunk::read_with_stripes(self.item.data) else { return Ok(None) };
        chunk.serialize_fields(object)?;
        object.serialize_entry("stripes", stripes)?;
        Ok(Some(rest))
    }

    fn subvolumes<M: SerializeMap>(&self, object: &mut M) -> Rest<'a, M> {
        let ids = self.item.data.chunks_exact(size_of::<U64>());
        let rest = ids.remainder();
        let ids = ids.filter_map(|id| U64::read_from_bytes(id).ok()).map(|id| id.get());
        object.serialize_entry("subvol_ids", &ids.collect::<Vec<_>>())?;
        Ok(Some(rest))
    }
}

/// As many structs as fit, one after the other.
fn list<'a, T, M>(name: &'static str, data: &'a [u8], object: &mut M) -> Rest<'a, M>
where
    T: 'a + Serialize + FromBytes + zerocopy::KnownLayout + zerocopy::Immutable + zerocopy::Unaligned,
    M: SerializeMap,
{
    let count = data.len() / size_of::<T>();
    let read = <[T]>::ref_from_prefix_with_elems(data, count);
    let (elements, rest) = read.map_err(|_| M::Error::custom("an array of whole elements"))?;
    object.serialize_entry(name, elements)?;
    Ok(Some(rest))
}

/// A name as text; its bytes too where they are not UTF-8. A hidden name is null.
fn put_name<M: SerializeMap>(name: &[u8], hide: bool, object: &mut M) -> Result<(), M::Error> {
    put_text("name", "name_bytes", name, hide, object)
}

fn put_text<M: SerializeMap>(
    key: &'static str,
    bytes_key: &'static str,
    text: &[u8],
    hide: bool,
    object: &mut M,
) -> Result<(), M::Error> {
    if hide {
        return object.serialize_entry(key, &None::<&str>);
    }
    match std::str::from_utf8(text) {
        Ok(text) => object.serialize_entry(key, text),
        Err(_) => {
            object.serialize_entry(key, &String::from_utf8_lossy(text))?;
            object.serialize_entry(bytes_key, &Hex(text))
        }
    }
}

struct NamedRecord<'a, T> {
    named: crate::disk::inode::Named<'a, T>,
    hide_names: bool,
}

impl<T> NamedRecord<'_, T> {
    /// Bytes that the entry takes of its item.
    fn size(&self) -> usize {
        size_of::<T>() + self.named.name.len() + self.named.data.len()
    }
}

impl<T: Fields> Serialize for NamedRecord<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        self.named.entry.serialize_fields(&mut object)?;
        put_name(self.named.name, self.hide_names, &mut object)?;
        if !self.named.data.is_empty() {
            put_text("data", "data_bytes", self.named.data, self.hide_names, &mut object)?;
        }
        object.end()
    }
}

struct InlineRefRecord<'a>(InlineRef<'a>);

impl Serialize for InlineRefRecord<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        let mut put_type = |key_type: KeyType| {
            object.serialize_entry("type", &key_type.0)?;
            object.serialize_entry("type_name", &key_type.name())
        };
        match self.0 {
            InlineRef::TreeBlock { root } => {
                put_type(KeyType::TREE_BLOCK_REF)?;
                object.serialize_entry("root", &root)?;
            }
            InlineRef::SharedBlock { parent } => {
                put_type(KeyType::SHARED_BLOCK_REF)?;
                object.serialize_entry("parent", &parent)?;
            }
            InlineRef::ExtentData(data_ref) => {
                put_type(KeyType::EXTENT_DATA_REF)?;
                data_ref.serialize_fields(&mut object)?;
            }
            InlineRef::SharedData { parent, count } => {
                put_type(KeyType::SHARED_DATA_REF)?;
                object.serialize_entry("parent", &parent)?;
                object.serialize_entry("count", &count)?;
            }
            InlineRef::Owner { root } => {
                put_type(KeyType::EXTENT_OWNER_REF)?;
                object.serialize_entry("root_id", &root)?;
            }
        }
        object.end()
    }
}
