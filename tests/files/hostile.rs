//! Hostile bytes with right checksums: never a panic, an endless loop or much memory.

use std::process::Command;

use rbtrfs::disk::inode::{FileExtentDisk, FileExtentItem, InodeItem};
use rbtrfs::disk::objectid::{CSUM_TREE, FS_TREE};
use rbtrfs::disk::{Key, KeyType, Logical};
use rbtrfs::error::{Error, FileProblem, RangeProblem};
use rbtrfs::files::{FileKind, Files, InodeId, Start};
use rbtrfs::volume::Volume;
use zerocopy::FromBytes;

use super::support::contents::{place, tree};
use super::support::inject::Injector;
use super::support::random::Random;
use super::support::*;
use super::{Told, all_that_is_readable, read};

/// Runs this test again within limits of time and memory; whether this is the run within them.
fn is_within_limits(test: &str) -> bool {
    const WITHIN: &str = "RBTRFS_TEST_WITHIN_LIMITS";
    if std::env::var_os(WITHIN).is_some() {
        return true;
    }
    let program = std::env::current_exe().unwrap();
    let script = "ulimit -v 1000000; exec timeout 100 \"$@\"";
    let mut run = Command::new("sh");
    run.args(["-c", script, "sh"]).arg(program).args(["--exact", test, "--test-threads", "1"]).env(WITHIN, "1");
    let output = run.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
    false
}

/// Does all that can be done with every inode that is met. What is returned was read.
fn do_everything(volume: &Volume) -> u64 {
    let told = Told::default();
    let Ok(files) = Files::open(volume, Start::TopLevel) else { return 0 };
    let mut read = 0;
    for subvolume in files.subvolumes() {
        let Ok(root) = files.subvolume_root(subvolume.id) else { continue };
        let _ = files.attributes(root);
    }
    let noted = told.open_with(volume, Start::TopLevel, true);
    for met in noted.walk(files.root()).take(20_000).flatten() {
        told.take();
        let id = met.entry.inode;
        let (attributes, _) = (noted.attributes(id), noted.xattrs(id));
        let (_, _) = (noted.path_in_subvolume(id), noted.read_link(id));
        if met.entry.kind != FileKind::Directory {
            read += read_pieces(&noted, id);
        }
        drop(attributes);
    }
    read
}

fn read_pieces(files: &Files<'_>, id: InodeId) -> u64 {
    let Ok(mut file) = files.file(id) else { return 0 };
    let (mut read, mut end) = (0, 0);
    for _ in 0..2000 {
        match file.next_piece() {
            Ok(Some(piece)) => {
                assert!(piece.offset == end && piece.length > 0);
                (read, end) = (read + 1, end + piece.length);
            }
            Ok(None) => return read,
            Err(Error::File { problem, .. }) => {
                let FileProblem::Range { offset, length, .. } = *problem else { panic!("{problem}") };
                assert!(offset == end && length > 0);
                end += length;
            }
            Err(other) => panic!("{other}"),
        }
    }
    panic!("inode {id}: more pieces than any file of the filesystem has");
}

