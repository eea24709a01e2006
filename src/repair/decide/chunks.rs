//! Chunks, by evidence: what the item says, what device extents and the block group say, and where blocks and data really are.

use std::collections::{BTreeMap, BTreeSet};

use zerocopy::IntoBytes;

use crate::block::verify::Expected;
use crate::disk::flags::block_group::{DATA, METADATA, SYSTEM};
use crate::disk::flags::extent::TREE_BLOCK;
use crate::disk::volume::{BlockGroupItem, Chunk, DevExtent, Stripe};
use crate::disk::{BlockGroupFlags, Key, KeyType, Logical, Physical, STRIPE_LEN, objectid};
use crate::survey::Structure;
use crate::tree::TreeRoot;
use crate::tree::csums::CsumRoot;
use crate::volume::ChunkMapping;
use crate::volume::chunk_items::{chunk_key, structs_of};
use crate::volume::sys_chunk_array::Entries;

use super::super::fix::Fix;
use super::super::plan::Plan;

/// Blocks and sectors of a chunk that are looked at.
const SAMPLES: usize = 24;
/// The repair tries all orders of so many stripes at the most.
const MAX_ORDERED: usize = 6;

/// What is known of one chunk beside its item.
struct Evidence {
    logical: Logical,
    group: Option<(u64, BlockGroupFlags)>,
    /// Device, place and length of its device extents.
    extents: Vec<(u64, u64, u64)>,
    blocks: Vec<Logical>,
    sums: Vec<(Logical, Vec<u8>)>,
}

/// Chunks that were dealt with.
#[derive(Default)]
pub struct ChunkDecider {
    done: BTreeSet<Logical>,
}

impl ChunkDecider {
    /// Has the item of a chunk be what the evidence says. Nothing is done where it does not tell.
    pub fn mend(&mut self, plan: &mut Plan<'_>, logical: Logical) {
        if !self.done.insert(logical) {
            return;
        }
        let Some(structure) = &plan.survey.structure else { return };
        let evidence = gather(plan, structure, logical);
        let present = item_of(structure, logical);
        let root = TreeRoot::chunk_tree(plan.volume);
        let key = chunk_key(logical);
        if present.is_some() && evidence.group.is_none() && evidence.extents.is_empty() && evidence.blocks.is_empty() {
            if plan.edits.set(plan.volume, &root, key, None) {
                plan.fix(Fix::Item {
                    tree: objectid::CHUNK_TREE,
                    key,
                    what: "no block group, device extent or block is its own",
                });
            }
            return;
        }
        let Some(best) = choose(plan, &evidence, present.as_ref()) else { return };
        let (chunk, stripes) = structs_of(&best, plan.volume.format().sectorsize);
        let data = [chunk.as_bytes(), stripes.as_bytes()].concat();
        if structure.chunk_tree.get(key) != Some(&*data) && plan.edits.set(plan.volume, &root, key, Some(data)) {
            plan.fix(Fix::Item { tree: objectid::CHUNK_TREE, key, what: "the chunk is where its blocks and data are" });
        }
    }
}

/// The chunk that holds this address, if the type of its block group fits what lies in it and that of the chunk does not.
pub fn of_other_type(plan: &Plan<'_>, logical: Logical) -> Option<Logical> {
    let chunk = plan.volume.chunks().find(logical)?;
    let (_, group) = gather(plan, plan.survey.structure.as_ref()?, chunk.logical).group?;
    let extents: Vec<_> = plan.survey.claims.extents.range(chunk.logical, chunk.end()).take(SAMPLES).collect();
    let fits = |flags: BlockGroupFlags| {
        extents.iter().all(|extent| {
            let needed = if extent.flags & TREE_BLOCK != 0 { METADATA | SYSTEM } else { DATA };
            flags.0 & needed != 0
        })
    };
    (!extents.is_empty() && fits(group) && !fits(chunk.flags)).then_some(chunk.logical)
}

fn item_of(structure: &Structure, logical: Logical) -> Option<(Chunk, Vec<Stripe>)> {
    let (chunk, stripes, _) = Chunk::read_with_stripes(structure.chunk_tree.get(chunk_key(logical))?)?;
    Some((*chunk, stripes.to_vec()))
}

