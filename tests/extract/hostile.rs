//! Names and links that would lead out of the target, or nowhere.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rbtrfs::disk::inode::InodeItem;
use rbtrfs::disk::objectid::{FS_TREE, ROOT_DIR};
use rbtrfs::disk::{Key, KeyType, hash};
use rbtrfs::files::{Files, Start};

use super::support::inject::Injector;
use super::support::limits::rbtrfs_within_limits;
use super::support::*;
use super::{extract, paths_of};

const FILE: u8 = 1;
const DIRECTORY: u8 = 2;
const LINK: u8 = 7;

/// A filesystem of a directory that `fill` fills, to be damaged.
fn filesystem(scratch: &Scratch, fill: impl FnOnce(&Path)) -> Injector {
    let root = scratch.path("root");
    fs::create_dir(&root).unwrap();
    fill(&root);
    let image = scratch.path("image");
    let command = format!("mkfs --quiet --byte-count 64M --rootdir {}", root.display());
    let made = run_rbtrfs(&command, std::slice::from_ref(&image));
    assert_eq!(made.code, 0, "{}", made.stderr);
    fs::remove_dir_all(&root).unwrap();
    Injector::new(&[image])
}

fn ino(injector: &Injector, path: &str) -> u64 {
    let volume = injector.volume();
    let ino = Files::open(&volume, Start::TopLevel).unwrap().lookup(path).unwrap().ino;
    ino.0
}

/// An entry of a directory, as it stands in an item.
fn entry(name: &[u8], ino: u64, kind: u8) -> Vec<u8> {
    let mut bytes = ino.to_le_bytes().to_vec();
    bytes.push(KeyType::INODE_ITEM.0);
    bytes.extend([0; 16]);
    bytes.extend(0_u16.to_le_bytes());
    bytes.extend((name.len() as u16).to_le_bytes());
    bytes.push(kind);
    bytes.extend(name);
    bytes
}

/// Gives a directory these entries and no others.
fn set_entries(injector: &Injector, directory: u64, entries: &[(&[u8], u64, u8)]) {
    injector.leaf(FS_TREE, Key::new(directory, KeyType::DIR_ITEM, 0), |items| {
        let is_entry =
            |key: &Key| key.objectid == directory && matches!(key.key_type, KeyType::DIR_ITEM | KeyType::DIR_INDEX);
        items.retain(|(key, _)| !is_entry(key));
        for (index, (name, ino, kind)) in entries.iter().enumerate() {
            let item = Key::new(directory, KeyType::DIR_ITEM, hash::dir_item(name));
            match items.iter_mut().find(|(key, _)| *key == item) {
                Some((_, data)) => data.extend(entry(name, *ino, *kind)),
                None => items.push((item, entry(name, *ino, *kind))),
            }
            items.push((Key::new(directory, KeyType::DIR_INDEX, 2 + index as u64), entry(name, *ino, *kind)));
        }
        items.sort();
    });
}

/// Names in a directory.
fn names_in(directory: &Path) -> BTreeSet<Vec<u8>> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().as_bytes().to_vec()).collect()
}

/// Into a directory in one of its own: what is beside it would be seen.
fn extract_alone(injector: &Injector, scratch: &Scratch) -> (Run, Vec<serde_json::Value>, PathBuf) {
    let around = scratch.new_directory();
    let target = around.join("target");
    let (run, problems) = extract(injector.images(), &target, &[], &[]);
    assert_eq!(names_in(&around), [&b"target"[..], b"target.report"].map(<[u8]>::to_vec).into());
    (run, problems, target)
}

#[test]
fn names_that_no_file_can_have_are_listed_and_written_nowhere() {
    let scratch = Scratch::in_memory();
    let injector = filesystem(&scratch, |root| {
        fs::create_dir(root.join("directory")).unwrap();
        fs::write(root.join("directory/file"), "in it").unwrap();
        fs::write(root.join("good"), "good").unwrap();
    });
    let (directory, file, good) =
        (ino(&injector, "directory"), ino(&injector, "directory/file"), ino(&injector, "good"));
    for (bad, kind) in [
        (&b".."[..], FILE),
        (b"..", DIRECTORY),
        (b".", DIRECTORY),
        (b"a/b", FILE),
        (b"/tmp/rbtrfs-test-hostile", FILE),
        (b"../evil", FILE),
        (b"", FILE),
        (b"a\0b", FILE),
    ] {
        let leads_to = if kind == DIRECTORY { directory } else { file };
        set_entries(
            &injector,
            ROOT_DIR,
            &[(b"directory", directory, DIRECTORY), (bad, leads_to, kind), (b"good", good, FILE)],
        );
        let (run, problems, target) = extract_alone(&injector, &scratch);
        let what = bad.escape_ascii();
        assert_eq!(run.code, 1, "{what}: {}", run.stderr);
        assert_eq!(paths_of(&problems, "incomplete").len(), problems.len(), "{what}: {problems:?}");
        assert_eq!(names_in(&target), [&b"directory"[..], b"good"].map(<[u8]>::to_vec).into(), "{what}");
        assert_eq!(fs::read(target.join("directory/file")).unwrap(), b"in it", "{what}");
        let tar = scratch.path("archive.tar");
        let made = super::run(&["extract", "--tar", tar.to_str().unwrap()], injector.images(), &[]);
        assert_eq!(made.code, 1, "{what}: {}", made.stderr);
        assert_eq!(tool("tar", ["-tf", tar.to_str().unwrap()]).unwrap(), "./\ndirectory/\ndirectory/file\ngood\n");
    }
    assert!(!Path::new("/tmp/rbtrfs-test-hostile").exists());
}

