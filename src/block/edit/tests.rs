use std::ops::Range;

use crate::block::Block;
use crate::disk::fields::Uuid;
use crate::disk::node::KeyPtr;
use crate::disk::{Key, KeyType, Logical, Transid};

use super::*;

const SIZE: usize = 4096;

fn new_block(level: u8) -> Vec<u8> {
    let mut bytes = vec![0xaa; SIZE];
    let (logical, generation) = (Logical(1 << 20), Transid(9));
    let header = NewBlock { logical, level, generation, owner: 5, fsid: Uuid([1; 16]), chunk_tree_uuid: Uuid([2; 16]) };
    header.write(&mut bytes).unwrap();
    bytes
}

fn key(offset: u64) -> Key {
    Key::new(256, KeyType::EXTENT_DATA, offset)
}

fn ptr(offset: u64) -> KeyPtr {
    KeyPtr { key: key(offset).into(), blockptr: (offset << 16).into(), generation: 9.into() }
}

type Items = Vec<(Key, Vec<u8>)>;

fn leaf_of(items: &Items) -> Vec<u8> {
    let mut bytes = new_block(0);
    let new: Vec<_> = items.iter().map(|(key, data)| NewItem { key: *key, data }).collect();
    LeafMut::new(&mut bytes).unwrap().insert(0, &new).unwrap();
    bytes
}

/// Items 10, 20, 30, 40 of 10 to 40 bytes.
fn four() -> Items {
    (1..=4).map(|index| (key(index * 10), vec![index as u8; index as usize * 10])).collect()
}

/// Whether a leaf is the one that these items make, byte for byte: each of them, packed, and zeroes between.
fn assert_leaf(bytes: &[u8], items: &Items) {
    let mut expected = vec![0; SIZE];
    expected[..101].copy_from_slice(&bytes[..101]);
    expected[96..100].copy_from_slice(&(items.len() as u32).to_le_bytes());
    let mut end = SIZE;
    for (slot, (key, data)) in items.iter().enumerate() {
        let start = end - data.len();
        expected[start..end].copy_from_slice(data);
        let item = &mut expected[101 + 25 * slot..][..25];
        item[..8].copy_from_slice(&key.objectid.to_le_bytes());
        item[8] = key.key_type.0;
        item[9..17].copy_from_slice(&key.offset.to_le_bytes());
        item[17..21].copy_from_slice(&(start as u32 - 101).to_le_bytes());
        item[21..].copy_from_slice(&(data.len() as u32).to_le_bytes());
        end = start;
    }
    assert!(bytes == expected, "not the leaf of {items:?}");
    check_layout(Block::new(bytes).unwrap()).unwrap();
}

