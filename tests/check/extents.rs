//! Extent items are compared with who refers to them: each kind of damage is found for itself, at its place.

use std::collections::BTreeSet;

use crate::support::damage::{Case, assert_each_is_found_for_itself, case};
use crate::support::inject::Injector;
use rbtrfs::disk::extent::{ExtentDataRef, ExtentItem, InlineRef, InlineRefs, SharedDataRef};
use rbtrfs::disk::flags::extent::{FULL_BACKREF, TREE_BLOCK};
use rbtrfs::disk::flags::header;
use rbtrfs::disk::flags::inode::NODATASUM;
use rbtrfs::disk::inode::{FileExtentDisk, FileExtentItem, InodeItem, compression, file_extent_type};
use rbtrfs::disk::node::Header;
use rbtrfs::disk::objectid::{CSUM_TREE, EXTENT_TREE, FS_TREE};
use rbtrfs::disk::{Key, KeyType, hash};
use rbtrfs::problem::ExtentProblem;
use serde_json::{Value, json};
use zerocopy::{FromBytes, IntoBytes};

const SECTOR: u64 = 4096;
/// No inode, and no block.
const NOBODY: u64 = 99 << 40;

/// An extent item: how many references it counts, and those that stand in it.
struct Extent<'a> {
    refs: u64,
    inline: Vec<InlineRef<'a>>,
}

/// The first extent item that is wanted.
fn find(it: &Injector, is_wanted: impl Fn(&Extent) -> bool) -> Key {
    let items = it.items(EXTENT_TREE);
    let is_extent = |key: &Key| matches!(key.key_type, KeyType::EXTENT_ITEM | KeyType::METADATA_ITEM);
    let found = items.iter().filter(|(key, _)| is_extent(key)).find(|(_, data)| {
        let (item, refs) = ExtentItem::read_from_prefix(data).unwrap();
        let inline = InlineRefs::new(refs).map(Result::unwrap).collect();
        is_wanted(&Extent { refs: item.refs.get(), inline })
    });
    found.expect("there is such an extent").0
}

/// An extent with checksums and not compressed, that only one file of the top level refers to, as a whole.
fn data_of_one_file(it: &Injector) -> Key {
    let items = it.items(FS_TREE);
    let data = |objectid, key_type, offset| {
        let key = Key::new(objectid, key_type, offset);
        items.iter().find(|(other, _)| *other == key).map(|(_, data)| data)
    };
    let is_wanted = |file: &ExtentDataRef| {
        let inode = file.objectid.get();
        let Some(item) = data(inode, KeyType::EXTENT_DATA, file.offset.get()) else { return false };
        let (item, rest) = FileExtentItem::ref_from_prefix(item).unwrap();
        let disk = FileExtentDisk::ref_from_prefix(rest).unwrap().0;
        let inode = InodeItem::read_from_prefix(data(inode, KeyType::INODE_ITEM, 0).unwrap()).unwrap().0;
        item.r#type == file_extent_type::REG
            && item.compression == compression::NONE
            && disk.num_bytes == disk.disk_num_bytes
            && inode.flags & NODATASUM == 0
    };
    find(it, |extent| match extent.inline[..] {
        [InlineRef::ExtentData(file)] => extent.refs == 1 && file.root == FS_TREE && file.count == 1 && is_wanted(file),
        _ => false,
    })
}

fn data_of_two_files(extent: &Extent) -> bool {
    matches!(extent.inline[..], [InlineRef::ExtentData(_), InlineRef::ExtentData(_)]) && extent.refs == 2
}

/// A file and a leaf of a snapshot refer to it.
fn data_of_file_and_leaf(extent: &Extent) -> bool {
    matches!(extent.inline[..], [InlineRef::ExtentData(_), InlineRef::SharedData { count: 1, .. }]) && extent.refs == 2
}

fn block_of_two_trees(extent: &Extent) -> bool {
    matches!(extent.inline[..], [InlineRef::TreeBlock { .. }, InlineRef::TreeBlock { .. }])
}

