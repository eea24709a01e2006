//! What a repair does about each kind of problem, or why it does nothing.

use crate::block::verify::BlockError;
use crate::problem::{BlockProblem, Problem, Unusable};

const SUPERBLOCKS: &str = "all superblocks are written anew";
const SPACE: &str = "extents, block groups and free space are noted anew";
const DEVICES: &str = "the device tree is built anew out of the chunks";
const DEVICE: &str = "the device item is made of the device and its chunks";
const CHUNK: &str = "the chunk item is made of the evidence, if that is clear";
const BLOCK: &str = "the block is written anew with what it holds";
const ITEM: &str = "a flipped bit is put back, or the item is given up";
const INODE: &str = "the inode item is mended";
const NAMES: &str = "entry, index and reference are made to agree";
const SUBVOLUMES: &str = "what leads to the subvolume is made to agree";
const QUOTAS: &str = "quota groups are given what was counted";
const SUMS: &str = "checksums are taken out, or made of the data";
const LOG: &str = "the log is given up, with --clear-log";
const NOT_NEEDED: &str = "none is needed";
const INVENTED: &str = "no safe repair: a target would have to be invented";
const UNKNOWN: &str = "no safe repair: what a later version meant is not known";
const DEVICE_GONE: &str = "no safe repair: replace the device, or remove it";
const ZONES: &str = "no safe repair: zones are written by the kernel alone";
const CONVERSION: &str = "no safe repair: the program that began the conversion goes on with it";
const ROOT_ITEM: &str = "a flipped bit is put back; no safe repair else: a whole tree hangs on the item";

/// What a repair does about problems of a kind, as a phrase. Those without a repair say why.
pub fn remedy(code: &str) -> &'static str {
    known(code).unwrap_or(ITEM)
}

fn known(code: &str) -> Option<&'static str> {
    Some(match code {
        "super-flags" | "super-compat-ro" | "super-not-understood" => UNKNOWN,
        "super-conversion" => CONVERSION,
        "device-stale" => DEVICE_GONE,
        "device-devid" => "the superblock gets the number of its device item, if the chunks say the same",
        "seed-generation" => {
            "the device item gets the generation of a seed that is older; no safe repair of a seed that was written to"
        }
        "device-missing" | "chunk-unavailable" => "no safe repair: give the missing device",
        "device-truncated" => "the device item has the size of the image, if all chunks lie within it",
        "super-total-bytes-overflow" => "device items have the sizes of their images, if all chunks lie within these",
        "chunk-type-missing" => "no safe repair: there is no room of that type to write to",
        "block-unreadable" => {
            "a flipped bit is put back, else the block is taken from where the disk has written it, else blocks that hung below are attached again, else an earlier version or a gap takes its place"
        }
        "block-bad-copy" => "a good copy is written over the bad one",
        "data-bad-copy" => "a good copy is written over the bad one",
        "block-copies-differ" => "the copy that is read is written over the other",
        "block-owner"
        | "block-chunk-tree-uuid"
        | "block-crosses-stripe"
        | "block-not-written"
        | "block-flags"
        | "block-backref-rev"
        | "block-reloc-flag"
        | "block-generation"
        | "leaf-nritems"
        | "node-nritems"
        | "key-order"
        | "leaf-item-outside"
        | "leaf-item-offset"
        | "leaf-headers-overlap"
        | "node-pointer-zero"
        | "node-pointer-unaligned"
        | "node-pointer-generation" => BLOCK,
        "block-last-key" => "a flipped bit is put back, or items go where their keys belong",
        "block-pointers-disagree" => "the pointer that leads to no such block is corrected or given up",
        "leaf-empty" | "root-directory-missing" => "the root directory is made anew",
        "tree-missing" => "a tree that others know is built anew; no safe repair of others",
        "data-lost" | "data-lost-file" => {
            "a flipped bit of the checksum is put back; no safe repair else: restore the file from a backup"
        }
        "data-not-verified" => NOT_NEEDED,
        "parity-bad" => "parity is written anew by the data of its row",
        "parity-disagrees" => "no safe repair: whether data or parity is right is not known",
        "device-extent-orphan"
        | "device-extent-length"
        | "device-extent-chunk"
        | "device-extent-missing"
        | "device-extent-item"
        | "dev-extent-size"
        | "dev-extent-chunk-tree"
        | "dev-extent-unaligned"
        | "dev-extent-length"
        | "dev-extent-overlap"
        | "state-item-key"
        | "dev-stats-size"
        | "dev-replace-size"
        | "dev-replace-state" => DEVICES,
        "balance-size" | "balance-flags" => "the balance is given up",
        "stripe-elsewhere" | "stripe-device" | "stripe-uuid" | "stripe-twice" | "stripe-overlap"
        | "stripe-unaligned" => CHUNK,
        "link-not-inline" | "link-empty" | "link-nul" => INVENTED,
        "qgroup-size" | "qgroup-key" | "qgroup-version" | "qgroup-flags" | "qgroup-generation" | "qgroup-relation" => {
            ITEM
        }
        "root-item-generation" | "root-item-flags" | "root-item-directory" => "the field is set",
        "root-item-size"
        | "root-item-key"
        | "root-item-offset"
        | "root-item-bytenr"
        | "root-item-level"
        | "root-item-drop-level"
        | "root-item-drop-of-living"
        | "root-item-refs" => ROOT_ITEM,
        "uuid-missing" | "uuid-unfounded" | "uuid-item-size" | "uuid-item-subvolume" => {
            "the next mount builds the uuid tree anew"
        }
        "stripe-reserved" | "system-space-short" | "sys-array-full" | "sys-array-tail" => NOT_NEEDED,
        "sys-array-difference" | "other-roots" => NOT_NEEDED,
        "space-cache-inode-missing" => "the cache is dropped, which the kernel makes anew",
        "inode-item-missing" | "inode-item-not-first" => "an inode item is made of what else there is of the inode",
        "inode-orphan-missing" => "the inode gets a name in lost+found",
        "inode-nlink" => "the count is set; an inode without a name gets one in lost+found",
        "csum-missing" | "csum-missing-compressed" | "csum-unexpected" | "csum-prealloc" => SUMS,
        "extent-outside"
        | "extent-low"
        | "extent-over-superblock"
        | "chunk-tree-block-outside"
        | "system-chunk-foreign" => "the chunk is mended if it is that which is wrong; no safe repair else",
        "raid-stripe-size" | "raid-stripe-physical" | "remap-size" | "remap-address" | "map-feature" | "map-range" => {
            "no safe repair: the feature is not written here"
        }
        "backup-root"
        | "backup-root-newer"
        | "backup-root-missing"
        | "super-reserved"
        | "super-log-behind"
        | "log-tree"
        | "super-behind"
        | "super-mirror-log"
        | "device-behind"
        | "super-dev-item"
        | "device-stats-orphan"
        | "device-replace" => NOT_NEEDED,
        "item-misplaced" | "item-type-unknown" | "inode-cache" => "the item is given up",
        "item-type-new" => UNKNOWN,
        _ => return of_family(code),
    })
}

