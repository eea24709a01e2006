//! One flipped bit of a block that the kernel wrote: what it was is put back, or nothing is.

use std::sync::atomic::{AtomicUsize, Ordering};

use rbtrfs::block::item::{Rules, check_block};
use rbtrfs::block::verify::Expected;
use rbtrfs::block::{Block, BlockKind};
use rbtrfs::disk::csum::CsumType;
use rbtrfs::disk::node::{HEADER_SIZE, Item, KeyPtr};
use rbtrfs::disk::{Key, Logical, objectid};
use rbtrfs::finding::{Finding, Severity};
use rbtrfs::internals::on_threads;
use rbtrfs::repair::flip::{Place, PointerPlace, Witness, unflip, unflip_pointer};
use rbtrfs::survey::{Survey, Trees};
use rbtrfs::tree::{BlockPlace, Entered, Tree, Visit, Visitor, walk};
use rbtrfs::volume::Volume;
use zerocopy::{FromBytes, IntoBytes};

use crate::support::random::Random;
use crate::support::{kernel_image_or_skip, open_mapped, survey_with};

/// A block and its place.
struct Placed {
    bytes: Vec<u8>,
    expected: Expected,
    end: Option<Key>,
    tree: u64,
}

struct Collect;

impl Visitor for Collect {
    type Part = Vec<Placed>;

    fn visit(&self, blocks: &mut Vec<Placed>, place: &BlockPlace<'_>, visit: Visit<'_>) {
        let bytes = visit.block().bytes().to_vec();
        blocks.push(Placed { bytes, expected: place.expected, end: place.end, tree: place.tree.id() });
    }
}

struct Filesystem {
    volume: Volume,
    survey: Survey,
    blocks: Vec<Placed>,
    rules: Rules,
}

impl Filesystem {
    fn of(name: &str) -> Option<Self> {
        let volume = open_mapped(&kernel_image_or_skip(name)?);
        let survey = survey_with(&volume, 2, 1 << 30, true);
        let mut blocks = Vec::new();
        let mut entered = Entered::default();
        for tree in trees(&survey.trees) {
            walk(&volume, &tree, &mut entered, &Collect, &mut blocks);
        }
        let rules = Rules::new(volume.format(), volume.superblock());
        Some(Self { volume, survey, blocks, rules })
    }

    fn place(&self, placed: &Placed) -> Place<'_> {
        let of_files = objectid::may_share_blocks(placed.tree);
        let block = Block::new(&placed.bytes).unwrap();
        Place {
            expected: placed.expected,
            end: placed.end,
            tree: placed.tree,
            owner: (!of_files).then_some(placed.tree),
            chunk_tree_uuid: Some(block.header().chunk_tree_uuid),
            format: self.volume.format(),
            rules: &self.rules,
            witness: Witness::of_extent_item(&self.survey, placed.expected.logical),
        }
    }

    /// Whether the pointer to the block, or a rule, contradicts what it holds.
    fn is_seen(&self, bytes: &[u8], placed: &Placed) -> bool {
        let Ok(block) = self.volume.format().verify(bytes, &placed.expected) else { return true };
        let mut is_seen = block.last_key().zip(placed.end).is_some_and(|(last, end)| last >= end);
        check_block(block, placed.tree, &self.rules, &mut |problem| is_seen |= problem.severity() >= Severity::Error);
        is_seen
    }
}

fn trees(trees: &Trees) -> Vec<Tree> {
    trees.with_extents()
}

/// Bits by where they stand, and what became of their flips.
#[derive(Default, Debug)]
struct Counts {
    found: AtomicUsize,
    none: AtomicUsize,
    /// Nothing contradicts the flip.
    unseen: AtomicUsize,
    wrong: AtomicUsize,
}

impl Counts {
    fn found(&self) -> usize {
        self.found.load(Ordering::Relaxed)
    }

    fn none(&self) -> usize {
        self.none.load(Ordering::Relaxed)
    }

    fn wrong(&self) -> usize {
        self.wrong.load(Ordering::Relaxed)
    }

    fn of(&self, was: &[u8], now: Option<&[u8]>, is_seen: bool) {
        let count = match now {
            None if !is_seen => &self.unseen,
            None => &self.none,
            Some(now) if now == was => &self.found,
            Some(_) => &self.wrong,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Flips on all threads; `flip` is handed each number below `count`.
fn each(count: usize, flip: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    on_threads(2, || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return;
            }
            flip(index);
        }
    });
}

