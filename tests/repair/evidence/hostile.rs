//! Images that are made to mislead.

use rbtrfs::block::BlockKind;
use rbtrfs::block::item::Rules;
use rbtrfs::disk::node::Header;
use rbtrfs::disk::{Logical, Transid, objectid};
use rbtrfs::internals::MemoryBudget;
use rbtrfs::progress::Progress;
use rbtrfs::repair::flip::{Place, Witness, unflip};
use rbtrfs::repair::older::{Judge, Lineage, OlderBlocks};
use rbtrfs::survey::Job;
use zerocopy::FromBytes;

use crate::support::inject::Injector;
use crate::support::random::Random;
use crate::support::{kernel_image_or_skip, survey_with};

#[test]
fn headers_that_lie_cost_neither_a_panic_nor_a_loop() {
    let Some(images) = kernel_image_or_skip("single") else { return };
    let injector = Injector::new(&images);
    let volume = injector.volume();
    let survey = survey_with(&volume, 2, 1 << 30, true);
    let format = volume.format().clone();
    let newest = volume.superblock().generation();
    let mut random = Random(4711);
    let chunks: Vec<_> = volume.chunks().iter().filter(|chunk| chunk.flags.type_bits() & 1 == 0).cloned().collect();
    let mut planted = Vec::new();
    for chunk in &chunks {
        for _ in 0..150 {
            let logical = Logical(chunk.logical.0 + random.below(chunk.length as usize / 4096 - 4) as u64 * 4096);
            let end = Logical(logical.0 + u64::from(format.nodesize));
            if survey.used_over(logical, end, format.nodesize).is_empty() {
                planted.push(logical);
            }
        }
    }
    for logical in &planted {
        let mut bytes: Vec<u8> = (0..format.nodesize).map(|_| random.next() as u8).collect();
        let header = Header::mut_from_prefix(&mut bytes).unwrap().0;
        (header.fsid, header.bytenr) = (format.fsids[0], logical.0.into());
        header.generation.set(random.next() % (newest.0 + 3));
        header.level = random.below(9) as u8;
        header.owner.set([5, 1, 2, 7, 257, u64::MAX][random.below(6)]);
        header.nritems.set([u32::MAX, 0, 1, 100, 493, random.next() as u32][random.below(6)]);
        if random.below(4) > 0 {
            format.csum_type.stamp(&mut bytes);
        }
        injector.block_unstamped(*logical, |block| block.copy_from_slice(&bytes));
    }
    let volume = injector.volume();
    let survey = survey_with(&volume, 2, 1 << 30, true);
    let progress = Progress::default();
    let job = Job { volume: &volume, threads: 2, progress: &progress };
    let older = OlderBlocks::scan(&job, Some(&survey), None, &MemoryBudget::new(0)).unwrap();
    assert!(older.count() > 20);
    let rules = Rules::new(&format, volume.superblock());
    let judge = Judge { volume: &volume, survey: &survey, rules: &rules, is_nodatasum: &|_| None };
    let mut buffer = Vec::new();
    let lineages = [1, 5, 7, 257].map(|tree| Lineage::of(&volume, tree));
    for (level, lineage) in (0..8).flat_map(|level| lineages.iter().map(move |lineage| (level, lineage))) {
        let cover = older.cover(level, (None, None), lineage, Transid(u64::MAX));
        assert!(cover.windows(2).all(|pair| pair[0].to < pair[1].from));
        older.of_one_state(&volume, cover, level == 0);
        for block in older.of_level(level).filter(|block| lineage.has(block)) {
            let Some(read) = OlderBlocks::read(&volume, &block, &mut buffer) else { panic!("{block:?}") };
            if let BlockKind::Leaf(leaf) = read.kind() {
                drop(judge.items(leaf, block.owner, (None, None)));
            }
            let place = Place {
                expected: block.expected(),
                end: Some(block.first),
                tree: block.owner,
                owner: Some(block.owner ^ 1),
                chunk_tree_uuid: None,
                format: &format,
                rules: &rules,
                witness: Witness::default(),
            };
            drop(unflip(read.bytes(), &place, 1));
        }
    }
    for tree in [objectid::ROOT_TREE, objectid::FS_TREE, 257, u64::MAX] {
        older.roots(&job, tree);
    }
    assert!(older.failure().is_none());
}
