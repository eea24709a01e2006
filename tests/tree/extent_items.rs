//! The items of extents with references of every kind, against counts of the references, and those of checksums.

use std::collections::{BTreeMap, HashMap};

use crate::support::random::Random;
use crate::support::store::{Store, TREE};
use rbtrfs::block::Block;
use rbtrfs::block::extent_item::{ExtentKind, Format};
use rbtrfs::block::item::{Rules, check_block};
use rbtrfs::block::reference::Reference;
use rbtrfs::block::verify::Format as BlockFormat;
use rbtrfs::disk::extent::{ExtentItem, InlineRefs};
use rbtrfs::disk::fields::Uuid;
use rbtrfs::disk::flags::extent::{DATA, FULL_BACKREF, TREE_BLOCK};
use rbtrfs::disk::flags::incompat::SKINNY_METADATA;
use rbtrfs::disk::{CsumType, Key, KeyType, Logical, Superblock, Transid, hash, objectid};
use rbtrfs::trans::CsumForm;
use rbtrfs::trans::delayed_refs::DelayedRef;
use rbtrfs::trans::delayed_refs::item::{Fate, apply};
use rbtrfs::tree::TreeRoot;
use rbtrfs::tree::edit::{Editor, create};

const NODESIZE: u32 = 4096;
/// Bytes that an extent's item stays below: a sixteenth of a leaf but for an item header.
const LARGEST: usize = (NODESIZE as usize - 101) / 16 - 25;

type Items = BTreeMap<Key, Vec<u8>>;
type Counts = BTreeMap<Reference, u64>;

struct Extents {
    store: Store,
    root: TreeRoot,
    format: Format,
}

impl Extents {
    fn new(is_skinny: bool) -> Self {
        let mut store = Store::new(NODESIZE);
        let root = create(&mut store, Key::new(TREE, KeyType::ROOT_ITEM, 0)).unwrap();
        Self { store, root, format: Format { nodesize: NODESIZE, is_skinny, generation: Transid(1) } }
    }

    fn apply(&mut self, logical: u64, change: &DelayedRef) -> Result<Fate, String> {
        let fate = apply(&mut self.root, &mut self.store, &self.format, Logical(logical), change);
        fate.map_err(|error| error.to_string())
    }

    fn change(&mut self, logical: u64, kind: ExtentKind, counts: &[(Reference, i64)]) -> Result<Fate, String> {
        let is_new = self.items(logical).is_empty();
        let new = is_new.then(|| Key::new(257, KeyType::INODE_ITEM, 0));
        self.apply(
            logical,
            &DelayedRef { kind, new, counts: counts.iter().copied().collect(), sets_full_backref: false },
        )
    }

    fn items(&self, logical: u64) -> Items {
        let mut items = self.store.items(self.root.logical);
        items.retain(|key, _| key.objectid == logical);
        items
    }

    fn edit(&mut self) -> Editor<'_, Store> {
        Editor::new(&mut self.root, &mut self.store)
    }

    /// What the items of an extent say; fails on what the verifier of items finds in any of them.
    fn counts(&mut self, logical: u64) -> Counts {
        self.verify();
        let items = self.items(logical);
        let mut counts = Counts::new();
        let mut add = |reference, count: u64| assert!(counts.insert(reference, count).is_none(), "{reference} twice");
        let mut refs = 0;
        for (key, data) in &items {
            let number = key.offset;
            match key.key_type {
                KeyType::EXTENT_ITEM | KeyType::METADATA_ITEM => {
                    let (extent, rest) = ExtentItem::read_prefix(data).unwrap();
                    refs = extent.refs.get();
                    let is_full_block = key.key_type == KeyType::EXTENT_ITEM && extent.flags.get() & TREE_BLOCK != 0;
                    let rest = if is_full_block { &rest[18..] } else { rest };
                    for inline_ref in InlineRefs::new(rest) {
                        if let Some((reference, count)) = Reference::of_inline(inline_ref.ok().unwrap()) {
                            add(reference, count);
                        }
                    }
                    assert!(data.len() < LARGEST, "{} bytes", data.len());
                }
                KeyType::TREE_BLOCK_REF => add(Reference::TreeBlock { root: number }, 1),
                KeyType::SHARED_BLOCK_REF => add(Reference::SharedBlock { parent: Logical(number) }, 1),
                KeyType::SHARED_DATA_REF => {
                    let count = u32::from_le_bytes(*data.first_chunk().unwrap());
                    add(Reference::SharedData { parent: Logical(number) }, count.into());
                }
                KeyType::EXTENT_DATA_REF => {
                    let [root, objectid, offset] =
                        [0, 8, 16].map(|at| u64::from_le_bytes(*data[at..].first_chunk().unwrap()));
                    let count = u32::from_le_bytes(*data[24..].first_chunk().unwrap());
                    add(Reference::ExtentData { root, objectid, offset }, count.into());
                }
                _ => panic!("{key}"),
            }
        }
        assert_eq!(counts.values().sum::<u64>(), refs);
        counts
    }

    fn keyed(&self, logical: u64) -> usize {
        self.items(logical).len() - 1
    }

    fn verify(&self) {
        let (csum_type, fsids) = (CsumType::Crc32c, vec![Uuid([7; 16])]);
        let format = BlockFormat { csum_type, nodesize: NODESIZE, sectorsize: 4096, fsids };
        let mut superblock = Superblock::zeroed();
        superblock.generation = 1.into();
        if self.format.is_skinny {
            superblock.incompat_flags = SKINNY_METADATA.into();
        }
        let rules = Rules::new(&format, &superblock);
        for logical in self.store.addresses() {
            let block = Block::new(self.store.bytes(logical)).unwrap();
            check_block(block, TREE, &rules, &mut |problem| panic!("{problem}"));
        }
    }
}