fn gather(plan: &Plan<'_>, structure: &Structure, logical: Logical) -> Evidence {
    let mut group = None;
    for tree in [&structure.block_group_tree, &structure.extent_tree] {
        for item in tree.of_type(KeyType::BLOCK_GROUP_ITEM).filter(|item| item.key.objectid == logical.0) {
            group = group.or(BlockGroupItem::read_prefix(&item.data)
                .map(|(read, _)| (item.key.offset, BlockGroupFlags(read.flags.get()))));
        }
    }
    let mut extents = Vec::new();
    for item in structure.device_tree.of_type(KeyType::DEV_EXTENT) {
        if let Some((extent, _)) = DevExtent::read_prefix(&item.data).filter(|(extent, _)| extent.chunk() == logical) {
            extents.push((item.key.objectid, item.key.offset, extent.length.get()));
        }
    }
    let end = group.map(|(length, _)| length).or_else(|| Some(item_of(structure, logical)?.0.length.get()));
    let end = Logical(logical.0.saturating_add(end.unwrap_or(STRIPE_LEN)));
    let in_chunk = plan.survey.claims.extents.range(logical, end);
    let of_blocks = in_chunk.filter(|extent| extent.flags & TREE_BLOCK != 0).map(|extent| extent.logical);
    let blocks: Vec<Logical> = of_blocks.take(SAMPLES).collect();
    let mut sums = Vec::new();
    if blocks.is_empty()
        && let Ok(csums) = CsumRoot::of(plan.volume, &TreeRoot::root_tree(plan.volume))
    {
        let (sectorsize, size) = (u64::from(plan.volume.format().sectorsize), plan.volume.format().csum_type.size());
        let runs = plan.survey.csums.runs();
        let from = runs.partition_point(|run| run.end <= logical.0);
        let within = runs[from..].iter().take_while(|run| run.start < end.0).take(SAMPLES);
        let ranges: Vec<(u64, u64)> = within
            .map(|run| (run.start.max(logical.0), run.end.min(end.0).min(run.start.max(logical.0) + 4 * sectorsize)))
            .collect();
        let _ = csums.for_each(plan.volume, &ranges, |run| {
            for (index, sum) in run.csums.chunks_exact(size).enumerate() {
                sums.push((Logical(run.logical.0 + index as u64 * sectorsize), sum.to_vec()));
            }
        });
    }
    Evidence { logical, group, extents, blocks, sums }
}

/// The mapping that most of what is known agrees with; nothing without any evidence for one.
fn choose(plan: &Plan<'_>, evidence: &Evidence, present: Option<&(Chunk, Vec<Stripe>)>) -> Option<ChunkMapping> {
    let mut candidates = Vec::new();
    let of_array = in_array(plan, evidence.logical);
    for item in [present, of_array.as_ref()].into_iter().flatten() {
        let fields = [evidence.group, Some((item.0.length.get(), item.0.block_group_flags()))];
        let by_extents = |(_, flags)| Some((length_by_extents(evidence, flags)?, flags));
        let all = fields.into_iter().flatten().flat_map(|field| [Some(field), by_extents(field)]);
        for (length, flags) in all.flatten() {
            candidates.extend(corrected(plan, evidence, item, length, flags));
            candidates.extend(mapping(plan, evidence.logical, length, flags, &places(&item.1)));
        }
    }
    if let Some((length, flags)) = evidence.group {
        for order in orders(evidence) {
            candidates.extend(mapping(plan, evidence.logical, length, flags, &order));
        }
    }
    let mut best: Option<((usize, usize), ChunkMapping)> = None;
    let mut is_tie = false;
    for candidate in candidates.into_iter().filter(|candidate| is_free(plan, candidate)) {
        let score = (score(plan, evidence, &candidate), agreement(evidence, &candidate));
        match &best {
            Some((other, mapping)) if *other == score => is_tie |= !is_same(mapping, &candidate),
            Some((other, _)) if *other > score => {}
            _ => (best, is_tie) = (Some((score, candidate)), false),
        }
    }
    // Of several that are equally likely none is chosen, unless the item has been one of them.
    let (_, mapping) = best?;
    let is_present = present.is_some_and(|(_, stripes)| {
        places(stripes) == mapping.stripes.iter().map(|stripe| (stripe.devid, stripe.physical.0)).collect::<Vec<_>>()
    });
    (!is_tie || is_present).then_some(mapping)
}