fn block_of_two_nodes(extent: &Extent) -> bool {
    matches!(extent.inline[..], [InlineRef::SharedBlock { .. }, InlineRef::SharedBlock { .. }])
}

/// Changes how many references an extent item counts.
fn add_refs(it: &Injector, key: Key, change: i64) {
    it.item_as(EXTENT_TREE, key, |item: &mut ExtentItem| {
        item.refs.set(item.refs.get().checked_add_signed(change).unwrap());
    });
}

const INLINE: usize = size_of::<ExtentItem>();

fn inline_length(ref_type: u8) -> usize {
    match KeyType(ref_type) {
        KeyType::EXTENT_DATA_REF => 1 + size_of::<ExtentDataRef>(),
        KeyType::SHARED_DATA_REF => 1 + 8 + size_of::<SharedDataRef>(),
        _ => 1 + 8,
    }
}

/// Where the last inline reference begins: of those in one item, data's own come before those of leaves.
fn last_inline(data: &[u8]) -> usize {
    let mut at = INLINE;
    while at + inline_length(data[at]) < data.len() {
        at += inline_length(data[at]);
    }
    at
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[..8].try_into().unwrap())
}

fn file(data_ref: &ExtentDataRef) -> Value {
    json!({"file": {
        "root": data_ref.root.get(), "objectid": data_ref.objectid.get(), "offset": data_ref.offset.get(),
    }})
}

/// An inline reference as a finding names it.
fn reference(bytes: &[u8]) -> Value {
    match KeyType(bytes[0]) {
        KeyType::EXTENT_DATA_REF => file(ExtentDataRef::ref_from_prefix(&bytes[1..]).unwrap().0),
        KeyType::SHARED_DATA_REF => json!({"leaf": {"parent": number(&bytes[1..])}}),
        KeyType::SHARED_BLOCK_REF => json!({"node": {"parent": number(&bytes[1..])}}),
        _ => json!({"tree": {"root": number(&bytes[1..])}}),
    }
}

fn data_of(it: &Injector, key: Key) -> Vec<u8> {
    it.items(EXTENT_TREE).into_iter().find(|(other, _)| *other == key).unwrap().1
}

/// Takes the last inline reference out of an extent item.
fn drop_inline(it: &Injector, key: Key) -> Value {
    let data = data_of(it, key);
    let at = last_inline(&data);
    it.leaf(EXTENT_TREE, key, |items| items.iter_mut().find(|item| item.0 == key).unwrap().1.truncate(at));
    add_refs(it, key, -1);
    json!({"extent": key.objectid, "reference": reference(&data[at..]), "expect": 1})
}

/// Counts the last inline reference, which is one of data, once more.
fn count_inline(it: &Injector, key: Key) -> Value {
    let data = data_of(it, key);
    let at = last_inline(&data);
    it.item(EXTENT_TREE, key, |data| data[data.len() - 4] += 1);
    add_refs(it, key, 1);
    json!({"extent": key.objectid, "reference": reference(&data[at..]), "have": 2, "expect": 1})
}

/// Adds a keyed reference to an extent.
fn add_keyed(it: &Injector, extent: Key, key_type: KeyType, offset: u64, data: &[u8]) {
    it.insert_item(EXTENT_TREE, Key::new(extent.objectid, key_type, offset), data);
    add_refs(it, extent, 1);
}

/// The first keyed reference of this type, the item of the extent, and what the reference says.
fn keyed(it: &Injector, key_type: KeyType) -> (Key, Key, Vec<u8>) {
    let items = it.items(EXTENT_TREE);
    let (key, data) = items.iter().find(|(key, _)| key.key_type == key_type).expect("there is a keyed reference");
    let is_item = |other: &&Key| other.objectid == key.objectid && other.key_type == KeyType::EXTENT_ITEM;
    (*items.iter().map(|(key, _)| key).find(is_item).unwrap(), *key, data.clone())
}

fn edit_file_extent(it: &Injector, key: Key, edit: impl Fn(&mut FileExtentItem, &mut FileExtentDisk)) {
    it.item(FS_TREE, key, |data| {
        let (item, rest) = FileExtentItem::mut_from_prefix(data).unwrap();
        edit(item, FileExtentDisk::mut_from_prefix(rest).unwrap().0);
    });
}

