//! Trees that are changed in memory, against a map of their items.

mod kernel;

use std::collections::BTreeMap;

use crate::support::random::Random;
use crate::support::store::{Store, TREE};
use rbtrfs::block::Block;
use rbtrfs::block::edit::{NewBlock, NodeMut};
use rbtrfs::disk::fields::Uuid;
use rbtrfs::disk::node::KeyPtr;
use rbtrfs::disk::{Key, KeyType, Logical};
use rbtrfs::error::{EditProblem, Error};
use rbtrfs::tree::TreeRoot;
use rbtrfs::tree::edit::{Cursor, Editor, NewItem, create};

const ROOT_KEY: Key = Key::new(TREE, KeyType::ROOT_ITEM, 0);

/// Types without a name, so that nobody has an opinion of their items.
const TYPES: [u8; 5] = [3, 31, 77, 150, 222];

impl Random {
    fn key(&mut self) -> Key {
        let offset = match self.below(3) {
            0 => self.next() % 64,
            1 => self.next() % 4096,
            _ => self.next(),
        };
        Key::new(self.next() % 40, KeyType(TYPES[self.below(TYPES.len())]), offset)
    }

    fn data(&mut self, largest: usize) -> Vec<u8> {
        let size = match self.below(400) {
            0..40 => 0,
            40..340 => self.below(60),
            340..380 => self.below(600),
            380..396 => self.below(largest / 3),
            396 | 397 => largest,
            _ => self.below(largest + 1),
        };
        self.bytes(size)
    }

    fn bytes(&mut self, size: usize) -> Vec<u8> {
        let start = self.next();
        (0..size as u64).map(|index| (start.wrapping_add(index) % 251) as u8 | 1).collect()
    }
}

fn problem<T>(result: Result<T, Error>) -> Option<EditProblem> {
    match result {
        Ok(_) => None,
        Err(Error::Edit { problem, .. }) => Some(problem),
        Err(error) => panic!("{error}"),
    }
}

struct Tree {
    store: Store,
    root: TreeRoot,
    model: BTreeMap<Key, Vec<u8>>,
    snapshots: Vec<Snapshot>,
    largest: usize,
}

/// A tree as it was, and what must stay as it is.
struct Snapshot {
    root: TreeRoot,
    items: BTreeMap<Key, Vec<u8>>,
    sums: Vec<(Logical, u32)>,
}

impl Tree {
    fn new(nodesize: u32) -> Self {
        let mut store = Store::new(nodesize);
        let root = create(&mut store, ROOT_KEY).unwrap();
        let largest = nodesize as usize - 101 - 25;
        Self { store, root, model: BTreeMap::new(), snapshots: Vec::new(), largest }
    }

