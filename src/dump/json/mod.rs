//! Trees as JSON: every item with its key and all its fields under their kernel names.

mod item;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::block::{BadItem, Block, ItemRef, Kind};
use crate::disk::fields::Fields;
use crate::disk::{Key, Logical};
use crate::volume::Volume;

use super::Style;
use super::put::put;
use super::tree::{Form, Heading, Step};
use item::Payload;

/// Appends a value.
pub(super) fn put_json(value: &impl Serialize, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("keys are strings, and memory takes every byte");
}

/// One document with all trees, blocks and items.
pub struct Json {
    pub style: Style,
}

impl Form for Json {
    type Printer = ();

    fn step(&self, volume: &Volume, step: &Step, out: &mut Vec<u8>) {
        let superblock = volume.superblock();
        match step {
            Step::Begin => put!(out, "{\"schema\":\"rbtrfs.dump-tree/1\",\"trees\":["),
            Step::Tree { heading, first } => {
                put!(out, if *first { "\n{" } else { ",\n{" });
                if let Some(heading) = heading {
                    put!(out, "\"name\":\"", heading.name(), "\",\"root\":");
                    put_json(&Root(heading), out);
                    out.push(b',');
                }
                put!(out, "\"blocks\":[");
            }
            Step::Block { .. } => {}
            Step::EndOfTree => put!(out, "]}"),
            Step::EndOfTrees => put!(out, "]"),
            Step::BackupRoots => {
                put!(out, ",\n\"super_roots\":");
                put_json(&superblock.super_roots.as_slice(), out);
            }
            Step::Totals => {
                put!(out, ",\n\"total_bytes\":", superblock.total_bytes, ",\"bytes_used\":", superblock.bytes_used);
                put!(out, ",\"fsid\":\"", superblock.fsid, "\"");
            }
            Step::End => put!(out, "}\n"),
        }
    }

    fn block(
        &self,
        _printer: &mut (),
        _tree: Option<Key>,
        block: Block<'_>,
        first: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), BadItem> {
        put!(out, if first { "\n" } else { ",\n" });
        put_json(&HeaderRecord(block), out);
        // The object stays open for what the block holds.
        out.pop();
        let mut bad_item = Ok(());
        match block.kind() {
            Kind::Node(node) => {
                put!(out, ",\"ptrs\":");
                put_json(&node.ptrs(), out);
            }
            Kind::Leaf(leaf) => {
                put!(out, ",\"items\":[");
                for item in leaf.items() {
                    match item {
                        Ok(item) => {
                            put!(out, if item.slot == 0 { "\n" } else { ",\n" });
                            put_json(&ItemRecord { place: None, item: &item, style: &self.style }, out);
                        }
                        Err(bad) => {
                            bad_item = Err(bad);
                            break;
                        }
                    }
                }
                put!(out, "]");
            }
        }
        put!(out, "}");
        bad_item
    }
}

/// One line for each item of the leaves.
pub struct JsonLines {
    pub style: Style,
}

impl Form for JsonLines {
    type Printer = ();

    fn step(&self, _volume: &Volume, _step: &Step, _out: &mut Vec<u8>) {}

    fn block(
        &self,
        _printer: &mut (),
        tree: Option<Key>,
        block: Block<'_>,
        _first: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), BadItem> {
        let Kind::Leaf(leaf) = block.kind() else { return Ok(()) };
        for item in leaf.items() {
            let place = Some((tree, block.logical()));
            put_json(&ItemRecord { place, item: &item?, style: &self.style }, out);
            out.push(b'\n');
        }
        Ok(())
    }
}

struct Root<'a>(&'a Heading);

impl Serialize for Root<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let root = &self.0.root;
        let mut object = serializer.serialize_map(None)?;
        object.serialize_entry("key", &root.key)?;
        object.serialize_entry("bytenr", &root.logical)?;
        object.serialize_entry("level", &root.level)?;
        object.serialize_entry("generation", &root.generation)?;
        object.end()
    }
}

struct HeaderRecord<'a>(Block<'a>);

impl Serialize for HeaderRecord<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let header = self.0.header();
        let mut object = serializer.serialize_map(None)?;
        header.serialize_fields(&mut object)?;
        object.serialize_entry("backref_rev", &header.backref_rev())?;
        object.end()
    }
}

struct ItemRecord<'a> {
    /// Tree and block, where the record does not stand within them.
    place: Option<(Option<Key>, Logical)>,
    item: &'a ItemRef<'a>,
    style: &'a Style,
}

impl Serialize for ItemRecord<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let item = self.item;
        let mut object = serializer.serialize_map(None)?;
        if let Some((tree, block)) = self.place {
            object.serialize_entry("tree", &tree.map(|key| key.objectid))?;
            object.serialize_entry("tree_offset", &tree.map(|key| key.offset))?;
            object.serialize_entry("block", &block)?;
        }
        object.serialize_entry("slot", &item.slot)?;
        object.serialize_entry("key", &item.key)?;
        object.serialize_entry("offset", &item.offset)?;
        object.serialize_entry("size", &item.data.len())?;
        object.serialize_entry("item", &Payload { item, style: self.style })?;
        object.end()
    }
}
