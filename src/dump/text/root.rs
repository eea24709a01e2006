//! Root items, references between subvolumes, and the uuid tree.

use crate::disk::flags::root as root_flags;
use crate::disk::root::{RootItem, RootRef};
use zerocopy::little_endian::U64;

use super::super::put::{HexNumber, put};
use super::clock::Clock;
use super::key::DumpKey;

pub fn root_item(data: &[u8], clock: &mut Clock, out: &mut Vec<u8>) -> Option<()> {
    let root = RootItem::read(data)?;
    put!(out, "\t\tgeneration ", root.generation, " root_dirid ", root.root_dirid, " bytenr ", root.bytenr);
    put!(out, " byte_limit ", root.byte_limit, " bytes_used ", root.bytes_used, "\n");
    let flags = root.flags.get();
    let name = if flags & root_flags::RDONLY != 0 { "RDONLY" } else { "none" };
    put!(out, "\t\tlast_snapshot ", root.last_snapshot, " flags 0x", HexNumber(flags), "(", name, ")");
    put!(out, " refs ", root.refs, "\n\t\tdrop_progress ", DumpKey((&root.drop_progress).into()));
    put!(out, " drop_level ", root.drop_level, "\n");
    put!(out, "\t\tlevel ", root.level, " generation_v2 ", root.generation_v2, "\n");
    if root.generation == root.generation_v2 {
        put!(out, "\t\tuuid ", root.uuid, "\n\t\tparent_uuid ", root.parent_uuid);
        put!(out, "\n\t\treceived_uuid ", root.received_uuid, "\n");
        put!(out, "\t\tctransid ", root.ctransid, " otransid ", root.otransid);
        put!(out, " stransid ", root.stransid, " rtransid ", root.rtransid, "\n");
        let times = [("ctime", root.ctime), ("otime", root.otime), ("stime", root.stime), ("rtime", root.rtime)];
        clock.put_times(&times, out);
    }
    Some(())
}

pub fn root_ref(data: &[u8], kind: &str, out: &mut Vec<u8>) -> Option<()> {
    let (root_ref, rest) = RootRef::read_prefix(data)?;
    let name = rest.get(..root_ref.name_len.get().into())?;
    put!(out, "\t\troot ", kind, " key dirid ", root_ref.dirid, " sequence ", root_ref.sequence);
    put!(out, " name ", name, "\n");
    Some(())
}

pub fn uuid_item(data: &[u8], out: &mut Vec<u8>) -> Option<()> {
    match <[U64] as zerocopy::FromBytes>::ref_from_bytes(data) {
        Ok(subvolumes) => {
            for subvolume in subvolumes {
                put!(out, "\t\tsubvol_id ", *subvolume, "\n");
            }
        }
        Err(_) => put!(out, "btrfs: uuid item with illegal size ", data.len(), "!\n"),
    }
    Some(())
}
