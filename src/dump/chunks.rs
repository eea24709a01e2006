//! The chunks of a filesystem: where they lie, how full they are, and what the system chunk array says of them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Serialize, Serializer};

use crate::block::BlockKind;
use crate::disk::fields::Uuid;
use crate::disk::flags::block_group;
use crate::disk::volume::{BlockGroupItem, Chunk, DEVICE_RANGE_RESERVED};
use crate::disk::{BlockGroupFlags, Key, KeyType, Logical, Physical, objectid};
use crate::tree::{Levels, TreeRoot, Walk};
use crate::volume::sys_chunk_array::Entries;
use crate::volume::{ChunkMapping, Volume};

use super::put::{Put, put};

/// What there is to say of the chunks; serializes as a JSON document.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct ChunkList {
    schema: &'static str,
    /// Of the filesystem.
    #[serde(serialize_with = "uuid")]
    pub fsid: Uuid,
    /// By logical address.
    pub chunks: Vec<ChunkEntry>,
    /// What the system chunk array and the chunk tree do not agree on.
    pub disagreements: Vec<Disagreement>,
    /// What is allocated of each device.
    pub devices: Vec<DeviceMap>,
    #[serde(skip)]
    unreadable: Unreadable,
}

/// Blocks that cannot be read, each once, and why.
type Unreadable = BTreeSet<(Logical, String)>;

/// A chunk and its block group.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct ChunkEntry {
    /// Where it begins.
    pub logical: Logical,
    /// Logical bytes.
    pub length: u64,
    /// DATA, METADATA and SYSTEM, of which a chunk of mixed block groups has two.
    #[serde(serialize_with = "flag_names")]
    pub r#type: BlockGroupFlags,
    /// As btrfs-progs names it, such as `RAID1`.
    pub profile: &'static str,
    /// Bytes in use; nothing if the block group item cannot be found.
    pub used: Option<u64>,
    /// Whether the chunk has an entry in the system chunk array.
    pub in_sys_chunk_array: bool,
    /// Its device extents, in the order of the chunk item.
    pub stripes: Vec<StripeEntry>,
}

/// A stripe of a chunk.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct StripeEntry {
    /// Of its device.
    pub devid: u64,
    /// Where it begins on the device.
    pub offset: Physical,
    /// Bytes on the device.
    pub length: u64,
    /// Of its device.
    #[serde(serialize_with = "uuid")]
    pub dev_uuid: Uuid,
    /// Whether the device is not there.
    pub missing: bool,
}

/// What the system chunk array and the chunk tree do not agree on.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Disagreement {
    /// Nothing where the array itself cannot be read.
    pub logical: Option<Logical>,
    /// For a person.
    pub problem: String,
}

/// What a device is used for, from its beginning to its end.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct DeviceMap {
    /// Its id.
    pub devid: u64,
    /// Its UUID.
    #[serde(serialize_with = "uuid")]
    pub uuid: Uuid,
    /// Nothing for a missing device.
    pub path: Option<String>,
    /// Nothing for a missing device.
    pub total_bytes: Option<u64>,
    /// By offset, without gaps.
    pub ranges: Vec<Range>,
}

/// A range of a device.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Range {
    /// Where it begins.
    pub offset: Physical,
    /// Its bytes.
    pub length: u64,
    /// What it is used for.
    pub state: RangeState,
    /// The chunk that the range belongs to.
    pub chunk: Option<Logical>,
}

/// What a range of a device is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum RangeState {
    /// The first MiB, which is never allocated.
    Reserved,
    /// By a chunk.
    Allocated,
    /// For new chunks.
    Free,
}

fn uuid<S: Serializer>(uuid: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(uuid)
}

pub(super) fn flag_names<S: Serializer>(flags: &BlockGroupFlags, serializer: S) -> Result<S::Ok, S::Error> {
    let types = block_group::NAMES.iter().filter(|(bit, _)| BlockGroupFlags::PROFILE_MASK & bit == 0);
    serializer.collect_seq(types.filter(|(bit, _)| flags.0 & bit != 0).map(|(_, name)| name))
}

impl ChunkList {
    /// The list of a volume.
    pub fn new(volume: &Volume) -> Self {
        volume.undisturbed(|| Self::read(volume))
    }

