//! Blocks that no tree leads to any more, on filesystems that the kernel wrote.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use rbtrfs::block::item::Rules;
use rbtrfs::block::verify::Expected;
use rbtrfs::block::{Block, BlockKind};
use rbtrfs::disk::{Key, KeyType, Logical, Transid, objectid};
use rbtrfs::internals::MemoryBudget;
use rbtrfs::progress::Progress;
use rbtrfs::repair::older::{
    Judge, Lineage, OlderBlock, OlderBlocks, Piece, RootCandidate, RootSource, State, UsableItems,
};
use rbtrfs::survey::{Job, Survey, Unread};
use rbtrfs::tree::{Levels, TreeRoot, Walk};
use rbtrfs::volume::Volume;

use crate::support::inject::Injector;
use crate::support::mounted::Mounted;
use crate::support::{Scratch, copy_of_kernel_image_or_skip, kernel_image_or_skip, or_skip, survey_with};

fn scan(volume: &Volume, survey: &Survey, threads: usize, memory: u64) -> OlderBlocks {
    let progress = Progress::default();
    let job = Job { volume, threads, progress: &progress };
    let buckets = survey.claims.unequal_references(&survey.found);
    let references = buckets.map(|buckets| survey.references(&job, &buckets).unwrap());
    OlderBlocks::scan(&job, Some(survey), references.as_ref(), &MemoryBudget::new(memory)).unwrap()
}

fn all(older: &OlderBlocks) -> Vec<OlderBlock> {
    (0..8).flat_map(|level| older.of_level(level)).collect()
}

/// Zeroes a block on all its mirrors.
fn zero(injector: &Injector, logical: Logical) {
    injector.block_unstamped(logical, |bytes| bytes.fill(0));
}

