//! Free space.

use crate::disk::space::{FreeSpaceHeader, FreeSpaceInfo};

use super::super::put::put;
use super::key::DumpKey;

pub fn free_space_info(data: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (info, _) = FreeSpaceInfo::read_prefix(data)?;
    put!(out, "\t\tfree space info extent count ", info.extent_count, " flags ", info.flags, "\n");
    Some(())
}

pub fn free_space_header(data: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (header, _) = FreeSpaceHeader::read_prefix(data)?;
    put!(out, "\t\tlocation ", DumpKey((&header.location).into()), "\n");
    put!(out, "\t\tcache generation ", header.generation, " entries ", header.num_entries);
    put!(out, " bitmaps ", header.num_bitmaps, "\n");
    Some(())
}