    fn editor(&mut self) -> Editor<'_, Store> {
        Editor::new(&mut self.root, &mut self.store)
    }

    fn insert(&mut self, key: Key, data: Vec<u8>) {
        let expected = self.model.contains_key(&key).then_some(EditProblem::Exists);
        assert_eq!(problem(self.editor().insert(key, &data)), expected);
        self.model.entry(key).or_insert(data);
    }

    fn insert_sorted(&mut self, items: BTreeMap<Key, Vec<u8>>) {
        let items: Vec<_> = items.into_iter().filter(|(key, _)| !self.model.contains_key(key)).collect();
        let new: Vec<_> = items.iter().map(|(key, data)| NewItem { key: *key, data }).collect();
        self.editor().insert_sorted(&new).unwrap();
        self.model.extend(items);
    }

    fn delete(&mut self, key: Key) {
        let expected = self.model.remove(&key).is_none().then_some(EditProblem::Missing);
        assert_eq!(problem(self.editor().delete(key)), expected);
    }

    fn delete_range(&mut self, first: Key, last: Key) {
        let gone: Vec<_> = self.model.range(first..=last).map(|(key, _)| *key).collect();
        assert_eq!(self.editor().delete_range(first..=last).unwrap(), gone.len());
        gone.iter().for_each(|key| drop(self.model.remove(key)));
    }

    fn replace(&mut self, key: Key, data: Vec<u8>) {
        let expected = (!self.model.contains_key(&key)).then_some(EditProblem::Missing);
        assert_eq!(problem(self.editor().replace(key, &data)), expected);
        self.model.entry(key).and_modify(|old| *old = data);
    }

    fn resize(&mut self, key: Key, size: usize) {
        self.editor().resize(key, size).unwrap();
        self.model.get_mut(&key).unwrap().resize(size, 0);
    }

    fn cut_front(&mut self, key: Key, count: usize) {
        let data = self.model.get_mut(&key).unwrap();
        let expected = (count > data.len()).then_some(EditProblem::TooSmall { count, size: data.len() });
        if expected.is_none() {
            data.drain(..count);
        }
        assert_eq!(problem(self.editor().cut_front(key, count)), expected);
    }

    fn set_key(&mut self, key: Key, new: Key) {
        let (low, high) = (key.min(new), key.max(new));
        let others = self.model.range(low..=high).filter(|(between, _)| **between != key).count();
        assert_eq!(problem(self.editor().set_key(key, new)), (others > 0).then_some(EditProblem::OutOfOrder));
        if others == 0 {
            let data = self.model.remove(&key).unwrap();
            self.model.insert(new, data);
        }
    }

    /// Some item's key, often the first or the last.
    fn some_key(&self, random: &mut Random) -> Option<Key> {
        match random.below(8) {
            0..2 => self.model.keys().next().copied(),
            2 => self.model.keys().next_back().copied(),
            _ => {
                let from = random.key();
                self.model.range(from..).next().or(self.model.iter().next()).map(|(key, _)| *key)
            }
        }
    }

    fn find(&self, key: Key) {
        let item = |cursor: Option<Cursor<'_, Store>>| {
            cursor.map(|cursor| cursor.item().map(|item| (item.key, item.data.to_vec())).unwrap())
        };
        let owned = |(key, data): (&Key, &Vec<u8>)| (*key, data.clone());
        let (root, store) = (&self.root, &self.store);
        assert_eq!(item(Cursor::at(root, store, key).unwrap()), self.model.get_key_value(&key).map(owned));
        assert_eq!(item(Cursor::at_or_after(root, store, key).unwrap()), self.model.range(key..).next().map(owned));
        assert_eq!(
            item(Cursor::at_or_before(root, store, key).unwrap()),
            self.model.range(..=key).next_back().map(owned)
        );
    }

    fn step(&mut self, random: &mut Random, is_growing: bool) {
        let choice = random.below(100);
        let Some(key) = self.some_key(random) else {
            let (key, data) = (random.key(), random.data(self.largest));
            return self.insert(key, data);
        };
        if !is_growing && choice < 45 {
            return self.delete(key);
        }
        match choice {
            0..25 => {
                let (key, data) = (random.key(), random.data(self.largest));
                self.insert(key, data);
            }
            25..40 => {
                let last = self.model.keys().next_back().copied().unwrap_or_default();
                let key = Key { offset: last.offset.saturating_add(1), ..last };
                let data = random.data(self.largest);
                self.insert(key, data);
            }
            40..44 => {
                let most = if random.below(50) == 0 { 3000 } else { 40 };
                let count = random.below(most);
                let start = random.key();
                let is_run = random.below(2) == 0;
                let key = |index: usize, random: &mut Random| match is_run {
                    true => Key { offset: start.offset.saturating_add(index as u64), ..start },
                    false => random.key(),
                };
                let items = (0..count).map(|index| (key(index, random), random.data(self.largest / 4))).collect();
                self.insert_sorted(items);
            }
            44..52 => self.delete(key),
            52 => {
                let (one, other) = (random.key(), random.key());
                // Ranges without any items as well.
                let most = if is_growing { Key { offset: u64::MAX, ..one } } else { other };
                self.delete_range(one.min(most), one.max(most));
            }
            53 => {
                let far = self.model.range(key..).nth(random.below(60)).map_or(Key::MAX, |(key, _)| *key);
                self.delete_range(key, far);
            }
            54..62 => {
                let data = random.data(self.largest);
                self.replace(key, data);
            }
            62..68 => {
                let size = random.data(self.largest).len();
                self.resize(key, size);
            }
            68..72 => {
                let size = self.model[&key].len();
                let count = random.below(size + 2);
                self.cut_front(key, count);
            }
            72..80 => {
                let new = match random.below(3) {
                    0 => key.successor().unwrap(),
                    1 => key.predecessor().unwrap_or(key),
                    _ => Key { offset: random.next(), ..key },
                };
                self.set_key(key, new);
            }
            80..84 => {
                self.editor().data_mut(key).unwrap().fill(0x55);
                self.model.get_mut(&key).unwrap().fill(0x55);
            }
            _ => self.find(random.key()),
        }
    }

    fn verify(&self) -> f64 {
        let roots: Vec<_> =
            [self.root].into_iter().chain(self.snapshots.iter().map(|snapshot| snapshot.root)).collect();
        let fill = self.store.verify(&roots);
        assert!(self.store.items(self.root.logical) == self.model, "items differ");
        fill
    }

    fn take_snapshot(&mut self) {
        let root = self.store.snapshot(&self.root);
        let sums = self.store.sums(root.logical);
        self.snapshots.push(Snapshot { root, items: self.model.clone(), sums });
    }

    fn drop_snapshot(&mut self, index: usize) {
        let snapshot = self.snapshots.remove(index);
        assert!(self.store.sums(snapshot.root.logical) == snapshot.sums, "a snapshot changed");
        assert!(self.store.items(snapshot.root.logical) == snapshot.items, "the items of a snapshot changed");
        self.store.drop_tree(snapshot.root.logical);
    }
}

