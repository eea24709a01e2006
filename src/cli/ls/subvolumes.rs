//! The subvolumes of a filesystem, as `btrfs subvolume list` has them, and what else is known of them.

use std::io::Write;

use crate::disk::TreeId;
use crate::disk::fields::{FieldVisitor, Uuid};
use crate::dump::json::object::Object;
use crate::dump::put::put;
use crate::dump::text::clock::Clock;
use crate::files::{Files, Subvolume};

use super::super::document::Document;
use super::json::put_time;

pub fn print(files: &Files<'_>, is_json: bool, out: &mut impl Write) -> std::io::Result<()> {
    let (subvolumes, default) = (files.subvolumes(), files.default_subvolume());
    let mut text = Vec::new();
    if is_json {
        let fsid = files.volume().superblock().fsid;
        put!(&mut text, "{\"schema\":\"rbtrfs.ls-subvolumes/1\",\"fsid\":\"", fsid, "\",\"subvolumes\":[");
        for (index, subvolume) in subvolumes.iter().enumerate() {
            put!(&mut text, if index == 0 { "\n" } else { ",\n" });
            put_json(subvolume, default, &mut text);
        }
        put!(&mut text, "]}\n");
    } else {
        let mut clock = Clock::default();
        subvolumes.iter().for_each(|subvolume| put_text(subvolume, default, &mut clock, &mut text));
    }
    match is_json {
        true => Document::new(out).write_all(&text),
        false => out.write_all(&text),
    }
}

fn put_text(subvolume: &Subvolume, default: TreeId, clock: &mut Clock, out: &mut Vec<u8>) {
    put!(out, "ID ", subvolume.id.0, " gen ", subvolume.generation.0, " cgen ", subvolume.otransid.0);
    match &subvolume.place {
        Some((directory, _)) => put!(out, " parent ", directory.tree.0, " top level ", directory.tree.0),
        None => put!(out, " parent - top level -"),
    }
    put!(out, " otime ");
    clock.put_seconds(subvolume.otime.sec as u64, out);
    for (name, uuid) in [
        (" parent_uuid ", subvolume.parent_uuid),
        (" received_uuid ", subvolume.received_uuid),
        (" uuid ", subvolume.uuid),
    ] {
        put!(out, name);
        match uuid {
            Some(uuid) => put!(out, uuid),
            None => put!(out, "-"),
        }
    }
    let words =
        [(subvolume.is_readonly, " ro"), (subvolume.id == default, " default"), (subvolume.is_deleted, " deleted")];
    words.into_iter().filter(|(is_so, _)| *is_so).for_each(|(_, word)| put!(out, word));
    put!(out, " path ");
    match &subvolume.path {
        Some(path) if path.is_empty() => put!(out, "<FS_TREE>"),
        Some(path) => out.extend(path),
        None => put!(out, "?"),
    }
    put!(out, "\n");
}

fn put_json(subvolume: &Subvolume, default: TreeId, out: &mut Vec<u8>) {
    Object::put(out, |object| {
        object.plain("id", subvolume.id.0);
        match &subvolume.place {
            Some((directory, name)) => {
                object.plain("parent", directory.tree.0);
                object.plain("directory", directory.ino.0);
                object.text("name", name);
            }
            None => object.null("parent"),
        }
        match &subvolume.path {
            Some(path) => object.text("path", path),
            None => object.null("path"),
        }
        object.plain("generation", subvolume.generation.0);
        object.plain("otransid", subvolume.otransid.0);
        object.bool("readonly", subvolume.is_readonly);
        object.bool("default", subvolume.id == default);
        object.bool("deleted", subvolume.is_deleted);
        put_uuid("uuid", subvolume.uuid, object);
        put_uuid("parent_uuid", subvolume.parent_uuid, object);
        put_uuid("received_uuid", subvolume.received_uuid, object);
        for (name, time) in [
            ("otime", subvolume.otime),
            ("ctime", subvolume.ctime),
            ("stime", subvolume.stime),
            ("rtime", subvolume.rtime),
        ] {
            put_time(name, time, object);
        }
    });
}

fn put_uuid(name: &'static str, uuid: Option<Uuid>, object: &mut Object<'_>) {
    match uuid {
        Some(uuid) => put!(object.member(name), "\"", uuid, "\""),
        None => object.null(name),
    }
}
