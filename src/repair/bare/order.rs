//! Which stripe of a chunk is which: tree blocks stand where they say, and sectors of data have their checksums, in one order alone.

use std::collections::{BTreeMap, BTreeSet};

use crate::disk::fields::Uuid;
use crate::disk::flags::block_group::DATA;
use crate::disk::{Key, KeyType, Logical, Physical, Profile, STRIPE_LEN, objectid};
use crate::tree::TreeRoot;
use crate::tree::csums::CsumRoot;
use crate::volume::chunk_items::new_chunk;
use crate::volume::{ChunkMapping, Device, Volume, compute_parity};

use super::blocks::Blocks;
use super::evidence::{Outline, StripePlace};

/// The search for an order takes chunks of so many stripes at the most: [`Places`] has a bit for each.
const MOST_STRIPES: usize = 128;
/// The search reads the checksums of so many rows of data at once.
const WINDOW_ROWS: u64 = 64;
/// Sectors of each element of a stripe that are read.
const SAMPLES: usize = 2;
/// Rows whose parity is computed, orders that are tried for it, and stripes that are tried for all orders.
const MOST_ROWS: usize = 16;
const MOST_ORDERS: usize = 720;
const MOST_STEPS: usize = 1 << 16;

/// A set of places, by their index.
type Places = u128;

/// What is known of the order of a chunk's places.
pub struct Order<'o> {
    outline: &'o Outline,
    devices: &'o [Device],
    /// Stripes that are numbered, to tell where in which of them an address lies.
    numbered: ChunkMapping,
    /// Places that one slot takes: two copies, or one stripe.
    copies: usize,
    slots: Vec<Slot>,
    /// Rows that hold something; one more than are looked at stands for all others.
    rows: BTreeSet<u64>,
}

/// One stripe of a chunk, or a pair of copies.
#[derive(Clone, Copy)]
struct Slot {
    /// Places that had all that was looked for in several of them.
    allowed: Places,
    /// Places that alone had something.
    required: Places,
    /// Whether there is data that was not looked for.
    is_unknown: bool,
}

/// The chunk with stripes that are numbered in their order. Nothing where all orders are the same: of copies, and of columns where
/// there is one column of data.
pub fn numbered(outline: &Outline) -> Option<ChunkMapping> {
    let numbers: Vec<StripePlace> = (0..outline.places.len() as u64).map(|number| (number, Physical(0))).collect();
    let Outline { logical, length, flags, profile, .. } = *outline;
    let numbered = new_chunk(logical, length, &numbers, flags, profile, 0, |_| Uuid::default()).ok()?;
    (numbered.is_striped() && numbered.data_stripes() > 1).then_some(numbered)
}

impl<'o> Order<'o> {
    /// The order of a chunk's stripes, of which nothing is known; nothing where there are too many.
    pub fn new(outline: &'o Outline, numbered: ChunkMapping, devices: &'o [Device]) -> Option<Self> {
        let copies = usize::from(outline.profile.geometry().ncopies);
        let unused = MOST_STRIPES.checked_sub(outline.places.len())?;
        let allowed = Places::MAX.checked_shr(unused as u32).unwrap_or_default();
        let slot = Slot { allowed, required: 0, is_unknown: false };
        let slots = vec![slot; outline.places.len() / copies];
        Some(Self { outline, devices, numbered, copies, slots, rows: BTreeSet::new() })
    }

    /// The slot in which an address lies, and how far into the stripe.
    fn place_of(&self, logical: Logical) -> Option<(usize, u64)> {
        let (stripe, offset) = self.numbered.place(logical, 1)?;
        Some((stripe.devid as usize / self.copies, offset.0))
    }

    /// Takes that the row of an address holds something.
    fn note_row(&mut self, logical: Logical) {
        if self.rows.len() <= MOST_ROWS {
            let offset = logical.0.saturating_sub(self.outline.logical.0);
            self.rows.insert(offset / (self.numbered.data_stripes() * STRIPE_LEN));
        }
    }

