//! Tree blocks are what points to them says, on all mirrors: each kind of damage is found for itself, at its place, and
//! nothing is said of what cannot be known because of it.

use std::collections::BTreeSet;

use crate::support::damage::{Case, assert_each_is_found_for_itself, case, problems_of};
use crate::support::extents::read_extents;
use crate::support::inject::Injector;
use crate::support::kernel_image_or_skip;
use crate::support::soundness::describe;
use rbtrfs::block::BlockKind;
use rbtrfs::block::verify::Expected;
use rbtrfs::disk::inode::DirItem;
use rbtrfs::disk::node::{HEADER_SIZE, Header, Item, KeyPtr};
use rbtrfs::disk::objectid::{CHUNK_TREE, CSUM_TREE, EXTENT_TREE, FIRST_FREE, FS_TREE, ROOT_TREE};
use rbtrfs::disk::{Key, KeyType, Logical, hash};
use rbtrfs::finding::Finding;
use rbtrfs::internals::Cursor;
use rbtrfs::problem::{BlockProblem, Problem};
use rbtrfs::tree::{Levels, TreeRoot, Walk};
use rbtrfs::volume::Volume;
use serde_json::json;
use zerocopy::{FromBytes, IntoBytes};

fn header(block: &mut [u8]) -> &mut Header {
    Header::mut_from_prefix(block).unwrap().0
}

fn first_item(block: &mut [u8]) -> &mut Item {
    Item::mut_from_prefix(&mut block[HEADER_SIZE..]).unwrap().0
}

fn ptr(block: &mut [u8], slot: usize) -> &mut KeyPtr {
    KeyPtr::mut_from_prefix(&mut block[HEADER_SIZE + slot * size_of::<KeyPtr>()..]).unwrap().0
}

/// The pointers of the root of a tree.
fn ptrs(it: &Injector, tree: u64) -> Vec<KeyPtr> {
    let (volume, mut buffer) = (it.volume(), Vec::new());
    let read = volume.read_block(&it.root(tree).expected(), &mut buffer).unwrap();
    let BlockKind::Node(node) = read.block.kind() else { panic!("the tree has a node") };
    node.ptrs().to_vec()
}

/// The last leaf below the root of a tree of two levels.
fn last_leaf(it: &Injector, tree: u64) -> Logical {
    ptrs(it, tree).last().unwrap().blockptr.into()
}

fn flip(block: &mut [u8]) {
    block[HEADER_SIZE + 3] ^= 0x10;
}

fn unreadable(tree: u64, level: u8, what: &'static str, edit: fn(&mut [u8])) -> Case {
    case("block-unreadable", move |it| {
        let block = if level > 0 { it.root(tree).logical } else { last_leaf(it, tree) };
        it.block(block, edit);
        let found = problems_of(it);
        assert!(found.iter().all(|problem| problem.to_string().contains(what)), "{what}:{}", describe(&found));
        json!({"tree": tree, "block": block, "level": level})
    })
    .on("nodesize-4k")
}

fn unreadable_blocks() -> Vec<Case> {
    let leaf_and_node = |what, edit| [unreadable(EXTENT_TREE, 0, what, edit), unreadable(FS_TREE, 1, what, edit)];
    let mut cases: Vec<Case> = [0, 1]
        .into_iter()
        .map(|level| {
            case("block-unreadable", move |it| {
                let block = if level > 0 { it.root(FS_TREE).logical } else { last_leaf(it, FS_TREE) };
                it.block_unstamped(block, flip);
                json!({"tree": FS_TREE, "block": block, "level": level})
            })
            .on("nodesize-4k")
        })
        .collect();
    cases.extend(leaf_and_node("bytenr mismatch", |block| header(block).bytenr += 4096));
    cases.extend(leaf_and_node("fsid mismatch", |block| header(block).fsid.0[3] ^= 1));
    cases.extend(leaf_and_node("level mismatch", |block| header(block).level += 1));
    cases.extend(leaf_and_node("invalid level", |block| header(block).level = 8));
    cases.extend(leaf_and_node("parent transid mismatch", |block| header(block).generation -= 1));
    cases.push(unreadable(EXTENT_TREE, 0, "first key mismatch", |block| first_item(block).key.offset += 1));
    cases.push(unreadable(EXTENT_TREE, 0, "no first key", |block| header(block).nritems.set(0)));
    // The pointer, and not the block.
    cases.push(
        case("block-unreadable", |it| {
            let last = ptrs(it, FS_TREE).len() - 1;
            it.block(it.root(FS_TREE).logical, |block| ptr(block, last).blockptr.set(1 << 40));
            json!({"tree": FS_TREE, "block": 1_u64 << 40, "problem": "no chunk holds this address"})
        })
        .on("nodesize-4k")
        .also(&["extent-item-missing", "extent-unreferenced"]),
    );
    cases
}

