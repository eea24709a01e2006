//! One case of damage for each kind of problem with the structure.

mod log;
mod space;
mod space_cache;
mod superblock;
mod volume;

use rbtrfs::disk::extent::ExtentItem;
use rbtrfs::disk::flags::block_group;
use rbtrfs::disk::node::Header;
use rbtrfs::disk::volume::{BlockGroupItem, Chunk};
use rbtrfs::disk::{Key, KeyType, Logical, objectid};
use rbtrfs::volume::ChunkMapping;
use serde_json::Value;
use zerocopy::{FromBytes, IntoBytes};

use crate::support::inject::Injector;

pub use space_cache::edit_cache_page;

/// An address above all chunks.
const BEYOND: u64 = 1 << 40;

/// Damage of one kind to a filesystem that the kernel made. `also` are the problems that come with it because it takes
/// more than one change; no other may be reported.
pub struct Case {
    pub code: &'static str,
    pub image: &'static str,
    pub also: &'static [&'static str],
    /// Returns values that the problem must have.
    pub damage: fn(&mut Injector) -> Value,
}

impl Case {
    const fn new(code: &'static str, damage: fn(&mut Injector) -> Value) -> Self {
        Self { code, image: "dup", also: &[], damage }
    }

    const fn on(self, image: &'static str) -> Self {
        Self { image, ..self }
    }

    const fn also(self, also: &'static [&'static str]) -> Self {
        Self { also, ..self }
    }
}

/// Kinds that no change of an image brings about.
pub const NOT_INJECTED: &[&str] = &["super-unreadable", "extent-low"];

fn chunk_of(injector: &Injector, flags: u64, last: bool) -> ChunkMapping {
    let volume = injector.volume();
    let mut chunks: Vec<_> = volume.chunks().iter().filter(|chunk| chunk.flags.contains(flags)).cloned().collect();
    if last { chunks.pop().unwrap() } else { chunks.swap_remove(0) }
}

/// The last data chunk, above all others.
fn data(injector: &Injector) -> ChunkMapping {
    chunk_of(injector, block_group::DATA, true)
}

fn system(injector: &Injector) -> ChunkMapping {
    chunk_of(injector, block_group::SYSTEM, false)
}

fn chunk_key(chunk: &ChunkMapping) -> Key {
    Key::new(objectid::FIRST_CHUNK_TREE, KeyType::CHUNK_ITEM, chunk.logical.0)
}

fn group_key(chunk: &ChunkMapping) -> Key {
    Key::new(chunk.logical.0, KeyType::BLOCK_GROUP_ITEM, chunk.length)
}

fn edit_chunk(injector: &Injector, chunk: &ChunkMapping, edit: impl Fn(&mut Chunk)) {
    injector.item_as(objectid::CHUNK_TREE, chunk_key(chunk), edit);
}

fn edit_group(injector: &Injector, chunk: &ChunkMapping, edit: impl Fn(&mut BlockGroupItem)) {
    injector.item_as(objectid::EXTENT_TREE, group_key(chunk), edit);
}

fn change_key(injector: &Injector, tree: u64, from: Key, to: Key) {
    injector.leaf(tree, from, |items| {
        items.iter_mut().find(|item| item.0 == from).expect("the item exists").0 = to;
        items.sort();
    });
}

/// Sets the type of a chunk and of its block group.
fn retype(injector: &Injector, chunk: &ChunkMapping, kind: u64) {
    let flags = chunk.flags.profile_bits() | kind;
    edit_chunk(injector, chunk, |item| item.r#type.set(flags));
    edit_group(injector, chunk, |item| item.flags.set(flags));
}

fn extent_item(flags: u64) -> Vec<u8> {
    let mut item = ExtentItem::zeroed();
    item.refs.set(1);
    item.flags.set(flags);
    item.as_bytes().to_vec()
}

/// Writes a copy of a tree block into free space at the end of a chunk.
fn copy_block(injector: &Injector, block: Logical, chunk: &ChunkMapping) -> Logical {
    let volume = injector.volume();
    let nodesize = volume.format().nodesize;
    let copy = Logical(chunk.end().0 - u64::from(nodesize));
    let mut bytes = vec![0; nodesize as usize];
    volume.read(block, 1, &mut bytes).unwrap();
    Header::mut_from_prefix(&mut bytes).unwrap().0.bytenr.set(copy.0);
    injector.block(copy, |block| block.copy_from_slice(&bytes));
    copy
}

pub fn cases() -> Vec<Case> {
    [
        superblock::cases(),
        volume::array_cases(),
        volume::chunk_cases(),
        volume::device_cases(),
        volume::zoned_cases(),
        space::block_group_cases(),
        space::free_space_cases(),
        space_cache::cases(),
        log::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