/// A number below `bound`.
fn below(random: &mut Random, bound: u64) -> u64 {
    random.next() % bound
}

const BLOCK: ExtentKind = ExtentKind::Block { level: 1 };
const EXTENT: ExtentKind = ExtentKind::Data { length: 65536 };

fn reference(kind: ExtentKind, number: u64) -> Reference {
    match (kind, number % 2) {
        (ExtentKind::Block { .. }, 0) => Reference::TreeBlock { root: 256 + number },
        (ExtentKind::Block { .. }, _) => Reference::SharedBlock { parent: Logical(number << 14) },
        (ExtentKind::Data { .. }, 0) => {
            Reference::ExtentData { root: 256 + number % 5, objectid: 257 + number, offset: number << 12 }
        }
        (ExtentKind::Data { .. }, _) => Reference::SharedData { parent: Logical(number << 14) },
    }
}

#[test]
fn references_that_come_and_go_at_random_are_all_counted() {
    for (seed, is_skinny) in [(1, true), (2, false)] {
        let mut random = Random(seed);
        let mut extents = Extents::new(is_skinny);
        let mut model: BTreeMap<u64, Counts> = BTreeMap::new();
        let mut most_keyed = 0;
        for round in 0..4000 {
            let number = 1 + below(&mut random, 12);
            let logical = number << 20;
            let kind = if number.is_multiple_of(3) { BLOCK } else { EXTENT };
            let counts = model.entry(logical).or_default();
            // Extents grow for a while, and then shrink.
            let is_shrinking = round / 500 % 2 == 1;
            let mut changes: BTreeMap<Reference, i64> = BTreeMap::new();
            for _ in 0..1 + below(&mut random, 6) {
                let reference = reference(kind, 1 + below(&mut random, 60));
                let count = counts.get(&reference).copied().unwrap_or_default() as i64;
                let most = if kind == BLOCK { 1 } else { 5 };
                let wanted = if is_shrinking {
                    below(&mut random, 2) as i64 * count
                } else {
                    1 + below(&mut random, most) as i64
                };
                changes.insert(reference, wanted - count);
            }
            let changes: Vec<(Reference, i64)> = changes.into_iter().collect();
            for (reference, by) in &changes {
                let count = counts.entry(*reference).or_default();
                *count = count.checked_add_signed(*by).unwrap();
            }
            counts.retain(|_, count| *count > 0);
            let was_there = !extents.items(logical).is_empty();
            let fate = extents.change(logical, kind, &changes).unwrap();
            let expected = if counts.is_empty() { Fate::Free } else { Fate::InUse };
            if was_there && changes.iter().all(|(_, by)| *by == 0) {
                assert_eq!(fate, Fate::InUse);
            } else {
                assert_eq!(fate, expected);
            }
            assert_eq!(extents.counts(logical), *counts, "round {round}");
            most_keyed = most_keyed.max(extents.items(logical).len());
        }
        assert!(most_keyed > 40, "{most_keyed}");
    }
}

