//! Quota groups.

use crate::disk::flags::qgroup_status;
use crate::disk::quota::{QgroupInfoItem, QgroupLimitItem, QgroupStatusItem, QgroupStatusSimple};

use super::super::Style;
use super::super::put::{HexNumber, put};

pub fn qgroup_status(data: &[u8], style: &Style, out: &mut Vec<u8>) -> Option<()> {
    let (status, rest) = QgroupStatusItem::read_prefix(data)?;
    let flags = status.flags.get();
    put!(out, "\t\tversion ", status.version, " generation ", status.generation, " flags ");
    put!(out, if flags & qgroup_status::ON != 0 { "ON" } else { "OFF" });
    for (bit, name) in [
        (qgroup_status::SIMPLE_MODE, "|SIMPLE_MODE"),
        (qgroup_status::RESCAN, "|SCANNING"),
        (qgroup_status::INCONSISTENT, "|INCONSISTENT"),
    ] {
        put!(out, if flags & bit != 0 { name } else { "" });
    }
    let unknown = qgroup_status::NAMES.iter().fold(flags, |rest, (bit, _)| rest & !bit);
    if unknown != 0 {
        put!(out, "|UNKNOWN(0x", HexNumber(unknown), ")");
    }
    put!(out, " scan ", status.rescan);
    if let Some((simple, _)) = QgroupStatusSimple::read_prefix(rest).filter(|_| style.simple_quota) {
        put!(out, " enable_gen ", simple.enable_gen);
    }
    out.push(b'\n');
    Some(())
}

pub fn qgroup_info(data: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (info, _) = QgroupInfoItem::read_prefix(data)?;
    put!(out, "\t\tgeneration ", info.generation, "\n");
    put!(out, "\t\treferenced ", info.rfer, " referenced_compressed ", info.rfer_cmpr, "\n");
    put!(out, "\t\texclusive ", info.excl, " exclusive_compressed ", info.excl_cmpr, "\n");
    Some(())
}

pub fn qgroup_limit(data: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (limit, _) = QgroupLimitItem::read_prefix(data)?;
    let signed = |bytes: zerocopy::little_endian::U64| bytes.get() as i64;
    put!(out, "\t\tflags ", HexNumber(limit.flags.get()), "\n");
    put!(out, "\t\tmax_referenced ", signed(limit.max_rfer), " max_exclusive ", signed(limit.max_excl), "\n");
    put!(out, "\t\trsv_referenced ", signed(limit.rsv_rfer), " rsv_exclusive ", signed(limit.rsv_excl), "\n");
    Some(())
}
