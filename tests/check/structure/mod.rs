//! The structure of a filesystem is checked: sound ones have nothing to report, and each kind of damage is found for
//! itself, at its place.

mod cases;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::damage::is;
use crate::support::inject::{Injector, LeafItems};
use crate::support::repaired::judge_repair;
use crate::support::soundness::{assert_sound_with_data, beyond_notes, describe};
use crate::support::{
    Scratch, check, kernel_image, kernel_image_names, kernel_image_or_skip, mkfs_btrfs, or_skip, require,
};
use cases::{NOT_INJECTED, cases, edit_cache_page};
use rbtrfs::block::item::ItemProblem;
use rbtrfs::block::reference::Reference;
use rbtrfs::check::check_structure;
use rbtrfs::disk::extent::ExtentItem;
use rbtrfs::disk::flags::{block_group, extent, incompat};
use rbtrfs::disk::volume::BlockGroupRemap;
use rbtrfs::disk::{Key, KeyType, objectid};
use rbtrfs::finding::Finding;
use rbtrfs::image::Image;
use rbtrfs::problem::{
    BlockProblem, ChecksumProblem, DataProblem, ExtentProblem, FileProblem, NameProblem, Problem, QuotaProblem,
    SubvolumeProblem,
};
use rbtrfs::volume::Volume;
use zerocopy::IntoBytes;

fn problems_of(volume: &Volume) -> Vec<Problem> {
    check_structure(volume, &crate::support::survey(volume))
}