#[test]
fn every_kind_of_reference_stands_inline_and_with_an_item_and_inline_again() {
    for (kind, odd) in [(BLOCK, 0), (BLOCK, 1), (EXTENT, 0), (EXTENT, 1)] {
        for is_skinny in [true, false] {
            let mut extents = Extents::new(is_skinny);
            let all: Vec<Reference> = (1..40).map(|number| reference(kind, 2 * number + odd)).collect();
            let mut inline = 0;
            for (number, reference) in all.iter().enumerate() {
                assert_eq!(extents.change(1 << 20, kind, &[(*reference, 1)]), Ok(Fate::InUse));
                assert_eq!(extents.counts(1 << 20).len(), number + 1);
                inline = number + 1 - extents.keyed(1 << 20);
            }
            let size = [9, 9, 29, 13][2 * usize::from(kind == EXTENT) + odd as usize];
            let header = 24 + if kind == BLOCK && !is_skinny { 18 } else { 0 };
            assert_eq!(inline, (LARGEST - 1 - header) / size);
            // While there are items of references, none is added to the extent's.
            extents.change(1 << 20, kind, &[(all[0], -1)]).unwrap();
            extents.change(1 << 20, kind, &[(all[0], 1)]).unwrap();
            assert_eq!(extents.keyed(1 << 20), all.len() - inline + 1);
            // As soon as they are gone, there is room again.
            let keyed = |extents: &Extents| extents.items(1 << 20).into_keys().next_back().unwrap();
            while extents.keyed(1 << 20) > 0 {
                let last = keyed(&extents);
                let gone = *all.iter().find(|reference| key_of(**reference) == (last.key_type, last.offset)).unwrap();
                extents.change(1 << 20, kind, &[(gone, -1)]).unwrap();
            }
            let absent = *all.iter().find(|reference| !extents.counts(1 << 20).contains_key(reference)).unwrap();
            extents.change(1 << 20, kind, &[(absent, 1)]).unwrap();
            assert_eq!(extents.keyed(1 << 20), 0);
            let rest: Vec<_> = extents.counts(1 << 20).into_keys().map(|reference| (reference, -1)).collect();
            assert_eq!(extents.change(1 << 20, kind, &rest), Ok(Fate::Free));
            assert!(extents.items(1 << 20).is_empty());
        }
    }
}

fn key_of(reference: Reference) -> (KeyType, u64) {
    match reference {
        Reference::TreeBlock { root } => (KeyType::TREE_BLOCK_REF, root),
        Reference::SharedBlock { parent } => (KeyType::SHARED_BLOCK_REF, parent.0),
        Reference::SharedData { parent } => (KeyType::SHARED_DATA_REF, parent.0),
        Reference::ExtentData { root, objectid, offset } => {
            (KeyType::EXTENT_DATA_REF, hash::extent_data_ref(root, objectid, offset))
        }
    }
}

/// References of files with one hash.
fn colliding() -> (Reference, Reference) {
    let (mut random, mut seen) = (Random(3), HashMap::new());
    loop {
        let (objectid, offset) = (257 + below(&mut random, 1 << 40), below(&mut random, 1 << 40) << 12);
        let reference = Reference::ExtentData { root: 5, objectid, offset };
        if let Some(other) = seen.insert(key_of(reference), reference).filter(|other| *other != reference) {
            return (other, reference);
        }
    }
}

#[test]
fn references_of_one_hash_are_told_apart() {
    let (one, other) = colliding();
    for filler in [0, 30] {
        let mut extents = Extents::new(true);
        let fill: Vec<_> = (1..=filler).map(|number| (reference(EXTENT, 2 * number + 1), 1)).collect();
        extents.change(1 << 20, EXTENT, &fill).unwrap();
        extents.change(1 << 20, EXTENT, &[(one, 2), (other, 3)]).unwrap();
        let counts = extents.counts(1 << 20);
        assert_eq!((counts[&one], counts[&other]), (2, 3));
        // The second one is found where the first left a hole, and the first does not come twice.
        extents.change(1 << 20, EXTENT, &[(one, -2)]).unwrap();
        extents.change(1 << 20, EXTENT, &[(other, 1)]).unwrap();
        assert_eq!(extents.counts(1 << 20)[&other], 4);
        extents.change(1 << 20, EXTENT, &[(one, 7)]).unwrap();
        let counts = extents.counts(1 << 20);
        assert_eq!((counts[&one], counts[&other]), (7, 4));
        assert_eq!(extents.keyed(1 << 20) > 0, filler > 0);
    }
}

