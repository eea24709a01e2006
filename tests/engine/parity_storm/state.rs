//! What of a filesystem can be read, with all of its devices and without some.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

use rbtrfs::block::verify::Expected;
use rbtrfs::disk::{Logical, Physical, Transid, objectid};
use rbtrfs::finding::{Finding, Severity};
use rbtrfs::image::Image;
use rbtrfs::tree::{Levels, TreeRoot, Walk};
use rbtrfs::volume::Volume;

use super::Case;
use crate::support::check_data;
use crate::support::contents::{checksums, choices, mirrors};

/// A block, which is another one when it was copied.
type Key = (Logical, Transid);

pub struct State {
    /// All tree blocks, with their trees.
    pub blocks: BTreeMap<Key, (u64, Expected)>,
    /// The checksums of all data.
    pub sums: BTreeMap<u64, Vec<u8>>,
    /// By the devices that are lost on top of those that are absent; nothing where it cannot be opened.
    readable: BTreeMap<Vec<u64>, Option<Readable>>,
    /// Codes of problems that are not those of absent devices.
    codes: BTreeSet<&'static str>,
}

#[derive(Default)]
struct Readable {
    blocks: BTreeSet<Key>,
    sectors: BTreeSet<u64>,
}

pub fn try_open(images: &[PathBuf]) -> Result<Volume, String> {
    let images = images.iter().map(|image| Image::open(image)).collect::<Result<_, _>>();
    images.and_then(Volume::open).map_err(|error| error.to_string())
}

/// A sum of all that is not zero.
pub fn fingerprint(image: &Path) -> u64 {
    let image = Image::open(image).unwrap();
    let mut hasher = DefaultHasher::new();
    let (mut position, mut page) = (0, vec![0; 4096]);
    while let Some(data) = image.next_data(Physical(position)) {
        for offset in (data.start - data.start % 4096..data.end).step_by(4096) {
            image.read(Physical(offset), &mut page).unwrap();
            if page.iter().any(|byte| *byte != 0) {
                (offset, &page).hash(&mut hasher);
            }
        }
        position = data.end.next_multiple_of(4096);
    }
    hasher.finish()
}

impl State {
    /// The state of the devices that are there. That something cannot be read with all of them is an error.
    pub fn of(case: &Case) -> Result<Self, String> {
        let volume = try_open(&case.present())?;
        let blocks = live(&volume)?;
        let sums = checksums(&volume);
        let codes = codes(case, &volume);
        let most = volume.chunks().iter().map(|chunk| chunk.profile.geometry().tolerated_failures).max().unwrap_or(0);
        let present: Vec<u64> = case.devids().collect();
        let mut readable = BTreeMap::new();
        for lost in (0..=usize::from(most)).flat_map(|count| choices(&present, count)) {
            let left: Vec<u64> = present.iter().copied().filter(|devid| !lost.contains(devid)).collect();
            // A device that missed commits knows only what was before.
            if left.iter().any(|devid| !case.stale.contains(devid)) {
                let images: Vec<_> = left.iter().map(|devid| case.images[*devid as usize - 1].clone()).collect();
                readable.insert(lost, Readable::of(&images, &blocks, &sums));
            }
        }
        let state = Self { blocks, sums, readable, codes };
        match state.readable[&Vec::new()].as_ref() {
            Some(all) if all.sectors.len() < state.sums.len() => {
                let lost = state.sums.keys().find(|sector| !all.sectors.contains(sector));
                Err(format!("data {} cannot be read", lost.copied().unwrap_or_default()))
            }
            _ => Ok(state),
        }
    }