#[test]
fn each_kind_of_damage_is_found_for_itself() {
    let names = kernel_image_names("each_kind_of_damage_is_found_for_itself");
    let mut failures = String::new();
    for case in cases().iter().filter(|case| names.iter().any(|name| name == case.image)) {
        let mut injector = Injector::new(&kernel_image(case.image));
        let before = problems_of(&injector.volume());
        let expected = (case.damage)(&mut injector);
        let mut found = problems_of(&injector.volume());
        found.retain(|problem| !before.contains(problem));
        let (line, is_fault) = judge_repair(case.code, case.image, injector.images());
        println!("{line}");
        if is_fault {
            failures += &format!("{line}\n");
        }
        let is_expected = |problem: &&Problem| is(problem, case.code, &expected);
        let is_unrelated = |problem: &Problem| problem.code() != case.code && !case.also.contains(&problem.code());
        if !found.iter().any(|problem| is_expected(&problem)) || found.iter().any(is_unrelated) {
            failures += &format!("{} {expected}, found{}\n", case.code, describe(&found));
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

/// The kernel writes a slot while the next transaction runs, and its root tree may have a new root by then.
#[test]
fn a_backup_of_roots_of_the_running_transaction_is_no_problem() {
    let Some(images) = kernel_image_or_skip("single") else { return };
    let injector = Injector::new(&images);
    let before = problems_of(&injector.volume());
    injector.superblocks(|superblock| {
        let generation = superblock.generation;
        let older = superblock.super_roots.iter_mut().find(|backup| backup.tree_root_gen != generation).unwrap();
        older.tree_root_gen = generation;
        older.tree_root.set(4096);
    });
    assert_eq!(problems_of(&injector.volume()), before);
}

/// Its blocks have extent items, and nothing that is understood leads to them.
#[test]
fn the_remap_tree_is_said_not_to_be_understood_and_nothing_is_missed_for_it() {
    let Some(images) = kernel_image_or_skip("single") else { return };
    let injector = Injector::new(&images);
    let volume = injector.volume();
    for chunk in volume.chunks().iter() {
        let key = Key::new(chunk.logical.0, KeyType::BLOCK_GROUP_ITEM, chunk.length);
        injector.leaf(objectid::EXTENT_TREE, key, |items| {
            let (_, data) = items.iter_mut().find(|item| item.0 == key).unwrap();
            data.extend([0; size_of::<BlockGroupRemap>()]);
        });
    }
    let metadata = volume.chunks().iter().find(|chunk| chunk.flags.contains(block_group::METADATA)).unwrap();
    let block = metadata.end().0 - u64::from(volume.format().nodesize);
    let mut item = ExtentItem::zeroed();
    (item.refs, item.generation, item.flags) = (1.into(), 1.into(), extent::TREE_BLOCK.into());
    let mut data = item.as_bytes().to_vec();
    Reference::TreeBlock { root: objectid::REMAP_TREE }.put_inline(1, &mut data);
    injector.insert_item(objectid::EXTENT_TREE, Key::new(block, KeyType::METADATA_ITEM, 0), &data);
    injector.superblocks(|superblock| {
        superblock.incompat_flags |= incompat::REMAP_TREE;
        superblock.remap_root.set(block);
    });
    let found = check(&injector.volume(), 2);
    assert!(found.iter().any(|problem| problem.code() == "super-not-understood"), "{}", describe(&found));
    let grave = beyond_notes(found);
    assert!(grave.is_empty(), "{}", describe(&grave));
}

#[test]
fn each_kind_of_problem_has_a_case() {
    let injected: BTreeSet<&str> = cases().iter().map(|case| case.code).chain(NOT_INJECTED.iter().copied()).collect();
    let groups = [
        BlockProblem::KINDS,
        ExtentProblem::KINDS,
        ChecksumProblem::KINDS,
        SubvolumeProblem::KINDS,
        NameProblem::KINDS,
        FileProblem::KINDS,
        QuotaProblem::KINDS,
        DataProblem::KINDS,
    ];
    let others = groups.into_iter().flatten().chain(ItemProblem::kinds());
    let others: BTreeSet<&str> = others.map(|kind| kind.code).collect();
    let all = Problem::kinds().map(|kind| kind.code);
    assert_eq!(injected, all.filter(|code| !others.contains(code)).collect());
}

#[test]
fn what_cannot_be_read_is_not_called_missing() {
    for name in ["dup", "deep", "v1-cache", "mixed"] {
        let Some(images) = kernel_image_or_skip(name) else { continue };
        for tree in [objectid::ROOT_TREE, objectid::EXTENT_TREE, objectid::DEV_TREE, objectid::FREE_SPACE_TREE] {
            let injector = Injector::new(&images);
            let roots = rbtrfs::tree::TreeRoot::root_tree(&injector.volume()).children(&injector.volume());
            if tree != objectid::ROOT_TREE && !roots.iter().any(|root| root.key.objectid == tree) {
                continue;
            }
            let before = problems_of(&injector.volume());
            // A leaf in the middle, and all leaves if there is but one.
            let items: LeafItems = injector.items(tree);
            let leaf = injector.leaf_of(tree, items[items.len() / 2].0);
            injector.block_unstamped(leaf, |block| block[200] ^= 1);
            let mut found = problems_of(&injector.volume());
            found.retain(|problem| !before.contains(problem));
            assert!(found.is_empty(), "{name}, tree {tree}:{}", describe(&found));
        }
    }
}

#[test]
fn filesystems_of_the_kernel_are_sound() {
    for name in kernel_image_names("filesystems_of_the_kernel_are_sound") {
        assert_sound_with_data(&kernel_image(&name), &name);
    }
}

/// The kernel may know nothing of zones; mkfs makes them on any file.
#[test]
fn a_filesystem_in_emulated_zones_is_sound() {
    let scratch = Scratch::new();
    let image = scratch.zeros("image", 4 << 30);
    if or_skip(mkfs_btrfs(["-O", "zoned"], std::slice::from_ref(&image))).is_some() {
        assert_sound_with_data(&[image], "zoned");
    }
}

/// Unpacks an archive of images; they are removed with the directory that is returned.
fn unpack(archive: &Path, name: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("unpacked").join(name);
    std::fs::create_dir_all(&directory).unwrap();
    let unpacked = Command::new("tar").arg("-xSf").arg(archive).arg("-C").arg(&directory).status();
    assert!(unpacked.unwrap().success());
    let mut images: Vec<PathBuf> = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    images.sort();
    images
}

fn archives(test: &str, variable: &str, default: &str, suffix: &str) -> Vec<(String, PathBuf)> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join(default);
    let directory = std::env::var_os(variable).map_or_else(default, PathBuf::from);
    if !require(test, directory.is_dir(), &format!("no images in {variable}")) {
        return Vec::new();
    }
    let mut archives: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter_map(|path| Some((path.file_name()?.to_str()?.strip_suffix(suffix)?.to_owned(), path)))
        .collect();
    archives.sort();
    archives
}

#[test]
fn sample_filesystems_are_sound() {
    for (name, archive) in
        archives("sample_filesystems_are_sound", "RBTRFS_SAMPLES", "../shared/samples", ".img.tar.zst")
    {
        let images = unpack(&archive, &format!("sample-{name}"));
        assert_sound_with_data(&images, &name);
        std::fs::remove_dir_all(images[0].parent().unwrap()).unwrap();
    }
}

/// What must be found in the damaged filesystems of others, by the number of the image.
const DAMAGED: [(&str, &str); 7] = [
    ("028", "super-total-bytes-short"),
    ("036", "device-size-short"),
    ("047", "device-bytes-used"),
    ("050", "block-group-used"),
    ("055", "super-num-devices"),
    ("058", "free-space-orphan"),
    ("068", "device-extent-orphan"),
];

const VALID: [&str; 6] = ["019", "020", "023", "030", "054", "065"];

#[test]
fn filesystems_of_others_are_judged_right() {
    let test = "filesystems_of_others_are_judged_right";
    for (name, archive) in archives(test, "RBTRFS_CORPUS", "../shared/corpus", ".raw.tar.zst") {
        let images = unpack(&archive, &format!("corpus-{name}"));
        let damage = DAMAGED.iter().find(|(number, _)| name.starts_with(number));
        if VALID.iter().any(|number| name.starts_with(number)) {
            assert_sound_with_data(&images, &name);
        } else if let Some((_, code)) = damage {
            let found = problems_of(&crate::support::open(&images));
            assert!(found.iter().any(|problem| problem.code() == *code), "{name}:{}", describe(&found));
        } else {
            // No panic and no endless work is asked of the others; whether they can be opened does not matter.
            let opened = images.iter().map(|image| Image::open(image)).collect::<Result<Vec<_>, _>>();
            if let Ok(volume) = opened.and_then(Volume::open) {
                problems_of(&volume);
            }
        }
        std::fs::remove_dir_all(images[0].parent().unwrap()).unwrap();
    }
}

fn rounds() -> u64 {
    std::env::var("RBTRFS_ROUNDS").map_or(100, |rounds| rounds.parse().unwrap())
}

/// Numbers below what is asked for, the same for the same seed.
fn random(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed;
    move |below| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    }
}

/// Entries that nobody thought of, in a v1 cache with right checksums.
#[test]
fn random_entries_of_a_space_cache_do_no_harm() {
    let Some(images) = kernel_image_or_skip("v1-cache") else { return };
    let injector = Injector::new(&images);
    let mut sound = Vec::new();
    edit_cache_page(&injector, |page| sound = page.to_vec());
    for seed in 0..rounds() {
        let mut random = random(seed);
        // The first entries, behind the generation.
        let changes: Vec<(usize, u8)> =
            (0..1 + random(4)).map(|_| (8 + random(17 * 20), [0, 1, 2, 0x7f, 0x80, 0xff][random(6)])).collect();
        edit_cache_page(&injector, |page| {
            page.copy_from_slice(&sound);
            changes.iter().for_each(|(place, value)| page[*place] = *value);
        });
        problems_of(&injector.volume());
    }
}

/// Values that nobody thought of, in blocks with right checksums: wrong items are no reason to panic.
#[test]
fn random_values_do_no_harm() {
    let Some(images) = kernel_image_or_skip("dup") else { return };
    let injector = Injector::new(&images);
    let nodesize = injector.volume().format().nodesize as usize;
    let trees = [
        objectid::CHUNK_TREE,
        objectid::DEV_TREE,
        objectid::EXTENT_TREE,
        objectid::FREE_SPACE_TREE,
        objectid::ROOT_TREE,
    ];
    for seed in 0..rounds() {
        let mut random = random(seed);
        let tree = trees[random(trees.len())];
        let leaf = injector.root(tree).logical;
        let changes: Vec<(usize, u8)> = (0..1 + random(4))
            .map(|_| {
                // Keys, offsets and sizes of the first items, or data, which begins at the end.
                let place = if random(2) == 0 { 101 + random(25 * 9) } else { nodesize - 1 - random(700) };
                let value = [0, 1, 0x7f, 0x80, 0xff][random(5)];
                (place, value)
            })
            .collect();
        let volume = injector.volume();
        let expected = injector.root(tree).expected();
        let mut buffer = Vec::new();
        let sound = volume.read_block(&expected, &mut buffer).expect("the leaf is sound").block.bytes().to_vec();
        injector.block(leaf, |block| changes.iter().for_each(|(place, value)| block[*place] = *value));
        let images = injector.images().iter().map(|image| Image::open(image).unwrap()).collect();
        if let Ok(volume) = Volume::open(images) {
            problems_of(&volume);
        }
        restore(&volume, leaf, &sound, &injector);
    }
}

/// Puts a block back where it was when `volume` was opened, whatever its chunk item says by now.
fn restore(volume: &Volume, logical: rbtrfs::disk::Logical, sound: &[u8], injector: &Injector) {
    let chunk = volume.chunks().find(logical).unwrap();
    for mirror in 1..=chunk.mirrors() {
        let (_, physical) = chunk.place(logical, mirror).unwrap();
        injector.bytes(0, physical.0, sound.len(), |bytes| bytes.copy_from_slice(sound));
    }
}