/// The one file item that refers to an extent.
fn file_item(it: &Injector, extent: Key) -> Key {
    let data = data_of(it, extent);
    let data_ref = ExtentDataRef::ref_from_prefix(&data[INLINE + 1..]).unwrap().0;
    Key::new(data_ref.objectid.get(), KeyType::EXTENT_DATA, data_ref.offset.get())
}

fn missing_items() -> Vec<Case> {
    vec![
        case("extent-item-missing", |it| {
            let extent = data_of_one_file(it);
            let data = data_of(it, extent);
            it.remove_item(EXTENT_TREE, extent);
            json!({"extent": extent.objectid, "reference": reference(&data[INLINE..])})
        })
        .also(&["block-group-used", "free-space-lost", "super-bytes-used", "csum-without-extent"]),
        case("extent-item-missing", |it| {
            let block = it.root(CSUM_TREE);
            it.remove_item(EXTENT_TREE, Key::new(block.logical.0, KeyType::METADATA_ITEM, 0));
            json!({"extent": block.logical, "reference": {"tree": {"root": CSUM_TREE}}})
        })
        .also(&["block-group-used", "free-space-lost", "super-bytes-used"]),
        case("extent-unreferenced", |it| {
            let extent = data_of_one_file(it);
            let key = file_item(it, extent);
            it.remove_item(FS_TREE, key);
            it.item_as(FS_TREE, Key::new(key.objectid, KeyType::INODE_ITEM, 0), |inode: &mut InodeItem| {
                inode.nbytes -= extent.offset;
            });
            json!({"extent": extent.objectid, "have": 1})
        }),
    ]
}

fn missing_references() -> Vec<Case> {
    vec![
        case("backref-missing", |it| drop_inline(it, find(it, data_of_two_files))),
        // A snapshot's.
        case("backref-missing", |it| drop_inline(it, find(it, block_of_two_trees))).on("snapshots"),
        // Of blocks with full back references.
        case("backref-missing", |it| drop_inline(it, find(it, data_of_file_and_leaf))).on("snapshots"),
        case("backref-missing", |it| drop_inline(it, find(it, block_of_two_nodes))).on("snapshots"),
        case("backref-missing", |it| {
            let (extent, key, data) = keyed(it, KeyType::EXTENT_DATA_REF);
            it.remove_item(EXTENT_TREE, key);
            add_refs(it, extent, -1);
            let reference = file(ExtentDataRef::ref_from_bytes(&data).unwrap());
            json!({"extent": extent.objectid, "reference": reference, "expect": 1})
        }),
        case("backref-missing", |it| {
            let (extent, key, data) = keyed(it, KeyType::SHARED_DATA_REF);
            it.remove_item(EXTENT_TREE, key);
            let count = u64::from(SharedDataRef::ref_from_bytes(&data).unwrap().count.get());
            add_refs(it, extent, -(count as i64));
            json!({"extent": extent.objectid, "reference": {"leaf": {"parent": key.offset}}, "expect": count})
        })
        .on("snapshots"),
    ]
}