#[test]
fn a_bit_that_flipped_on_the_disk_does_not_lose_its_block() {
    for (name, step) in [("single", 501), ("xxhash", 400_009), ("sha256", 1_100_009), ("blake2", 1_300_021)] {
        let Some(filesystem) = Filesystem::of(name) else { continue };
        let csum_size = filesystem.volume.format().csum_type.size();
        let bits = filesystem.volume.format().nodesize as usize * 8;
        let counts = Counts::default();
        let all: Vec<usize> = (0..filesystem.blocks.len() * bits).step_by(step).collect();
        for index in &all {
            let placed = &filesystem.blocks[index / bits];
            let (offset, bit) = (index % bits / 8, index % 8);
            if (csum_size..32).contains(&offset) {
                continue;
            }
            let mut bytes = placed.bytes.clone();
            bytes[offset] ^= 1 << bit;
            let flip = unflip(&bytes, &filesystem.place(placed), 2);
            assert!(flip.as_ref().is_none_or(|flip| (flip.offset, usize::from(flip.bit)) == (offset, bit)));
            counts.of(&placed.bytes, flip.as_ref().map(|flip| flip.bytes.as_slice()), true);
        }
        println!("{name}: {counts:?}");
        assert_eq!((counts.none(), counts.wrong()), (0, 0), "{name}");
        assert!(counts.found() > 1, "{name}");
    }
}

/// Bits of a block in which damage is met most: all of the header, of some items and pointers, and what comes of all else by
/// chance.
fn telling_bits(placed: &Placed, random: &mut Random, others: usize) -> Vec<usize> {
    let block = Block::new(&placed.bytes).unwrap();
    let element = if placed.expected.level == Some(0) { size_of::<Item>() } else { size_of::<KeyPtr>() };
    let slot = random.below(block.count());
    let start = (HEADER_SIZE + slot * element) * 8;
    let used = random_used(block, random, others);
    (32 * 8..HEADER_SIZE * 8).chain(start..start + element * 8).chain(used).collect()
}

/// Bits that items take.
fn random_used(block: Block<'_>, random: &mut Random, count: usize) -> Vec<usize> {
    let BlockKind::Leaf(leaf) = block.kind() else { return Vec::new() };
    let mut bits = Vec::new();
    for _ in 0..count {
        let item = leaf.item(random.below(block.count())).unwrap();
        if !item.data.is_empty() {
            let byte = HEADER_SIZE + item.offset as usize + random.below(item.data.len());
            bits.push(byte * 8 + random.below(8));
        }
    }
    bits
}

/// With a checksum of its own, a flipped bit is only told by what it contradicts.
#[test]
fn a_bit_that_flipped_in_memory_is_not_mended_into_other_bytes() {
    let (mut header, mut element, mut data) = (Counts::default(), Counts::default(), Counts::default());
    let mut random = Random(0x1234_5678_9abc_def1);
    for name in ["single", "snapshots"] {
        let Some(filesystem) = Filesystem::of(name) else { continue };
        let csum_type = filesystem.volume.format().csum_type;
        let step = filesystem.blocks.len().div_ceil(BLOCKS).max(1);
        let mut flips = Vec::new();
        for placed in filesystem.blocks.iter().step_by(step) {
            let block = Block::new(&placed.bytes).unwrap();
            if block.count() > 0 {
                flips.extend(telling_bits(placed, &mut random, 120).into_iter().map(|bit| (placed, bit)));
            }
        }
        let (header, element, data) = (&header, &element, &data);
        each(flips.len(), |index| {
            let (placed, bit) = flips[index];
            let mut bytes = placed.bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            csum_type.stamp(&mut bytes);
            let flip = unflip(&bytes, &filesystem.place(placed), 1);
            let block = Block::new(&placed.bytes).unwrap();
            let elements = block.count() * if block.level() == 0 { size_of::<Item>() } else { size_of::<KeyPtr>() };
            let counts = match bit / 8 {
                ..HEADER_SIZE => header,
                at if at < HEADER_SIZE + elements => element,
                _ => data,
            };
            counts.of(
                &placed.bytes,
                flip.as_ref().map(|flip| flip.bytes.as_slice()),
                filesystem.is_seen(&bytes, placed),
            );
            if flip.as_ref().is_some_and(|flip| flip.bytes != placed.bytes) {
                println!(
                    "{name} tree {} block {} bit {bit}: {:?}",
                    placed.tree,
                    placed.expected.logical,
                    flip.map(|it| it.field)
                );
            }
        });
    }
    for (what, counts) in [("header", &mut header), ("elements", &mut element), ("data", &mut data)] {
        println!("{what}: {counts:?}");
        assert_eq!(counts.wrong(), 0, "{what}");
        assert!(counts.found() > 0, "{what}");
    }
    // What is contradicted is found, but for keys that would be in order in several ways; how many there are is by chance.
    for counts in [&header, &element, &data] {
        assert!(counts.found() > 2 * counts.none(), "{counts:?}");
    }
}