/// Random edits in waves of growing and shrinking.
fn random_edits(nodesize: u32, steps: usize, size: usize, seed: u64) {
    let mut random = Random(seed);
    let mut tree = Tree::new(nodesize);
    let (mut is_growing, mut highest, mut worst) = (true, 0, 1.0_f64);
    for step in 1..=steps {
        tree.step(&mut random, is_growing);
        highest = highest.max(tree.root.level);
        is_growing = match tree.model.len() {
            count if count > size => false,
            count if count < size / 50 => true,
            _ => is_growing,
        };
        if step % 500 == 0 {
            let fill = tree.verify();
            if tree.model.len() > 1000 {
                worst = worst.min(fill);
            }
            match random.below(4) {
                0 => tree.take_snapshot(),
                1 if !tree.snapshots.is_empty() => tree.drop_snapshot(random.below(tree.snapshots.len())),
                _ => {}
            }
            while tree.snapshots.len() > 4 {
                tree.drop_snapshot(0);
            }
        }
    }
    while !tree.snapshots.is_empty() {
        tree.drop_snapshot(0);
    }
    tree.delete_range(Key::MIN, Key::MAX);
    tree.verify();
    assert_eq!((tree.root.level, tree.store.addresses().len()), (0, 1), "the blocks of an empty tree");
    println!("nodesize {nodesize}: level {highest}, leaves at least {worst:.2} full");
    assert!(highest >= 1 && worst > 0.4, "level {highest}, fill {worst}");
}

#[test]
fn random_edits_of_4k_blocks_do_what_a_map_does() {
    random_edits(4096, 50_000, 8000, 1);
}

#[test]
fn random_edits_of_16k_blocks_do_what_a_map_does() {
    random_edits(16384, 35_000, 8000, 2);
}

#[test]
fn random_edits_of_64k_blocks_do_what_a_map_does() {
    random_edits(65536, 15_000, 6000, 3);
}

#[test]
fn a_cursor_leaves_no_item_out() {
    let mut random = Random(4);
    let mut tree = Tree::new(4096);
    tree.insert_sorted((0..5000).map(|_| (random.key(), random.data(300))).collect());
    let mut cursor = Cursor::at_or_after(&tree.root, &tree.store, Key::MIN).unwrap().unwrap();
    let mut keys = tree.model.keys();
    assert_eq!(Some(&cursor.item().unwrap().key), keys.next());
    while cursor.to_next().unwrap() {
        assert_eq!(Some(&cursor.item().unwrap().key), keys.next());
    }
    assert_eq!(keys.next(), None);
}

