//! Directories whose items do not say the same, and those that lead nowhere or in circles.

use std::collections::BTreeSet;

use rbtrfs::disk::inode::{DirItem, Entries};
use rbtrfs::disk::objectid::{FS_TREE, ROOT_DIR};
use rbtrfs::disk::{DiskKey, Ino, Key, KeyType, TreeId, hash};
use rbtrfs::error::{Error, FileProblem};
use rbtrfs::files::{DirEntry, FileKind, Files, InodeId, NameProblem, Notice, Start};
use zerocopy::FromBytes;

use super::support::inject::Injector;
use super::support::{kernel_image_or_skip, open};
use super::{Told, read};

fn injector() -> Option<Injector> {
    Some(Injector::new(&kernel_image_or_skip("single")?))
}

fn problem(error: Error) -> FileProblem {
    match error {
        Error::File { problem, .. } => *problem,
        other => panic!("{other}"),
    }
}

fn id(ino: u64) -> InodeId {
    InodeId::new(TreeId(FS_TREE), Ino(ino))
}

/// Keys of the two items of a name.
fn keys(injector: &Injector, directory: InodeId, name: &[u8]) -> (Key, Key) {
    let has_name = |data: &[u8]| Entries::<DirItem>::new(data).flatten().any(|named| named.name == name);
    let is_index = |key: &Key| (key.objectid, key.key_type) == (directory.ino.0, KeyType::DIR_INDEX);
    let items = injector.items(FS_TREE);
    let index = items.iter().find(|(key, data)| is_index(key) && has_name(data)).unwrap().0;
    (Key::new(directory.ino.0, KeyType::DIR_ITEM, hash::dir_item(name)), index)
}

fn names(files: &Files<'_>, directory: InodeId) -> BTreeSet<Vec<u8>> {
    files.read_dir(directory).unwrap().map(|entry| entry.unwrap().name).collect()
}

fn lookup(injector: &Injector, path: &str) -> InodeId {
    let volume = injector.volume();
    Files::open(&volume, Start::TopLevel).unwrap().lookup(path).unwrap()
}

fn lead_to(data: &mut [u8], ino: u64) {
    DirItem::mut_from_prefix(data).unwrap().0.location = DiskKey::from(Key::new(ino, KeyType::INODE_ITEM, 0));
}

#[test]
fn paths_lead_into_subvolumes_and_not_through_links() {
    let Some(images) = kernel_image_or_skip("single") else { return };
    let volume = open(&images);
    let files = Files::open(&volume, Start::TopLevel).unwrap();
    let file = files.lookup("/volume/nested/file").unwrap();
    assert_ne!(file.tree, files.root().tree);
    for path in ["volume/nested/file", "//volume/./nested//file", "../files/../volume/nested/file"] {
        assert_eq!(files.lookup(path).unwrap(), file, "{path}");
    }
    assert_eq!(files.lookup("").unwrap(), files.root());
    let link = files.lookup("inodes/symlink").unwrap();
    assert_eq!(files.attributes(link).unwrap().kind(), FileKind::Symlink);
    assert_eq!(files.read_link(link).unwrap(), b"../files/random");
    let refused = |path: &str| problem(files.lookup(path).unwrap_err());
    assert_eq!(refused("inodes/symlink/x"), FileProblem::NotDirectory);
    for more in ["/", "/.", "/..", "/x"] {
        assert_eq!(refused(&format!("volume/nested/file{more}")), FileProblem::NotDirectory, "{more}");
    }
    assert_eq!(refused("volume/nested/none"), FileProblem::NotFound { name: b"none".into() });
}

#[test]
fn a_name_that_one_of_its_items_lacks_is_found_and_listed_by_the_other() {
    let name = "text-2048";
    for (removed, expected) in [(0, NameProblem::NoItem), (1, NameProblem::NoIndex)] {
        let Some(injector) = injector() else { return };
        let directory = lookup(&injector, "files");
        let sound = { names(&Files::open(&injector.volume(), Start::TopLevel).unwrap(), directory) };
        let bytes = { read(&Files::open(&injector.volume(), Start::TopLevel).unwrap(), "files/text-2048") };
        let (item, index) = keys(&injector, directory, name.as_bytes());
        injector.remove_item(FS_TREE, [item, index][removed]);
        let (volume, told) = (injector.volume(), Told::default());
        let files = told.open(&volume, Start::TopLevel);
        assert_eq!(names(&files, directory), sound, "{expected}");
        assert_eq!(told.take(), [Notice::Name { directory, name: name.into(), problem: expected }]);
        assert_eq!(read(&files, "files/text-2048"), bytes, "{expected}");
        // Who looks for a name that is found by its hash is not told of the index.
        let of_lookup = if removed == 0 { 1 } else { 0 };
        assert_eq!(told.take().len(), of_lookup, "{expected}");
    }
}

