//! Checksums of much data, made anew.

use rbtrfs::disk::KeyType;
use rbtrfs::disk::objectid::CSUM_TREE;
use rbtrfs::finding::Finding;
use rbtrfs::progress::Progress;
use rbtrfs::repair::{Force, Options};

use crate::outcome::{contents, judge};
use crate::support::contents::checksums;
use crate::support::inject::{Injector, LeafItems};
use crate::support::repaired::{options, repaired_with, repaired_with_data};
use crate::support::soundness::assert_sound_with_data;
use crate::support::{Scratch, kernel_image_or_skip, open, run_rbtrfs};

#[test]
fn checksums_that_are_made_anew_are_those_of_the_data_and_of_nothing_else() {
    for name in ["single", "snapshots", "sha256", "raid5-data-raid1c3-meta", "load-dup", "holes"] {
        let Some(images) = kernel_image_or_skip(name) else { return };
        let it = Injector::new(&images);
        let (before, sums) = (contents(&images), checksums(&open(&images)));
        let csums = it.items(CSUM_TREE);
        for (key, _) in csums.iter().step_by(2) {
            it.item(CSUM_TREE, *key, |data| data.fill(7));
        }
        let progress = Progress::default();
        let force = Force { csum_tree: true, ..Force::default() };
        let outcome = repaired_with(it.images(), &Options { force, memory: 0, ..options(&progress) });
        let fixes = outcome.as_ref().map(|repaired| &repaired.fixes);
        assert_eq!(judge(it.images(), &outcome), "clean", "{name}: {fixes:?}");
        assert!(fixes.unwrap().iter().any(|fix| fix.code() == "checksum-tree-made"), "{name}: {fixes:?}");
        assert_sound_with_data(it.images(), name);
        // Of extents of which a part is in no file any more, that part has none.
        let made = checksums(&open(it.images()));
        let wrong: Vec<_> = made.iter().filter(|(sector, sum)| sums.get(*sector) != Some(*sum)).take(9).collect();
        assert!(!made.is_empty() && wrong.is_empty(), "{name}: {wrong:?} of {}", made.len());
        let (now, before) = (contents(it.images()), &before);
        let changed: Vec<_> = before.iter().filter(|(path, sum)| now.get(*path) != Some(*sum)).collect();
        assert!(changed.is_empty() && now.len() == before.len(), "{name}: {changed:?}");
    }
}

#[test]
fn checksums_that_are_there_stay_where_many_others_are_missing() {
    let scratch = Scratch::in_memory();
    let tree = scratch.path("tree");
    std::fs::create_dir_all(&tree).unwrap();
    let block: Vec<u8> = (0..1_u32 << 20).map(|number| (number.wrapping_mul(number) >> 7) as u8).collect();
    for file in 0..3 {
        let bytes: Vec<u8> = block.iter().map(|byte| byte ^ file).collect();
        std::fs::write(tree.join(format!("file-{file}")), bytes.repeat(110)).unwrap();
    }
    let images = [scratch.path("image")];
    let made = run_rbtrfs(&format!("mkfs -q --rootdir {} --size 600m", tree.display()), &images);
    assert_eq!(made.code, 0, "{}", made.stderr);
    std::fs::remove_dir_all(&tree).unwrap();
    let (before, sums) = (contents(&images), checksums(&open(&images)));
    let it = Injector::new(&images);
    let items = it.items(CSUM_TREE);
    // The first is wrong, and there; all others but the last are not there.
    let (first, last) = (items[0].0, items[items.len() - 1].0);
    it.item(CSUM_TREE, first, |data| data[0] ^= 0xff);
    for (key, _) in &items {
        it.leaf(CSUM_TREE, *key, |items: &mut LeafItems| {
            items.retain(|(key, _)| key.key_type != KeyType::EXTENT_CSUM || [first, last].contains(key));
        });
    }
    let outcome = repaired_with_data(it.images());
    let fixes = outcome.as_ref().map(|repaired| &repaired.fixes).unwrap();
    assert!(fixes.iter().any(|fix| fix.code() == "checksum-tree-made"), "{fixes:?}");
    let made = checksums(&open(it.images()));
    let differing: Vec<&u64> =
        sums.iter().filter(|(sector, sum)| made.get(*sector) != Some(sum)).map(|(sector, _)| sector).collect();
    assert_eq!((made.len(), differing), (sums.len(), vec![&first.offset]));
    assert!(contents(it.images()).len() == before.len() - 1);
}