/// The length of the chunk by its device extents, if these agree.
fn length_by_extents(evidence: &Evidence, flags: BlockGroupFlags) -> Option<u64> {
    let [(_, _, size), others @ ..] = evidence.extents.as_slice() else { return None };
    let data_stripes = flags.profile()?.data_stripes(u16::try_from(evidence.extents.len()).ok()?);
    let is_told = !others.is_empty() && others.iter().all(|(_, _, other)| other == size);
    size.checked_mul(data_stripes.into()).filter(|length| is_told && *length > 0)
}

/// Whether two mappings have everything in the same places: the order of copies does not matter.
fn is_same(one: &ChunkMapping, other: &ChunkMapping) -> bool {
    let sorted = |mapping: &ChunkMapping| {
        let mut places: Vec<_> = mapping.stripes.iter().map(|stripe| (stripe.devid, stripe.physical)).collect();
        places.sort_unstable();
        places
    };
    let geometry = one.profile.geometry();
    let are_copies = geometry.nparity == 0 && one.stripes.len() == usize::from(geometry.ncopies);
    one == other || are_copies && (one.length, one.flags) == (other.length, other.flags) && sorted(one) == sorted(other)
}

fn places(stripes: &[Stripe]) -> Vec<(u64, u64)> {
    stripes.iter().map(|stripe| (stripe.devid.get(), stripe.offset.get())).collect()
}

/// The chunk as the system chunk array has it.
fn in_array(plan: &Plan<'_>, logical: Logical) -> Option<(Chunk, Vec<Stripe>)> {
    let superblock = plan.volume.stored_superblock();
    let mut entries = Entries::new(superblock.sys_chunk_array()).map_while(Result::ok);
    let entry = entries.find(|entry| entry.key.offset == logical.0)?;
    Some((*entry.chunk, entry.stripes.to_vec()))
}

/// An item with stripes that have no device extent moved to the device extents that have no stripe.
fn corrected(
    plan: &Plan<'_>,
    evidence: &Evidence,
    (_, stripes): &(Chunk, Vec<Stripe>),
    length: u64,
    flags: BlockGroupFlags,
) -> Option<ChunkMapping> {
    let mut places = places(stripes);
    let mut unclaimed: Vec<(u64, u64)> = evidence.extents.iter().map(|(devid, offset, _)| (*devid, *offset)).collect();
    let mut lost = Vec::new();
    for (index, place) in places.iter().enumerate() {
        match unclaimed.iter().position(|other| other == place) {
            Some(position) => drop(unclaimed.remove(position)),
            None => lost.push(index),
        }
    }
    if lost.len() != unclaimed.len() {
        return None;
    }
    for index in lost {
        // One on the same device before others.
        let devid = places.get(index)?.0;
        let position = unclaimed.iter().position(|(other, _)| *other == devid).unwrap_or_default();
        *places.get_mut(index)? = unclaimed.remove(position);
    }
    mapping(plan, evidence.logical, length, flags, &places)
}

/// Orders in which the device extents may be the stripes. Where stripes are copies one is enough.
fn orders(evidence: &Evidence) -> Vec<Vec<(u64, u64)>> {
    let all: Vec<(u64, u64)> = evidence.extents.iter().map(|(devid, offset, _)| (*devid, *offset)).collect();
    let is_striped = evidence.group.and_then(|(_, flags)| flags.profile()).is_some_and(|profile| {
        let geometry = profile.geometry();
        geometry.nparity > 0 || all.len() > usize::from(geometry.ncopies)
    });
    if !is_striped || all.len() > MAX_ORDERED {
        return vec![all];
    }
    let mut orders = vec![Vec::new()];
    for _ in 0..all.len() {
        orders = orders
            .into_iter()
            .flat_map(|order: Vec<(u64, u64)>| {
                let rest: Vec<_> = all.iter().filter(|place| !order.contains(place)).copied().collect();
                rest.into_iter().map(move |place| [order.clone(), vec![place]].concat())
            })
            .collect();
    }
    orders
}

