//! Quota groups and simple quotas.

use zerocopy::little_endian::U64;

use super::fields::{Flags, disk_struct};
use super::flags;

disk_struct! {
    /// State of quota accounting; [`QgroupStatusSimple`] follows under simple quotas.
    QgroupStatusItem: 32 {
        version: U64,
        generation: U64,

        flags: U64 => Flags(flags::qgroup_status::NAMES),
        rescan: U64,
    }

    /// The generation in which simple quotas were enabled.
    QgroupStatusSimple: 8 {
        enable_gen: U64,
    }

    QgroupInfoItem: 40 {
        generation: U64,
        rfer: U64,

        rfer_cmpr: U64,
        excl: U64,

        excl_cmpr: U64,
    }

    QgroupLimitItem: 40 {
        flags: U64 => Flags(flags::qgroup_limit::NAMES),
        max_rfer: U64,

        max_excl: U64,
        rsv_rfer: U64,

        rsv_excl: U64,
    }
}
