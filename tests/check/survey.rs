//! A survey reads each copy of each block once, knows what a simple walk knows, hands on good bytes for bad ones, and never
//! ends in a verdict when one of its threads has panicked.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{current, sleep};
use std::time::{Duration, Instant};

use crate::support::contents::checksums;
use crate::support::file_disk::{FileDisk, Hooks};
use crate::support::inject::Injector;
use crate::support::{Scratch, change, copy_of_kernel_image_or_skip, kernel_image_or_skip, open, or_skip};
use fuser::Errno;
use rbtrfs::block::verify::BlockError;
use rbtrfs::block::{Block, BlockKind};
use rbtrfs::check::check;
use rbtrfs::disk::objectid::{CHUNK_TREE, EXTENT_TREE, FS_TREE};
use rbtrfs::disk::{KeyType, Logical, Physical, Transid};
use rbtrfs::image::Image;
use rbtrfs::internals::{beside, on_threads, ordered_then};
use rbtrfs::problem::{BlockProblem, ExtentProblem, Problem, Unusable};
use rbtrfs::progress::Progress;
use rbtrfs::survey::verify::{BadSector, FlawKind, SectorVisitor};
use rbtrfs::survey::{BlockRecord, Buckets, ExtentReferences, Job, Survey};
use rbtrfs::tree::{BlockPlace, Levels, Scan, Tree, TreeRoot, Visit, Visitor, Walk};
use rbtrfs::volume::{BadCopy, Content, Volume};

const SECTOR: usize = 4096;

fn survey_with(volume: &Volume, threads: usize, memory: u64) -> Survey {
    crate::support::survey_with(volume, threads, memory, true)
}

/// An image and a range of it.
type Read = (usize, Range<u64>);

/// Counts what is read of each image.
#[derive(Clone, Default)]
struct Reads(Arc<Mutex<Vec<Read>>>);

impl Hooks for Reads {
    const IS_WRITABLE: bool = false;

    fn read(&mut self, image: usize, range: Range<u64>) -> Result<(), Errno> {
        self.0.lock().unwrap().push((image, range));
        Ok(())
    }
}

#[test]
fn each_copy_of_each_block_is_read_once() {
    let names = [
        "single",
        "dup",
        "raid1c3",
        "nodesize-4k",
        "snapshots",
        "quota",
        "squota",
        "log-tree",
        "orphan",
        "v1-cache",
        "mixed",
        "seed-sprout",
        "no-skinny",
        "half-dropped",
    ];
    for name in names {
        let Some(images) = kernel_image_or_skip(name) else { continue };
        let volume = open(&images);
        let survey = survey_with(&volume, 2, 1 << 30);
        assert!(survey.blocks.unread.is_empty(), "{name}");
        let nodesize = u64::from(volume.format().nodesize);
        // Images are numbered as they are given, devices by their ids.
        let image_of = |devid: u64, logical: Logical, mirror: u16| {
            let chunk = volume.chunks().find(logical).unwrap();
            let (stripe, physical) = chunk.place(logical, mirror).unwrap();
            assert_eq!(stripe.devid, devid);
            let path = volume.device(stripe).unwrap().image().path();
            (images.iter().position(|image| image == path).unwrap(), physical.0)
        };
        let mut copies = BTreeSet::new();
        for record in survey.blocks.records.iter() {
            for mirror in 1..=volume.mirrors(record.logical) {
                if let Some((devid, _)) = volume.place(record.logical, mirror) {
                    copies.insert(image_of(devid, record.logical, mirror));
                }
            }
        }
        assert_eq!(copies.len() as u64, survey.blocks.copies, "{name}");
        for threads in [1, 4] {
            let (reads, scratch) = (Reads::default(), Scratch::new());
            let Some(disk) = or_skip(FileDisk::new(&images, reads.clone(), &scratch)) else { return };
            let volume = Volume::open(disk.images().iter().map(|image| Image::open(image).unwrap()).collect()).unwrap();
            reads.0.lock().unwrap().clear();
            crate::support::check(&volume, threads);
            let mut counts: BTreeMap<(usize, u64), usize> = copies.iter().map(|copy| (*copy, 0)).collect();
            for (image, range) in reads.0.lock().unwrap().iter() {
                let from = range.start.saturating_sub(nodesize - 1);
                for (_, count) in counts.range_mut((*image, from)..(*image, range.end)) {
                    *count += 1;
                }
            }
            let others: Vec<_> = counts.into_iter().filter(|(_, count)| *count != 1).collect();
            assert!(others.is_empty(), "{name}, {threads} threads: {others:?}");
        }
    }
}