fn unfounded_references() -> Vec<Case> {
    vec![
        case("backref-unfounded", |it| {
            let extent = data_of_one_file(it);
            let mut data_ref = ExtentDataRef::zeroed();
            data_ref.root.set(FS_TREE);
            data_ref.objectid.set(NOBODY);
            data_ref.count.set(1);
            let offset = hash::extent_data_ref(FS_TREE, NOBODY, 0);
            add_keyed(it, extent, KeyType::EXTENT_DATA_REF, offset, data_ref.as_bytes());
            json!({"extent": extent.objectid, "reference": file(&data_ref), "have": 1})
        }),
        case("backref-unfounded", |it| {
            let extent = data_of_one_file(it);
            add_keyed(it, extent, KeyType::SHARED_DATA_REF, NOBODY, &[1, 0, 0, 0]);
            json!({"extent": extent.objectid, "reference": {"leaf": {"parent": NOBODY}}, "have": 1})
        }),
        // A root that has another root already.
        case("backref-unfounded", |it| {
            let block = Key::new(it.root(CSUM_TREE).logical.0, KeyType::METADATA_ITEM, 0);
            add_keyed(it, block, KeyType::TREE_BLOCK_REF, FS_TREE, &[]);
            json!({"extent": block.objectid, "reference": {"tree": {"root": FS_TREE}}, "have": 1})
        }),
        case("backref-unfounded", |it| {
            let block = Key::new(it.root(CSUM_TREE).logical.0, KeyType::METADATA_ITEM, 0);
            add_keyed(it, block, KeyType::SHARED_BLOCK_REF, NOBODY, &[]);
            json!({"extent": block.objectid, "reference": {"node": {"parent": NOBODY}}, "have": 1})
        }),
        // The block is shared, and says that it is not.
        case("backref-unfounded", |it| {
            let data = data_of(it, find(it, data_of_file_and_leaf));
            let leaf = reference(&data[last_inline(&data)..]);
            let block = Key::new(leaf["leaf"]["parent"].as_u64().unwrap(), KeyType::METADATA_ITEM, 0);
            it.item_as(EXTENT_TREE, block, |item: &mut ExtentItem| {
                assert_ne!(item.flags.get() & FULL_BACKREF, 0);
                item.flags.set(TREE_BLOCK);
            });
            json!({"reference": leaf, "have": 1})
        })
        .on("snapshots")
        .also(&["backref-count"]),
    ]
}

fn counts() -> Vec<Case> {
    vec![
        case("backref-count", |it| count_inline(it, find(it, data_of_two_files))),
        case("backref-count", |it| count_inline(it, find(it, data_of_file_and_leaf))).on("snapshots"),
        case("backref-count", |it| {
            let (extent, key, data) = keyed(it, KeyType::EXTENT_DATA_REF);
            it.item_as(EXTENT_TREE, key, |data_ref: &mut ExtentDataRef| data_ref.count += 1);
            add_refs(it, extent, 1);
            let reference = file(ExtentDataRef::ref_from_bytes(&data).unwrap());
            json!({"extent": extent.objectid, "reference": reference, "have": 2, "expect": 1})
        }),
        case("extent-refs", |it| {
            let extent = find(it, data_of_two_files);
            add_refs(it, extent, 1);
            json!({"extent": extent.objectid, "have": 3, "expect": 2})
        }),
        case("extent-refs", |it| {
            let block = find(it, block_of_two_trees);
            add_refs(it, block, 5);
            json!({"extent": block.objectid, "have": 7, "expect": 2})
        })
        .on("snapshots"),
        case("extent-refs", |it| {
            let (extent, ..) = keyed(it, KeyType::EXTENT_DATA_REF);
            let refs = ExtentItem::read_from_prefix(&data_of(it, extent)).unwrap().0.refs.get();
            add_refs(it, extent, -1);
            json!({"extent": extent.objectid, "have": refs - 1, "expect": refs})
        }),
    ]
}

