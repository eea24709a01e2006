//! Extents, references to them, and checksums.

use crate::block::ItemRef;
use crate::disk::KeyType;
use crate::disk::extent::{
    ExtentDataRef, ExtentItem, ExtentOwnerRef, InlineRef, InlineRefs, SharedDataRef, TreeBlockInfo,
};
use crate::disk::flags::extent as extent_flags;

use super::super::Style;
use super::super::put::{HexBytes, HexNumber, Joined, put};
use super::key::{DumpKey, ObjectId};

pub fn extent_item(item: &ItemRef<'_>, out: &mut Vec<u8>) -> Option<()> {
    let (extent, mut rest) = ExtentItem::read_prefix(item.data)?;
    let flags = extent.flags.get();
    let names = extent_flags::NAMES.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| *name);
    put!(out, "\t\trefs ", extent.refs, " gen ", extent.generation, " flags ", Joined(names, ""), "\n");
    if item.key.key_type == KeyType::METADATA_ITEM {
        put!(out, "\t\ttree block skinny level ", i64::from(item.key.offset as i32), "\n");
    } else if flags & extent_flags::TREE_BLOCK != 0 {
        let (info, refs) = TreeBlockInfo::read_prefix(rest)?;
        put!(out, "\t\ttree block ", DumpKey((&info.key).into()), " level ", info.level, "\n");
        rest = refs;
    }
    for inline_ref in InlineRefs::new(rest).map_while(Result::ok) {
        put_inline_ref(inline_ref, out);
    }
    Some(())
}

/// Each line begins with the type and the number by which references are ordered.
fn put_inline_ref(inline_ref: InlineRef<'_>, out: &mut Vec<u8>) {
    // One tab too few, and a t too many, before an owner: so it stands in btrfs-progs 6.19.
    let tabs = if let InlineRef::Owner { .. } = inline_ref { "\t" } else { "\t\t" };
    put!(out, tabs, "(", inline_ref.key_type().0, " 0x", HexNumber(inline_ref.sequence()), ") ");
    match inline_ref {
        InlineRef::TreeBlock { root } => put!(out, "tree block backref root ", ObjectId(root, KeyType(0)), "\n"),
        InlineRef::SharedBlock { parent } => put!(out, "shared block backref parent ", parent, "\n"),
        InlineRef::ExtentData(data_ref) => put_data_ref(data_ref, out),
        InlineRef::SharedData { parent, count } => {
            put!(out, "shared data backref parent ", parent, " count ", count, "\n");
        }
        InlineRef::Owner { root } => put!(out, "textent owner root ", root, "\n"),
    }
}

fn put_data_ref(data_ref: &ExtentDataRef, out: &mut Vec<u8>) {
    put!(out, "extent data backref root ", ObjectId(data_ref.root.get(), KeyType(0)));
    put!(out, " objectid ", data_ref.objectid, " offset ", data_ref.offset, " count ", data_ref.count, "\n");
}

pub fn extent_data_ref(data: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (data_ref, _) = ExtentDataRef::read_prefix(data)?;
    put!(out, "\t\t");
    put_data_ref(data_ref, out);
    Some(())
}

pub fn shared_data_ref(data: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (shared, _) = SharedDataRef::read_prefix(data)?;
    put!(out, "\t\tshared data backref count ", shared.count, "\n");
    Some(())
}

pub fn extent_owner_ref(data: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (owner, _) = ExtentOwnerRef::read_prefix(data)?;
    put!(out, "\t\textent owner root ", owner.root_id, "\n");
    Some(())
}

pub fn csums(item: &ItemRef<'_>, style: &Style, out: &mut Vec<u8>) -> Option<()> {
    let csum_size = style.csum_type.size();
    let sectorsize = u64::from(style.sectorsize);
    let length = (item.data.len() / csum_size) as u64 * sectorsize;
    let start = item.key.offset;
    put!(out, "\t\trange start ", start, " end ", start.wrapping_add(length), " length ", length, "\n");
    if style.csum_items {
        let csums_in_line = (32 / csum_size / 2).max(1);
        let mut sector = start;
        for line in item.data.chunks(csum_size * csums_in_line) {
            put!(out, "\t\t");
            for (index, csum) in line.chunks_exact(csum_size).enumerate() {
                put!(out, if index == 0 { "[" } else { " [" }, sector, "] 0x", HexBytes(csum));
                sector = sector.wrapping_add(sectorsize);
            }
            out.push(b'\n');
        }
    }
    Some(())
}