    /// Takes that what is at an address was found at these places.
    fn note(&mut self, logical: Logical, slot: usize, places: Places) {
        self.note_row(logical);
        let Some(slot) = self.slots.get_mut(slot) else { return };
        match places.count_ones() as usize {
            0 => {}
            found if found < self.copies => slot.required |= places,
            _ => slot.allowed &= places,
        }
    }

    /// Takes what the places of tree blocks tell.
    pub fn add_blocks(&mut self, found: &Blocks) {
        let (outline, devices) = (self.outline, self.devices);
        let mut records =
            found.places.iter_from(outline.logical.0).take_while(|place| place.logical() < outline.end()).peekable();
        while let Some(first) = records.next() {
            let logical = first.logical();
            let mut all = vec![first.physical()];
            while let Some(next) = records.next_if(|next| next.logical() == logical) {
                all.push(next.physical());
            }
            let Some((slot, offset)) = self.place_of(logical) else { continue };
            let mut places = 0;
            for (device, physical) in all {
                let Some(devid) = devices.get(device).map(Device::devid) else { continue };
                let is_here = |place: &StripePlace| place.0 == devid && place.1.checked_add(offset) == Some(physical);
                places |= outline.places.iter().position(is_here).map_or(0, |index| 1 << index);
            }
            self.note(logical, slot, places);
        }
    }

    /// Takes what data tells whose checksums are known to `volume`. The chunks with trees are those of the filesystem.
    pub fn add_data(&mut self, volume: &Volume) {
        let outline = self.outline;
        if !outline.flags.contains(DATA) {
            return;
        }
        let root_tree = TreeRoot::root_tree(volume);
        let Ok(csums) = CsumRoot::of(volume, &root_tree) else {
            self.slots.iter_mut().for_each(|slot| slot.is_unknown = true);
            return;
        };
        let step = WINDOW_ROWS * self.numbered.data_stripes() * STRIPE_LEN;
        let mut start = outline.logical.0;
        while start < outline.end().0 && !self.is_told() {
            let end = start.saturating_add(step).min(outline.end().0);
            self.add_window(volume, &csums, (start, end));
            start = end;
        }
        if !self.is_told() {
            self.add_extents(volume, &root_tree);
        }
    }

    /// Whether one order is left.
    fn is_told(&self) -> bool {
        let mut orders = 0;
        let is_whole = self.visit_orders(&mut |_| {
            orders += 1;
            orders < 2
        });
        is_whole && orders == 1
    }

    fn add_window(&mut self, volume: &Volume, csums: &CsumRoot, range: (u64, u64)) {
        let format = volume.format();
        let (sectorsize, size) = (u64::from(format.sectorsize), format.csum_type.size());
        let mut sums: BTreeMap<u64, Vec<(Logical, Vec<u8>)>> = BTreeMap::new();
        let first = self.outline.logical.0;
        let _ = csums.for_each(volume, &[range], |run| {
            for (index, sum) in run.csums.chunks_exact(size).enumerate() {
                let logical = Logical(run.logical.0 + index as u64 * sectorsize);
                let of_element = sums.entry((logical.0.saturating_sub(first)) / STRIPE_LEN).or_default();
                if of_element.len() < SAMPLES {
                    of_element.push((logical, sum.to_vec()));
                }
            }
        });
        let mut sector = vec![0; sectorsize as usize];
        for (logical, sum) in sums.into_values().flatten() {
            let Some((slot, offset)) = self.place_of(logical) else { continue };
            let mut places = 0;
            for index in 0..self.outline.places.len() {
                let is_same =
                    self.read(index, offset, &mut sector) && format.csum_type.compute(&sector).starts_with(&sum);
                places |= u128::from(is_same) << index;
            }
            self.note(logical, slot, places);
        }
    }

