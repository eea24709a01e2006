//! Files, names, checksums and subvolumes are checked: sound filesystems have nothing to report, and each kind of
//! damage is found for itself, at its place.

use std::collections::BTreeSet;

use crate::support::damage::{Case, assert_each_is_found_for_itself, case, problems_of};
use crate::support::inject::Injector;
use crate::support::soundness::describe;
use crate::support::{check, kernel_image_or_skip, open};
use rbtrfs::disk::flags::inode::NODATASUM;
use rbtrfs::disk::inode::{DirItem, Entries, FileExtentDisk, FileExtentItem, InodeItem, InodeRef};
use rbtrfs::disk::objectid::{
    CSUM_TREE, EXTENT_CSUM, FREE_SPACE, FS_TREE, ORPHAN, ROOT_DIR, ROOT_TREE, ROOT_TREE_DIR, UUID_TREE, is_subvolume,
};
use rbtrfs::disk::root::{RootItem, RootRef};
use rbtrfs::disk::space::FreeSpaceHeader;
use rbtrfs::disk::{Key, KeyType, Logical, hash};
use rbtrfs::problem::{ChecksumProblem, FileProblem, NameProblem, Problem, SubvolumeProblem};
use rbtrfs::tree::{Levels, TreeRoot, Walk};
use serde_json::{Value, json};
use zerocopy::{FromBytes, IntoBytes};

/// A name in the top-level tree.
struct Name {
    directory: u64,
    index: u64,
    inode: u64,
    name: &'static [u8],
}

impl Name {
    fn entry(&self) -> Key {
        Key::new(self.directory, KeyType::DIR_ITEM, hash::dir_item(self.name))
    }

    fn index(&self) -> Key {
        Key::new(self.directory, KeyType::DIR_INDEX, self.index)
    }

    fn reference(&self) -> Key {
        Key::new(self.inode, KeyType::INODE_REF, self.directory)
    }

    fn item(&self) -> Key {
        Key::new(self.inode, KeyType::INODE_ITEM, 0)
    }

    fn place(&self) -> Value {
        let name = str::from_utf8(self.name).unwrap();
        json!({"tree": FS_TREE, "directory": self.directory, "name": name, "inode": self.inode})
    }
}

fn in_directory(injector: &Injector, directory: u64, name: &'static [u8]) -> Name {
    let is_index = |key: &Key| key.objectid == directory && key.key_type == KeyType::DIR_INDEX;
    let found = injector.items(FS_TREE).into_iter().filter(|(key, _)| is_index(key)).find_map(|(key, data)| {
        let named = Entries::<DirItem>::new(&data).flatten().find(|named| named.name == name)?;
        Some(Name { directory, index: key.offset, inode: named.entry.location.objectid.get(), name })
    });
    found.expect("the name exists")
}

fn find(injector: &Injector, path: &'static str) -> Name {
    let mut directory = ROOT_DIR;
    let (parents, name) = path.rsplit_once('/').unwrap_or(("", path));
    for parent in parents.split_terminator('/') {
        directory = in_directory(injector, directory, parent.as_bytes()).inode;
    }
    in_directory(injector, directory, name.as_bytes())
}

fn edit_inode(injector: &Injector, path: &'static str, edit: impl Fn(&mut InodeItem)) -> Value {
    let file = find(injector, path);
    injector.item_as(FS_TREE, file.item(), edit);
    json!({"tree": FS_TREE, "inode": file.inode})
}

fn extents(injector: &Injector, inode: u64) -> Vec<(Key, FileExtentDisk)> {
    let items = injector.items(FS_TREE).into_iter();
    let extents = items.filter(|(key, _)| key.objectid == inode && key.key_type == KeyType::EXTENT_DATA);
    let disk = |data: &[u8]| Some(*FileExtentDisk::read_prefix(data.get(size_of::<FileExtentItem>()..)?)?.0);
    extents.filter_map(|(key, data)| Some((key, disk(&data)?))).collect()
}

const CSUM: usize = 4;
const SECTOR: u64 = 4096;

/// Takes the checksums of some data away.
fn cut_checksums(injector: &Injector, start: u64, end: u64) {
    let key = |offset: u64| Key::new(EXTENT_CSUM, KeyType::EXTENT_CSUM, offset);
    injector.leaf(CSUM_TREE, key(start), |items| {
        let (cut, mut left): (Vec<_>, Vec<_>) =
            items.drain(..).partition(|(item, data)| item.offset < end && sums_end(item, data) > start);
        for (item, data) in cut {
            let before = data.len().min((start.saturating_sub(item.offset) / SECTOR) as usize * CSUM);
            let after = data.len().min((end - item.offset) as usize / SECTOR as usize * CSUM);
            left.push((item, data[..before].to_vec()));
            left.push((key(end), data[after..].to_vec()));
        }
        left.retain(|(_, data)| !data.is_empty());
        left.sort();
        *items = left;
    });
}