/// Kinds that share what is done go by the first words of their codes.
fn of_family(code: &str) -> Option<&'static str> {
    let families: &[(&str, &str)] = &[
        ("super-", SUPERBLOCKS),
        ("sys-array-", SUPERBLOCKS),
        ("chunk-", CHUNK),
        ("device-extent-", DEVICES),
        ("device-", DEVICE),
        ("dev-item-", DEVICE),
        ("zoned-", ZONES),
        ("block-group-", SPACE),
        ("extent-", SPACE),
        ("metadata-item-", SPACE),
        ("inline-ref-", SPACE),
        ("backref-", SPACE),
        ("free-space-cache-", "the cache is dropped, which the kernel makes anew"),
        ("free-space-", SPACE),
        ("log-", LOG),
        ("dir-log-", LOG),
        ("csum-", SUMS),
        ("subvolume-", SUBVOLUMES),
        ("root-entry-", "the default subvolume is the top-level one"),
        ("root-ref-", ITEM),
        ("qgroup-", QUOTAS),
        ("name-", NAMES),
        ("dir-i", NAMES),
        ("inode-ref-", NAMES),
        ("extref-", NAMES),
        ("inode-", INODE),
        ("directory-", INODE),
        ("link-size", INODE),
        ("file-extent-", "the extent of the file is mended, or given up where it makes no sense"),
        ("orphan-", ITEM),
        ("verity-", ITEM),
    ];
    families.iter().find(|(family, _)| code.starts_with(family)).map(|(_, remedy)| *remedy)
}

/// What most likely made the damage, and what to do about it, where the pattern shows it.
pub fn cause_of(problems: &[Problem]) -> Option<&'static str> {
    let errors: Vec<&BlockError> = problems
        .iter()
        .filter_map(|problem| match problem {
            Problem::Block(BlockProblem::Unreadable { problem: Unusable::Bad(error), .. }) => Some(error),
            Problem::Block(BlockProblem::BadCopy { problem, .. }) => Some(problem),
            _ => None,
        })
        .collect();
    let has = |is: fn(&BlockError) -> bool| errors.iter().any(|error| is(error));
    let is_code = |code: &str| problems.iter().any(|problem| crate::finding::Finding::code(problem) == code);
    if is_code("device-truncated") {
        return Some("an image or a device is cut short: find the rest of it before anything is written");
    }
    if has(|error| matches!(error, BlockError::Unreadable(_))) {
        return Some("the device cannot read some of its sectors: copy it first (ddrescue), and repair the copy");
    }
    if has(|error| matches!(error, BlockError::Generation { .. })) {
        return Some(
            "writes were lost, as where a disk or a virtual machine lies about its cache: see cables, firmware and cache mode",
        );
    }
    if has(|error| matches!(error, BlockError::Bytenr { .. })) {
        return Some("blocks were written to the places of others: see the disk, its controller and their firmware");
    }
    if has(|error| matches!(error, BlockError::Csum { found, .. } if found.iter().all(|byte| *byte == 0))) {
        return Some("blocks were zeroed, as by a discard of what was in use, or by another program");
    }
    if has(|error| matches!(error, BlockError::Fsid { .. })) {
        return Some("another filesystem or program wrote over blocks");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_kind_of_problem_is_without_a_remedy_or_a_reason() {
        let without: Vec<&str> = Problem::kinds().map(|kind| kind.code).filter(|code| known(code).is_none()).collect();
        assert!(without.is_empty(), "{without:?}");
    }
}
