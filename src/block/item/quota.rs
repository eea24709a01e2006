//! Quota groups.

use crate::block::ItemRef;
use crate::disk::key::QgroupId;
use crate::disk::quota::{QgroupInfoItem, QgroupLimitItem, QgroupStatusItem, QgroupStatusSimple};
use crate::disk::{KeyType, flags};
use crate::finding::findings;

use super::Context;

findings! {
    /// Damage to an item of the quota tree.
    QuotaDamage {
        /// An item of the quota tree does not have its size.
        Size("qgroup-size", Error, "invalid quota item size, have {have} expect {expect}") { have: u32, expect: u32 }
        /// The key of a quota item is not that of its type.
        Key("qgroup-key", Error, "invalid quota item key, objectid {objectid} offset {offset}") { objectid: u64, offset: u64 }
        /// The quota accounting is of a version that is not known.
        Version("qgroup-version", Error, "invalid quota version, have {have} expect {expect}") { have: u64, expect: u64 }
        /// The flags of the quota accounting are not known.
        Flags("qgroup-flags", Error, "unknown quota flags, have {have:#x} of which {unknown:#x} are unknown") {
            have: u64, unknown: u64,
        }
        /// The quota accounting or a count is of a generation that the superblock does not know.
        Generation("qgroup-generation", Error, "invalid quota generation, have {have} expect [0, {limit}]") {
            have: u64, limit: u64,
        }
        /// A quota group is related to one of its own level, or to itself.
        Relation("qgroup-relation", Error, "invalid quota group relation, levels {level} and {other}") { level: u64, other: u64 }
    }
}

/// `BTRFS_QGROUP_STATUS_VERSION`.
const VERSION: u64 = 1;

fn check_generation(cx: &mut Context<'_>, have: u64) {
    let limit = cx.rules.newest();
    if have > limit {
        cx.found(QuotaDamage::Generation { have, limit });
    }
}

pub(super) fn check_status(cx: &mut Context<'_>, item: &ItemRef<'_>) {
    let (objectid, offset) = (item.key.objectid, item.key.offset);
    if objectid != 0 || offset != 0 {
        cx.found(QuotaDamage::Key { objectid, offset });
    }
    // Kernels that know simple quotas write the longer form whether or not these are in use.
    let (have, expect) = (item.data.len(), size_of::<QgroupStatusItem>());
    let Some((status, rest)) = QgroupStatusItem::read_prefix(item.data)
        .filter(|(_, rest)| rest.is_empty() || rest.len() == size_of::<QgroupStatusSimple>())
    else {
        return cx.found(QuotaDamage::Size { have: have as u32, expect: expect as u32 });
    };
    if status.version.get() != VERSION {
        cx.found(QuotaDamage::Version { have: status.version.get(), expect: VERSION });
    }
    check_generation(cx, status.generation.get());
    const KNOWN: u64 = flags::all(flags::qgroup_status::NAMES);
    let have = status.flags.get();
    if have & !KNOWN != 0 {
        cx.found(QuotaDamage::Flags { have, unknown: have & !KNOWN });
    }
    // Without simple quotas the kernel leaves what memory held in the longer form.
    let is_simple = have & flags::qgroup_status::SIMPLE_MODE != 0;
    if let Some((simple, _)) = QgroupStatusSimple::read_prefix(rest).filter(|_| is_simple) {
        check_generation(cx, simple.enable_gen.get());
    }
}

pub(super) fn check_qgroup(cx: &mut Context<'_>, item: &ItemRef<'_>) {
    let (objectid, offset) = (item.key.objectid, item.key.offset);
    if objectid != 0 {
        cx.found(QuotaDamage::Key { objectid, offset });
    }
    let size = |have, expect| QuotaDamage::Size { have, expect };
    if item.key.key_type == KeyType::QGROUP_INFO {
        if let Some(info) = cx.exact::<QgroupInfoItem, _>(item.data, size) {
            check_generation(cx, info.generation.get());
        }
    } else {
        // Its values are anything: the kernel stores what a caller of the ioctl left in memory.
        cx.exact::<QgroupLimitItem, _>(item.data, size);
    }
}

/// A relation stands under both groups' ids, member first and group first.
pub(super) fn check_relation(cx: &mut Context<'_>, item: &ItemRef<'_>) {
    let (level, other) = (QgroupId(item.key.objectid).level(), QgroupId(item.key.offset).level());
    if level == other {
        cx.found(QuotaDamage::Relation { level, other });
    }
    cx.exact::<[u8; 0], _>(item.data, |have, expect| QuotaDamage::Size { have, expect });
}