fn shapes() -> Vec<Case> {
    vec![
        // Within a leaf the items themselves show it.
        case("extent-overlap", |it| {
            let items = it.items(EXTENT_TREE);
            let keys = items.iter().map(|(key, _)| *key).filter(|key| key.key_type == KeyType::EXTENT_ITEM);
            let keys: Vec<Key> = keys.collect();
            let leaf = |key: &Key| it.leaf_of(EXTENT_TREE, *key);
            let is_wanted = |pair: &&[Key]| {
                pair[0].objectid + pair[0].offset == pair[1].objectid && leaf(&pair[0]) != leaf(&pair[1])
            };
            let pair = keys.windows(2).find(is_wanted).expect("adjacent data in two leaves");
            let (last, next) = (pair[0], pair[1]);
            let length = next.objectid - last.objectid + SECTOR;
            it.leaf(EXTENT_TREE, last, |items| {
                items.iter_mut().find(|item| item.0 == last).unwrap().0.offset = length;
            });
            json!({"extent": next.objectid, "other": last.objectid})
        })
        .on("snapshots")
        .also(&["block-group-used", "super-bytes-used", "extent-length"]),
        case("extent-kind", |it| {
            let extent = data_of_one_file(it);
            let (key, block) = (file_item(it, extent), it.root(CSUM_TREE).logical);
            it.item_as(FS_TREE, Key::new(key.objectid, KeyType::INODE_ITEM, 0), |inode: &mut InodeItem| {
                inode.flags |= NODATASUM;
            });
            edit_file_extent(it, key, |_, disk| disk.disk_bytenr.set(block.0));
            let reference = json!({"file": {"root": FS_TREE, "objectid": key.objectid, "offset": key.offset}});
            json!({"extent": block, "have": TREE_BLOCK, "reference": reference})
        })
        .also(&["backref-missing", "extent-unreferenced"]),
        case("extent-level", |it| {
            let block = it.root(CSUM_TREE).logical.0;
            let key = Key::new(block, KeyType::METADATA_ITEM, 0);
            it.leaf(EXTENT_TREE, key, |items| items.iter_mut().find(|item| item.0 == key).unwrap().0.offset = 3);
            json!({"extent": block, "have": 3, "expect": 0, "reference": {"tree": {"root": CSUM_TREE}}})
        }),
        case("extent-generation", |it| {
            let root = it.root(CSUM_TREE);
            let key = Key::new(root.logical.0, KeyType::METADATA_ITEM, 0);
            it.item_as(EXTENT_TREE, key, |item: &mut ExtentItem| item.generation -= 1);
            let expect = root.generation.unwrap().0;
            json!({"extent": root.logical, "have": expect - 1, "expect": expect})
        }),
        // Of a relocation that there was not, and of one that has left no block.
        case("extent-backref-flag", |it| {
            let root = it.root(FS_TREE);
            it.block(root.logical, |block| Header::mut_from_prefix(block).unwrap().0.flags |= header::RELOC);
            json!({"extent": root.logical, "tree": FS_TREE, "header_flags": header::WRITTEN | header::RELOC})
        }),
        case("extent-backref-flag", |it| {
            let root = it.root(FS_TREE);
            let key = Key::new(root.logical.0, KeyType::METADATA_ITEM, root.level.into());
            it.item_as(EXTENT_TREE, key, |item: &mut ExtentItem| item.flags |= FULL_BACKREF);
            json!({"extent": root.logical, "tree": FS_TREE, "have": TREE_BLOCK | FULL_BACKREF})
        })
        .on("empty"),
        case("extent-never-shared", |it| {
            let root = it.root(CSUM_TREE);
            let key = Key::new(root.logical.0, KeyType::METADATA_ITEM, root.level.into());
            it.item_as(EXTENT_TREE, key, |item: &mut ExtentItem| item.flags |= FULL_BACKREF);
            json!({"extent": root.logical, "have": TREE_BLOCK | FULL_BACKREF, "reference": {"tree": {"root": CSUM_TREE}}})
        }),
        case("extent-length", |it| {
            let extent = data_of_one_file(it);
            let key = file_item(it, extent);
            edit_file_extent(it, key, |item, disk| {
                item.ram_bytes += SECTOR;
                disk.disk_num_bytes += SECTOR;
            });
            json!({"extent": extent.objectid, "have": extent.offset, "expect": extent.offset + SECTOR})
        }),
    ]
}

fn cases() -> Vec<Case> {
    [missing_items(), missing_references(), unfounded_references(), counts(), shapes()].into_iter().flatten().collect()
}

#[test]
fn each_kind_of_damage_is_found_for_itself() {
    assert_each_is_found_for_itself(&cases(), |_| true);
}

#[test]
fn each_kind_of_problem_has_a_case() {
    let kinds: BTreeSet<_> = ExtentProblem::KINDS.iter().map(|kind| kind.code).collect();
    let covered: BTreeSet<_> = cases().iter().map(|case| case.code).collect();
    assert_eq!(kinds, covered);
}
