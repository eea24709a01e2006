//! Superblocks as `btrfs inspect-internal dump-super` prints them, and as JSON.

use zerocopy::IntoBytes;

use crate::disk::csum::CSUM_SIZE;
use crate::disk::fields::{FieldVisitor, Fields};
use crate::disk::flags::{self, FlagNames};
use crate::disk::superblock::{MAGIC, NUM_BACKUP_ROOTS, RootBackup, SYSTEM_CHUNK_ARRAY_SIZE};
use crate::disk::{Physical, Superblock};
use crate::volume::sys_chunk_array::{BadEntry, Entries};

use super::json::object::Object;
use super::put::{HexBytes, HexNumber, put};
use super::text::key::DumpKey;
use super::text::volume::put_chunk;

const MATCH: [&str; 2] = ["[DON'T MATCH]", "[match]"];

/// All fields; with `full` also the system chunk array and the backup roots. An array that cannot be read to its end is
/// printed as far as it goes, and what is wrong with it is returned.
pub fn put_superblock(superblock: &Superblock, full: bool, out: &mut Vec<u8>) -> Result<(), BadEntry> {
    put_identity(superblock, out);
    put_roots_and_sizes(superblock, out);
    put_features(superblock, out);
    put_device(superblock, out);
    let mut array = Ok(());
    if full {
        put!(out, "sys_chunk_array[", SYSTEM_CHUNK_ARRAY_SIZE, "]:\n");
        array = put_sys_chunk_array(superblock, out);
        put!(out, "backup_roots[", NUM_BACKUP_ROOTS, "]:\n");
        for (index, backup) in superblock.super_roots.iter().enumerate() {
            if backup.tree_root.get() != 0 || backup.tree_root_gen.get() != 0 {
                put!(out, "\tbackup ", index, ":\n");
                put_backup(backup, out);
            }
        }
    }
    out.push(b'\n');
    array
}

fn put_identity(superblock: &Superblock, out: &mut Vec<u8>) {
    let csum_type = superblock.csum_type();
    // The name differs from that in messages and options.
    let csum_name = csum_type.map_or("INVALID", |csum_type| match csum_type.name() {
        "blake2" => "blake2b",
        name => name,
    });
    let csum_size = csum_type.map_or(CSUM_SIZE, |csum_type| csum_type.size());
    let csum_state = match csum_type {
        Some(csum_type) => MATCH[usize::from(csum_type.matches(superblock.as_bytes()))],
        None => "[UNKNOWN CSUM TYPE OR SIZE]",
    };
    put!(out, "csum_type\t\t", superblock.csum_type, " (", csum_name, ")\n");
    put!(out, "csum_size\t\t", csum_size, "\n");
    put!(out, "csum\t\t\t0x", HexBytes(&superblock.csum[..csum_size]), " ", csum_state, "\n");
    put!(out, "bytenr\t\t\t", superblock.bytenr, "\n");
    put!(out, "flags\t\t\t0x", HexNumber(superblock.flags.get()), "\n");
    put_flags(superblock.flags.get(), flags::superblock::NAMES, out);
    let magic = superblock.magic.as_bytes();
    let magic_state = MATCH[usize::from(superblock.magic.get() == MAGIC)];
    put!(out, "magic\t\t\t", printable(magic).as_slice(), " ", magic_state, "\n");
    put!(out, "fsid\t\t\t", superblock.fsid, "\n");
    put!(out, "metadata_uuid\t\t", superblock.metadata_uuid, "\n");
    put!(out, "label\t\t\t", printable(superblock.label()).as_slice(), "\n");
}

fn put_roots_and_sizes(superblock: &Superblock, out: &mut Vec<u8>) {
    put!(out, "generation\t\t", superblock.generation, "\n");
    put!(out, "root\t\t\t", superblock.root, "\n");
    put!(out, "sys_array_size\t\t", superblock.sys_chunk_array_size, "\n");
    put!(out, "chunk_root_generation\t", superblock.chunk_root_generation, "\n");
    put!(out, "root_level\t\t", superblock.root_level, "\n");
    put!(out, "chunk_root\t\t", superblock.chunk_root, "\n");
    put!(out, "chunk_root_level\t", superblock.chunk_root_level, "\n");
    put!(out, "log_root\t\t", superblock.log_root, "\n");
    put!(out, "log_root_transid (deprecated)\t", superblock.__unused_log_root_transid, "\n");
    put!(out, "log_root_level\t\t", superblock.log_root_level, "\n");
    put!(out, "total_bytes\t\t", superblock.total_bytes, "\n");
    put!(out, "bytes_used\t\t", superblock.bytes_used, "\n");
    put!(out, "sectorsize\t\t", superblock.sectorsize, "\n");
    put!(out, "nodesize\t\t", superblock.nodesize, "\n");
    put!(out, "leafsize (deprecated)\t", superblock.__unused_leafsize, "\n");
    put!(out, "stripesize\t\t", superblock.stripesize, "\n");
    put!(out, "root_dir\t\t", superblock.root_dir_objectid, "\n");
    put!(out, "num_devices\t\t", superblock.num_devices, "\n");
}

