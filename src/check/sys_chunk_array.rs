//! The system chunk array against the chunk tree.

use crate::disk::flags::block_group;
use crate::disk::volume::{Chunk, Stripe};
use crate::disk::{Logical, Superblock};
use crate::problem::{Expect, SysChunkArrayProblem, Value};
use crate::volume::Volume;
use crate::volume::sys_chunk_array::{Entries, Entry, entry_size, room};

use super::chunk_fault::{Fault, faults};
use super::chunks::{ChunkItem, Chunks};
use super::findings::Findings;

/// Checks the array. Its chunks that the tree lacks are taken for damaged, not for missing.
pub fn check(volume: &Volume, chunks: &mut Chunks<'_>, findings: &Findings) {
    let superblock = volume.superblock();
    let mut entries: Vec<Entry<'_>> = Vec::new();
    let mut is_whole = true;
    for entry in Entries::new(superblock.sys_chunk_array()) {
        match entry {
            Ok(entry) => entries.push(entry),
            Err(bad) => {
                let (offset, problem) = (bad.offset, bad.problem);
                findings.report(SysChunkArrayProblem::Entry { offset, problem });
                is_whole = false;
            }
        }
    }
    for entry in &entries {
        check_entry(volume, entry, chunks, findings);
    }
    entries.sort_by_key(|entry| entry.key.offset);
    for pair in entries.windows(2) {
        let [other, entry] = pair else { continue };
        if entry.key.offset < other.key.offset.saturating_add(other.chunk.length.get()) {
            let (logical, other) = (Logical(entry.key.offset), Logical(other.key.offset));
            findings.report(SysChunkArrayProblem::Overlap { logical, other });
        }
    }
    let is_system = |item: &&ChunkItem| item.chunk.block_group_flags().contains(block_group::SYSTEM);
    let listed = |logical: Logical| entries.iter().any(|entry| entry.key.offset == logical.0);
    for item in chunks.items().iter().filter(is_system).filter(|item| is_whole && !listed(item.logical)) {
        findings.report(SysChunkArrayProblem::Missing { logical: item.logical });
    }
    check_room(superblock, &entries, findings);
}

fn check_entry(volume: &Volume, entry: &Entry<'_>, chunks: &mut Chunks<'_>, findings: &Findings) {
    let logical = Logical(entry.key.offset);
    let mut faults = faults(volume.superblock(), entry.key, entry.chunk);
    if !entry.chunk.block_group_flags().contains(block_group::SYSTEM) {
        let have = entry.chunk.r#type.get();
        faults.push(Fault { field: "type", have, expect: Expect::Rule("SYSTEM") });
    }
    match chunks.item(logical) {
        Some(item) if faults.is_empty() && !chunks.is_faulty(logical) => compare(entry, item, findings),
        Some(_) => {}
        None if chunks.lack(logical) => {
            findings.report(SysChunkArrayProblem::Orphan { logical });
            chunks.add_damaged([logical].into());
        }
        None => {}
    }
    for Fault { field, have, expect } in faults {
        findings.report(SysChunkArrayProblem::Chunk { logical, field, have, expect });
    }
}

fn compare(entry: &Entry<'_>, item: &ChunkItem, findings: &Findings) {
    let logical = item.logical;
    let read = read_fields(entry.chunk).into_iter().zip(read_fields(&item.chunk));
    let stripes = entry.stripes.iter().flat_map(stripe_fields).zip(item.stripes.iter().flat_map(stripe_fields));
    for ((field, have), (_, expect)) in read.chain(stripes).filter(|(have, expect)| have != expect) {
        findings.report(SysChunkArrayProblem::Mismatch { logical, field, have, expect });
    }
    let ignored = ignored_fields(entry.chunk).into_iter().zip(ignored_fields(&item.chunk));
    for ((field, have), (_, expect)) in ignored.filter(|(have, expect)| have != expect) {
        findings.report(SysChunkArrayProblem::Difference { logical, field, have, expect });
    }
}

type Field = (&'static str, Value);

fn read_fields(chunk: &Chunk) -> [Field; 5] {
    [
        ("length", chunk.length.get().into()),
        ("stripe_len", chunk.stripe_len.get().into()),
        ("type", chunk.r#type.get().into()),
        ("sector_size", u64::from(chunk.sector_size.get()).into()),
        ("num_stripes", u64::from(chunk.num_stripes.get()).into()),
    ]
}

fn stripe_fields(stripe: &Stripe) -> [Field; 3] {
    [
        ("devid", stripe.devid.get().into()),
        ("offset", stripe.offset.get().into()),
        ("dev_uuid", Value::Uuid(stripe.dev_uuid)),
    ]
}

/// In RAID10 `sub_stripes` is 2 in both, or the chunk is at fault.
fn ignored_fields(chunk: &Chunk) -> [Field; 4] {
    [
        ("owner", chunk.owner.get().into()),
        ("io_align", u64::from(chunk.io_align.get()).into()),
        ("io_width", u64::from(chunk.io_width.get()).into()),
        ("sub_stripes", u64::from(chunk.sub_stripes.get()).into()),
    ]
}

fn check_room(superblock: &Superblock, entries: &[Entry<'_>], findings: &Findings) {
    let needed = entry_size(entries.iter().map(|entry| entry.stripes.len()).max().unwrap_or(1));
    let left = room(superblock);
    if left < needed {
        findings.report(SysChunkArrayProblem::Full { left, needed });
    }
    let size = superblock.sys_chunk_array().len();
    if superblock.sys_chunk_array.iter().skip(size).any(|byte| *byte != 0) {
        findings.report(SysChunkArrayProblem::Tail { size });
    }
}