#[test]
fn of_two_items_that_lead_to_different_inodes_the_one_is_taken_that_the_inode_agrees_with() {
    for damaged in 0..2 {
        let Some(injector) = injector() else { return };
        let directory = lookup(&injector, "files");
        let (right, other) = (lookup(&injector, "files/text-2048"), lookup(&injector, "files/random"));
        let (item, index) = keys(&injector, directory, b"text-2048");
        injector.item(FS_TREE, [item, index][damaged], |data| lead_to(data, other.ino.0));
        let (volume, told) = (injector.volume(), Told::default());
        let files = told.open(&volume, Start::TopLevel);
        let expected = DirEntry { name: b"text-2048".into(), kind: FileKind::File, inode: right };
        assert_eq!(files.lookup_in(directory, "text-2048").unwrap(), expected);
        told.take();
        let listed: Vec<_> = files.read_dir(directory).unwrap().map(Result::unwrap).collect();
        assert!(listed.contains(&expected), "{listed:?}");
        assert_eq!(listed.iter().filter(|entry| entry.name == b"text-2048").count(), 1);
        let problem = NameProblem::Conflict;
        assert_eq!(told.take(), [Notice::Name { directory, name: b"text-2048".into(), problem }]);
    }
}

#[test]
fn an_item_with_the_wrong_hash_does_not_hide_its_name() {
    let Some(injector) = injector() else { return };
    let directory = lookup(&injector, "files");
    let (item, _) = keys(&injector, directory, b"text-2048");
    injector.leaf(FS_TREE, item, |items| {
        items.iter_mut().find(|(key, _)| *key == item).unwrap().0.offset ^= 1;
        items.sort();
    });
    let volume = injector.volume();
    let files = Files::open(&volume, Start::TopLevel).unwrap();
    assert!(!read(&files, "files/text-2048").is_empty());
    assert_eq!(names(&files, directory).iter().filter(|name| *name == b"text-2048").count(), 1);
}

#[test]
fn names_that_no_file_can_have_are_errors_and_the_others_are_listed() {
    for bad in [&b"../../xx9"[..], b"text\x002048", b"."] {
        let Some(injector) = injector() else { return };
        let directory = lookup(&injector, "files");
        let (item, index) = keys(&injector, directory, b"text-2048");
        for key in [item, index] {
            injector.item(FS_TREE, key, |data| {
                let (entry, rest) = DirItem::mut_from_prefix(data).unwrap();
                entry.name_len.set(bad.len() as u16);
                entry.data_len.set((rest.len() - bad.len()) as u16);
                rest[..bad.len()].copy_from_slice(bad);
            });
        }
        let volume = injector.volume();
        let files = Files::open(&volume, Start::TopLevel).unwrap();
        let (good, errors): (Vec<_>, Vec<_>) = files.read_dir(directory).unwrap().partition(Result::is_ok);
        assert!(good.len() > 10);
        for error in errors.into_iter().map(|error| problem(error.unwrap_err())) {
            assert_eq!(error, FileProblem::Name { name: bad.into() });
        }
        assert!(good.iter().all(|entry| !entry.as_ref().unwrap().name.contains(&b'/')));
    }
}