    /// Whether all that could be read `before` can be read now, and what is new as well where its profile promises that.
    pub fn keeps(&self, before: &State, case: &Case) -> Result<(), String> {
        let volume = try_open(&case.present())?;
        for (lost, readable) in &before.readable {
            let Some(readable) = readable else { continue };
            let without = if lost.is_empty() { String::new() } else { format!(" without devices {lost:?}") };
            // Fewer may be lost where no chunk is left that tolerates more.
            let Some(now) = self.readable.get(lost) else { continue };
            let Some(now) = now else {
                // By luck, or because chunks that come while devices are missing tolerate fewer.
                let is_promised = |key: &Key| self.is_tolerated(&volume, key.0, lost, case);
                match self.of_tree(objectid::CHUNK_TREE).all(is_promised) {
                    true => return Err(format!("cannot be opened any more{without}")),
                    false => continue,
                }
            };
            for (key, (tree, _)) in &self.blocks {
                let is_new = !before.blocks.contains_key(key);
                let is_wanted =
                    readable.blocks.contains(key) || (is_new && self.is_tolerated(&volume, key.0, lost, case));
                if is_wanted && !now.blocks.contains(key) {
                    let age = if is_new { "new block" } else { "block" };
                    return Err(format!("{age} {} of tree {tree} cannot be read{without}", key.0));
                }
            }
            let lost_data = readable.sectors.iter().find(|sector| !now.sectors.contains(sector));
            if let Some(sector) = lost_data {
                return Err(format!("data {sector} cannot be read any more{without}"));
            }
        }
        if self.sums != before.sums {
            return Err("other checksums than before".to_owned());
        }
        match self.codes.difference(&before.codes).next() {
            Some(code) => Err(format!("a check says {code}, which it did not")),
            None => Ok(()),
        }
    }

    fn of_tree(&self, tree: u64) -> impl Iterator<Item = &Key> {
        self.blocks.iter().filter(move |(_, (of, _))| *of == tree).map(|(key, _)| key)
    }

    /// Whether the profile of a block's chunk promises that it can be read without the `lost` devices.
    fn is_tolerated(&self, volume: &Volume, logical: Logical, lost: &[u64], case: &Case) -> bool {
        let Some(chunk) = volume.chunks().find(logical) else { return true };
        let absent = case.absent();
        let is_lost = |devid: &u64| lost.contains(devid) || absent.contains(devid);
        let count = chunk.stripes.iter().filter(|stripe| is_lost(&stripe.devid)).count();
        count <= usize::from(chunk.profile.geometry().tolerated_failures)
    }
}

/// All blocks of all trees; one that cannot be read is an error.
fn live(volume: &Volume) -> Result<BTreeMap<Key, (u64, Expected)>, String> {
    let root_tree = TreeRoot::root_tree(volume);
    let (mut roots, bad) = root_tree.find_children(volume);
    if let Some(bad) = bad.first() {
        return Err(format!("block {} of the root tree: {bad}", bad.logical));
    }
    roots.extend([root_tree, TreeRoot::chunk_tree(volume)]);
    let mut blocks = BTreeMap::new();
    let mut buffer = Vec::new();
    for root in roots {
        let tree = root.key.objectid;
        for block in Walk::new(volume, root.expected(), Levels::All) {
            volume
                .read_block(&block, &mut buffer)
                .map_err(|bad| format!("block {} of tree {tree} cannot be read: {bad}", bad.logical))?;
            blocks.insert((block.logical, block.generation.unwrap_or_default()), (tree, block));
        }
    }
    Ok(blocks)
}

impl Readable {
    fn of(images: &[PathBuf], blocks: &BTreeMap<Key, (u64, Expected)>, sums: &BTreeMap<u64, Vec<u8>>) -> Option<Self> {
        let volume = try_open(images).ok()?;
        let mut buffer = Vec::new();
        let mut readable = Self::default();
        for (key, (_, block)) in blocks {
            if volume.read_block(block, &mut buffer).is_ok() {
                readable.blocks.insert(*key);
            }
        }
        let mut sector = vec![0; volume.format().sectorsize as usize];
        for (address, sum) in sums {
            let logical = Logical(*address);
            if volume.chunks().find(logical).is_none() {
                continue;
            }
            let is_good = |mirror| {
                volume.read(logical, mirror, &mut sector).is_ok()
                    && volume.format().csum_type.compute(&sector)[..sum.len()] == sum[..]
            };
            if (1..=mirrors(&volume, logical)).any(is_good) {
                readable.sectors.insert(*address);
            }
        }
        Some(readable)
    }
}

fn codes(case: &Case, volume: &Volume) -> BTreeSet<&'static str> {
    let absent = case.absent();
    let of_absent = |problem: &rbtrfs::problem::Problem| {
        let values = serde_json::to_value(problem).unwrap();
        values.get("devid").and_then(|devid| devid.as_u64()).is_some_and(|devid| absent.contains(&devid))
    };
    let mut problems = check_data(volume, 1);
    problems.retain(|problem| problem.severity() > Severity::Note && !of_absent(problem));
    problems.iter().map(Finding::code).collect()
}