/// Every tree, and the address, generation, level and owner of each of its blocks, by serial walks.
fn blocks_of(volume: &Volume) -> BTreeMap<Logical, (u64, u64, u64)> {
    let root_tree = TreeRoot::root_tree(volume);
    let mut roots = vec![root_tree, TreeRoot::chunk_tree(volume)];
    roots.extend(root_tree.children(volume));
    if let Some(log_root) = TreeRoot::log_root_tree(volume) {
        roots.push(log_root);
        roots.extend(log_root.children(volume));
    }
    let (mut blocks, mut buffer) = (BTreeMap::new(), Vec::new());
    for root in roots {
        for expected in Walk::new(volume, root.expected(), Levels::All) {
            let block = volume.read_block(&expected, &mut buffer).unwrap().block;
            let record = (block.generation().0, block.level().into(), block.header().owner.get());
            blocks.insert(expected.logical, record);
        }
    }
    blocks
}

#[test]
fn a_survey_knows_the_blocks_that_a_walk_finds() {
    for name in ["single", "nodesize-4k", "snapshots", "log-tree", "raid10", "v1-cache"] {
        let Some(images) = kernel_image_or_skip(name) else { continue };
        let volume = open(&images);
        let expected = blocks_of(&volume);
        // Also where nothing fits the memory.
        for (threads, memory) in [(1, 1 << 30), (2, 1), (16, 1 << 20)] {
            let records: Vec<BlockRecord> = survey_with(&volume, threads, memory).blocks.records.iter().collect();
            assert!(records.is_sorted());
            assert!(records.iter().all(|record| record.bad_mirrors == 0));
            let found = records.iter().map(|it| (it.logical, (it.generation, it.level, it.owner)));
            assert_eq!(found.collect::<BTreeMap<_, _>>(), expected, "{name}, {threads} threads");
        }
    }
}

#[test]
fn every_reference_can_be_asked_for() {
    for name in ["single", "nodesize-4k", "snapshots", "mixed", "no-skinny"] {
        let Some(images) = kernel_image_or_skip(name) else { continue };
        let (volume, progress) = (open(&images), Progress::default());
        let job = Job { volume: &volume, threads: 2, progress: &progress };
        let survey = survey_with(&volume, 2, 1 << 30);
        let refs: Vec<_> = survey.claims.extents.iter().map(|extent| (extent.logical, extent.refs)).collect();
        // Also where nothing fits the memory.
        for memory in [1 << 30, 0] {
            let records = survey_with(&volume, 2, memory).references(&job, &Buckets::all()).unwrap();
            let mut extents = Vec::new();
            for ExtentReferences { extent, references, is_uncertain } in records.iter() {
                assert!(!is_uncertain && references.is_sorted_by_key(|record| record.reference), "{name}");
                assert!(references.iter().all(|record| record.claimed == record.found && record.found > 0), "{name}");
                extents.push((extent, references.iter().map(|record| record.claimed).sum::<u64>()));
            }
            assert!(records.failure().is_none());
            assert_eq!(extents, refs, "{name}");
        }
        let listed = survey.listed_references(&job, &Buckets::all());
        assert_eq!(listed, refs.into_iter().collect(), "{name}");
    }
}

#[test]
fn a_problem_carries_numbers() {
    let Some(images) = kernel_image_or_skip("nodesize-4k") else { return };
    let injector = Injector::new(&images);
    let root = injector.root(FS_TREE);
    let generation = root.generation.unwrap();
    injector.block(root.logical, |block| block[80..88].copy_from_slice(&(generation.0 - 1).to_le_bytes()));
    let problems = crate::support::check(&injector.volume(), 2);
    let expected = BlockProblem::Unreadable {
        tree: FS_TREE,
        block: root.logical,
        level: root.level,
        problem: Unusable::Bad(BlockError::Generation { found: Transid(generation.0 - 1), expected: generation }),
    };
    assert!(problems.contains(&Problem::Block(expected)), "{problems:#?}");
    assert!(!problems.iter().any(|problem| matches!(problem, Problem::Extent(ExtentProblem::Unreferenced { .. }))));
}

