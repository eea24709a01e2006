//! A dump as text.

use crate::block::{BadItem, Block};
use crate::disk::Key;
use crate::volume::Volume;

use super::super::Style;
use super::super::put::put;
use super::super::tree::{Contents, Form, Heading, Step};
use super::Printer;
use super::key::DumpKey;

/// The text of `btrfs inspect-internal dump-tree`.
pub struct Text {
    /// What is shown.
    pub style: Style,
}

impl Form for Text {
    type Printer = Printer;

    fn step(&self, volume: &Volume, step: &Step, out: &mut Vec<u8>) {
        match step {
            Step::Begin => put!(out, "rbtrfs v", env!("CARGO_PKG_VERSION"), "\n"),
            Step::Tree { heading, .. } => heading.iter().for_each(|heading| put_heading(heading, out)),
            Step::Block { .. } | Step::EndOfTree | Step::EndOfTrees | Step::End => {}
            Step::BackupRoots => put_backup_roots(volume, out),
            Step::Totals => {
                let superblock = volume.superblock();
                put!(out, "total bytes ", superblock.total_bytes, "\nbytes used ", superblock.bytes_used);
                put!(out, "\nuuid ", superblock.fsid, "\n");
            }
        }
    }

    fn block(
        &self,
        printer: &mut Printer,
        _tree: Option<Key>,
        block: Block<'_>,
        _first: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), BadItem> {
        printer.block(block, &self.style, out)
    }
}

fn put_heading(heading: &Heading, out: &mut Vec<u8>) {
    let root = &heading.root;
    put!(out, heading.name(), " tree");
    if !heading.is_bare {
        put!(out, " ", DumpKey(root.key));
    }
    match heading.contents {
        Contents::Nowhere if heading.is_bare => put!(out, ": ", root.logical, " level ", root.level),
        Contents::Nowhere => put!(out, " ", root.logical, " level ", root.level),
        Contents::Blocks if !heading.is_bare => put!(out, " "),
        Contents::Blocks | Contents::Leaves => {}
    }
    out.push(b'\n');
}

fn put_backup_roots(volume: &Volume, out: &mut Vec<u8>) {
    for (index, backup) in volume.superblock().super_roots.iter().enumerate() {
        put!(out, "btrfs root backup slot ", index, "\n");
        for (name, generation, root) in [
            ("\ttree root", backup.tree_root_gen, backup.tree_root),
            ("\t\textent root", backup.extent_root_gen, backup.extent_root),
            ("\t\tchunk root", backup.chunk_root_gen, backup.chunk_root),
            ("\t\tdevice root", backup.dev_root_gen, backup.dev_root),
            ("\t\tcsum root", backup.csum_root_gen, backup.csum_root),
            ("\t\tfs root", backup.fs_root_gen, backup.fs_root),
        ] {
            put!(out, name, " gen ", generation, " block ", root, "\n");
        }
        put!(out, "\t\t", backup.bytes_used, " used ", backup.total_bytes, " total ");
        put!(out, backup.num_devices, " devices\n");
    }
}
