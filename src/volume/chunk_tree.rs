//! From the system chunk array to all chunks: the chunk tree.

use std::collections::HashSet;

use crate::block::Kind;
use crate::block::verify::Expected;
use crate::disk::fields::Uuid;
use crate::disk::volume::{Chunk, DevItem, Stripe};
use crate::disk::{KeyType, Logical};
use crate::error::{Error, Result};

use super::chunk_map::ChunkMapping;
use super::sys_array::Entries;
use super::{Device, Notice, RootChoice, Volume, path};

/// What the chunk tree says, as far as it can be read.
#[derive(Default)]
struct Items {
    chunks: Vec<(Logical, Vec<u8>)>,
    /// Id and uuid.
    devices: Vec<(u64, Uuid)>,
}

impl Volume {
    /// Fills the chunk map. The chunk tree is read through the chunks of the system chunk array; where the two
    /// disagree, the tree is right. Chunks that make no sense are left out and noticed. Returns ids and uuids of the
    /// devices that have items.
    pub(super) fn load_chunks(&mut self, choice: &RootChoice) -> Result<Vec<(u64, Uuid)>> {
        let superblock = self.superblock.clone();
        for entry in Entries::new(superblock.sys_chunk_array()) {
            match entry {
                Ok(entry) => self.add_chunk(Logical(entry.key.offset), entry.chunk, entry.stripes),
                Err(bad) => {
                    let (offset, problem) = (bad.offset, bad.problem.to_string());
                    self.notices.push(Notice::SysChunkArray { offset, problem });
                }
            }
        }
        self.choose_chunk_root(choice)?;
        let superblock = &self.superblock;
        let root = Expected {
            level: Some(superblock.chunk_root_level),
            generation: Some(superblock.chunk_root_generation.into()),
            ..Expected::at(superblock.chunk_root())
        };
        let mut items = self.read_chunk_tree(root)?;
        // As they stand in a sound tree: each is added behind the others then, and none is moved.
        items.chunks.sort_by_key(|(logical, _)| *logical);
        self.refuse_strangers(&items)?;
        let of_array = std::mem::take(&mut self.chunks);
        for (logical, data) in items.chunks {
            match Chunk::read_with_stripes(&data) {
                Some((chunk, stripes, _)) => self.add_chunk(logical, chunk, stripes),
                None => {
                    let problem = "item too short for its stripes".to_owned();
                    self.notices.push(Notice::Chunk { logical, problem });
                }
            }
        }
        for chunk in of_array {
            // What the tree maps otherwise is its to say.
            let _ = self.chunks.insert(chunk);
        }
        Ok(items.devices)
    }

    fn add_chunk(&mut self, logical: Logical, chunk: &Chunk, stripes: &[Stripe]) {
        let added = ChunkMapping::new(logical, chunk, stripes)
            .and_then(|chunk| self.chunks.insert(chunk).map_err(|(_, other)| format!("overlaps chunk {other}")));
        if let Err(problem) = added {
            self.notices.push(Notice::Chunk { logical, problem });
        }
    }

    /// A seed has its own fsid: that it is of this filesystem, only the chunk tree knows.
    fn refuse_strangers(&self, items: &Items) -> Result<()> {
        let is_whole = !self.notices.iter().any(|notice| matches!(notice, Notice::ChunkTreeBlock { .. }));
        let has_item = |uuid| items.devices.iter().any(|item| item.1 == uuid);
        let is_stranger = |device: &&Device| device.fsid() != self.superblock.fsid && !has_item(device.uuid());
        match self.devices.iter().find(is_stranger) {
            Some(stranger) if is_whole => Err(Error::Unrelated {
                first: path(&self.devices[0]),
                second: path(stranger),
                problem: "devices of different filesystems",
            }),
            _ => Ok(()),
        }
    }

    /// The items of the chunk tree. A tree whose root is readable is read as far as it goes.
    fn read_chunk_tree(&mut self, root: Expected) -> Result<Items> {
        let mut seen = HashSet::new();
        let mut pending = vec![root];
        let mut buffer = Vec::new();
        let mut items = Items::default();
        let mut notices = Vec::new();
        while let Some(expected) = pending.pop() {
            let logical = expected.logical;
            let notice = |problem| Notice::ChunkTreeBlock { logical, problem };
            if !seen.insert(logical) {
                notices.push(notice("is in the tree twice".to_owned()));
                continue;
            }
            let read = match self.read_block(&expected, &mut buffer) {
                Ok(read) => read,
                Err(bad) if logical == root.logical => {
                    return Err(Error::Block { what: "chunk root", logical, problem: bad.to_string() });
                }
                Err(bad) => {
                    notices.push(notice(bad.to_string()));
                    continue;
                }
            };
            match read.block.kind() {
                Kind::Node(node) => {
                    let level = node.block().level();
                    pending.extend(node.ptrs().iter().rev().map(|ptr| Expected::child(ptr, level)));
                }
                Kind::Leaf(leaf) => {
                    for item in leaf.items().flatten() {
                        match item.key.key_type {
                            KeyType::CHUNK_ITEM => items.chunks.push((Logical(item.key.offset), item.data.to_vec())),
                            KeyType::DEV_ITEM => {
                                let device = DevItem::read_prefix(item.data);
                                items.devices.extend(device.map(|(device, _)| (device.devid.get(), device.uuid)));
                            }
                            _ => {}
                        }
                    }
                }
            }
        }
        self.notices.extend(notices);
        Ok(items)
    }
}