fn sums_end(item: &Key, data: &[u8]) -> u64 {
    item.offset + (data.len() / CSUM) as u64 * SECTOR
}

fn root_refs(injector: &Injector, path: &'static str) -> (u64, Key, Key) {
    let subvolume = find(injector, path).inode;
    let reference = Key::new(FS_TREE, KeyType::ROOT_REF, subvolume);
    (subvolume, reference, Key::new(subvolume, KeyType::ROOT_BACKREF, FS_TREE))
}

fn first_key(injector: &Injector, tree: u64, is_wanted: impl Fn(&Key) -> bool) -> Key {
    injector.items(tree).into_iter().map(|(key, _)| key).find(is_wanted).expect("there is such an item")
}

/// A preallocated extent item of the top level.
fn prealloc(injector: &Injector) -> (u64, Key, FileExtentDisk) {
    let items = injector.items(FS_TREE).into_iter();
    let found = items.filter(|(key, _)| key.key_type == KeyType::EXTENT_DATA).find_map(|(key, data)| {
        let (item, rest) = FileExtentItem::read_prefix(&data)?;
        let disk = *FileExtentDisk::read_prefix(rest).filter(|_| item.r#type == 2)?.0;
        Some((key.objectid, key, disk))
    });
    found.expect("there is a preallocated extent")
}

/// The inode of a symbolic link, and the key of its target.
fn target(injector: &Injector) -> (u64, Key) {
    let link = find(injector, "inodes/symlink");
    (link.inode, Key::new(link.inode, KeyType::EXTENT_DATA, 0))
}

fn file_cases() -> Vec<Case> {
    vec![
        case("root-directory-missing", |it| {
            it.leaf(FS_TREE, Key::MIN, |items| items.clear());
            json!({"tree": FS_TREE})
        })
        .on("empty"),
        case("inode-item-missing", |it| {
            let file = find(it, "files/text-2048");
            it.remove_item(FS_TREE, file.item());
            json!({"tree": FS_TREE, "inode": file.inode})
        }),
        case("inode-nlink", |it| {
            edit_inode(it, "files/random", |inode| inode.nlink.set(5));
            json!({"inode": find(it, "files/random").inode, "have": 5, "expect": 1})
        }),
        case("inode-orphan-missing", |it| {
            let key = first_key(it, FS_TREE, |key| key.objectid == ORPHAN);
            it.remove_item(FS_TREE, key);
            json!({"tree": FS_TREE, "inode": key.offset})
        })
        .on("orphan"),
        case("directory-names", |it| {
            let directory = find(it, "empty");
            it.leaf(FS_TREE, directory.reference(), |items| {
                let (_, data) = items.iter_mut().find(|(key, _)| *key == directory.reference()).unwrap();
                data.extend(InodeRef { index: 9999.into(), name_len: 5.into() }.as_bytes());
                data.extend(b"other");
            });
            edit_inode(it, "empty", |inode| inode.nlink.set(2));
            json!({"inode": directory.inode, "have": 2})
        })
        .also(&["name-index-missing", "name-entry-missing"]),
        case("directory-size", |it| edit_inode(it, "names", |inode| inode.size += 2)),
        case("inode-nbytes", |it| edit_inode(it, "files/random", |inode| inode.nbytes += SECTOR)),
        case("inode-items", |it| {
            let directory = find(it, "empty");
            let inline = FileExtentItem::read_from_bytes(&[0; size_of::<FileExtentItem>()]).unwrap();
            it.insert_item(FS_TREE, Key::new(directory.inode, KeyType::EXTENT_DATA, 0), inline.as_bytes());
            json!({"tree": FS_TREE, "inode": directory.inode})
        }),
        case("file-extent-overlap", |it| {
            let file = find(it, "files/prealloc-written");
            let (first, _) = extents(it, file.inode)[0];
            it.item(FS_TREE, first, |data| {
                let disk = FileExtentDisk::mut_from_prefix(&mut data[size_of::<FileExtentItem>()..]).unwrap().0;
                disk.num_bytes += SECTOR;
            });
            edit_inode(it, "files/prealloc-written", |inode| inode.nbytes += SECTOR);
            json!({"inode": file.inode, "offset": extents(it, file.inode)[1].0.offset})
        }),
        case("file-extent-missing", |it| {
            let file = find(it, "files/hole");
            it.remove_item(FS_TREE, Key::new(file.inode, KeyType::EXTENT_DATA, 0));
            json!({"inode": file.inode, "offset": 0})
        })
        .on("holes"),
        case("csum-missing", |it| edit_inode(it, "files/nodatacow", |inode| inode.flags &= !NODATASUM)),
        case("csum-missing-compressed", |it| {
            let file = find(it, "zlib/text-400000");
            for (_, disk) in extents(it, file.inode).into_iter().filter(|(_, disk)| disk.disk_bytenr.get() != 0) {
                let start = disk.disk_bytenr.get();
                cut_checksums(it, start, start + disk.disk_num_bytes.get());
            }
            edit_inode(it, "zlib/text-400000", |inode| inode.flags |= NODATASUM)
        }),
        // Of a preallocated extent of which no part was written.
        case("csum-prealloc", |it| {
            let (file, key, disk) = prealloc(it);
            let start = disk.disk_bytenr.get() + disk.offset.get();
            it.insert_item(CSUM_TREE, Key::new(EXTENT_CSUM, KeyType::EXTENT_CSUM, start), &[0; CSUM]);
            json!({"tree": FS_TREE, "inode": file, "offset": key.offset})
        }),
        case("inode-items", |it| {
            let link = find(it, "inodes/symlink");
            let fifo = 0o010644;
            edit_inode(it, "inodes/symlink", |inode| inode.mode.set(fifo));
            json!({"inode": link.inode, "mode": fifo})
        })
        .also(&["name-type"]),
        case("link-not-inline", |it| {
            let (link, key) = target(it);
            it.leaf(FS_TREE, key, |items| {
                let (_, data) = items.iter_mut().find(|item| item.0 == key).unwrap();
                data[size_of::<FileExtentItem>() - 1] = 1;
                data.resize(size_of::<FileExtentItem>(), 0);
                let disk = FileExtentDisk { num_bytes: SECTOR.into(), ..FileExtentDisk::zeroed() };
                data.extend(disk.as_bytes());
                FileExtentItem::mut_from_prefix(data).unwrap().0.ram_bytes.set(SECTOR);
            });
            edit_inode(it, "inodes/symlink", |inode| inode.nbytes.set(0));
            json!({"inode": link})
        }),
        case("link-empty", |it| {
            let (link, key) = target(it);
            it.remove_item(FS_TREE, key);
            edit_inode(it, "inodes/symlink", |inode| inode.nbytes.set(0));
            json!({"inode": link})
        }),
        case("link-size", |it| {
            edit_inode(it, "inodes/symlink", |inode| inode.size += 1);
            json!({"inode": target(it).0})
        }),
        case("link-nul", |it| {
            let (link, key) = target(it);
            it.item(FS_TREE, key, |data| data[size_of::<FileExtentItem>()] = 0);
            json!({"inode": link})
        }),
        case("csum-unexpected", |it| edit_inode(it, "files/random", |inode| inode.flags |= NODATASUM)),
        case("csum-overlap", |it| {
            let first = first_key(it, CSUM_TREE, |_| true);
            let start = first.offset + SECTOR;
            it.insert_item(CSUM_TREE, Key { offset: start, ..first }, &[0; CSUM]);
            json!({"start": start, "end": start + SECTOR, "other": first.offset})
        }),
        case("csum-without-extent", |it| {
            let start = 1 << 40;
            it.insert_item(CSUM_TREE, Key::new(EXTENT_CSUM, KeyType::EXTENT_CSUM, start), &[0; CSUM]);
            json!({"start": start, "end": start + SECTOR})
        }),
    ]
}

fn name_cases() -> Vec<Case> {
    vec![
        case("name-index-missing", |it| {
            let file = find(it, "files/text-2048");
            it.remove_item(FS_TREE, file.index());
            file.place()
        }),
        case("name-entry-missing", |it| {
            let file = find(it, "files/text-2048");
            it.remove_item(FS_TREE, file.entry());
            file.place()
        }),
        case("name-backref-missing", |it| {
            let file = find(it, "files/text-2048");
            it.remove_item(FS_TREE, file.reference());
            file.place()
        }),
        case("name-inode-missing", |it| {
            let file = find(it, "files/text-0");
            it.remove_item(FS_TREE, file.item());
            it.remove_item(FS_TREE, file.reference());
            file.place()
        }),
        case("name-target", |it| {
            let file = find(it, "files/text-2048");
            it.item_as(FS_TREE, file.entry(), |entry: &mut DirItem| entry.location.objectid.set(file.directory));
            json!({"directory": file.directory, "have": file.directory, "expect": file.inode})
        }),
        case("name-duplicate", |it| {
            let file = find(it, "files/text-2048");
            it.leaf(FS_TREE, file.index(), |items| {
                let slot = items.iter().position(|(key, _)| *key == file.index()).unwrap();
                let (_, data) = items[slot].clone();
                let after = items.iter().rposition(|(key, _)| key.objectid == file.directory).unwrap() + 1;
                let last = items[after - 1].0.offset;
                items.insert(after, (Key { offset: last + 100, ..file.index() }, data));
            });
            file.place()
        })
        .also(&["directory-size"]),
        case("name-index", |it| {
            let file = find(it, "files/text-2048");
            it.item_as(FS_TREE, file.reference(), |reference: &mut InodeRef| reference.index.set(5555));
            json!({"inode": file.inode, "have": 5555, "expect": file.index})
        }),
        case("name-type", |it| {
            let file = find(it, "files/text-2048");
            for key in [file.entry(), file.index()] {
                it.item_as(FS_TREE, key, |entry: &mut DirItem| entry.r#type = 2);
            }
            json!({"inode": file.inode, "have": 2, "expect": 1})
        }),
    ]
}

fn subvolume_cases() -> Vec<Case> {
    vec![
        case("subvolume-backref-missing", |it| {
            let (subvolume, _, back) = root_refs(it, "volume");
            it.remove_item(ROOT_TREE, back);
            json!({"subvolume": subvolume, "parent": FS_TREE})
        }),
        case("subvolume-ref-missing", |it| {
            let (subvolume, reference, _) = root_refs(it, "volume");
            it.remove_item(ROOT_TREE, reference);
            json!({"subvolume": subvolume, "parent": FS_TREE})
        }),
        case("subvolume-refs-disagree", |it| {
            let (subvolume, _, back) = root_refs(it, "volume");
            it.item_as(ROOT_TREE, back, |back: &mut RootRef| back.sequence.set(77));
            json!({"subvolume": subvolume, "parent": FS_TREE})
        }),
        case("subvolume-name-missing", |it| {
            let (subvolume, ..) = root_refs(it, "volume");
            it.remove_item(FS_TREE, find(it, "volume").entry());
            json!({"subvolume": subvolume, "parent": FS_TREE, "directory": ROOT_DIR, "name": "volume"})
        })
        .also(&["name-entry-missing"]),
        case("subvolume-unreachable", |it| {
            let (subvolume, reference, back) = root_refs(it, "snapshot-rw");
            it.remove_item(ROOT_TREE, reference);
            it.remove_item(ROOT_TREE, back);
            json!({"subvolume": subvolume})
        }),
        case("subvolume-missing", |it| {
            let (subvolume, ..) = root_refs(it, "snapshot-rw");
            let is_root = |key: &Key| key.objectid == subvolume && key.key_type == KeyType::ROOT_ITEM;
            let key = first_key(it, ROOT_TREE, is_root);
            it.item_as(ROOT_TREE, key, |root: &mut RootItem| root.refs.set(0));
            json!({"subvolume": subvolume, "parent": FS_TREE})
        })
        .also(&["subvolume-orphan-missing"]),
        case("subvolume-orphan-missing", |it| {
            let is_orphan = |key: &Key| key.objectid == ORPHAN && is_subvolume(key.offset);
            let key = first_key(it, ROOT_TREE, is_orphan);
            it.remove_item(ROOT_TREE, key);
            json!({"subvolume": key.offset})
        })
        .on("half-dropped"),
        case("uuid-missing", |it| {
            let key = first_key(it, UUID_TREE, |key| key.key_type == KeyType::UUID_KEY_SUBVOL);
            it.remove_item(UUID_TREE, key);
            json!({})
        }),
        case("uuid-unfounded", |it| {
            let subvolume = root_refs(it, "volume").0;
            it.insert_item(UUID_TREE, Key::new(1, KeyType::UUID_KEY_SUBVOL, 2), &subvolume.to_le_bytes());
            json!({"subvolume": subvolume, "uuid": "01000000-0000-0000-0200-000000000000"})
        }),
        case("root-entry-dangling", |it| {
            let is_entry = |key: &Key| (key.objectid, key.key_type) == (ROOT_TREE_DIR, KeyType::DIR_ITEM);
            let key = first_key(it, ROOT_TREE, is_entry);
            it.item_as(ROOT_TREE, key, |entry: &mut DirItem| entry.location.objectid.set(99999));
            json!({"name": "default"})
        }),
        case("space-cache-inode-missing", |it| {
            let key = first_key(it, ROOT_TREE, |key| key.objectid == FREE_SPACE);
            it.item_as(ROOT_TREE, key, |header: &mut FreeSpaceHeader| header.location.objectid.set(99999));
            json!({"block_group": key.offset, "inode": 99999})
        })
        .on("v1-cache"),
    ]
}

fn cases() -> Vec<Case> {
    [file_cases(), name_cases(), subvolume_cases()].into_iter().flatten().collect()
}

fn is_of_files(problem: &Problem) -> bool {
    matches!(problem, Problem::Checksum(_) | Problem::File(_) | Problem::Name(_) | Problem::Subvolume(_))
}

#[test]
fn each_kind_of_damage_is_found_for_itself() {
    // What else the same damage breaks is tested elsewhere: here it is files, names, checksums and subvolumes.
    assert_each_is_found_for_itself(&cases(), is_of_files);
}

#[test]
fn each_kind_of_problem_has_a_case() {
    let groups = [ChecksumProblem::KINDS, FileProblem::KINDS, NameProblem::KINDS, SubvolumeProblem::KINDS];
    let kinds: BTreeSet<_> = groups.iter().flat_map(|kinds| kinds.iter()).map(|kind| kind.code).collect();
    let covered: BTreeSet<_> = cases().iter().map(|case| case.code).collect();
    assert_eq!(kinds, covered);
}

#[test]
fn a_block_that_is_lost_says_nothing_of_the_files_around_it() {
    let Some(images) = kernel_image_or_skip("nodesize-4k") else { return };
    let injector = Injector::new(&images);
    let blocks: BTreeSet<Logical> = {
        let volume = injector.volume();
        let root_tree = TreeRoot::root_tree(&volume);
        let roots = [root_tree].into_iter().chain(root_tree.children(&volume));
        roots.flat_map(|root| Walk::new(&volume, root.expected(), Levels::All)).map(|block| block.logical).collect()
    };
    assert!(blocks.len() > 50);
    let flip = |block| injector.block_unstamped(block, |bytes| bytes[200] ^= 1);
    for block in blocks {
        flip(block);
        let found = problems_of(&injector);
        flip(block);
        let others: Vec<_> = found.iter().filter(|problem| is_of_files(problem)).cloned().collect();
        assert!(others.is_empty() && !found.is_empty(), "block {block}:{}", describe(&others));
    }
}

#[test]
fn sound_filesystems_have_no_problems() {
    for name in ["single", "holes", "orphan", "half-dropped", "v1-cache", "empty", "log-tree", "balance-interrupted"] {
        let Some(images) = kernel_image_or_skip(name) else { return };
        let found = problems_of(&Injector::new(&images));
        assert!(found.is_empty(), "{name}:{}", describe(&found));
    }
}

#[test]
fn random_damage_gives_the_same_problems_whatever_the_number_of_threads() {
    let Some(images) = kernel_image_or_skip("nodesize-4k") else { return };
    let injector = Injector::new(&images);
    let root_tree = injector.root(ROOT_TREE);
    let blocks: Vec<Logical> = {
        let volume = injector.volume();
        let roots = [root_tree].into_iter().chain(root_tree.children(&volume));
        roots.flat_map(|root| Walk::new(&volume, root.expected(), Levels::All)).map(|block| block.logical).collect()
    };
    let sound = problems_of(&injector);
    let rounds = std::env::var("RBTRFS_FUZZ_ROUNDS").map_or(50, |rounds| rounds.parse().unwrap());
    let mut state: u64 = 1;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    for round in 0..rounds {
        let block = blocks[random(blocks.len())];
        // Past the header, so that the damage is not found at once.
        let places: Vec<(usize, u8)> = (0..4).map(|_| (101 + random(4096 - 101), random(256) as u8)).collect();
        let change = || {
            injector.block(block, |bytes| places.iter().for_each(|(place, bits)| bytes[*place] ^= bits));
        };
        change();
        let volume = open(injector.images());
        let one = check(&volume, 1);
        assert_eq!(one, check(&volume, 3), "round {round} block {block}");
        change();
    }
    assert_eq!(problems_of(&injector), sound);
}
