//! Bad sectors in rows with live blocks, no more of a row than its profile tolerates.

use std::collections::{BTreeMap, BTreeSet};

use rbtrfs::disk::{Logical, STRIPE_LEN};
use rbtrfs::volume::ChunkMapping;

use super::Case;
use super::state::{State, try_open};
use crate::support::change;
use crate::support::contents::row;
use crate::support::random::Random;

/// Devices of which a part of a row cannot be used, by chunk and row.
type Spoiled = BTreeMap<(Logical, u64), BTreeSet<u64>>;

pub fn damage(case: &mut Case, state: &State, random: &mut Random) {
    let volume = try_open(&case.present()).expect("it was opened a moment ago");
    let nodesize = u64::from(volume.format().nodesize);
    let mut spoiled = Spoiled::new();
    let wanted = [0, 1, 2, 4, 8, 16][random.below(6)];
    let mut places = Vec::new();
    for _ in 0..wanted {
        let (logical, length) = choose(state, random, nodesize);
        let chunk = volume.chunks().find(logical).unwrap();
        let geometry = chunk.profile.geometry();
        if geometry.nparity == 0 {
            continue;
        }
        let bad = spoiled.entry((chunk.logical, row_number(chunk, logical))).or_insert_with(|| {
            let absent = case.absent();
            chunk.stripes.iter().map(|stripe| stripe.devid).filter(|devid| absent.contains(devid)).collect()
        });
        // Its own column comes first, and is the likeliest to be bad.
        let mut columns = row(&volume, logical);
        for _ in 0..1 + random.below(2) {
            let column = if random.below(3) > 0 { 0 } else { random.below(columns.len()) };
            let (image, offset) = columns.remove(column);
            let devid = image as u64 + 1;
            if case.absent().contains(&devid) || (!bad.contains(&devid) && bad.len() == usize::from(geometry.nparity)) {
                continue;
            }
            bad.insert(devid);
            let start = random.below(length as usize / 512) as u64 * 512;
            let size = (512 << random.below(6)).min(length - start) as usize;
            places.push((image, offset + start, size));
        }
    }
    for (image, offset, size) in &places {
        change(&case.images[*image], *offset, *size, |bytes| bytes.iter_mut().for_each(|byte| *byte ^= 0x5a));
    }
    case.is_damaged = !places.is_empty();
    case.history.push(format!("{} bad places {places:?}", places.len()));
}

fn row_number(chunk: &ChunkMapping, logical: Logical) -> u64 {
    (logical.0 - chunk.logical.0) / (chunk.data_stripes() * STRIPE_LEN)
}

/// A tree block, of any tree with the same likelihood, or a sector of data.
fn choose(state: &State, random: &mut Random, nodesize: u64) -> (Logical, u64) {
    let sums: Vec<u64> = state.sums.keys().copied().collect();
    if random.below(4) == 0 && !sums.is_empty() {
        return (Logical(sums[random.below(sums.len())]), 4096);
    }
    let trees: BTreeSet<u64> = state.blocks.values().map(|(tree, _)| *tree).collect();
    let tree = *trees.iter().nth(random.below(trees.len())).unwrap();
    let blocks: Vec<Logical> =
        state.blocks.iter().filter(|(_, (of, _))| *of == tree).map(|((logical, _), _)| *logical).collect();
    (blocks[random.below(blocks.len())], nodesize)
}