#[test]
fn only_the_path_to_a_changed_leaf_is_copied() {
    let mut random = Random(5);
    let mut tree = Tree::new(4096);
    tree.insert_sorted((0..20_000).map(|_| (random.key(), random.bytes(40))).collect());
    assert_eq!(tree.root.level, 2);
    tree.take_snapshot();
    tree.store.copied = 0;
    let key = *tree.model.keys().nth(9000).unwrap();
    tree.find(key);
    tree.editor().data_mut(key).unwrap();
    assert_eq!(tree.store.copied, 3);
    tree.editor().data_mut(key).unwrap();
    assert_eq!(tree.store.copied, 3, "an editable block is copied again");
    tree.verify();
}

#[test]
fn refused_edits_copy_nothing() {
    let mut random = Random(6);
    let mut tree = Tree::new(4096);
    tree.insert_sorted((0..2000).map(|_| (random.key(), random.bytes(40))).collect());
    tree.take_snapshot();
    tree.store.copied = 0;
    let (root, largest) = (tree.root, tree.largest);
    let mut keys = tree.model.keys().copied();
    let (first, second) = (keys.next().unwrap(), keys.next().unwrap());
    let absent = Key::new(1 << 40, KeyType(3), 0);
    let mut editor = tree.editor();
    let too_large = Some(EditProblem::TooLarge { size: largest + 1, limit: largest });
    let item = |key| NewItem { key, data: &[] };
    assert_eq!(problem(editor.insert(first, &[])), Some(EditProblem::Exists));
    assert_eq!(problem(editor.insert(absent, &vec![0; largest + 1])), too_large);
    assert_eq!(problem(editor.resize(first, largest + 1)), too_large);
    assert_eq!(problem(editor.insert_sorted(&[item(absent), item(absent)])), Some(EditProblem::OutOfOrder));
    assert_eq!(problem(editor.delete(absent)), Some(EditProblem::Missing));
    assert_eq!(problem(editor.resize(absent, 1)), Some(EditProblem::Missing));
    assert_eq!(problem(editor.set_key(absent, first)), Some(EditProblem::OutOfOrder));
    assert_eq!(problem(editor.set_key(first, second)), Some(EditProblem::OutOfOrder));
    assert_eq!(problem(editor.data_mut(absent)), Some(EditProblem::Missing));
    assert_eq!(editor.delete_range(absent..=Key::MAX).unwrap(), 0);
    assert_eq!((tree.root, tree.store.copied), (root, 0));
}

#[test]
fn a_bulk_that_meets_an_existing_item_is_refused() {
    let mut tree = Tree::new(4096);
    let item = |offset| NewItem { key: Key::new(1, KeyType(3), offset), data: &[] };
    tree.insert(item(5).key, Vec::new());
    let mut editor = tree.editor();
    assert_eq!(problem(editor.insert_sorted(&[item(4), item(5), item(6)])), Some(EditProblem::Exists));
}

#[test]
fn items_of_the_largest_size_go_anywhere() {
    for nodesize in [4096, 16384, 65536] {
        let mut random = Random(7);
        let mut tree = Tree::new(nodesize);
        for index in 0..300 {
            tree.insert(Key::new(index, KeyType(3), 0), vec![1; 20]);
        }
        for index in (0..300).step_by(7) {
            let data = random.bytes(tree.largest);
            tree.insert(Key::new(index, KeyType(3), 1), data);
        }
        for index in (0..300).step_by(5) {
            let size = tree.largest - random.below(3);
            tree.resize(Key::new(index, KeyType(3), 0), size);
        }
        tree.verify();
    }
}

#[test]
fn items_in_order_fill_their_leaves() {
    let mut one_by_one = Tree::new(16384);
    let mut at_once = Tree::new(16384);
    let items: BTreeMap<_, _> = (0..20_000).map(|offset| (Key::new(256, KeyType(3), offset), vec![7; 50])).collect();
    for (key, data) in &items {
        one_by_one.insert(*key, data.clone());
    }
    at_once.insert_sorted(items);
    assert!(one_by_one.verify() > 0.98 && at_once.verify() > 0.98);
}

