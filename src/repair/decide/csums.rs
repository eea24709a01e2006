//! Checksums of data: those of nothing go, those that are missing are made of what is there.

use std::collections::{BTreeMap, BTreeSet};

use crate::block::verify::BlockError;
use crate::disk::node::leaf_data_size;
use crate::disk::{Key, KeyType, Logical, objectid};
use crate::problem::ChecksumProblem;
use crate::ranges::joined;
use crate::survey::Coverage;
use crate::tree::csums::CsumRoot;
use crate::tree::{BlockCache, DataReader, Sector, TreeRoot};
use crate::volume::{BadCopy, Content};

use super::super::copies::StripeRange;
use super::super::fix::Fix;
use super::super::plan::{NewCsums, Plan};
use super::inode_items::{data_of, items_of};

/// Bytes of data whose checksums are changed item by item at the most. For more of it the whole tree is made anew.
const MOST_BYTES: u64 = 256 << 20;

/// Changes of checksums, by the ranges of data.
#[derive(Default)]
pub struct Checksums {
    gone: Vec<(u64, u64)>,
    /// Data that lacks checksums in part.
    lacking: Vec<(u64, u64)>,
    /// Checksums in which a bit was put back, by sector.
    put_back: BTreeMap<u64, Vec<u8>>,
    /// Where items overlap: the sectors are summed anew if the sums differ.
    doubtful: Vec<(u64, u64)>,
}

impl Checksums {
    /// A problem of checksums.
    pub fn decide(&mut self, plan: &mut Plan<'_>, problem: &ChecksumProblem) {
        match *problem {
            ChecksumProblem::WithoutExtent { start, end } => {
                self.gone.push((start.0, end.0));
                let key = csum_key(start.0);
                let why = format!("no data extent is there, to {end}");
                plan.fix(Fix::ItemGone { tree: objectid::CSUM_TREE, key, why });
            }
            ChecksumProblem::Overlap { start, end, other } => {
                self.doubtful.push((start.0.min(other.0), end.0.max(other.0 + 1)));
                let what = "of two checksums those that the data has stay";
                plan.fix(Fix::Item { tree: objectid::CSUM_TREE, key: csum_key(other.0), what });
            }
        }
    }

    /// Has all data of an inode have checksums.
    pub fn make_for(&mut self, plan: &mut Plan<'_>, tree: u64, inode: u64) {
        let Some(root) = plan.root(tree) else { return };
        for (start, length, is_prealloc) in data_of(&items_of(plan, &root, inode)) {
            let is_covered = plan.survey.csums.coverage(start, length) == Coverage::All;
            if !is_prealloc && !is_covered {
                self.lacking.push((start, start.saturating_add(length)));
            }
        }
    }

    /// Puts back the bits that have flipped in the checksums of a range: all copies of a sector are the same, and differ from its
    /// checksum in one bit of it. Other data would differ in half of its bits.
    pub fn put_bits_back(&mut self, plan: &mut Plan<'_>, range: StripeRange) {
        let (volume, cache) = (plan.volume, BlockCache::default());
        let Ok(root) = CsumRoot::of(volume, &TreeRoot::root_tree(volume)) else { return };
        let mut reader = DataReader::new(volume, &cache, Some(root));
        let sectorsize = volume.format().sectorsize;
        let (mut bytes, mut sectors) = (vec![0; sectorsize as usize], Vec::new());
        for (content, _) in range.sectors(volume) {
            let Content::Data(logical) = content else { continue };
            if self.put_back.contains_key(&logical.0) {
                continue;
            }
            reader.read(logical, &mut bytes, &mut sectors, &mut |_| ());
            let [Sector::Lost(lost)] = sectors.as_slice() else { continue };
            if let Some(sum) = sum_of_all(&lost.bad).filter(|(sum, stored)| differ_in_one_bit(sum, stored)) {
                self.put_back.insert(logical.0, sum.0.to_vec());
                plan.fix(Fix::ChecksumBit { logical });
            }
        }
    }

    /// Preallocated data has no checksums.
    pub fn drop_prealloc(&mut self, plan: &mut Plan<'_>, tree: u64, inode: u64) {
        let Some(root) = plan.root(tree) else { return };
        let data = data_of(&items_of(plan, &root, inode));
        for (start, length, _) in data.iter().filter(|(_, _, is_prealloc)| *is_prealloc) {
            self.gone.push((*start, start.saturating_add(*length)));
            let why = "preallocated data has no checksums".to_owned();
            plan.fix(Fix::ItemGone { tree: objectid::CSUM_TREE, key: csum_key(*start), why });
        }
    }

    /// Makes the checksums of a range that can be read, where there are none.
    fn make(plan: &Plan<'_>, (start, end): (u64, u64), made: &mut BTreeMap<u64, Vec<u8>>) -> bool {
        let volume = plan.volume;
        let format = volume.format();
        let (sectorsize, size) = (u64::from(format.sectorsize), format.csum_type.size());
        let mut sector = vec![0; sectorsize as usize];
        let mut is_any = false;
        for logical in (start..end).step_by(sectorsize as usize) {
            if plan.survey.csums.coverage(logical, sectorsize) == Coverage::All {
                continue;
            }
            let mut read = |mirror| volume.read(Logical(logical), mirror, &mut sector).is_ok();
            if (1..=volume.mirrors(Logical(logical))).any(&mut read) {
                made.insert(logical, format.csum_type.compute(&sector)[..size].to_vec());
                is_any = true;
            }
        }
        is_any
    }