/// What a survey keeps of a block that could not be read is the range of keys that it hid.
#[test]
fn an_unreadable_place_tells_the_keys_that_it_hides() {
    let Some(images) = kernel_image_or_skip("nodesize-4k") else { return };
    let injector = Injector::new(&images);
    let (volume, mut buffer) = (injector.volume(), Vec::new());
    let root = volume.read_block(&injector.root(FS_TREE).expected(), &mut buffer).unwrap();
    let BlockKind::Node(node) = root.block.kind() else { panic!("the tree has a node") };
    let (ptr, next) = (node.ptrs()[1], node.ptrs()[2]);
    injector.block_unstamped(ptr.blockptr.into(), |block| block[200] ^= 1);
    let survey = survey_with(&injector.volume(), 2, 1 << 30);
    let [unread] = survey.blocks.unread.as_slice() else { panic!("{:?}", survey.blocks.unread) };
    assert_eq!((unread.tree, unread.block), (FS_TREE, ptr.blockptr.into()));
    assert_eq!((unread.first, unread.end), (Some((&ptr.key).into()), Some((&next.key).into())));
    assert!(unread.bad.iter().all(|copy| matches!(copy.error, BlockError::Csum { .. })) && !unread.bad.is_empty());
}

/// Keeps the bad copies that it hears of, and the good bytes.
struct Keeper;

impl Visitor for Keeper {
    type Part = Vec<(Vec<BadCopy>, Vec<u8>)>;

    fn visit(&self, _: &mut Self::Part, _: &BlockPlace<'_>, _: Visit<'_>) {}

    fn bad_copies(&self, part: &mut Self::Part, place: &BlockPlace<'_>, bad: Vec<BadCopy>, good: Block<'_>) {
        assert_eq!(place.expected.logical, good.logical());
        part.push((bad, good.bytes().to_vec()));
    }
}

#[test]
fn the_good_bytes_of_a_bad_block_are_handed_on() {
    for (name, mirrors) in [("dup", 2), ("raid1c3", 3), ("raid5", 1)] {
        let Some(images) = kernel_image_or_skip(name) else { continue };
        let injector = Injector::new(&images);
        let root = injector.root(EXTENT_TREE);
        for mirror in 1..=mirrors {
            let good = {
                let volume = injector.volume();
                volume.read_block(&root.expected(), &mut Vec::new()).unwrap().block.bytes().to_vec()
            };
            let place = injector.block_copy(root.logical, mirror, |block| block[300] ^= 1);
            let (volume, progress) = (injector.volume(), Progress::default());
            let parts = Scan::new(&volume, 2, &progress).run(&[Tree::whole(root)], &Keeper);
            let heard: Vec<_> = parts.into_iter().flatten().collect();
            let [(bad, bytes)] = heard.as_slice() else { panic!("{name}: {heard:?}") };
            assert_eq!(bad.iter().map(|copy| copy.place).collect::<Vec<_>>(), [Some(place)], "{name}");
            assert_eq!(*bytes, good, "{name}");
            let record = survey_with(&volume, 2, 1 << 30).blocks.records.iter().find(|it| it.logical == root.logical);
            assert_eq!(record.unwrap().bad_mirrors, 1 << (mirror - 1), "{name}");
            injector.block_copy(root.logical, mirror, |block| block[300] ^= 1);
        }
    }
}

#[derive(Default)]
struct Sectors(Mutex<Vec<(BadSector, Option<Vec<u8>>)>>);

impl SectorVisitor for Sectors {
    fn bad_sector(&self, sector: &BadSector, good: Option<&[u8]>) {
        self.0.lock().unwrap().push((*sector, good.map(<[u8]>::to_vec)));
    }
}

/// What the verification of data tells of the images.
fn bad_sectors(images: &[PathBuf]) -> Vec<(BadSector, Option<Vec<u8>>)> {
    let (volume, progress, sectors) = (open(images), Progress::default(), Sectors::default());
    let survey = survey_with(&volume, 2, 1 << 30);
    survey.verify(&Job { volume: &volume, threads: 2, progress: &progress }, &sectors);
    sectors.0.into_inner().unwrap()
}

