//! Quota groups and simple quotas.

use zerocopy::little_endian::U64;

use super::fields::{Flags, disk_struct};
use super::flags;

disk_struct! {
    /// State of quota accounting; [`QgroupStatusSimple`] follows under simple quotas.
    QgroupStatusItem: 32 {
        /// Version of the format: 1.
        version: U64,
        /// Generation up to which the counts are right.
        generation: U64,

        /// [`flags::qgroup_status`].
        flags: U64 => Flags(flags::qgroup_status::NAMES),
        /// Object id that a rescan has come to.
        rescan: U64,
    }

    /// The generation in which simple quotas were enabled.
    QgroupStatusSimple: 8 {
        /// Extents that are older are not counted.
        enable_gen: U64,
    }

    /// What a quota group uses. The kernel keeps the compressed counts equal to the others.
    QgroupInfoItem: 40 {
        /// Generation of the last change.
        generation: U64,
        /// Bytes that the group refers to.
        rfer: U64,

        /// The same, compressed.
        rfer_cmpr: U64,
        /// Bytes that no other group refers to.
        excl: U64,

        /// The same, compressed.
        excl_cmpr: U64,
    }

    /// Limits of a quota group.
    QgroupLimitItem: 40 {
        /// Which limits are set: [`flags::qgroup_limit`].
        flags: U64 => Flags(flags::qgroup_limit::NAMES),
        /// Greatest `rfer` in bytes.
        max_rfer: U64,

        /// Greatest `excl` in bytes.
        max_excl: U64,
        /// Reserved `rfer` in bytes, which no kernel uses.
        rsv_rfer: U64,

        /// Reserved `excl` in bytes, which no kernel uses.
        rsv_excl: U64,
    }
}