/// A checksum that is wrong, and a block that is sound and older: a write that was lost.
fn bad_copies() -> Vec<Case> {
    let mut cases = Vec::new();
    for (image, mirrors) in [("dup", 2), ("raid1", 2), ("raid1c3", 3), ("raid1c4", 4), ("raid10", 2), ("mixed-dup", 2)]
    {
        for mirror in 1..=mirrors {
            for tree in [ROOT_TREE, CHUNK_TREE, FS_TREE] {
                cases.push(
                    case("block-bad-copy", move |it| {
                        let block = it.root(tree).logical;
                        let (devid, physical) = it.block_copy(block, mirror, flip);
                        json!({"tree": tree, "block": block, "devid": devid, "physical": physical})
                    })
                    .on(image),
                );
            }
        }
    }
    cases.push(
        case("block-bad-copy", |it| {
            let (block, csum_type) = (it.root(CSUM_TREE).logical, it.volume().format().csum_type);
            let (devid, physical) = it.block_copy(block, 2, |block| {
                header(block).generation -= 1;
                csum_type.stamp(block);
            });
            let (found, expected) =
                (it.root(CSUM_TREE).generation.unwrap().0 - 1, it.root(CSUM_TREE).generation.unwrap());
            let problem = format!("parent transid mismatch, have {found} expect {expected}");
            json!({"block": block, "devid": devid, "physical": physical, "problem": problem})
        })
        .on("dup"),
    );
    cases
}

fn places() -> Vec<Case> {
    vec![
        case("block-owner", |it| {
            let block = it.root(CSUM_TREE).logical;
            it.block(block, |block| header(block).owner.set(99));
            json!({"tree": CSUM_TREE, "block": block, "have": 99, "expect": CSUM_TREE})
        }),
        case("block-owner", |it| {
            let block = it.root(FS_TREE).logical;
            it.block(block, |block| header(block).owner.set(EXTENT_TREE));
            json!({"tree": FS_TREE, "block": block, "have": EXTENT_TREE, "expect": FS_TREE})
        })
        .on("nodesize-4k"),
        case("block-owner", |it| {
            let block = last_leaf(it, EXTENT_TREE);
            it.block(block, |block| header(block).owner.set(FS_TREE));
            json!({"tree": EXTENT_TREE, "block": block, "have": FS_TREE, "expect": EXTENT_TREE})
        })
        .on("nodesize-4k"),
        case("block-owner", |it| {
            let block = last_leaf(it, FS_TREE);
            it.block(block, |block| header(block).owner.set(99));
            json!({"tree": FS_TREE, "block": block, "have": 99, "expect": FS_TREE})
        })
        .on("nodesize-4k"),
        // The root of a snapshot, of which only blocks below it are shared.
        case("block-owner", |it| {
            let root = it.root(FIRST_FREE);
            it.block(root.logical, |block| header(block).owner.set(FS_TREE));
            json!({"tree": FIRST_FREE, "block": root.logical, "have": FS_TREE, "expect": FIRST_FREE})
        }),
        case("block-chunk-tree-uuid", |it| {
            let block = it.root(CSUM_TREE).logical;
            it.block(block, |block| header(block).chunk_tree_uuid.0[0] ^= 1);
            json!({"tree": CSUM_TREE, "block": block})
        }),
        case("block-chunk-tree-uuid", |it| {
            let block = it.root(CHUNK_TREE).logical;
            it.block(block, |block| header(block).chunk_tree_uuid.0[0] ^= 1);
            json!({"tree": CHUNK_TREE, "block": block})
        }),
        case("block-last-key", |it| {
            // An attribute of the inode that the next leaf begins with, in a leaf that has room for it.
            let ptrs = ptrs(it, FS_TREE);
            let keys: Vec<Key> = ptrs.iter().map(|ptr| Key::from(&ptr.key)).collect();
            let (items, nodesize) = (it.items(FS_TREE), it.volume().format().nodesize as usize);
            let has_room = |slot: usize| {
                let held = items.iter().filter(|(key, _)| (keys[slot]..keys[slot + 1]).contains(key));
                let used: usize = held.map(|(_, data)| size_of::<Item>() + data.len()).sum();
                HEADER_SIZE + used + 100 <= nodesize
            };
            let is_wanted = |slot: &usize| keys[slot + 1].key_type == KeyType::INODE_ITEM && has_room(*slot);
            let slot = (0..keys.len() - 1).find(is_wanted).expect("an inode begins a leaf behind one with room");
            let (name, expect) = (b"user.test", keys[slot + 1]);
            let mut item = DirItem::zeroed();
            item.name_len.set(name.len() as u16);
            item.r#type = 8;
            let have = Key::new(expect.objectid, KeyType::XATTR_ITEM, hash::dir_item(name));
            it.leaf(FS_TREE, keys[slot], |items| items.push((have, [item.as_bytes(), name].concat())));
            json!({"tree": FS_TREE, "block": Logical::from(ptrs[slot].blockptr), "have": have, "expect": expect})
        })
        .on("nodesize-4k")
        .also(&["inode-item-not-first"]),
        case("block-pointers-disagree", |it| {
            let last = ptrs(it, FS_TREE).len() - 1;
            let twin = ptrs(it, FS_TREE)[last - 1].blockptr;
            it.block(it.root(FS_TREE).logical, |block| ptr(block, last).blockptr = twin);
            json!({"tree": FS_TREE, "block": Logical::from(twin)})
        })
        .on("nodesize-4k")
        .also(&["extent-unreferenced", "backref-count"]),
    ]
}