/// Blocks of each filesystem that are tried.
const BLOCKS: usize = 4;

#[test]
fn a_pointer_with_a_flipped_bit_does_not_lead_to_another_block() {
    let Some(filesystem) = Filesystem::of("snapshots") else { return };
    let (address, generation, key) = (Counts::default(), Counts::default(), Counts::default());
    let mut random = Random(77);
    let nodes: Vec<&Placed> = filesystem.blocks.iter().filter(|placed| placed.expected.level != Some(0)).collect();
    let mut flips = Vec::new();
    for placed in nodes.iter().take(40) {
        let slot = random.below(Block::new(&placed.bytes).unwrap().count());
        flips.extend((0..size_of::<KeyPtr>() * 8).map(|bit| (*placed, slot, bit)));
    }
    each(flips.len(), |index| {
        let (placed, slot, bit) = flips[index];
        let block = Block::new(&placed.bytes).unwrap();
        let BlockKind::Node(node) = block.kind() else { unreachable!() };
        let ptr = node.ptrs()[slot];
        let mut bytes = ptr.as_bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let address_was = Logical::from(ptr.blockptr);
        let flipped = KeyPtr::read_from_bytes(&bytes).unwrap();
        let place = PointerPlace {
            ptr: flipped,
            parent_level: block.level(),
            parent_generation: block.generation(),
            after: slot.checked_sub(1).and_then(|slot| block.key(slot)),
            end: block.key(slot + 1).or(placed.end),
            tree: placed.tree,
            is_owner: &|owner| owner == placed.tree || objectid::may_share_blocks(placed.tree),
            // The survey of the damaged tree would not have reached the block.
            is_referenced: &|logical| logical != address_was && is_reached(&filesystem.survey, logical),
            rules: &filesystem.rules,
            witness: Witness {
                first_key: (slot == 0).then(|| Key::from(&ptr.key)),
                ..Witness::of_extent_item(&filesystem.survey, flipped.blockptr.into())
            },
        };
        let flip = unflip_pointer(&filesystem.volume, &place);
        let counts = match bit / 8 {
            ..17 => &key,
            17..25 => &address,
            _ => &generation,
        };
        counts.of(ptr.as_bytes(), flip.as_ref().map(|flip| flip.ptr.as_bytes()), true);
    });
    println!("address: {address:?}\ngeneration: {generation:?}\nkey: {key:?}");
    assert_eq!((address.wrong(), generation.wrong(), key.wrong()), (0, 0, 0));
    assert_eq!((address.none(), generation.none()), (0, 0));
    assert!(key.found() > key.none() / 2);
}

fn is_reached(survey: &Survey, logical: Logical) -> bool {
    survey.blocks.records.iter_from(logical.0).next().is_some_and(|record| record.logical == logical)
}

/// A block and its pointer that contradict each other in one bit are both right by themselves: without a witness neither is
/// changed.
#[test]
fn a_pointer_with_a_flipped_bit_does_not_change_its_block() {
    let Some(filesystem) = Filesystem::of("snapshots") else { return };
    let mut tried = 0;
    for placed in filesystem.blocks.iter().filter(|placed| placed.expected.first_key.is_some()).step_by(7) {
        let sound = filesystem.place(placed);
        for bit in 0..20 {
            let generation =
                placed.expected.generation.map(|generation| rbtrfs::disk::Transid(generation.0 ^ 1 << bit));
            let first_key = placed.expected.first_key.map(|key| Key { offset: key.offset ^ 1 << bit, ..key });
            for expected in [Expected { generation, ..placed.expected }, Expected { first_key, ..placed.expected }] {
                for witness in [Witness::default(), sound.witness] {
                    assert_eq!(unflip(&placed.bytes, &Place { expected, witness, ..sound }, 1), None);
                    tried += 1;
                }
            }
        }
    }
    assert!(tried > 1000);
}

#[test]
fn a_sound_block_is_not_changed() {
    let Some(filesystem) = Filesystem::of("snapshots") else { return };
    assert_eq!(filesystem.volume.format().csum_type, CsumType::Crc32c);
    for placed in &filesystem.blocks {
        assert_eq!(unflip(&placed.bytes, &filesystem.place(placed), 1), None);
    }
}