    fn read(volume: &Volume) -> Self {
        let superblock = volume.superblock();
        let in_array: Vec<Logical> = Entries::new(superblock.sys_chunk_array())
            .map_while(Result::ok)
            .map(|entry| Logical(entry.key.offset))
            .collect();
        let mut unreadable = Unreadable::new();
        let groups = block_group_root(volume, &mut unreadable);
        let mut entry = |chunk: &ChunkMapping| ChunkEntry {
            logical: chunk.logical,
            length: chunk.length,
            r#type: chunk.flags,
            profile: chunk.profile.name(),
            used: groups.and_then(|root| used(volume, &root, chunk, &mut unreadable)),
            in_sys_chunk_array: in_array.contains(&chunk.logical),
            stripes: chunk
                .stripes
                .iter()
                .map(|stripe| StripeEntry {
                    devid: stripe.devid,
                    offset: stripe.physical,
                    length: chunk.stripe_size(),
                    dev_uuid: stripe.dev_uuid,
                    missing: volume.device(stripe).is_none(),
                })
                .collect(),
        };
        Self {
            schema: "rbtrfs.list-chunks/1",
            fsid: superblock.fsid,
            chunks: volume.chunks().iter().map(&mut entry).collect(),
            disagreements: disagreements(volume, &mut unreadable),
            devices: device_maps(volume),
            unreadable,
        }
    }

    /// The blocks that the list lacks, and why.
    pub fn unreadable(&self) -> impl Iterator<Item = (Logical, &str)> {
        self.unreadable.iter().map(|(logical, problem)| (*logical, problem.as_str()))
    }