#[test]
fn file_extent_items_of_any_bytes_are_errors_and_nothing_else() {
    if !is_within_limits("hostile::file_extent_items_of_any_bytes_are_errors_and_nothing_else") {
        return;
    }
    let Some(images) = kernel_image_or_skip("single") else { return };
    let mut random = Random(11);
    let mut pieces = 0;
    for _ in 0..60 {
        let injector = Injector::new(&images);
        let keys: Vec<Key> = injector.items(FS_TREE).into_iter().map(|(key, _)| key).collect();
        let extents: Vec<Key> = keys.into_iter().filter(|key| key.key_type == KeyType::EXTENT_DATA).collect();
        let mut leaf = injector.leaf_of(FS_TREE, extents[random.below(extents.len())]);
        for _ in 0..2 {
            let seed = random.next();
            injector.leaf_at(leaf, |items| {
                let mut random = Random(seed);
                let is_extent = |(_, (key, _)): &(usize, &mut (Key, Vec<u8>))| key.key_type == KeyType::EXTENT_DATA;
                for (slot, (key, data)) in items.iter_mut().enumerate().filter(is_extent) {
                    for _ in 0..1 + random.below(3) {
                        // Numbers that were chosen with care do more than those by chance.
                        let numbers =
                            [0, 1, 4095, 4096, 1 << 17, (1 << 17) + 1, 1 << 40, 1 << 63, u64::MAX, random.next()];
                        let number = numbers[random.below(numbers.len())].to_le_bytes();
                        let fields = [0, 8, 21, 29, 37, 45];
                        let (at, bytes) = match random.below(3) {
                            0 => (random.below(53), &[random.next() as u8][..]),
                            1 => (16 + random.below(5), &[random.below(4) as u8][..]),
                            _ => (fields[random.below(fields.len())], &number[..]),
                        };
                        if let Some(field) = data.get_mut(at..at + bytes.len()) {
                            field.copy_from_slice(bytes);
                        }
                    }
                    if random.below(10) == 0 {
                        data.truncate(random.below(60));
                    }
                    // The first key is what the parent says.
                    if slot > 0 && random.below(10) == 0 {
                        key.offset = random.next() >> random.below(60);
                    }
                }
            });
            leaf = injector.leaf_of(FS_TREE, extents[random.below(extents.len())]);
        }
        pieces += do_everything(&injector.volume());
    }
    assert!(pieces > 5000, "{pieces}");
}

#[test]
fn leaves_of_any_bytes_are_errors_and_nothing_else() {
    if !is_within_limits("hostile::leaves_of_any_bytes_are_errors_and_nothing_else") {
        return;
    }
    for name in ["single", "nodesize-4k"] {
        let Some(images) = kernel_image_or_skip(name) else { return };
        let mut random = Random(12);
        for _ in 0..60 {
            let injector = Injector::new(&images);
            let trees = [FS_TREE, FS_TREE, 1, 256, CSUM_TREE];
            for _ in 0..3 {
                let id = trees[random.below(trees.len())];
                let blocks: Vec<Logical> = {
                    let volume = injector.volume();
                    let Some(root) = contents::trees(&volume).into_iter().find(|root| root.key.objectid == id) else {
                        continue;
                    };
                    let walk = rbtrfs::tree::Walk::new(&volume, root.expected(), rbtrfs::tree::Levels::All);
                    let is_there = |logical: &Logical| volume.chunks().find(*logical).is_some();
                    walk.map(|block| block.logical).filter(is_there).collect()
                };
                if blocks.is_empty() {
                    continue;
                }
                let seed = random.next();
                injector.block(blocks[random.below(blocks.len())], |bytes| {
                    let mut random = Random(seed);
                    for _ in 0..1 + random.below(40) {
                        let at = 101 + random.below(bytes.len() - 101);
                        bytes[at] = random.next() as u8;
                    }
                    if random.below(4) == 0 {
                        bytes[96..100].copy_from_slice(&(random.next() as u32 >> random.below(32)).to_le_bytes());
                    }
                });
            }
            do_everything(&injector.volume());
        }
    }
}

#[test]
fn sizes_that_no_file_has_cost_no_memory() {
    if !is_within_limits("hostile::sizes_that_no_file_has_cost_no_memory") {
        return;
    }
    let Some(images) = kernel_image_or_skip("single") else { return };
    let injector = Injector::new(&images);
    for (key, _) in injector.items(FS_TREE).into_iter().filter(|(key, _)| key.key_type == KeyType::INODE_ITEM) {
        injector.item(FS_TREE, key, |data| InodeItem::mut_from_prefix(data).unwrap().0.size.set(u64::MAX));
    }
    let volume = injector.volume();
    assert!(do_everything(&volume) > 100);
    let files = Files::open(&volume, Start::TopLevel).unwrap();
    let link = files.lookup("inodes/symlink").unwrap();
    assert!(
        matches!(files.read_link(link), Err(Error::File { problem, .. }) if matches!(*problem, FileProblem::TargetTooLong { .. }))
    );
}