#[test]
fn a_block_is_marked_when_its_references_become_those_of_a_parent() {
    let mut extents = Extents::new(true);
    let (tree, other) = (Reference::TreeBlock { root: 256 }, Reference::TreeBlock { root: 257 });
    extents.change(1 << 20, BLOCK, &[(tree, 1), (other, 1)]).unwrap();
    let change = DelayedRef { kind: BLOCK, new: None, counts: [(tree, -1)].into(), sets_full_backref: true };
    assert_eq!(extents.apply(1 << 20, &change), Ok(Fate::InUse));
    let items = extents.items(1 << 20);
    let (extent, _) = ExtentItem::read_prefix(items.first_key_value().unwrap().1).unwrap();
    assert_eq!((extent.flags.get(), extent.refs.get()), (TREE_BLOCK | FULL_BACKREF, 1));
    // It stays so.
    extents.change(1 << 20, BLOCK, &[(tree, 1)]).unwrap();
    let items = extents.items(1 << 20);
    let (extent, _) = ExtentItem::read_prefix(items.first_key_value().unwrap().1).unwrap();
    assert_eq!((extent.flags.get(), extent.refs.get()), (TREE_BLOCK | FULL_BACKREF, 2));
}

#[test]
fn what_contradicts_the_extent_tree_is_an_error_and_changes_nothing() {
    let (tree, other) = (Reference::TreeBlock { root: 256 }, Reference::TreeBlock { root: 257 });
    let file = Reference::ExtentData { root: 5, objectid: 257, offset: 0 };
    let mut extents = Extents::new(true);
    extents.change(1 << 20, BLOCK, &[(tree, 1), (other, 1)]).unwrap();
    extents.change(2 << 20, EXTENT, &[(file, 2)]).unwrap();
    let many: Vec<_> = (1..60).map(|number| (reference(EXTENT, number), 1)).collect();
    extents.change(3 << 20, EXTENT, &many).unwrap();
    let before = extents.store.items(extents.root.logical);
    let stranger = Reference::TreeBlock { root: 300 };
    let file_stranger = Reference::ExtentData { root: 5, objectid: 300, offset: 0 };
    let leaf = Reference::SharedData { parent: Logical(1 << 30) };
    let full = Reference::ExtentData { root: 5, objectid: 257, offset: 0 };
    for (logical, kind, counts, telling) in [
        (1 << 20, BLOCK, vec![(stranger, -1)], "no reference of tree 300"),
        (1 << 20, BLOCK, vec![(tree, -2)], "too few references of tree 256"),
        (1 << 20, BLOCK, vec![(tree, 1)], "too many references of tree 256"),
        (1 << 20, ExtentKind::Block { level: 0 }, vec![(tree, -1)], "no item"),
        (1 << 20, EXTENT, vec![(file, 1)], "no item"),
        (2 << 20, EXTENT, vec![(file, -3)], "too few references of tree 5 inode 257 offset 0"),
        (2 << 20, EXTENT, vec![(file_stranger, -1)], "no reference of tree 5 inode 300"),
        (2 << 20, EXTENT, vec![(full, u32::MAX.into())], "too many references"),
        (2 << 20, ExtentKind::Data { length: 4096 }, vec![(file, -1)], "no item"),
        (3 << 20, EXTENT, vec![(leaf, -1)], "no reference of leaf"),
        (3 << 20, EXTENT, vec![(file_stranger, -1)], "no reference of tree 5 inode 300"),
    ] {
        let change = DelayedRef { kind, new: None, counts: counts.into_iter().collect(), sets_full_backref: false };
        let error = extents.apply(logical, &change).unwrap_err();
        assert!(error.contains(telling) && error.contains(&logical.to_string()), "{error}, not {telling}");
        assert_eq!(extents.store.items(extents.root.logical), before, "{telling}");
    }
}

#[test]
fn damaged_extent_items_are_not_built_upon() {
    let tree = Reference::TreeBlock { root: 256 };
    let inline = |root: u64| [&[KeyType::TREE_BLOCK_REF.0][..], &root.to_le_bytes()].concat();
    let header = |refs: u64, flags: u64| [refs, 1, flags].map(u64::to_le_bytes).concat();
    let keyed = Key::new(1 << 20, KeyType::SHARED_BLOCK_REF, 1 << 30);
    for (data, more, telling) in [
        (header(1, TREE_BLOCK)[..20].to_vec(), false, "too short"),
        ([header(1, DATA), inline(256)].concat(), false, "flags of another kind"),
        ([header(3, TREE_BLOCK), inline(300), inline(256), inline(256)].concat(), false, "out of order"),
        ([header(2, TREE_BLOCK), inline(256), inline(300)].concat(), false, "out of order"),
        ([header(1, TREE_BLOCK), inline(300), inline(256)].concat(), false, "fewer references"),
        ([header(0, TREE_BLOCK), inline(256)].concat(), false, "fewer references"),
        ([header(1, TREE_BLOCK), inline(256), vec![9; 9]].concat(), false, "makes no sense"),
        ([header(1, TREE_BLOCK), inline(256), vec![KeyType::SHARED_DATA_REF.0; 13]].concat(), false, "out of place"),
        // More are counted, or listed, than are left.
        ([header(2, TREE_BLOCK), inline(256)].concat(), false, "does not count"),
        ([header(1, TREE_BLOCK), inline(256)].concat(), true, "does not count"),
    ] {
        let mut extents = Extents::new(true);
        extents.edit().insert(Key::new(1 << 20, KeyType::METADATA_ITEM, 1), &data).unwrap();
        if more {
            extents.edit().insert(keyed, &[]).unwrap();
        }
        let before = extents.items(1 << 20);
        let change = DelayedRef { kind: BLOCK, new: None, counts: [(tree, -1)].into(), sets_full_backref: false };
        let error = extents.apply(1 << 20, &change).unwrap_err();
        assert!(error.contains(telling), "{error}, not {telling}");
        assert_eq!(extents.items(1 << 20), before);
    }
}