fn put_features(superblock: &Superblock, out: &mut Vec<u8>) {
    put!(out, "compat_flags\t\t0x", HexNumber(superblock.compat_flags.get()), "\n");
    put!(out, "compat_ro_flags\t\t0x", HexNumber(superblock.compat_ro_flags.get()), "\n");
    put_flags(superblock.compat_ro_flags.get(), flags::compat_ro::NAMES, out);
    put!(out, "incompat_flags\t\t0x", HexNumber(superblock.incompat_flags.get()), "\n");
    put_flags(superblock.incompat_flags.get(), flags::incompat::NAMES, out);
    put!(out, "cache_generation\t", superblock.cache_generation, "\n");
    put!(out, "uuid_tree_generation\t", superblock.uuid_tree_generation, "\n");
}

fn put_device(superblock: &Superblock, out: &mut Vec<u8>) {
    let device = &superblock.dev_item;
    let fsid_state = MATCH[usize::from(device.fsid == superblock.metadata_fsid())];
    put!(out, "dev_item.uuid\t\t", device.uuid, "\n");
    put!(out, "dev_item.fsid\t\t", device.fsid, " ", fsid_state, "\n");
    put!(out, "dev_item.type\t\t", device.r#type, "\n");
    put!(out, "dev_item.total_bytes\t", device.total_bytes, "\n");
    put!(out, "dev_item.bytes_used\t", device.bytes_used, "\n");
    put!(out, "dev_item.io_align\t", device.io_align, "\n");
    put!(out, "dev_item.io_width\t", device.io_width, "\n");
    put!(out, "dev_item.sector_size\t", device.sector_size, "\n");
    put!(out, "dev_item.devid\t\t", device.devid, "\n");
    put!(out, "dev_item.dev_group\t", device.dev_group, "\n");
    put!(out, "dev_item.seek_speed\t", device.seek_speed, "\n");
    put!(out, "dev_item.bandwidth\t", device.bandwidth, "\n");
    put!(out, "dev_item.generation\t", device.generation, "\n");
}

fn put_sys_chunk_array(superblock: &Superblock, out: &mut Vec<u8>) -> Result<(), BadEntry> {
    for (index, entry) in Entries::new(superblock.sys_chunk_array()).enumerate() {
        let key = entry.as_ref().map_or_else(|bad| bad.key, |entry| Some(entry.key));
        if let Some(key) = key {
            put!(out, "\titem ", index, " ", DumpKey(key), "\n");
        }
        let entry = entry?;
        put_chunk(entry.chunk, entry.stripes, out);
    }
    Ok(())
}

fn put_backup(backup: &RootBackup, out: &mut Vec<u8>) {
    for (name, root, generation, level) in [
        ("backup_tree_root:\t", backup.tree_root, backup.tree_root_gen, backup.tree_root_level),
        ("backup_chunk_root:\t", backup.chunk_root, backup.chunk_root_gen, backup.chunk_root_level),
        ("backup_extent_root:\t", backup.extent_root, backup.extent_root_gen, backup.extent_root_level),
        ("backup_fs_root:\t\t", backup.fs_root, backup.fs_root_gen, backup.fs_root_level),
        ("backup_dev_root:\t", backup.dev_root, backup.dev_root_gen, backup.dev_root_level),
        ("csum_root:\t", backup.csum_root, backup.csum_root_gen, backup.csum_root_level),
    ] {
        put!(out, "\t\t", name, root, "\tgen: ", generation, "\tlevel: ", level, "\n");
    }
    put!(out, "\t\tbackup_total_bytes:\t", backup.total_bytes, "\n");
    put!(out, "\t\tbackup_bytes_used:\t", backup.bytes_used, "\n");
    put!(out, "\t\tbackup_num_devices:\t", backup.num_devices, "\n\n");
}

/// Flags one below the other; nothing where none is set.
fn put_flags(flags: u64, names: FlagNames, out: &mut Vec<u8>) {
    if flags == 0 {
        return;
    }
    let mut separator = "\t\t\t( ";
    let mut unknown = flags;
    for (bit, name) in names.iter().filter(|(bit, _)| flags & bit != 0) {
        put!(out, separator, *name, " ");
        separator = "|\n\t\t\t  ";
        unknown &= !bit;
    }
    if unknown != 0 {
        put!(out, separator, "unknown flag: 0x", HexNumber(unknown), " ");
    }
    put!(out, ")\n");
}

/// Text with a dot for each byte that does not print.
fn printable(text: &[u8]) -> Vec<u8> {
    text.iter().map(|byte| if matches!(byte, b' '..=b'~') { *byte } else { b'.' }).collect()
}

/// Puts a superblock with its fields under their kernel names, what its checksum is worth, and the chunks of its array.
pub fn put_json(device: &str, offset: Physical, superblock: &Superblock, out: &mut Vec<u8>) {
    Object::put(out, |object| {
        object.string("device", device);
        object.plain("offset", offset.0);
        object.bool("magic_match", superblock.magic.get() == MAGIC);
        let csum_type = superblock.csum_type();
        match csum_type {
            Some(csum_type) => object.string("csum_type_name", csum_type.name()),
            None => object.null("csum_type_name"),
        }
        object.bool("csum_match", csum_type.is_some_and(|csum_type| csum_type.matches(superblock.as_bytes())));
        superblock.visit(object);
        let entries = Entries::new(superblock.sys_chunk_array()).map_while(Result::ok);
        object.array("sys_chunks", entries, |entry, out| {
            Object::put(out, |object| {
                object.key("key", entry.key);
                entry.chunk.visit(object);
                object.structures("stripes", entry.stripes);
            });
        });
    });
}