/// Changes a sector of data, and its checksum with it.
fn change_data(injector: &Injector, logical: u64, edit: impl Fn(&mut [u8])) {
    let volume = injector.volume();
    let (image, offset) = place(&volume, Logical(logical), 1);
    let csum_type = volume.format().csum_type;
    let mut sum = Vec::new();
    injector.bytes(image, offset, 4096, |bytes| {
        edit(bytes);
        sum = csum_type.compute(bytes)[..csum_type.size()].to_vec();
    });
    let mut keys = Vec::new();
    contents::for_each_item(&volume, &tree(&volume, CSUM_TREE), |item| {
        let sectors = (item.data.len() / sum.len()) as u64;
        if (item.key.offset..item.key.offset + sectors * 4096).contains(&logical) {
            keys.push(item.key);
        }
    });
    let key = keys[0];
    let at = ((logical - key.offset) / 4096) as usize * sum.len();
    injector.item(CSUM_TREE, key, |data| data[at..at + sum.len()].copy_from_slice(&sum));
}

#[test]
fn compressed_data_of_any_bytes_is_an_error_of_its_extent_and_nothing_else() {
    let Some(images) = kernel_image_or_skip("single") else { return };
    for method in ["zlib", "lzo", "zstd"] {
        let injector = Injector::new(&images);
        let path = format!("{method}/text-400000");
        let (sound, id) = {
            let volume = injector.volume();
            let files = Files::open(&volume, Start::TopLevel).unwrap();
            (read(&files, &path), files.lookup(&path).unwrap())
        };
        let mut extents = Vec::new();
        for (key, data) in injector.items(FS_TREE) {
            let (head, rest) = if key.key_type == KeyType::EXTENT_DATA && key.objectid == id.ino.0 {
                FileExtentItem::read_prefix(&data).unwrap()
            } else {
                continue;
            };
            if let Some((disk, _)) = FileExtentDisk::read_prefix(rest).filter(|_| head.compression != 0) {
                extents.push((key.offset, disk.num_bytes.get(), disk.disk_bytenr.get()));
            }
        }
        // One that no other part of the file is in.
        let is_alone = |address| extents.iter().filter(|(_, _, other)| *other == address).count() == 1;
        let (start, length, logical) = *extents.iter().find(|(_, _, address)| is_alone(*address)).unwrap();
        let mut random = Random(13);
        let mut errors_met = 0;
        let original = { contents::place(&injector.volume(), Logical(logical), 1) };
        let mut before = Vec::new();
        injector.bytes(original.0, original.1, 4096, |bytes| before = bytes.to_vec());
        for _ in 0..60 {
            let seed = random.next();
            change_data(&injector, logical, |bytes| {
                bytes.copy_from_slice(&before);
                let mut random = Random(seed);
                for _ in 0..1 + random.below(5) {
                    let span = if random.below(2) == 0 { 12 } else { 700 };
                    bytes[random.below(span)] = random.next() as u8;
                }
            });
            let volume = injector.volume();
            let files = Files::open(&volume, Start::TopLevel).unwrap();
            let (bytes, errors) = all_that_is_readable(&files, id);
            for error in errors {
                let Error::File { problem, .. } = error else { panic!("{error}") };
                let FileProblem::Range { offset, length: lost, problem } = *problem else { panic!("{problem}") };
                assert_eq!((offset, lost), (start, length), "{method}");
                let is_compressed = matches!(&problem, RangeProblem::Compressed { logical: Some(at), method: name, .. }
                    if at.0 == logical && *name == method);
                assert!(is_compressed, "{problem}");
                errors_met += 1;
            }
            let (start, end) = (start as usize, (start + length) as usize);
            assert!(bytes[..start] == sound[..start] && bytes[end..] == sound[end..], "{method}");
        }
        assert!(errors_met > 20, "{method}: {errors_met}");
    }
}