/// A copy of an image on which the kernel then did what `script` says, of which nothing was discarded.
fn written(name: &str, script: &str) -> Option<Injector> {
    let scratch = Scratch::new();
    let images: Vec<PathBuf> = copy_of_kernel_image_or_skip(name, &scratch)?;
    let mounted = or_skip(Mounted::new(&images, "nodiscard", &scratch))?;
    let output = Command::new("sh").args(["-ec", script]).current_dir(mounted.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    drop(mounted);
    Some(Injector::new(&images))
}

/// The pointers to all blocks of a level of a tree, with the key that ends each block.
fn places(volume: &Volume, root: Expected, level: u8) -> Vec<(Expected, Option<Key>)> {
    let blocks: Vec<Expected> = Walk::new(volume, root, Levels::Only(level)).collect();
    let ends = blocks.iter().skip(1).map(|next| next.first_key).chain([None]);
    blocks.iter().copied().zip(ends).collect()
}

fn bytes_of(volume: &Volume, expected: &Expected) -> Vec<u8> {
    volume.read_block(expected, &mut Vec::new()).unwrap_or_else(|bad| panic!("{bad}")).block.bytes().to_vec()
}

fn keys_of(bytes: &[u8]) -> Vec<Key> {
    let block = Block::new(bytes).unwrap();
    (0..block.count()).map(|slot| block.key(slot).unwrap()).collect()
}

/// The lost place of the survey.
fn lost(survey: &Survey, logical: Logical) -> &Unread {
    survey.blocks.unread.iter().find(|unread| unread.block == logical).expect("the block is lost")
}

fn judged(volume: &Volume, survey: &Survey, block: &OlderBlock, lost: &Unread) -> UsableItems {
    let rules = Rules::new(volume.format(), volume.superblock());
    let judge = Judge { volume, survey, rules: &rules, is_nodatasum: &|_| None };
    let mut buffer = Vec::new();
    let read = OlderBlocks::read(volume, block, &mut buffer).expect("what was found is there");
    let BlockKind::Leaf(leaf) = read.kind() else { panic!("a leaf") };
    judge.items(leaf, lost.tree, (lost.first, lost.end))
}

const WRITE_AND_WRITE_MORE: &str = "mkdir of-the-test && cd of-the-test && \
    for n in $(seq 400); do head -c 6000 /dev/urandom >n$n; done && sync -f . && \
    for n in $(seq 5); do touch n$n; sync -f .; done && touch n*7 && sync -f . && \
    for n in $(seq 400 430); do echo $n >m$n; done && sync -f .";

#[test]
fn a_leaf_that_is_lost_is_found_in_the_version_before() {
    let Some(injector) = written("nodesize-4k", WRITE_AND_WRITE_MORE) else { return };
    let volume = injector.volume();
    let root = injector.root(objectid::FS_TREE).expected();
    let mut leaves = places(&volume, root, 0);
    let (mut keys, mut found) = (0, 0);
    // Those that the kernel wrote more than once.
    leaves.sort_by_key(|(leaf, _)| Reverse(leaf.generation));
    for (leaf, end) in leaves.iter().take(8) {
        let bytes = bytes_of(&volume, leaf);
        let injector = Injector::new(injector.images());
        zero(&injector, leaf.logical);
        let volume = injector.volume();
        let survey = survey_with(&volume, 2, 1 << 30, true);
        let lost = lost(&survey, leaf.logical);
        assert_eq!((lost.first, lost.end), (leaf.first_key, *end));
        let older = scan(&volume, &survey, 2, 1 << 30);
        let lineage = Lineage::of(&volume, objectid::FS_TREE);
        let newest = leaf.generation.unwrap();
        let cover = older.cover(0, (lost.first, lost.end), &lineage, newest);
        for Piece { block, .. } in &cover {
            assert!(
                block.generation <= newest && block.logical != leaf.logical && block.state == State::Older,
                "{block:?}"
            );
        }
        // Nothing of the files themselves was changed since: their data is as it was.
        let was = keys_of(&bytes);
        let back: BTreeSet<Key> = cover
            .iter()
            .flat_map(|piece| judged(&volume, &survey, &piece.block, lost).items)
            .map(|(key, _)| key)
            .filter(|key| was.contains(key))
            .collect();
        println!("{}: {} pieces, {} of {} keys back", leaf.logical, cover.len(), back.len(), was.len());
        keys += was.len();
        found += back.len();
    }
    assert!(keys > 0 && 4 * found > 3 * keys);
}

#[test]
fn leaves_below_a_lost_node_are_not_lost() {
    for name in ["snapshots", "load"] {
        let Some(images) = kernel_image_or_skip(name) else { continue };
        let injector = Injector::new(&images);
        let volume = injector.volume();
        let trees = TreeRoot::root_tree(&volume).children(&volume).into_iter();
        let root = trees.filter(|root| objectid::is_fs_tree(root.key.objectid)).max_by_key(|root| root.level).unwrap();
        assert!(root.level > 0);
        let (node, end) = places(&volume, root.expected(), 1)[0];
        let bytes = bytes_of(&volume, &node);
        let BlockKind::Node(view) = Block::new(&bytes).unwrap().kind() else { panic!("a node") };
        let leaves: Vec<(Logical, Transid)> =
            view.ptrs().iter().map(|ptr| (ptr.blockptr.into(), ptr.generation.into())).collect();
        zero(&injector, node.logical);
        let volume = injector.volume();
        let survey = survey_with(&volume, 2, 1 << 30, true);
        assert_eq!(lost(&survey, node.logical).level, 1);
        let older = scan(&volume, &survey, 2, 1 << 30);
        let lineage = Lineage::of(&volume, root.key.objectid);
        let bounds = (node.first_key, end);
        let cover = older.cover(0, bounds, &lineage, node.generation.unwrap());
        let wanted: Vec<_> = cover.iter().filter(|piece| piece.is_wanted).collect();
        assert_eq!(wanted.len(), leaves.len(), "{name}");
        for leaf in &leaves {
            let is_here = |piece: &&&Piece| (piece.block.logical, piece.block.generation) == *leaf;
            let piece = wanted.iter().find(is_here).unwrap_or_else(|| panic!("{name}: the leaf at {} is lost", leaf.0));
            assert_eq!((piece.from, piece.to), (piece.block.first, piece.block.last), "{name}");
        }
        let reached = wanted.iter().filter(|piece| piece.block.state == State::Reached).count();
        println!("{name}: {} leaves, {reached} of them reached elsewhere, {} pieces", leaves.len(), cover.len());
        assert!(cover.windows(2).all(|pair| pair[0].to < pair[1].from));
    }
}

#[test]
fn data_that_was_written_over_is_not_brought_back() {
    // Enough versions of the leaf for some to stay where the kernel writes others.
    let script = "mkdir of-the-test && cd of-the-test && head -c 100000 /dev/urandom >stays && \
        for n in $(seq 12); do head -c 300000 /dev/urandom >gone$n && sync -f . || exit 1; done && \
        rm gone* && sync -f . && sync -f . && \
        for n in $(seq 40); do head -c 4000000 /dev/urandom >new$n || break; done; sync -f .";
    let Some(injector) = written("single", script) else { return };
    let volume = injector.volume();
    let survey = survey_with(&volume, 2, 1 << 30, true);
    let older = scan(&volume, &survey, 2, 1 << 30);
    let (mut back, mut dropped) = (0, 0);
    let whole = Unread {
        tree: objectid::FS_TREE,
        block: Logical(0),
        level: 0,
        first: None,
        end: None,
        bad: Vec::new(),
        is_disputed: false,
    };
    for block in older.of_level(0).filter(|block| block.owner == objectid::FS_TREE) {
        let usable = judged(&volume, &survey, &block, &whole);
        let data = |key: &Key| key.key_type == KeyType::EXTENT_DATA;
        for (key, item) in usable.items.iter().filter(|(key, _)| data(key) && !usable.unproven.contains(key)) {
            // What is brought back is data that the file has to this day, extent by extent.
            if item.len() > 29 && item[21..29] != [0; 8] && item[20] == 1 {
                let is_there = survey.blocks.data.iter().any(|data| data.logical.0.to_le_bytes() == item[21..29]);
                assert!(is_there, "{key}");
                back += 1;
            }
        }
        dropped += usable.dropped.iter().filter(|(key, _)| data(key)).count();
    }
    println!("{back} file extents back, {dropped} dropped");
    assert!(back > 0 && dropped > 0);
}

#[test]
fn a_lost_root_has_its_predecessors() {
    let Some(injector) = written("nodesize-4k", WRITE_AND_WRITE_MORE) else { return };
    for tree in [objectid::FS_TREE, objectid::ROOT_TREE] {
        let injector = Injector::new(injector.images());
        let root = injector.root(tree);
        zero(&injector, root.logical);
        let volume = injector.volume();
        let survey = survey_with(&volume, 2, 1 << 30, true);
        let older = scan(&volume, &survey, 2, 1 << 30);
        let progress = Progress::default();
        let roots = older.roots(&Job { volume: &volume, threads: 2, progress: &progress }, tree);
        for candidate in &roots {
            println!(
                "{tree}: {:?} {:?} {} {}",
                candidate.root.generation, candidate.source, candidate.readable, candidate.unreadable
            );
            // A root that was written before its transaction ended was copied again.
            assert!(candidate.root.generation <= root.generation);
            assert!(candidate.root.level <= root.level);
        }
        assert!(roots.is_sorted_by_key(|candidate| Reverse(candidate.root.generation)));
        let is_whole = |level, candidate: &RootCandidate| {
            candidate.root.level == level && candidate.readable > candidate.unreadable
        };
        assert!(roots.iter().any(|candidate| is_whole(root.level, candidate)));
        assert!(roots.iter().any(|candidate| matches!(candidate.source, RootSource::Backup { .. })));
    }
}

/// Profiles in which blocks lie in different ways.
#[test]
fn each_copy_of_each_profile_is_looked_at() {
    for name in
        ["single", "dup", "raid0", "raid1c3", "raid10", "raid5", "raid6", "mixed", "degraded-raid5", "nodesize-64k"]
    {
        let Some(images) = kernel_image_or_skip(name) else { continue };
        let volume = crate::support::open_mapped(&images);
        let whole = survey_with(&volume, 2, 1 << 30, true);
        // A survey that reached nothing leaves every block to the scan.
        let nothing = survey_with(&volume, 2, 1 << 30, false);
        let older = scan(&volume, &nothing, 2, 1 << 30);
        let found = all(&older);
        for record in whole.blocks.records.iter() {
            let is_here =
                |block: &OlderBlock| (block.logical, block.generation.0) == (record.logical, record.generation);
            let copies = found.iter().filter(|block| is_here(block)).count();
            let chunk = volume.chunks().find(record.logical).unwrap();
            let expect = if chunk.profile.geometry().nparity > 0 { 1 } else { usize::from(chunk.mirrors()) };
            let is_empty = bytes_of(&volume, &Expected::at(record.logical))[96..100] == [0; 4];
            assert_eq!(copies, if is_empty { 0 } else { expect }, "{name} {record:?}");
        }
        // The same whatever number of threads reads, and wherever records are kept.
        let older = all(&scan(&volume, &whole, 1, 1 << 30));
        assert_eq!(all(&scan(&volume, &whole, 3, 0)), older, "{name}");
        let is_reached = |block: &OlderBlock| {
            let mut records = whole.blocks.records.iter_from(block.logical.0);
            records
                .next()
                .is_some_and(|record| (record.logical, record.generation) == (block.logical, block.generation.0))
        };
        let is_as_said = |block: &OlderBlock| is_reached(block) == (block.state == State::Reached);
        assert!(older.iter().all(is_as_said), "{name}");
        println!(
            "{name}: {} blocks, {} copies found, {} older",
            whole.blocks.count,
            found.len(),
            older.iter().filter(|block| block.state != State::Reached).count()
        );
    }
}