#[test]
fn the_longest_names_and_those_of_any_bytes_come_out_as_they_are() {
    let scratch = Scratch::in_memory();
    let longest = [b'x'; 255];
    let mut every = (1..=255_u8).filter(|byte| *byte != b'/').collect::<Vec<_>>();
    every.truncate(254);
    let names = [&longest[..], b"\xff\xfe", b"new\nline", b"-rf", b" ", b"\x1b[31m", &every];
    let injector = filesystem(&scratch, |root| {
        for name in names {
            let deep = root.join(OsStr::from_bytes(name));
            fs::create_dir(&deep).unwrap();
            fs::write(deep.join(OsStr::from_bytes(name)), name).unwrap();
            fs::hard_link(deep.join(OsStr::from_bytes(name)), deep.join("link")).unwrap();
        }
    });
    let (run, problems, target) = extract_alone(&injector, &scratch);
    assert_eq!((run.code, problems.len()), (0, 0), "{}", run.stderr);
    let tar = scratch.path("archive.tar");
    let made = super::run(&["extract", "--tar", tar.to_str().unwrap()], injector.images(), &[]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    let unpacked = scratch.new_directory();
    tool("tar", ["-xf", tar.to_str().unwrap(), "-C", unpacked.to_str().unwrap()]).unwrap();
    for root in [target, unpacked] {
        assert_eq!(names_in(&root), names.map(<[u8]>::to_vec).into());
        for name in names {
            let deep = root.join(OsStr::from_bytes(name));
            assert_eq!(fs::read(deep.join(OsStr::from_bytes(name))).unwrap(), name);
            assert_eq!(fs::read(deep.join("link")).unwrap(), name);
        }
    }
    let script = "import sys, tarfile; print(sum(len(m.name.encode('utf-8', 'surrogateescape')) for m in tarfile.open(sys.argv[1])))";
    let python = tool("python3", ["-c", script, tar.to_str().unwrap()]).unwrap();
    let length: usize = 1 + names.iter().map(|name| name.len() + 2 * name.len() + 1 + name.len() + 5).sum::<usize>();
    assert_eq!(python.trim(), length.to_string());
}

#[test]
fn directories_that_hold_themselves_end() {
    let scratch = Scratch::in_memory();
    let injector = filesystem(&scratch, |root| fs::create_dir_all(root.join("a/b")).unwrap());
    let (a, b) = (ino(&injector, "a"), ino(&injector, "a/b"));
    for (entries, expected) in [
        (&[(&b"b"[..], b, DIRECTORY), (b"self", a, DIRECTORY)][..], "a/self"),
        (&[(b"b", b, DIRECTORY), (b"root", ROOT_DIR, DIRECTORY)], "a/root"),
        (&[(b"b", b, DIRECTORY), (b"again", b, DIRECTORY)], "a/again"),
    ] {
        set_entries(&injector, a, entries);
        let (run, problems, target) = extract_alone(&injector, &scratch);
        assert_eq!(run.code, 1, "{}", run.stderr);
        assert_eq!(paths_of(&problems, "missing"), [expected], "{problems:?}");
        assert_eq!(names_in(&target.join("a")), [b"b".to_vec()].into());
        let listed = super::run(&["ls", "-R"], injector.images(), &[]);
        assert!(listed.code == 1 && listed.says(&["second time"]), "{}", listed.stderr);
    }
    // A circle that nothing leads into.
    set_entries(&injector, ROOT_DIR, &[]);
    set_entries(&injector, b, &[(b"a", a, DIRECTORY)]);
    set_entries(&injector, a, &[(b"b", b, DIRECTORY)]);
    let (run, problems, _) = extract_alone(&injector, &scratch);
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(!paths_of(&problems, "found").is_empty(), "{problems:?}");
}

#[test]
fn of_two_files_of_one_name_both_come_out() {
    let scratch = Scratch::in_memory();
    let injector = filesystem(&scratch, |root| {
        fs::write(root.join("one"), "the first").unwrap();
        fs::write(root.join("two"), "the second").unwrap();
    });
    let (one, two) = (ino(&injector, "one"), ino(&injector, "two"));
    set_entries(&injector, ROOT_DIR, &[(b"twin", one, FILE), (b"twin", two, FILE)]);
    let (run, problems, target) = extract_alone(&injector, &scratch);
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert_eq!(fs::read(target.join("twin")).unwrap(), b"the first");
    // It has a name of its own, which no directory has.
    assert_eq!(fs::read(target.join("two")).unwrap(), b"the second");
    assert_eq!(
        (paths_of(&problems, "missing"), paths_of(&problems, "found")),
        (vec!["twin".into()], vec!["two".into()])
    );
    // Where that is the name of something else, it is found by its number.
    set_entries(&injector, ROOT_DIR, &[(b"two", one, FILE), (b"two", two, FILE)]);
    let (run, problems, target) = extract_alone(&injector, &scratch);
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert_eq!(fs::read(target.join("two")).unwrap(), b"the first");
    let found = format!("lost+found/5/{two}");
    assert_eq!(fs::read(target.join(&found)).unwrap(), b"the second");
    assert_eq!(paths_of(&problems, "found"), [found]);
}

#[test]
fn nothing_is_written_through_a_link() {
    let scratch = Scratch::in_memory();
    let outside = scratch.path("outside");
    let injector = filesystem(&scratch, |root| {
        std::os::unix::fs::symlink(&outside, root.join("link")).unwrap();
        fs::create_dir(root.join("real")).unwrap();
        fs::write(root.join("real/passwd"), "through it").unwrap();
    });
    fs::create_dir(&outside).unwrap();
    let (link, real) = (ino(&injector, "link"), ino(&injector, "real"));
    let both = [(&b"etc"[..], link, LINK), (b"etc", real, DIRECTORY)];
    for entries in [both, [both[1], both[0]]] {
        set_entries(&injector, ROOT_DIR, &entries);
        let (run, problems, target) = extract_alone(&injector, &scratch);
        assert_eq!(run.code, 1, "{}", run.stderr);
        assert_eq!(names_in(&outside), BTreeSet::new(), "{problems:?}");
        let place = ["etc/passwd", "real/passwd"].into_iter().find(|path| {
            target.join(path).parent().unwrap().symlink_metadata().is_ok_and(|metadata| metadata.is_dir())
        });
        assert_eq!(fs::read(target.join(place.unwrap())).unwrap(), b"through it");
        // A run that goes on meets the link in the place of the directory, or the directory in that of the link.
        let again = super::run(
            &["extract", "--subvol", "5", "--resume", "-C", target.to_str().unwrap()],
            injector.images(),
            &[],
        );
        assert_eq!((again.code, names_in(&outside)), (1, BTreeSet::new()), "{}", again.stderr);
    }
    set_entries(&injector, ROOT_DIR, &[(b"etc", real, DIRECTORY)]);
    let target = scratch.new_directory();
    std::os::unix::fs::symlink(&outside, target.join("etc")).unwrap();
    let options = ["extract", "--resume", "-C", target.to_str().unwrap()];
    let run = super::run(&options, injector.images(), &[]);
    assert_eq!((run.code, names_in(&outside)), (1, BTreeSet::new()), "{}", run.stderr);
}

#[test]
fn sizes_that_no_file_has_cost_neither_memory_nor_time() {
    let scratch = Scratch::in_memory();
    let injector = filesystem(&scratch, |root| {
        fs::write(root.join("inline"), "small").unwrap();
        fs::write(root.join("large"), vec![7; 3_000_000]).unwrap();
    });
    let archive = scratch.path("archive.tar");
    for size in [u64::MAX, i64::MAX as u64, 1 << 50, 1 << 40] {
        for path in ["inline", "large"] {
            let key = Key::new(ino(&injector, path), KeyType::INODE_ITEM, 0);
            injector.item_as(FS_TREE, key, |item: &mut InodeItem| item.size.set(size));
        }
        let target = scratch.new_directory();
        for words in [["extract", "-C", target.to_str().unwrap()], ["extract", "--tar", archive.to_str().unwrap()]] {
            let ended = rbtrfs_within_limits(&words, &injector.images()[0]);
            assert!(matches!(ended.code, Some(0 | 1)), "{size} {words:?}: {:?} {}", ended.code, ended.stderr);
        }
        assert!(archive.metadata().unwrap().len() < 4_000_000, "{size}");
        let has_size = |path: &str| target.join(path).metadata().is_ok_and(|metadata| metadata.len() == size);
        let has_none = |path: &str| !target.join(path).exists();
        assert!(["inline", "large"].iter().all(|path| has_size(path) || has_none(path)), "{size}");
    }
}