#[test]
fn directories_that_lead_in_circles_end() {
    let Some(injector) = injector() else { return };
    // files/text-2048 becomes the directory that it is in, and then a directory further up.
    let directory = lookup(&injector, "files");
    let sound = { Files::open(&injector.volume(), Start::TopLevel).unwrap().walk(id(ROOT_DIR)).count() };
    for target in [directory.ino.0, ROOT_DIR] {
        let (item, index) = keys(&injector, directory, b"text-2048");
        for key in [item, index] {
            injector.item(FS_TREE, key, |data| {
                lead_to(data, target);
                DirItem::mut_from_prefix(data).unwrap().0.r#type = rbtrfs::disk::inode::dir_type::DIR;
            });
        }
        let volume = injector.volume();
        let files = Files::open(&volume, Start::TopLevel).unwrap();
        let path = "files/".to_owned() + &"text-2048/".repeat(if target == ROOT_DIR { 1 } else { 100 });
        assert_eq!(files.lookup(path).unwrap().ino.0, target);
        let (met, errors): (Vec<_>, Vec<_>) = files.walk(files.root()).partition(Result::is_ok);
        assert_eq!(met.len(), sound, "to {target}");
        let errors: Vec<_> = errors.into_iter().map(|error| error.unwrap_err()).collect();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(
            matches!(&errors[0], Error::File { ino, problem, .. } if ino.0 == target && **problem == FileProblem::Loop)
        );
    }
    // Names by references end too: the directory has its own number for its parent.
    let reference = Key::new(directory.ino.0, KeyType::INODE_REF, ROOT_DIR);
    injector.leaf(FS_TREE, reference, |items| {
        items.iter_mut().find(|(key, _)| *key == reference).unwrap().0.offset = directory.ino.0;
        items.sort();
    });
    let volume = injector.volume();
    let files = Files::open(&volume, Start::TopLevel).unwrap();
    let file = lookup(&injector, "files/random");
    assert_eq!(problem(files.path_in_subvolume(file).unwrap_err()), FileProblem::Loop);
}

#[test]
fn an_entry_that_leads_to_nothing_is_an_error_of_its_inode_alone() {
    let Some(injector) = injector() else { return };
    let directory = lookup(&injector, "files");
    let (item, index) = keys(&injector, directory, b"text-2048");
    for key in [item, index] {
        injector.item(FS_TREE, key, |data| lead_to(data, 99_999_999));
    }
    let volume = injector.volume();
    let files = Files::open(&volume, Start::TopLevel).unwrap();
    let nothing = files.lookup("files/text-2048").unwrap();
    assert_eq!(nothing, id(99_999_999));
    assert_eq!(problem(files.attributes(nothing).unwrap_err()), FileProblem::NoInode);
    assert_eq!(problem(files.file(nothing).err().unwrap()), FileProblem::NoInode);
    assert_eq!(problem(files.read_link(nothing).unwrap_err()), FileProblem::NoInode);
    assert_eq!(files.read_dir(nothing).unwrap().count(), 0);
    assert_eq!(files.xattrs(nothing).unwrap().len(), 0);
    assert!(!read(&files, "files/random").is_empty());
}

#[test]
fn a_file_whose_inode_item_is_lost_is_read_to_the_end_of_its_extents() {
    let Some(injector) = injector() else { return };
    let volume = injector.volume();
    let before = Files::open(&volume, Start::TopLevel).unwrap();
    let expected = read(&before, "files/random");
    let id = before.lookup("files/random").unwrap();
    injector.remove_item(FS_TREE, Key::new(id.ino.0, KeyType::INODE_ITEM, 0));
    let (volume, told) = (injector.volume(), Told::default());
    let files = told.open(&volume, Start::TopLevel);
    let bytes = read(&files, "files/random");
    assert_eq!(bytes.len(), expected.len().next_multiple_of(4096));
    assert_eq!(bytes[..expected.len()], expected);
    assert!(told.take().contains(&Notice::NoInode { id }));
}

#[test]
fn a_subvolume_is_entered_by_either_of_its_references_and_its_root_item_must_be_there() {
    for removed in 0..3 {
        let Some(injector) = injector() else { return };
        let nested = lookup(&injector, "volume");
        let (root_tree, tree) = (rbtrfs::disk::objectid::ROOT_TREE, nested.tree.0);
        let keys = [Key::new(FS_TREE, KeyType::ROOT_REF, tree), Key::new(tree, KeyType::ROOT_BACKREF, FS_TREE)];
        match removed {
            2 => injector.remove_item(root_tree, Key::new(tree, KeyType::ROOT_ITEM, 0)),
            removed => injector.remove_item(root_tree, keys[removed]),
        }
        let volume = injector.volume();
        let files = Files::open(&volume, Start::TopLevel).unwrap();
        assert_eq!(files.lookup("volume").unwrap(), nested);
        let listed = files.subvolumes().into_iter().find(|subvolume| subvolume.id == nested.tree);
        if removed == 2 {
            assert!(matches!(files.lookup("volume/changed"), Err(Error::NoTree { .. })));
            assert!(listed.is_none());
        } else {
            assert!(!read(&files, "volume/changed").is_empty());
            assert_eq!(listed.unwrap().path.as_deref(), Some(&b"volume"[..]));
        }
    }
}