/// A tree of the greatest height whose root has no room, of which only the leftmost path exists.
fn highest_tree(store: &mut Store) -> TreeRoot {
    let (mut root, full) = (create(store, ROOT_KEY).unwrap(), 121);
    Editor::new(&mut root, store).insert(Key::new(1, KeyType(3), 0), &[1; 3900]).unwrap();
    for level in 1..8 {
        let logical = Logical(u64::from(level) << 40);
        let mut bytes = vec![0; 4096];
        let (generation, fsid) = (store.generation, Uuid([7; 16]));
        NewBlock { logical, level, generation, owner: TREE, fsid, chunk_tree_uuid: fsid }.write(&mut bytes).unwrap();
        let ptr = |objectid: u64| KeyPtr {
            key: Key::new(objectid, KeyType(3), 0).into(),
            blockptr: root.logical.0.into(),
            generation: generation.0.into(),
        };
        NodeMut::new(&mut bytes).unwrap().insert(0, &(1..=full).map(ptr).collect::<Vec<_>>()).unwrap();
        store.put(logical, &bytes);
        (root.logical, root.level) = (logical, level);
    }
    root
}

#[test]
fn a_tree_of_eight_levels_does_not_grow_further() {
    let mut store = Store::new(4096);
    let mut root = highest_tree(&mut store);
    let before: Vec<_> = store.addresses().into_iter().map(|block| (block, store.bytes(block).to_vec())).collect();
    let (inserted, grown) = (Key::new(1, KeyType(3), 1), Key::new(1, KeyType(3), 0));
    let mut editor = Editor::new(&mut root, &mut store);
    assert_eq!(problem(editor.insert(inserted, &[0; 3000])), Some(EditProblem::TooHigh));
    assert_eq!(problem(editor.resize(grown, 3901)), Some(EditProblem::TooHigh));
    let after: Vec<_> = store.addresses().into_iter().map(|block| (block, store.bytes(block).to_vec())).collect();
    assert!(before == after, "a refused edit changed blocks");
}

#[test]
fn a_lack_of_space_is_an_error_wherever_it_comes() {
    for space in 0..60 {
        let mut random = Random(8);
        let mut tree = Tree::new(4096);
        tree.insert_sorted((0..4000).map(|_| (random.key(), random.bytes(40))).collect());
        tree.take_snapshot();
        tree.store.space = space;
        let failed = (0..1000).any(|_| {
            let (key, data) = (random.key(), random.data(tree.largest));
            matches!(tree.editor().insert(key, &data), Err(Error::NoSpace { .. }))
        });
        assert!(failed);
        // The transaction is lost, and nothing of what was there before it.
        tree.drop_snapshot(0);
    }
}

#[test]
fn malformed_blocks_are_errors() {
    let mut errors = 0;
    for seed in 1..=400 {
        let mut random = Random(seed);
        let mut tree = Tree::new(4096);
        tree.insert_sorted((0..1500).map(|_| (random.key(), random.bytes(60))).collect());
        tree.store.generation.0 += 1;
        let addresses = tree.store.addresses();
        for _ in 0..8 {
            let logical = addresses[random.below(addresses.len())];
            let mut bytes = tree.store.bytes(logical).to_vec();
            // The level is verified when a block is read; a wrong address would be one that the store does not know.
            let place = if random.below(2) == 0 { 96 + random.below(4) } else { 101 + random.below(1000) };
            let level = Block::new(&bytes).unwrap().level();
            if level == 0 || place < 101 || (place - 101) % 33 < 17 {
                bytes[place] ^= 1 << random.below(8);
            }
            tree.store.put(logical, &bytes);
        }
        for _ in 0..60 {
            let (key, other) = (random.key(), random.key());
            let data = random.data(tree.largest);
            let mut editor = tree.editor();
            errors += usize::from(editor.insert(key, &data).is_err());
            errors += usize::from(editor.delete(other).is_err());
            errors += usize::from(editor.resize(other, data.len()).is_err());
            errors += usize::from(editor.delete_range(key..=Key { offset: u64::MAX, ..key }).is_err());
            errors += usize::from(Cursor::at_or_before(&tree.root, &tree.store, key).is_err());
        }
    }
    assert!(errors > 1000, "{errors}");
}