    fn read(&self, place: usize, offset: u64, bytes: &mut [u8]) -> bool {
        let Some((devid, start)) = self.outline.places.get(place) else { return false };
        let device = self.devices.iter().find(|device| device.devid() == *devid);
        let at = start.checked_add(offset);
        device.zip(at).is_some_and(|(device, at)| device.image().read(at, bytes).is_ok())
    }

    /// Notes where data is that has no checksums, or whose checksums were not looked for.
    fn add_extents(&mut self, volume: &Volume, root_tree: &TreeRoot) {
        let outline = self.outline;
        let key = |logical: u64| Key::new(logical, KeyType(0), 0);
        let extent_tree = root_tree.find_child(volume, objectid::EXTENT_TREE).ok().flatten();
        // Data of the files that are described, if any.
        let read = extent_tree.map(|root| {
            root.range(volume, key(outline.logical.0), key(outline.end().0), |item| {
                if item.key.key_type != KeyType::EXTENT_ITEM {
                    return;
                }
                let end = item.key.objectid.saturating_add(item.key.offset).min(outline.end().0);
                let mut logical = item.key.objectid.max(outline.logical.0);
                while logical < end && self.slots.iter().any(|slot| !slot.is_unknown) {
                    if let Some((slot, _)) = self.place_of(Logical(logical))
                        && let Some(slot) = self.slots.get_mut(slot)
                    {
                        slot.is_unknown = true;
                    }
                    self.note_row(Logical(logical));
                    let offset = logical - outline.logical.0;
                    logical = logical.saturating_add(STRIPE_LEN - offset % STRIPE_LEN);
                }
            })
        });
        if !matches!(read, Some(Ok(()))) {
            self.slots.iter_mut().for_each(|slot| slot.is_unknown = true);
        }
    }