/// What an edit of a leaf does, against the same edit of a list of items.
fn edit_leaf(edit: impl FnOnce(&mut LeafMut<'_>) -> Result<(), EditError>, model: impl FnOnce(&mut Items)) {
    let mut items = four();
    let mut bytes = leaf_of(&items);
    assert_leaf(&bytes, &items);
    edit(&mut LeafMut::new(&mut bytes).unwrap()).unwrap();
    model(&mut items);
    assert_leaf(&bytes, &items);
}

fn refused(edit: impl FnOnce(&mut LeafMut<'_>) -> Result<(), EditError>) -> EditError {
    let items = four();
    let mut bytes = leaf_of(&items);
    let error = edit(&mut LeafMut::new(&mut bytes).unwrap()).unwrap_err();
    assert_leaf(&bytes, &items);
    error
}

#[test]
fn a_new_block_says_what_the_kernel_writes() {
    let bytes = new_block(3);
    let header = *Block::new(&bytes).unwrap().header();
    assert_eq!(header.flags.get(), 0x0100_0000_0000_0001);
    assert_eq!((header.bytenr.get(), header.generation.get(), header.owner.get()), (1 << 20, 9, 5));
    assert_eq!((header.nritems.get(), header.level), (0, 3));
    assert_eq!((header.fsid, header.chunk_tree_uuid), (Uuid([1; 16]), Uuid([2; 16])));
    assert!(bytes[..32].iter().chain(&bytes[101..]).all(|byte| *byte == 0), "bytes of an older block");
}

#[test]
fn items_are_inserted_anywhere() {
    for (slot, first) in [(0, 1), (1, 11), (4, 41)] {
        let new = [(key(first), vec![7; 5]), (key(first + 1), vec![]), (key(first + 2), vec![8; 100])];
        let items: Vec<_> = new.iter().map(|(key, data)| NewItem { key: *key, data }).collect();
        edit_leaf(|leaf| leaf.insert(slot, &items), |model| drop(model.splice(slot..slot, new.clone())));
    }
}

#[test]
fn items_are_removed_anywhere() {
    for slots in [0..0, 0..1, 1..3, 2..4, 0..4] {
        edit_leaf(|leaf| leaf.remove(slots.clone()), |model| drop(model.drain(slots.clone())));
    }
}

#[test]
fn items_change_their_size() {
    for slot in 0..4 {
        for size in [0, 1, 15, 25, 35, 45, 3000] {
            edit_leaf(|leaf| leaf.resize(slot, size), |model| model[slot].1.resize(size, 0));
        }
        for count in [0, 1, 10] {
            edit_leaf(|leaf| leaf.cut_front(slot, count), |model| drop(model[slot].1.drain(..count)));
        }
    }
    assert_eq!(refused(|leaf| leaf.cut_front(1, 21)), EditError::ItemTooSmall { count: 21, size: 20 });
}

#[test]
fn keys_stay_in_order() {
    let item = |offset| NewItem { key: key(offset), data: &[] };
    edit_leaf(|leaf| leaf.set_key(1, key(29)), |model| model[1].0 = key(29));
    for offset in [10, 30] {
        assert!(matches!(refused(|leaf| leaf.set_key(1, key(offset))), EditError::KeyOrder { .. }));
    }
    for items in [[item(10), item(11)], [item(19), item(20)], [item(12), item(12)]] {
        assert!(matches!(refused(|leaf| leaf.insert(1, &items)), EditError::KeyOrder { .. }));
    }
    let mut bytes = new_block(1);
    let mut node = NodeMut::new(&mut bytes).unwrap();
    node.insert(0, &[ptr(10), ptr(20), ptr(30)]).unwrap();
    assert!(matches!(node.insert(1, &[ptr(20)]), Err(EditError::KeyOrder { .. })));
    assert!(matches!(node.set_key(1, key(30)), Err(EditError::KeyOrder { .. })));
    node.set_key(1, key(29)).unwrap();
}

#[test]
fn a_full_block_takes_no_more() {
    let largest = SIZE - 101 - 25;
    let mut bytes = new_block(0);
    let mut leaf = LeafMut::new(&mut bytes).unwrap();
    leaf.insert(0, &[NewItem { key: key(1), data: &vec![3; largest] }]).unwrap();
    assert_eq!(leaf.room(), 0);
    assert_eq!(leaf.insert(1, &[NewItem { key: key(2), data: &[] }]), Err(EditError::NoRoom { need: 25, room: 0 }));
    assert_eq!(leaf.resize(0, largest + 1), Err(EditError::NoRoom { need: 1, room: 0 }));
    assert_leaf(&bytes, &vec![(key(1), vec![3; largest])]);

    let mut bytes = new_block(1);
    let mut node = NodeMut::new(&mut bytes).unwrap();
    node.insert(0, &(0..121).map(ptr).collect::<Vec<_>>()).unwrap();
    assert_eq!(node.insert(121, &[ptr(121)]), Err(EditError::NoRoom { need: 33, room: 0 }));
}

#[test]
fn elements_move_between_blocks() {
    let items = four();
    for cut in 0..=4 {
        // A split, and the two merges that undo it.
        let (mut left, mut right) = (leaf_of(&items), new_block(0));
        transfer(&mut right, 0, &mut left, cut..4).unwrap();
        assert_leaf(&left, &items[..cut].to_vec());
        assert_leaf(&right, &items[cut..].to_vec());
        let (mut other_left, mut other_right) = (left.clone(), right.clone());
        transfer(&mut left, cut, &mut right, 0..4 - cut).unwrap();
        assert_leaf(&left, &items);
        assert_leaf(&right, &vec![]);
        transfer(&mut other_right, 0, &mut other_left, 0..cut).unwrap();
        assert_leaf(&other_right, &items);
        assert_leaf(&other_left, &vec![]);
    }
    let (mut left, mut right) = (new_block(2), new_block(2));
    NodeMut::new(&mut left).unwrap().insert(0, &[ptr(1), ptr(2), ptr(3)]).unwrap();
    transfer(&mut right, 0, &mut left, 1..3).unwrap();
    let keys = |bytes: &[u8]| (0..3).map_while(|slot| Block::new(bytes).unwrap().key(slot)).collect::<Vec<_>>();
    assert_eq!((keys(&left), keys(&right)), (vec![key(1)], vec![key(2), key(3)]));
    assert!(left[101 + 33..].iter().all(|byte| *byte == 0), "moved pointers stay behind");
    assert_eq!(transfer(&mut new_block(1), 0, &mut left, 0..1), Err(EditError::Malformed("level")));
}

#[test]
fn no_bytes_make_an_edit_panic() {
    // splitmix64
    let mut state = 1_u64;
    let mut random = move |limit: usize| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let bits = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) % limit as u64) as usize
    };
    let (mut done, mut failed) = (0, 0);
    for round in 0..20_000 {
        let items: Items = (0..20).map(|index| (key(index * 10), vec![1; 50])).collect();
        let (mut bytes, mut other) = if round % 2 == 0 {
            (leaf_of(&items), leaf_of(&four()))
        } else {
            let mut node = new_block(1);
            NodeMut::new(&mut node).unwrap().insert(0, &(0..20).map(ptr).collect::<Vec<_>>()).unwrap();
            (node, new_block(1))
        };
        for _ in 0..1 + random(3) {
            let place = if random(3) == 0 { 96 + random(5) } else { 101 + random(600) };
            bytes[place] = if random(2) == 0 { random(256) as u8 } else { bytes[place] ^ 1 << random(8) };
        }
        let (start, end, slot, size) = (random(24), random(24), random(24), random(5000));
        let slots: Range<usize> = start..end;
        let mut count = |result: Result<(), EditError>| match result {
            Ok(()) => done += 1,
            Err(_) => failed += 1,
        };
        count(check_layout(Block::new(&bytes).unwrap()));
        count(transfer(&mut other, random(5), &mut bytes.clone(), slots.clone()));
        count(transfer(&mut bytes.clone(), slot, &mut other, 0..random(3)));
        if let Ok(mut leaf) = LeafMut::new(&mut bytes.clone()) {
            count(leaf.insert(slot, &[NewItem { key: key(slot as u64 * 10 + 5), data: &vec![2; size] }]));
            count(leaf.remove(slots.clone()));
            count(leaf.resize(slot, size));
            count(leaf.cut_front(slot, size / 100));
            count(leaf.set_key(slot, key(slot as u64 * 10 + 1)));
            count(leaf.data_mut(slot).map(|data| data.fill(1)));
        }
        if let Ok(mut node) = NodeMut::new(&mut bytes) {
            count(node.insert(slot, &[ptr(slot as u64)]));
            count(node.remove(slots));
            count(node.set_key(slot, key(slot as u64)));
            count(node.set_ptr(slot, Logical(1), Transid(1)));
        }
    }
    assert!(done > 10_000 && failed > 10_000, "{done} {failed}");
    for size in [0, 1, 100, 101, 126, 65537, 1 << 20] {
        let mut bytes = vec![0xff; size];
        assert!(LeafMut::new(&mut bytes).is_err() && NodeMut::new(&mut bytes).is_err());
    }
}
