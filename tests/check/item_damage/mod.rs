//! Each kind of damage is found, and nothing else with it. No bytes make the verifier panic.

mod leaves;
mod mutations;

use std::collections::BTreeSet;

use leaves::{GENERATION, MIB, NODESIZE, TREES, problems, sound};
use mutations::MUTATIONS;
use rbtrfs::block::item::{ItemProblem, LayoutDamage};
use rbtrfs::disk::flags::header;
use rbtrfs::disk::inode::DirItem;
use rbtrfs::disk::node::{HEADER_SIZE, KeyPtr, node_ptrs};
use rbtrfs::disk::objectid::{BLOCK_GROUP_TREE, DATA_RELOC_TREE, FS_TREE, ROOT_TREE, TREE_LOG};
use rbtrfs::disk::{DiskKey, Key, KeyType};
use rbtrfs::finding::Finding;
use zerocopy::{FromBytes, IntoBytes};

fn codes(problems: &[ItemProblem]) -> BTreeSet<&'static str> {
    problems.iter().map(|problem| problem.code()).collect()
}

/// What is done to a node whose pointers are sound.
type NodeMutation = (&'static str, u64, fn(&mut Vec<u8>));

fn ptr(bytes: &mut [u8], slot: usize) -> &mut KeyPtr {
    KeyPtr::mut_from_prefix(&mut bytes[HEADER_SIZE + slot * size_of::<KeyPtr>()..]).ok().unwrap().0
}

fn set_nritems(bytes: &mut [u8], count: u32) {
    bytes[96..100].copy_from_slice(&count.to_le_bytes());
}

const NODE_MUTATIONS: &[NodeMutation] = &[
    ("node-nritems", FS_TREE, |bytes| set_nritems(bytes, 0)),
    ("node-nritems", FS_TREE, |bytes| {
        for slot in 2..node_ptrs(NODESIZE) as usize {
            *ptr(bytes, slot) = *ptr(bytes, 1);
            ptr(bytes, slot).key.objectid = (300 + slot as u64).into();
        }
        set_nritems(bytes, node_ptrs(NODESIZE) + 1);
    }),
    ("key-order", FS_TREE, |bytes| ptr(bytes, 1).key = ptr(bytes, 0).key),
    ("node-pointer-zero", FS_TREE, |bytes| ptr(bytes, 1).blockptr = 0.into()),
    ("node-pointer-unaligned", FS_TREE, |bytes| ptr(bytes, 1).blockptr = 1.into()),
    ("node-pointer-generation", FS_TREE, |bytes| ptr(bytes, 1).generation = 0.into()),
    ("node-pointer-generation", FS_TREE, |bytes| ptr(bytes, 1).generation = (GENERATION + 1).into()),
    ("node-pointer-generation", TREE_LOG, |bytes| ptr(bytes, 1).generation = (GENERATION + 2).into()),
];

fn node(tree: u64) -> Vec<u8> {
    let mut leaf = leaves::Leaf::new(tree, Vec::new());
    leaf.header.level = 1;
    let mut bytes = leaf.bytes();
    for slot in 0..2 {
        let key = Key::new(256 + slot as u64, KeyType::INODE_ITEM, 0);
        *ptr(&mut bytes, slot) = KeyPtr {
            key: DiskKey::from(key),
            blockptr: (30 * MIB + slot as u64 * 16384).into(),
            generation: GENERATION.into(),
        };
    }
    set_nritems(&mut bytes, 2);
    bytes
}

#[test]
fn sound_leaves_are_sound() {
    for tree in TREES {
        assert_eq!(sound(tree).problems(), [], "tree {tree}");
    }
    assert_eq!(problems(&node(FS_TREE), FS_TREE, 0), []);
}

/// What is done to a sound leaf that leaves it sound.
type Oddity = (&'static str, u64, fn(&mut leaves::Leaf));

/// What kernels and btrfs-convert leave in filesystems.
#[rustfmt::skip]
const ODDITIES: &[Oddity] = &[
    ("a renamed snapshot", FS_TREE, |leaf| leaf.at::<DirItem>(leaves::SUBVOLUME_INDEX).location.offset = 7.into()),
    ("a renamed subvolume", FS_TREE, |leaf| leaf.at::<DirItem>(leaves::SUBVOLUME_INDEX).location.offset = 0.into()),
    ("the data relocation tree of btrfs-convert", ROOT_TREE, |leaf| {
        let position = leaf.items.iter().position(|(key, _)| *key == leaves::LEGACY_TREE).unwrap();
        let (mut key, data) = leaf.items.remove(position);
        (key.objectid, key.offset) = (DATA_RELOC_TREE, GENERATION);
        leaf.items.push((key, data));
        leaf.items.sort();
    }),
    ("an empty snapshot", 300, |leaf| leaf.items.clear()),
    ("an empty tree of block groups", BLOCK_GROUP_TREE, |leaf| leaf.items.clear()),
    ("an empty root of a relocation tree", FS_TREE, |leaf| {
        leaf.header.flags |= header::RELOC;
        leaf.items.clear();
    }),
];

#[test]
fn what_kernels_and_conversions_leave_is_no_damage() {
    for (what, tree, change) in ODDITIES {
        let mut leaf = match TREES.contains(tree) {
            true => sound(*tree),
            false => leaves::Leaf::new(*tree, Vec::new()),
        };
        change(&mut leaf);
        assert_eq!(leaf.problems(), [], "{what}");
    }
}

#[test]
fn each_kind_of_damage_is_found_alone() {
    let mut found = BTreeSet::new();
    let mut wrong = Vec::new();
    let mut compare = |expected: &'static str, problems: Vec<ItemProblem>| {
        let have = codes(&problems);
        if have != expected.split(' ').collect() {
            wrong.push(format!("{expected}: {:?}", problems.iter().map(ToString::to_string).collect::<Vec<_>>()));
        }
        found.extend(have);
    };
    for (expected, tree, mutate) in MUTATIONS {
        let mut leaf = sound(*tree);
        mutate(&mut leaf);
        compare(expected, leaf.problems());
    }
    for (expected, tree, mutate) in NODE_MUTATIONS {
        let mut bytes = node(*tree);
        mutate(&mut bytes);
        compare(expected, problems(&bytes, *tree, 0));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let kinds: BTreeSet<&str> = ItemProblem::kinds().map(|kind| kind.code).collect();
    let missing: Vec<_> = kinds.difference(&found).collect();
    assert!(missing.is_empty(), "kinds that no mutation makes: {missing:?}");
}

#[test]
fn codes_are_unique() {
    let mut seen = BTreeSet::new();
    for kind in ItemProblem::kinds() {
        assert!(seen.insert(kind.code), "{} is declared twice", kind.code);
        assert!(kind.code.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'));
    }
    println!("{} kinds", seen.len());
}

#[test]
fn one_bad_offset_or_size_is_one_problem() {
    let sound = sound(FS_TREE);
    for slot in 0..sound.items.len() {
        for byte in 17..25 {
            let mut bytes = sound.bytes();
            bytes[HEADER_SIZE + slot * 25 + byte] ^= 0x10;
            let found = problems(&bytes, FS_TREE, sound.incompat_flags);
            assert_eq!(found.len(), 1, "slot {slot} byte {byte}: {found:#?}");
        }
    }
}

#[test]
fn problems_say_where_and_what() {
    let mut leaf = sound(FS_TREE);
    leaf.data(leaves::FILE).truncate(5);
    let found = leaf.problems();
    assert_eq!(
        found[0].to_string(),
        "corrupt leaf: root=FS_TREE block=31457280 slot=5 key=(257 INODE_ITEM 0), \
         invalid inode item size, have 5 expect 160"
    );
    assert_eq!(
        serde_json::to_value(&found[0]).unwrap(),
        serde_json::json!({
            "tree": 5, "block": 31457280, "level": 0, "slot": 5,
            "key": {"objectid": 257, "type": 1, "type_name": "INODE_ITEM", "offset": 0},
            "have": 5, "expect": 160,
        })
    );
    leaf.items.clear();
    let found = leaf.problems();
    assert_eq!(found[0].damage, LayoutDamage::LeafEmpty {}.into());
    assert_eq!(
        found[0].to_string(),
        "corrupt leaf: root=FS_TREE block=31457280, invalid nritems, this tree must not be empty"
    );
}

/// A generator of numbers that are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[test]
fn no_flipped_bit_makes_the_verifier_panic() {
    for tree in TREES {
        let leaf = sound(tree);
        let mut bytes = leaf.bytes();
        for position in 0..bytes.len() {
            // Free space between the headers and the data.
            if bytes[position.saturating_sub(32)..].iter().take(64).all(|byte| *byte == 0) {
                continue;
            }
            for bit in 0..8 {
                bytes[position] ^= 1 << bit;
                problems(&bytes, tree, leaf.incompat_flags).iter().for_each(|problem| drop(problem.to_string()));
                bytes[position] ^= 1 << bit;
            }
        }
    }
}

#[test]
fn no_garbage_makes_the_verifier_panic() {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for round in 0..2000 {
        let tree = TREES[numbers.next() as usize % TREES.len()];
        let leaf = sound(tree);
        let mut bytes = leaf.bytes();
        let items = leaf.items.iter().map(|(_, data)| data.len()).sum::<usize>();
        // Into the items, or into everything.
        let start = if round % 2 == 0 { bytes.len() - items } else { HEADER_SIZE };
        for _ in 0..1 + numbers.next() % 64 {
            let position = start + numbers.next() as usize % (bytes.len() - start);
            let value = [0, 0xff, 0x80, numbers.next() as u8][numbers.next() as usize % 4];
            bytes[position..].iter_mut().take(8).for_each(|byte| *byte = value);
        }
        problems(&bytes, tree, numbers.next()).iter().for_each(|problem| drop(problem.as_json_and_text()));
    }
    let mut bytes = vec![0; NODESIZE as usize];
    for level in 0..=255 {
        bytes.iter_mut().for_each(|byte| *byte = numbers.next() as u8);
        bytes[100] = level;
        problems(&bytes, numbers.next(), numbers.next());
    }
    let short = leaves::Leaf::new(FS_TREE, Vec::new()).header;
    problems(short.as_bytes(), FS_TREE, 0);
}

trait AsJsonAndText {
    fn as_json_and_text(&self) -> (serde_json::Value, String);
}

impl AsJsonAndText for ItemProblem {
    fn as_json_and_text(&self) -> (serde_json::Value, String) {
        (serde_json::to_value(self).unwrap(), self.to_string())
    }
}