fn mapping(
    plan: &Plan<'_>,
    logical: Logical,
    length: u64,
    flags: BlockGroupFlags,
    places: &[(u64, u64)],
) -> Option<ChunkMapping> {
    let profile = flags.profile()?;
    let uuids: BTreeMap<u64, _> = plan.volume.devices().iter().map(|device| (device.devid(), device.uuid())).collect();
    let uuid = |devid: &u64| uuids.get(devid).copied();
    let known = places.iter().map(|(devid, _)| uuid(devid)).collect::<Option<Vec<_>>>()?;
    let stripes: Vec<(u64, Physical)> = places.iter().map(|(devid, offset)| (*devid, Physical(*offset))).collect();
    let uuid_of = |devid| {
        let position = places.iter().position(|(other, _)| *other == devid).unwrap_or_default();
        known.get(position).copied().unwrap_or_default()
    };
    let sectorsize = plan.volume.format().sectorsize;
    let new =
        crate::volume::chunk_items::new_chunk(logical, length, &stripes, flags, profile, sectorsize, uuid_of).ok()?;
    let is_aligned = new.stripes.iter().all(|stripe| stripe.physical.0.is_multiple_of(sectorsize.into()));
    (is_aligned && length.is_multiple_of(new.data_stripes() * u64::from(sectorsize))).then_some(new)
}

/// Whether no other chunk has any of its addresses or stripes.
fn is_free(plan: &Plan<'_>, candidate: &ChunkMapping) -> bool {
    let overlaps = |start: u64, length: u64, other: u64, other_length: u64| {
        start < other.saturating_add(other_length) && other < start.saturating_add(length)
    };
    let size = candidate.stripe_size();
    let own = candidate.stripes.iter().enumerate().all(|(index, one)| {
        candidate.stripes[..index]
            .iter()
            .all(|other| one.devid != other.devid || !overlaps(one.physical.0, size, other.physical.0, size))
    });
    own && plan.volume.chunks().iter().filter(|chunk| chunk.logical != candidate.logical).all(|chunk| {
        let shares = |one: &crate::volume::StripeMapping| {
            chunk.stripes.iter().any(|other| {
                one.devid == other.devid && overlaps(one.physical.0, size, other.physical.0, chunk.stripe_size())
            })
        };
        !overlaps(candidate.logical.0, candidate.length, chunk.logical.0, chunk.length)
            && !candidate.stripes.iter().any(shares)
    })
}

/// How many copies of known blocks and sums are where a mapping has them.
fn score(plan: &Plan<'_>, evidence: &Evidence, candidate: &ChunkMapping) -> usize {
    let format = plan.volume.format();
    let read = |logical: Logical, mirror: u16, buffer: &mut [u8]| {
        let end = logical.0.saturating_add(buffer.len() as u64);
        let is_inside = logical >= candidate.logical && end <= candidate.end().0;
        let place = candidate.place(logical, mirror).filter(|_| is_inside);
        place.is_some_and(|(stripe, physical)| {
            let device = plan.volume.device(stripe);
            device.is_some_and(|device| device.image().read(physical, buffer).is_ok())
        })
    };
    let mut count = 0;
    let mut block = vec![0; format.nodesize as usize];
    let mut sector = vec![0; format.sectorsize as usize];
    for mirror in 1..=candidate.mirrors() {
        for logical in &evidence.blocks {
            let is_good = read(*logical, mirror, &mut block) && format.verify(&block, &Expected::at(*logical)).is_ok();
            count += usize::from(is_good);
        }
        for (logical, sum) in &evidence.sums {
            let is_good = read(*logical, mirror, &mut sector) && format.csum_type.compute(&sector).starts_with(sum);
            count += usize::from(is_good);
        }
    }
    count
}

/// How many of its stripes have their device extents, and whether the block group is of it.
fn agreement(evidence: &Evidence, candidate: &ChunkMapping) -> usize {
    let size = candidate.stripe_size();
    let has_extent =
        |stripe: &&crate::volume::StripeMapping| evidence.extents.contains(&(stripe.devid, stripe.physical.0, size));
    let is_group = evidence.group == Some((candidate.length, candidate.flags));
    candidate.stripes.iter().filter(has_extent).count() + usize::from(is_group)
}

/// Chunks of which an item of the chunk tree tells that is damaged, by its key.
pub fn logical_of(key: Key) -> Option<Logical> {
    (key.objectid == objectid::FIRST_CHUNK_TREE && key.key_type == KeyType::CHUNK_ITEM).then_some(Logical(key.offset))
}
