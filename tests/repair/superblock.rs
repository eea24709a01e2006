//! Filesystems whose superblocks are all lost, and roots that nothing can replace.

use rbtrfs::disk::superblock::{SUPER_INFO_SIZE, SUPER_OFFSETS};
use rbtrfs::tree::TreeRoot;

use crate::outcome::{contents, judge};
use crate::support::inject::Injector;
use crate::support::repaired::repaired;
use crate::support::{Scratch, kernel_image_or_skip, open, run_rbtrfs};

fn without_superblocks(injector: &Injector) {
    let size = std::fs::metadata(&injector.images()[0]).unwrap().len();
    for offset in SUPER_OFFSETS.iter().filter(|offset| offset.0 < size) {
        injector.bytes(0, offset.0, SUPER_INFO_SIZE, |bytes| bytes.fill(0));
    }
}

#[test]
fn a_filesystem_without_any_superblock_is_found_by_its_trees() {
    for name in
        ["single", "dup", "snapshots", "mixed", "nodesize-4k", "nodesize-64k", "sha256", "no-skinny", "v1-cache"]
    {
        let Some(images) = kernel_image_or_skip(name) else { return };
        let before = contents(&images);
        let injector = Injector::new(&images);
        without_superblocks(&injector);
        // The files are there without a repair, too.
        let listed = run_rbtrfs("ls --subvol 5", injector.images());
        assert!(listed.code == 0 && !listed.stdout.is_empty(), "{name}: {}", listed.stderr);
        let outcome = repaired(injector.images());
        assert_eq!(judge(injector.images(), &outcome), "clean", "{name}");
        assert_eq!(contents(injector.images()), before, "{name}");
    }
}

#[test]
fn no_repair_gives_up_all_files_for_the_root_of_the_root_tree() {
    let scratch = Scratch::in_memory();
    let (tree, image) = (scratch.path("tree"), scratch.path("image"));
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("kept"), "kept").unwrap();
    let images = [image];
    let made = run_rbtrfs(&format!("mkfs -q --size 256m --rootdir {}", tree.display()), &images);
    assert_eq!(made.code, 0, "{}", made.stderr);
    let injector = Injector::new(&images);
    let root = TreeRoot::root_tree(&open(&images)).logical;
    injector.block_unstamped(root, |bytes| bytes.fill(0));
    let repaired = repaired(injector.images()).unwrap();
    assert!(!repaired.is_better(), "{:?}", repaired.fixes);
}