    /// Puts the changes into the plan: the items that they touch are made anew, or the whole tree, as it is if all checksums are to be
    /// made of the data.
    pub fn settle(mut self, plan: &mut Plan<'_>, are_all_due: bool) {
        let not_empty = |ranges: Vec<(u64, u64)>| ranges.into_iter().filter(|(start, end)| start < end).collect();
        let gone = joined(not_empty(std::mem::take(&mut self.gone)));
        self.lacking = joined(not_empty(self.lacking));
        if are_all_due {
            plan.csums = Some(NewCsums::default());
            plan.fix(Fix::ChecksumTree { what: "of all data as it is now" });
            return;
        }
        let ranges = gone.iter().chain(&self.lacking).chain(&self.doubtful);
        let bytes = ranges.fold(0, |sum: u64, (start, end)| sum.saturating_add(end.saturating_sub(*start)));
        if bytes > MOST_BYTES {
            let what = "checksums that are missing are of the data as it is now";
            plan.csums = Some(NewCsums { keeps_old: true, gone, put_back: self.put_back });
            plan.fix(Fix::ChecksumTree { what });
            return;
        }
        let mut made = BTreeMap::new();
        for range in &self.lacking {
            if Self::make(plan, *range, &mut made) {
                plan.fix(Fix::Checksums { logical: Logical(range.0), length: range.1 - range.0 });
            }
        }
        made.extend(self.put_back.clone());
        if gone.is_empty() && made.is_empty() && self.doubtful.is_empty() {
            return;
        }
        let Some(root) = plan.root(objectid::CSUM_TREE) else { return };
        let format = plan.volume.format();
        let (sectorsize, size) = (u64::from(format.sectorsize), format.csum_type.size());
        let longest = u64::from(format.nodesize) / size as u64 * sectorsize;
        let mut wanted: Vec<(u64, u64)> = gone.iter().chain(&self.doubtful).copied().collect();
        wanted.extend(made.keys().map(|sector| (*sector, sector.saturating_add(sectorsize))));
        wanted.sort_unstable();
        let mut sums: BTreeMap<u64, BTreeSet<Vec<u8>>> = BTreeMap::new();
        let mut touched = BTreeSet::new();
        for (start, end) in wanted {
            let from = csum_key(start.saturating_sub(longest));
            let _ = root.range(plan.volume, from, csum_key(end.saturating_sub(1)), |item| {
                let first = item.key.offset;
                let last = first.saturating_add((item.data.len() / size) as u64 * sectorsize);
                if item.key.key_type != KeyType::EXTENT_CSUM || last <= start || !touched.insert(item.key) {
                    return;
                }
                for (index, sum) in item.data.chunks_exact(size).enumerate() {
                    sums.entry(first.saturating_add(index as u64 * sectorsize)).or_default().insert(sum.to_vec());
                }
            });
        }
        for (start, end) in &gone {
            let gone: Vec<u64> = sums.range(*start..*end).map(|(sector, _)| *sector).collect();
            gone.iter().for_each(|sector| drop(sums.remove(sector)));
        }
        for (sector, sum) in made {
            match self.put_back.contains_key(&sector) {
                true => drop(sums.insert(sector, [sum].into())),
                false => drop(sums.entry(sector).or_insert_with(|| [sum].into())),
            }
        }
        for key in &touched {
            plan.edits.set(plan.volume, &root, *key, None);
        }
        let agreed = sums.into_iter().filter_map(|(sector, sums)| Some((sector, agreed(plan, sector, sums)?)));
        insert(plan, &root, agreed.collect(), sectorsize, size);
    }
}

/// The checksum that all copies have, and the one that is stored.
fn sum_of_all(bad: &[BadCopy]) -> Option<(&[u8], &[u8])> {
    let sums = bad.iter().map(|copy| match &copy.error {
        BlockError::Csum { found, expected } => Some((found.as_slice(), expected.as_slice())),
        _ => None,
    });
    let sums: Vec<(&[u8], &[u8])> = sums.collect::<Option<_>>()?;
    let first = *sums.first()?;
    sums.iter().all(|sum| *sum == first).then_some(first)
}

fn differ_in_one_bit(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).map(|(one, other)| (one ^ other).count_ones()).sum::<u32>() == 1
}

/// Of several checksums the one that some copy of the sector has; else the first.
fn agreed(plan: &Plan<'_>, sector: u64, sums: BTreeSet<Vec<u8>>) -> Option<Vec<u8>> {
    if sums.len() > 1 {
        let format = plan.volume.format();
        let mut bytes = vec![0; format.sectorsize as usize];
        for mirror in 1..=plan.volume.mirrors(Logical(sector)) {
            if plan.volume.read(Logical(sector), mirror, &mut bytes).is_ok() {
                let computed = format.csum_type.compute(&bytes);
                if let Some(sum) = sums.iter().find(|sum| computed.starts_with(sum)) {
                    return Some(sum.clone());
                }
            }
        }
    }
    sums.into_iter().next()
}

/// Packs checksums into items.
fn insert(plan: &mut Plan<'_>, root: &TreeRoot, sums: BTreeMap<u64, Vec<u8>>, sectorsize: u64, size: usize) {
    // Two of them leave room in a leaf for others.
    let most = (leaf_data_size(plan.volume.format().nodesize) as usize / 2 / size).max(1);
    let mut items: Vec<(u64, Vec<u8>)> = Vec::new();
    for (sector, sum) in sums {
        match items.last_mut() {
            Some((start, data))
                if data.len() / size < most && *start + (data.len() / size) as u64 * sectorsize == sector =>
            {
                data.extend(sum);
            }
            _ => items.push((sector, sum)),
        }
    }
    for (start, data) in items {
        plan.edits.set(plan.volume, root, csum_key(start), Some(data));
    }
}

fn csum_key(logical: u64) -> Key {
    Key::new(objectid::EXTENT_CSUM, KeyType::EXTENT_CSUM, logical)
}