#[test]
fn the_good_bytes_of_a_bad_sector_are_handed_on() {
    for (name, is_good_elsewhere) in
        [("raid1", true), ("raid10", true), ("raid5", true), ("raid6", true), ("single", false)]
    {
        let scratch = Scratch::new();
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { continue };
        let volume = open(&images);
        let logical = Logical(*checksums(&volume).keys().next().unwrap());
        let chunk = volume.chunks().find(logical).unwrap().clone();
        let (stripe, physical) = chunk.place(logical, 1).unwrap();
        let image = images.iter().position(|image| image == volume.device(stripe).unwrap().image().path()).unwrap();
        let before = change(&images[image], physical.0, SECTOR, |bytes| bytes[77] ^= 8);
        let kind = if is_good_elsewhere { FlawKind::Copy } else { FlawKind::Lost };
        let sector = BadSector { kind, logical, devid: stripe.devid, physical };
        assert_eq!(bad_sectors(&images), [(sector, is_good_elsewhere.then(|| before.clone()))], "{name}");
        change(&images[image], physical.0, SECTOR, |bytes| bytes.copy_from_slice(&before));
    }
}

#[test]
fn the_good_bytes_of_bad_parity_are_handed_on() {
    for name in ["raid5", "raid6"] {
        let scratch = Scratch::new();
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { continue };
        let volume = open(&images);
        // A sector of parity whose row is full of data with checksums.
        let sums = checksums(&volume);
        let mut rows = volume.chunks().iter().flat_map(|chunk| {
            let sectors = (0..chunk.stripe_size()).step_by(SECTOR);
            sectors.map(move |offset| (chunk, offset))
        });
        let is_full = |(chunk, offset): &(&rbtrfs::volume::ChunkMapping, u64)| {
            (0..chunk.stripes.len()).all(|stripe| match chunk.content(stripe, *offset) {
                Some(Content::Data(logical)) => sums.contains_key(&logical.0),
                Some(Content::Parity { .. }) => true,
                None => false,
            })
        };
        let (chunk, offset) = rows.find(is_full).expect("a row is full");
        let is_parity = |stripe: &usize| matches!(chunk.content(*stripe, offset), Some(Content::Parity { .. }));
        let stripe = (0..chunk.stripes.len()).find(is_parity).unwrap();
        let mapping = &chunk.stripes[stripe];
        let physical = Physical(mapping.physical.0 + offset);
        let image = images.iter().position(|image| image == volume.device(mapping).unwrap().image().path()).unwrap();
        let before = change(&images[image], physical.0, SECTOR, |bytes| bytes[5] ^= 1);
        let found = bad_sectors(&images);
        let [(sector, good)] = found.as_slice() else { panic!("{name}: {found:?}") };
        assert_eq!((sector.kind, sector.physical, sector.devid), (FlawKind::Parity, physical, mapping.devid), "{name}");
        assert_eq!(good.as_ref(), Some(&before), "{name}");
    }
}

/// A job whose other threads panic in one of its phases. The caller's own waits for them a while each time it has done
/// something, so that they have work.
fn panicking_in(phase: &'static str, has_panicked: Arc<AtomicBool>) -> Progress {
    let caller = current().id();
    Progress::default().observed(move |progress| {
        if progress.moment().phase != phase || has_panicked.load(Ordering::Relaxed) {
            return;
        }
        if current().id() == caller {
            let deadline = Instant::now() + Duration::from_millis(500);
            while !has_panicked.load(Ordering::Relaxed) && Instant::now() < deadline {
                sleep(Duration::from_millis(1));
            }
        } else {
            has_panicked.store(true, Ordering::Relaxed);
            panic!("a worker panics in {phase}");
        }
    })
}

