//! Trees as JSON: every item with its key and all its fields under their kernel names.

mod item;
pub mod object;

use crate::block::{BadItem, Block, BlockKind, ItemRef};
use crate::disk::Key;
use crate::disk::fields::{FieldVisitor, Fields};
use crate::tree::TreeRoot;
use crate::volume::Volume;

use super::Style;
use super::put::put;
use super::tree::{Form, Step};
use item::Payload;
use object::Object;

/// One document with all trees, blocks and items.
pub struct Json {
    /// What is shown.
    pub style: Style,
}

impl Form for Json {
    type Printer = ();

    fn step(&self, volume: &Volume, step: &Step, out: &mut Vec<u8>) {
        let superblock = volume.superblock();
        // The objects of the document and of each tree are open over several steps.
        match step {
            Step::Begin => put!(out, "{\"schema\":\"rbtrfs.dump-tree/1\",\"trees\":["),
            Step::Tree { heading, first } => {
                put!(out, if *first { "\n{" } else { ",\n{" });
                if let Some(heading) = heading {
                    put!(out, "\"name\":\"", heading.name(), "\",\"root\":");
                    put_root(&heading.root, out);
                    put!(out, ",");
                }
                put!(out, "\"blocks\":[");
            }
            Step::Block { .. } => {}
            Step::EndOfTree => put!(out, "]}"),
            Step::EndOfTrees => put!(out, "]"),
            Step::BackupRoots => {
                let mut backups = Vec::new();
                Object::put(&mut backups, |object| object.structures("super_roots", &superblock.super_roots));
                put!(out, ",\n", &backups[1..backups.len() - 1]);
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
        let mut bad_item = Ok(());
        Object::put(out, |object| {
            block.header().visit(object);
            object.plain("backref_rev", block.header().backref_rev());
            match block.kind() {
                BlockKind::Node(node) => object.structures("ptrs", node.ptrs()),
                BlockKind::Leaf(leaf) => {
                    let items = leaf.items().map_while(|item| item.map_err(|bad| bad_item = Err(bad)).ok());
                    object.array("items", items, |item, out| {
                        out.push(b'\n');
                        Object::put(out, |object| self.style.put_item(&item, object));
                    });
                }
            }
        });
        bad_item
    }
}

/// One line for each item of the leaves.
pub struct JsonLines {
    /// What is shown.
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
        let BlockKind::Leaf(leaf) = block.kind() else { return Ok(()) };
        for item in leaf.items() {
            let item = item?;
            Object::put(out, |object| {
                match tree {
                    Some(root) => {
                        object.plain("tree", root.objectid);
                        object.plain("tree_offset", root.offset);
                    }
                    None => object.null("tree"),
                }
                object.plain("block", block.logical());
                self.style.put_item(&item, object);
            });
            out.push(b'\n');
        }
        Ok(())
    }
}

impl Style {
    fn put_item(&self, item: &ItemRef<'_>, object: &mut Object<'_>) {
        object.plain("slot", item.slot);
        object.key("key", item.key);
        object.plain("offset", item.offset);
        object.plain("size", item.data.len());
        object.object("item", |object| Payload { item, style: self }.put(object));
    }
}

fn put_root(root: &TreeRoot, out: &mut Vec<u8>) {
    Object::put(out, |object| {
        object.key("key", root.key);
        object.plain("bytenr", root.logical);
        object.plain("level", root.level);
        match root.generation {
            Some(generation) => object.plain("generation", generation),
            None => object.null("generation"),
        }
    });
}