fn cases() -> Vec<Case> {
    [unreadable_blocks(), bad_copies(), places()].into_iter().flatten().collect()
}

#[test]
fn each_kind_of_damage_is_found_for_itself() {
    assert_each_is_found_for_itself(&cases(), |_| true);
}

#[test]
fn each_kind_of_problem_has_a_case() {
    let kinds: BTreeSet<_> = BlockProblem::KINDS.iter().map(|kind| kind.code).collect();
    let covered: BTreeSet<_> = cases().iter().map(|case| case.code).collect();
    assert_eq!(kinds, covered);
}

/// Every block of the trees. Of one that is being dropped, some blocks are gone, and their extent items with them.
fn blocks(volume: &Volume) -> Vec<Expected> {
    let root_tree = TreeRoot::root_tree(volume);
    let roots = [root_tree].into_iter().chain(root_tree.children(volume));
    let (mut seen, extents) = (BTreeSet::new(), read_extents(volume));
    let all = roots.flat_map(|root| Walk::new(volume, root.expected(), Levels::All));
    all.filter(|block| extents.find(block.logical, &mut Cursor::default()).is_some() && seen.insert(block.logical))
        .collect()
}

#[test]
fn a_block_that_is_lost_is_all_that_is_wrong() {
    let mut failures = String::new();
    // Nodes, and as many leaves as there is time for.
    for (image, every) in
        [("nodesize-4k", 1), ("balance-interrupted", 23), ("half-dropped", 97), ("oldest", 7), ("holes", 1)]
    {
        let Some(images) = kernel_image_or_skip(image) else { return };
        let injector = Injector::new(&images);
        let all = blocks(&injector.volume());
        for (index, block) in all.iter().enumerate() {
            if block.level == Some(0) && index % every != 0 {
                continue;
            }
            injector.block_unstamped(block.logical, flip);
            let found = problems_of(&injector);
            injector.block_unstamped(block.logical, flip);
            let is_it = |problem: &Problem| {
                problem.code() == "block-unreadable"
                    && serde_json::to_value(problem).unwrap()["block"] == json!(block.logical)
            };
            if !(found.len() == 1 && is_it(&found[0])) {
                failures += &format!("{image} block {}:{}\n", block.logical, describe(&found));
            }
        }
    }
    assert!(failures.is_empty(), "{failures}");
}