    /// As text for a person.
    pub fn put_text(&self, out: &mut Vec<u8>) {
        for chunk in &self.chunks {
            put!(out, "chunk ", chunk.logical, " length ", chunk.length, " type ", chunk.r#type);
            match chunk.used {
                Some(used) => put!(out, " used ", used),
                None => put!(out, " used unknown"),
            }
            put!(out, if chunk.in_sys_chunk_array { " in sys_chunk_array\n" } else { "\n" });
            for (index, stripe) in chunk.stripes.iter().enumerate() {
                put!(out, "\tstripe ", index, " devid ", stripe.devid, " offset ", stripe.offset);
                put!(out, " length ", stripe.length, " dev_uuid ", stripe.dev_uuid);
                put!(out, if stripe.missing { " missing\n" } else { "\n" });
            }
        }
        for disagreement in &self.disagreements {
            put!(out, "disagreement: ");
            if let Some(logical) = disagreement.logical {
                put!(out, "chunk ", logical, " ");
            }
            put!(out, disagreement.problem.as_str(), "\n");
        }
        for device in &self.devices {
            put!(out, "device ", device.devid, " uuid ", device.uuid);
            match (&device.path, device.total_bytes) {
                (Some(path), Some(total_bytes)) => {
                    put!(out, " total_bytes ", total_bytes, " path ", path.as_str(), "\n");
                }
                _ => put!(out, " missing\n"),
            }
            for range in &device.ranges {
                put!(out, "\toffset ", range.offset, " length ", range.length, " ");
                match range.state {
                    RangeState::Reserved => put!(out, "reserved"),
                    RangeState::Free => put!(out, "free"),
                    RangeState::Allocated => put!(out, "chunk ", range.chunk.unwrap_or_default()),
                }
                out.push(b'\n');
            }
        }
    }
}

impl Put for Physical {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
}

/// The tree with the block group items.
fn block_group_root(volume: &Volume, unreadable: &mut Unreadable) -> Option<TreeRoot> {
    let (roots, bad) = TreeRoot::root_tree(volume).find_children(volume);
    unreadable.extend(bad.into_iter().map(|bad| (bad.logical, bad.to_string())));
    let find = |tree: u64| roots.iter().find(|root| root.key.objectid == tree).copied();
    find(objectid::BLOCK_GROUP_TREE).or_else(|| find(objectid::EXTENT_TREE))
}

fn used(volume: &Volume, root: &TreeRoot, chunk: &ChunkMapping, unreadable: &mut Unreadable) -> Option<u64> {
    let key = Key::new(chunk.logical.0, KeyType::BLOCK_GROUP_ITEM, chunk.length);
    let data = match root.find(volume, key) {
        Ok(data) => data?,
        Err(bad) => {
            unreadable.insert((bad.logical, bad.to_string()));
            return None;
        }
    };
    let (group, _) = BlockGroupItem::read_prefix(&data)?;
    Some(group.used.get())
}

/// Chunk items of type SYSTEM, as they stand in the chunk tree.
fn system_chunk_items(volume: &Volume, unreadable: &mut Unreadable) -> BTreeMap<Logical, Vec<u8>> {
    let mut items = BTreeMap::new();
    let mut buffer = Vec::new();
    for leaf in Walk::new(volume, TreeRoot::chunk_tree(volume).expected(), Levels::Leaves) {
        let read = match volume.read_block(&leaf, &mut buffer) {
            Ok(read) => read,
            Err(bad) => {
                unreadable.insert((bad.logical, bad.to_string()));
                continue;
            }
        };
        let BlockKind::Leaf(leaf) = read.block.kind() else { continue };
        for item in leaf.items().flatten().filter(|item| item.key.key_type == KeyType::CHUNK_ITEM) {
            let is_system = |(chunk, _): (&Chunk, _)| chunk.block_group_flags().contains(block_group::SYSTEM);
            if Chunk::read_prefix(item.data).is_some_and(is_system) {
                items.insert(Logical(item.key.offset), item.data.to_vec());
            }
        }
    }
    items
}

fn disagreements(volume: &Volume, unreadable: &mut Unreadable) -> Vec<Disagreement> {
    let mut of_tree = system_chunk_items(volume, unreadable);
    let mut found = Vec::new();
    for entry in Entries::new(volume.superblock().sys_chunk_array()) {
        let entry = match entry {
            Ok(entry) => entry,
            Err(bad) => {
                let problem = format!("system chunk array: {} at offset {}", bad.problem, bad.offset);
                found.push(Disagreement { logical: None, problem });
                continue;
            }
        };
        let logical = Logical(entry.key.offset);
        let problem = match of_tree.remove(&logical).as_deref().map(Chunk::read_with_stripes) {
            None => "is in the system chunk array, but no SYSTEM chunk of the chunk tree".to_owned(),
            Some(None) => "is too short in the chunk tree".to_owned(),
            Some(Some((chunk, stripes, _))) => {
                use zerocopy::IntoBytes;
                let differs = [
                    ("length", chunk.length != entry.chunk.length),
                    ("type", chunk.r#type != entry.chunk.r#type),
                    ("num_stripes", chunk.num_stripes != entry.chunk.num_stripes),
                    ("stripes", stripes.as_bytes() != entry.stripes.as_bytes()),
                    ("other fields", chunk.as_bytes() != entry.chunk.as_bytes()),
                ];
                match differs.into_iter().find(|(_, differs)| *differs) {
                    Some((field, _)) => format!("differs in {field} between the system chunk array and the chunk tree"),
                    None => continue,
                }
            }
        };
        found.push(Disagreement { logical: Some(logical), problem });
    }
    found.extend(of_tree.into_keys().map(|logical| Disagreement {
        logical: Some(logical),
        problem: "is a SYSTEM chunk, but not in the system chunk array".to_owned(),
    }));
    found
}

/// Allocated and free ranges of each device, missing ones included.
fn device_maps(volume: &Volume) -> Vec<DeviceMap> {
    let mut allocated: BTreeMap<(u64, Uuid), Vec<Range>> = BTreeMap::new();
    for device in volume.devices() {
        allocated.insert((device.devid(), device.uuid()), Vec::new());
    }
    for chunk in volume.chunks().iter() {
        for stripe in &chunk.stripes {
            let uuid = volume.device(stripe).map_or(stripe.dev_uuid, |device| device.uuid());
            let (offset, length) = (stripe.physical, chunk.stripe_size());
            let range = Range { offset, length, state: RangeState::Allocated, chunk: Some(chunk.logical) };
            allocated.entry((stripe.devid, uuid)).or_default().push(range);
        }
    }
    let map = |((devid, uuid), allocated)| {
        let device = volume.devices().iter().find(|device| device.uuid() == uuid);
        let total_bytes = device.map(|device| device.total_bytes());
        DeviceMap {
            devid,
            uuid,
            path: device.map(|device| device.image().path().display().to_string()),
            total_bytes,
            ranges: with_gaps(allocated, total_bytes),
        }
    };
    allocated.into_iter().map(map).collect()
}

/// The allocated ranges in order, with what lies between them and before the end of the device.
pub(super) fn with_gaps(mut allocated: Vec<Range>, total_bytes: Option<u64>) -> Vec<Range> {
    allocated.sort_by_key(|range| range.offset);
    let mut ranges = Vec::new();
    let mut position = 0;
    let fill = |position: u64, end: u64, ranges: &mut Vec<Range>| {
        let reserved_end = DEVICE_RANGE_RESERVED.clamp(position, end.max(position));
        for (start, end, state) in
            [(position, reserved_end, RangeState::Reserved), (reserved_end, end, RangeState::Free)]
        {
            if start < end {
                ranges.push(Range { offset: Physical(start), length: end - start, state, chunk: None });
            }
        }
    };
    for range in allocated {
        fill(position, range.offset.0, &mut ranges);
        position = position.max(range.offset.0.saturating_add(range.length));
        ranges.push(range);
    }
    if let Some(total_bytes) = total_bytes {
        fill(position, total_bytes, &mut ranges);
    }
    ranges
}