#[test]
fn who_pays_under_simple_quotas_stays_before_the_references() {
    let file = Reference::ExtentData { root: 5, objectid: 257, offset: 0 };
    let mut extents = Extents::new(true);
    extents.change(1 << 20, EXTENT, &[(file, 1)]).unwrap();
    let key = Key::new(1 << 20, KeyType::EXTENT_ITEM, 65536);
    let mut data = extents.items(1 << 20)[&key].clone();
    data.splice(24..24, [&[KeyType::EXTENT_OWNER_REF.0][..], &300_u64.to_le_bytes()].concat());
    extents.edit().replace(key, &data).unwrap();
    extents.change(1 << 20, EXTENT, &[(file, 1)]).unwrap();
    let changed = &extents.items(1 << 20)[&key];
    assert_eq!((changed[24..33].to_vec(), changed.len(), changed[0]), (data[24..33].to_vec(), data.len(), 2));
    assert_eq!(extents.change(1 << 20, EXTENT, &[(file, -2)]), Ok(Fate::Free));
}

/// The sectors whose checksums the items have. The checksum of a sector is its number.
fn summed(extents: &Extents, size: usize) -> Vec<u64> {
    let mut found = Vec::new();
    for (key, data) in extents.store.items(extents.root.logical) {
        assert_eq!((key.objectid, key.key_type), (objectid::EXTENT_CSUM, KeyType::EXTENT_CSUM));
        assert!(!data.is_empty() && data.len() % size == 0);
        for (number, sum) in data.chunks(size).enumerate() {
            let sector = key.offset / 4096 + number as u64;
            assert_eq!(sum, vec![sector as u8; size]);
            found.push(sector);
        }
    }
    found
}

#[test]
fn checksums_of_a_range_go_and_no_others() {
    const SECTORS: u64 = 3000;
    let mut random = Random(11);
    for size in [4, 8, 32] {
        for _ in 0..20 {
            let mut extents = Extents::new(true);
            let mut model: Vec<u64> = Vec::new();
            let mut sector = 1 + below(&mut random, 3);
            while sector < SECTORS {
                let count = 1 + below(&mut random, 90);
                let sums: Vec<u8> = (sector..sector + count).flat_map(|sector| vec![sector as u8; size]).collect();
                let key = Key::new(objectid::EXTENT_CSUM, KeyType::EXTENT_CSUM, sector * 4096);
                extents.edit().insert(key, &sums).unwrap();
                model.extend(sector..sector + count);
                sector += count + below(&mut random, 2) * below(&mut random, 10);
            }
            let sums = CsumForm { size: size as u64, sectorsize: 4096 };
            for _ in 0..60 {
                let most = [5, 40, 300][below(&mut random, 3) as usize];
                let (start, count) = (below(&mut random, SECTORS), 1 + below(&mut random, most));
                sums.delete(&mut extents.root, &mut extents.store, Logical(start * 4096), count * 4096).unwrap();
                model.retain(|sector| !(start..start + count).contains(sector));
                assert_eq!(summed(&extents, size), model);
            }
        }
    }
}

#[test]
fn checksums_that_are_not_whole_are_an_error() {
    let sums = CsumForm { size: 4, sectorsize: 4096 };
    for (offset, size) in [(4096, 5), (4096, 0), (100, 8), (u64::MAX - 4095, 400)] {
        let mut extents = Extents::new(true);
        extents.edit().insert(Key::new(objectid::EXTENT_CSUM, KeyType::EXTENT_CSUM, offset), &vec![1; size]).unwrap();
        let (start, length) = (offset / 4096 * 4096, 8192);
        let deleted = sums.delete(&mut extents.root, &mut extents.store, Logical(start), length);
        assert!(deleted.unwrap_err().to_string().contains("whole checksums"));
    }
}