    /// The places in their order.
    ///
    /// # Errors
    /// Why it is not told, as a phrase.
    pub fn settle(&self) -> Result<Vec<StripePlace>, &'static str> {
        const UNTOLD: &str = "nothing tells the order of its stripes";
        let former = self.outline.former.as_ref().filter(|former| self.fits(former));
        if let Some(former) = former {
            return Ok(former.clone());
        }
        let mut orders: Vec<Vec<usize>> = Vec::new();
        let is_whole = self.visit_orders(&mut |order| {
            orders.push(order.to_vec());
            orders.len() <= MOST_ORDERS
        });
        let placed = |order: &[usize]| -> Vec<StripePlace> {
            order.iter().filter_map(|index| self.outline.places.get(*index).copied()).collect()
        };
        let Some(first) = orders.first() else {
            return Err("its blocks and its data contradict each other about the order of its stripes");
        };
        if is_whole && orders.len() == 1 {
            return Ok(placed(first));
        }
        // Where several orders fit, nothing may be in the stripes concerned that was not looked for.
        let is_free = |slot: &&Slot| slot.allowed.count_ones() as usize > self.copies;
        if self.narrowed().iter().filter(is_free).any(|slot| slot.is_unknown) {
            return Err(UNTOLD);
        }
        if self.outline.profile != Profile::Raid6 || self.rows.is_empty() {
            return Ok(placed(first));
        }
        if !is_whole {
            return Err(UNTOLD);
        }
        for row in self.rows.iter().take(MOST_ROWS) {
            self.retain_with_parity(*row, &mut orders);
        }
        match orders.as_slice() {
            [] => Err("no order of its stripes fits its parity"),
            [_, _, ..] if self.rows.len() > MOST_ROWS => Err(UNTOLD),
            [order, ..] => Ok(placed(order)),
        }
    }

    /// Whether an order fits all that is known.
    fn fits(&self, order: &[StripePlace]) -> bool {
        let bit =
            |place: &StripePlace| self.outline.places.iter().position(|other| other == place).map(|index| 1 << index);
        let fits = |(slot, places): (&Slot, &[StripePlace])| {
            let bits: Option<Places> = places.iter().map(bit).try_fold(0, |bits, bit| Some(bits | bit?));
            bits.is_some_and(|bits| bits & !slot.allowed == 0 && slot.required & !bits == 0)
        };
        order.len() == self.outline.places.len() && self.slots.iter().zip(order.chunks(self.copies)).all(fits)
    }

    /// Keeps the orders with which the second parity of a row is right. The first is whatever the order.
    fn retain_with_parity(&self, row: u64, orders: &mut Vec<Vec<usize>>) {
        let count = self.outline.places.len();
        let element = |index| {
            let mut bytes = vec![0; STRIPE_LEN as usize];
            self.read(index, row * STRIPE_LEN, &mut bytes).then_some(bytes)
        };
        let elements: Option<Vec<Vec<u8>>> = (0..count).map(element).collect();
        let Some(elements) = elements else { return orders.clear() };
        let (mut p, mut q) = (vec![0; STRIPE_LEN as usize], vec![0; STRIPE_LEN as usize]);
        orders.retain(|order| {
            let column = |column| elements[order[self.numbered.stripe_index(row, column, 1)]].as_slice();
            let columns = self.numbered.data_stripes();
            compute_parity(&(0..columns).map(column).collect::<Vec<_>>(), &mut p, &mut q);
            p == column(columns) && q == column(columns + 1)
        });
    }

    /// The slots, without the places that others are known to have.
    fn narrowed(&self) -> Vec<Slot> {
        let mut slots = self.slots.clone();
        loop {
            let before = slots.iter().map(|slot| slot.allowed.count_ones()).sum::<u32>();
            for index in 0..slots.len() {
                if slots[index].required.count_ones() as usize == self.copies {
                    slots[index].allowed &= slots[index].required;
                }
                let Slot { allowed, required, .. } = slots[index];
                let taken = if allowed.count_ones() as usize == self.copies { allowed } else { required };
                let others = slots.iter_mut().enumerate().filter(|(other, _)| *other != index);
                others.for_each(|(_, slot)| slot.allowed &= !taken);
            }
            if slots.iter().map(|slot| slot.allowed.count_ones()).sum::<u32>() == before {
                return slots;
            }
        }
    }

    /// Hands orders that fit all that is known to `visit`, as long as that returns true. Of copies those by place come first, and no
    /// others. Returns whether these are all orders that there are.
    fn visit_orders(&self, visit: &mut dyn FnMut(&[usize]) -> bool) -> bool {
        let mut search =
            Search { slots: &self.narrowed(), copies: self.copies, count: self.outline.places.len(), steps: 0, visit };
        search.extend(&mut Vec::new(), 0)
    }
}

/// A search for orders.
struct Search<'s> {
    slots: &'s [Slot],
    copies: usize,
    /// Number of places.
    count: usize,
    steps: usize,
    visit: &'s mut dyn FnMut(&[usize]) -> bool,
}

impl Search<'_> {
    /// Goes on with an order that has the places `taken`. Returns whether to go on.
    fn extend(&mut self, order: &mut Vec<usize>, taken: Places) -> bool {
        self.steps += 1;
        let first = order.len() / self.copies * self.copies;
        let Some(slot) = self.slots.get(order.len() / self.copies).copied() else {
            return (self.visit)(order.as_slice());
        };
        let after = order.get(first..).and_then(<[usize]>::last).map_or(0, |last| last + 1);
        let is_last = (order.len() + 1).is_multiple_of(self.copies);
        for index in after..self.count {
            let bit = 1 << index;
            let of_slot: Places = order[first..].iter().fold(bit, |places, index| places | 1 << index);
            if taken & bit != 0 || slot.allowed & bit == 0 || is_last && slot.required & !of_slot != 0 {
                continue;
            }
            order.push(index);
            let goes_on = self.steps < MOST_STEPS && self.extend(order, taken | bit);
            order.pop();
            if !goes_on {
                return false;
            }
        }
        true
    }
}
