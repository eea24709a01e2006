//! Items of files and directories.

use crate::disk::flags::inode as inode_flags;
use crate::disk::inode::{
    DirItem, DirLogItem, Entries, FileExtentDisk, FileExtentItem, InodeExtref, InodeItem, InodeRef, compression,
    dir_type, file_extent_type,
};

use super::super::Style;
use super::super::put::{Escaped, HexNumber, Joined, OctalNumber, Put, put};
use super::clock::Clock;
use super::key::DumpKey;

pub fn inode_item(data: &[u8], clock: &mut Clock, out: &mut Vec<u8>) -> Option<()> {
    let (inode, _) = InodeItem::read_prefix(data)?;
    put!(out, "\t\tgeneration ", inode.generation, " transid ", inode.transid);
    put!(out, " size ", inode.size, " nbytes ", inode.nbytes, "\n");
    put!(out, "\t\tblock group ", inode.block_group, " mode ", OctalNumber(inode.mode.get().into()));
    put!(out, " links ", inode.nlink, " uid ", inode.uid, " gid ", inode.gid, " rdev ", inode.rdev, "\n");
    let flags = inode.flags.get();
    put!(out, "\t\tsequence ", inode.sequence, " flags 0x", HexNumber(flags), "(", InodeFlags(flags), ")\n");
    let times = [("atime", inode.atime), ("ctime", inode.ctime), ("mtime", inode.mtime), ("otime", inode.otime)];
    clock.put_times(&times, out);
    Some(())
}

struct InodeFlags(u64);

impl Put for InodeFlags {
    fn put(&self, out: &mut Vec<u8>) {
        // Never set by a kernel that btrfs-progs 6.19 knows, which does not name it.
        let known = inode_flags::NAMES.iter().filter(|(bit, _)| *bit != inode_flags::RO_VERITY);
        let unknown = known.clone().fold(self.0, |rest, (bit, _)| rest & !bit);
        let names = known.filter(|(bit, _)| self.0 & bit != 0).map(|(_, name)| *name);
        put!(out, Joined(names, if unknown == 0 { "none" } else { "" }));
        if unknown != 0 {
            put!(out, if unknown == self.0 { "" } else { "|" }, "UNKNOWN: 0x", HexNumber(unknown));
        }
    }
}

/// A name, or that there is one.
struct Name<'a>(&'a [u8], &'a Style);

impl Put for Name<'_> {
    fn put(&self, out: &mut Vec<u8>) {
        if self.1.hide_names { put!(out, "HIDDEN") } else { put!(out, Escaped(self.0)) }
    }
}

pub fn inode_ref(data: &[u8], style: &Style, out: &mut Vec<u8>) -> Option<()> {
    for named in Entries::<InodeRef>::new(data).map_while(Result::ok) {
        put!(out, "\t\tindex ", named.entry.index, " namelen ", named.entry.name_len);
        put!(out, " name: ", Name(named.name, style), "\n");
    }
    Some(())
}

pub fn inode_extref(data: &[u8], style: &Style, out: &mut Vec<u8>) -> Option<()> {
    for named in Entries::<InodeExtref>::new(data).map_while(Result::ok) {
        put!(out, "\t\tindex ", named.entry.index, " parent ", named.entry.parent_objectid);
        put!(out, " namelen ", named.entry.name_len, " name: ", Name(named.name, style), "\n");
    }
    Some(())
}

pub fn dir_item(data: &[u8], style: &Style, out: &mut Vec<u8>) -> Option<()> {
    for named in Entries::<DirItem>::new(data).map_while(Result::ok) {
        let entry = named.entry;
        put!(out, "\t\tlocation ", DumpKey((&entry.location).into()), " type ", DirType(entry.r#type), "\n");
        put!(out, "\t\ttransid ", entry.transid, " data_len ", entry.data_len, " name_len ", entry.name_len, "\n");
        put!(out, "\t\tname: ", Name(named.name, style), "\n");
        if !named.data.is_empty() {
            // Longer values are cut, as in `btrfs inspect-internal`.
            let shown = &named.data[..named.data.len().min(crate::disk::NAME_LEN)];
            put!(out, "\t\tdata ", Name(shown, style), "\n");
        }
    }
    Some(())
}

struct DirType(u8);

impl Put for DirType {
    fn put(&self, out: &mut Vec<u8>) {
        let name = match self.0 & !dir_type::ENCRYPTED {
            dir_type::REG_FILE => "FILE",
            dir_type::DIR => "DIR",
            dir_type::CHRDEV => "CHRDEV",
            dir_type::BLKDEV => "BLKDEV",
            dir_type::FIFO => "FIFO",
            dir_type::SOCK => "SOCK",
            dir_type::SYMLINK => "SYMLINK",
            dir_type::XATTR => "XATTR",
            _ => return put!(out, "DIR_ITEM.", self.0),
        };
        put!(out, name);
    }
}

pub fn dir_log_item(data: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (item, _) = DirLogItem::read_prefix(data)?;
    put!(out, "\t\tdir log end ", item.end, "\n");
    Some(())
}

pub fn file_extent(data: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (extent, rest) = FileExtentItem::read_prefix(data)?;
    let type_name = match extent.r#type {
        file_extent_type::INLINE => "inline",
        file_extent_type::REG => "regular",
        file_extent_type::PREALLOC => "prealloc",
        _ => "unknown",
    };
    put!(out, "\t\tgeneration ", extent.generation, " type ", extent.r#type, " (", type_name, ")\n");
    let compression = Compression(extent.compression);
    if extent.r#type == file_extent_type::INLINE {
        put!(out, "\t\tinline extent data size ", rest.len(), " ram_bytes ", extent.ram_bytes);
        put!(out, " compression ", extent.compression, " (", compression, ")\n");
        return Some(());
    }
    let (disk, _) = FileExtentDisk::read_prefix(rest)?;
    if extent.r#type == file_extent_type::PREALLOC {
        put!(out, "\t\tprealloc data disk byte ", disk.disk_bytenr, " nr ", disk.disk_num_bytes, "\n");
        put!(out, "\t\tprealloc data offset ", disk.offset, " nr ", disk.num_bytes, "\n");
        return Some(());
    }
    put!(out, "\t\textent data disk byte ", disk.disk_bytenr, " nr ", disk.disk_num_bytes, "\n");
    put!(out, "\t\textent data offset ", disk.offset, " nr ", disk.num_bytes, " ram ", extent.ram_bytes, "\n");
    put!(out, "\t\textent compression ", extent.compression, " (", compression, ")\n");
    Some(())
}

struct Compression(u8);

impl Put for Compression {
    fn put(&self, out: &mut Vec<u8>) {
        match self.0 {
            compression::NONE => put!(out, "none"),
            compression::ZLIB => put!(out, "zlib"),
            compression::LZO => put!(out, "lzo"),
            compression::ZSTD => put!(out, "zstd"),
            unknown => put!(out, "UNKNOWN.", unknown),
        }
    }
}