#[test]
fn a_check_in_which_a_worker_panics_gives_no_verdict() {
    let Some(images) = kernel_image_or_skip("nodesize-4k") else { return };
    let volume = open(&images);
    for phase in ["extents", "trees", "data"] {
        // Beside other work it may happen that the other threads come too late for any.
        let verdict = (0..60).find_map(|_| {
            let has_panicked = Arc::new(AtomicBool::new(false));
            let progress = panicking_in(phase, Arc::clone(&has_panicked));
            let options = rbtrfs::check::Options {
                threads: 4,
                memory: 1 << 30,
                progress: &progress,
                count_qgroups: false,
                check_data_csum: true,
            };
            let verdict = catch_unwind(AssertUnwindSafe(|| check(&volume, &options)));
            has_panicked.load(Ordering::Relaxed).then_some(verdict)
        });
        let verdict = verdict.unwrap_or_else(|| panic!("no other thread did anything in {phase}"));
        let panic = verdict.expect_err("the check has no verdict");
        assert!(panic.downcast_ref::<String>().is_some_and(|text| text.contains(phase)), "{phase}");
    }
}

/// Panics when it sees the block at the address.
struct Trap(Logical);

impl Visitor for Trap {
    type Part = ();

    fn visit(&self, _: &mut (), place: &BlockPlace<'_>, _: Visit<'_>) {
        assert_ne!(place.expected.logical, self.0, "the visitor panics");
    }
}

/// Wherever the block stands, and whichever thread meets it.
#[test]
fn a_scan_whose_visitor_panics_panics() {
    let Some(images) = kernel_image_or_skip("nodesize-4k") else { return };
    let (volume, progress) = (open(&images), Progress::default());
    let root_tree = TreeRoot::root_tree(&volume);
    let root = root_tree.find_child(&volume, FS_TREE).unwrap().unwrap();
    let blocks: Vec<Logical> = Walk::new(&volume, root.expected(), Levels::All).map(|block| block.logical).collect();
    for block in [blocks[0], blocks[1], blocks[blocks.len() / 2], blocks[blocks.len() - 1]] {
        for threads in [1, 2, 16] {
            let scan = Scan::new(&volume, threads, &progress);
            let outcome = catch_unwind(AssertUnwindSafe(|| scan.run(&[Tree::whole(root)], &Trap(block))));
            assert!(outcome.is_err(), "{block}, {threads} threads");
        }
    }
}

/// Where results come out in order: in the work, in the output, and in what comes after it.
#[test]
fn ordered_work_in_which_a_worker_panics_does_not_end_well() {
    for place in ["work", "emit", "after"] {
        for threads in [1, 2, 16] {
            let emitted = AtomicUsize::new(0);
            let panics_at = |here: &str, job: u32| assert!(here != place || job != 50, "a worker panics in {here}");
            let run = || {
                ordered_then(
                    threads,
                    0..100_u32,
                    |job, result: &mut u32| {
                        panics_at("work", job);
                        *result = job;
                    },
                    |result| {
                        panics_at("emit", *result);
                        emitted.fetch_add(1, Ordering::Relaxed);
                        Ok::<(), ()>(())
                    },
                    |result| {
                        panics_at("after", *result);
                        Ok(())
                    },
                )
            };
            assert!(catch_unwind(AssertUnwindSafe(run)).is_err(), "{place}, {threads} threads");
            assert!(emitted.load(Ordering::Relaxed) >= usize::from(place != "work") * 50, "{place}");
        }
    }
    let caller = current().id();
    let others_panic = || assert_eq!(current().id(), caller, "a worker panics");
    // Where the system has no second thread, there is none to panic.
    let others = AtomicUsize::new(0);
    on_threads(2, || others.fetch_add(usize::from(current().id() != caller), Ordering::Relaxed));
    if others.load(Ordering::Relaxed) > 0 {
        assert!(catch_unwind(AssertUnwindSafe(|| on_threads(2, others_panic))).is_err());
        assert!(catch_unwind(AssertUnwindSafe(|| beside(others_panic, || 7))).is_err());
    }
}

/// Chunks and devices stand in a survey as their items do.
#[test]
fn a_survey_has_the_items_of_the_small_trees() {
    let Some(images) = kernel_image_or_skip("raid1") else { return };
    let injector = Injector::new(&images);
    let survey = survey_with(&injector.volume(), 2, 1 << 30);
    let structure = survey.structure.expect("the layout is known");
    let gathered: Vec<_> = structure.chunk_tree.iter().map(|item| (item.key, item.data.to_vec())).collect();
    assert_eq!(gathered, injector.items(CHUNK_TREE));
    assert!(structure.extent_tree.iter().all(|item| item.key.key_type == KeyType::BLOCK_GROUP_ITEM));
    assert!(structure.missing.is_empty());
}
