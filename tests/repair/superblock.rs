//! Filesystems whose superblocks are all lost, and roots that nothing can replace.

use rbtrfs::disk::objectid::FS_TREE;
use rbtrfs::disk::superblock::{SUPER_INFO_SIZE, SUPER_OFFSETS};
use rbtrfs::tree::TreeRoot;

use crate::outcome::{contents, judge};
use crate::support::inject::Injector;
use crate::support::mounted::Mounted;
use crate::support::repaired::repaired;
use crate::support::{Scratch, kernel_image_or_skip, open, or_skip, run_rbtrfs, tool};

fn without_superblocks(injector: &Injector) {
    lose_superblocks(injector, 0);
}

fn lose_superblocks(injector: &Injector, device: usize) {
    let size = std::fs::metadata(&injector.images()[device]).unwrap().len();
    for offset in SUPER_OFFSETS.iter().filter(|offset| offset.0 < size) {
        injector.bytes(device, offset.0, SUPER_INFO_SIZE, |bytes| bytes.fill(0));
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
        let listed = run_rbtrfs("ls --recover always --subvol 5", injector.images());
        assert!(listed.code == 0 && !listed.stdout.is_empty(), "{name}: {}", listed.stderr);
        let outcome = repaired(injector.images());
        assert_eq!(judge(injector.images(), &outcome), "clean", "{name}");
        assert_eq!(contents(injector.images()), before, "{name}");
    }
}

/// The trees of the former filesystem are still there.
#[test]
fn no_repair_writes_over_the_filesystem_that_has_taken_the_place_of_another() {
    let Some(images) = kernel_image_or_skip("dup") else { return };
    let injector = Injector::new(&images);
    without_superblocks(&injector);
    let image = &injector.images()[0];
    let quick = ["-qF", "-E", "lazy_itable_init=1,nodiscard"].map(std::ffi::OsStr::new);
    let Some(_) = or_skip(tool("mkfs.ext4", quick.into_iter().chain([image.as_os_str()]))) else { return };
    let before = tool("sha256sum", [image]).unwrap();
    for command in ["check --repair --yes", "fsck -y", "extract --roots"] {
        let run = run_rbtrfs(command, injector.images());
        assert!(run.code >= 2 && run.says(&["ext4"]), "{command}: {} {}", run.code, run.stderr);
    }
    assert_eq!(tool("sha256sum", [image]).unwrap(), before);
}

/// A filesystem each of whose blocks was written once, so that nothing has an earlier version.
fn fresh(scratch: &Scratch) -> [std::path::PathBuf; 1] {
    let tree = scratch.path("tree");
    std::fs::create_dir_all(tree.join("subvolume/below")).unwrap();
    for number in 0..300 {
        std::fs::write(tree.join(format!("file-{number}")), vec![number as u8; number * 40]).unwrap();
        std::fs::write(tree.join(format!("subvolume/below/{number}")), number.to_string()).unwrap();
    }
    let images = [scratch.path("image")];
    let options = format!("mkfs -q --size 256m --rootdir {} --subvol subvolume", tree.display());
    let made = run_rbtrfs(&options, &images);
    assert_eq!(made.code, 0, "{}", made.stderr);
    images
}

#[test]
fn roots_without_an_earlier_version_are_made_of_what_they_led_to() {
    let scratch = Scratch::in_memory();
    let images = fresh(&scratch);
    let before = contents(&images);
    let volume = open(&images);
    let roots = [("chunk", TreeRoot::chunk_tree(&volume)), ("root", TreeRoot::root_tree(&volume))];
    drop(volume);
    for (name, root) in roots {
        let injector = Injector::new(&images);
        injector.block_unstamped(root.logical, |bytes| bytes.fill(0));
        let listed = run_rbtrfs("ls --recover always", injector.images());
        assert!(listed.code == 0 && listed.stdout.contains("file-299"), "{name}: {}", listed.stderr);
        let outcome = repaired(injector.images());
        assert_eq!(judge(injector.images(), &outcome), "clean", "{name}: {:?}", outcome.map(|outcome| outcome.fixes));
        assert_eq!(contents(injector.images()), before, "{name}");
    }
}

#[test]
fn no_repair_gives_up_all_files_for_the_root_of_the_root_tree() {
    let scratch = Scratch::in_memory();
    let images = fresh(&scratch);
    let injector = Injector::new(&images);
    // Without the top-level subvolume nothing tells what the filesystem was.
    for root in [TreeRoot::root_tree(&open(&images)), injector.root(FS_TREE)] {
        injector.block_unstamped(root.logical, |bytes| bytes.fill(0));
    }
    let repaired = repaired(injector.images()).unwrap();
    assert!(!repaired.is_better(), "{:?}", repaired.fixes);
}

#[test]
fn a_device_of_several_without_superblocks_is_found_by_what_is_on_it() {
    for name in ["raid0", "raid1", "raid10", "raid5", "raid6", "raid1c3", "convert", "raid5-data-raid1c3-meta"] {
        let Some(images) = kernel_image_or_skip(name) else { return };
        let before = contents(&images);
        for device in 0..images.len() {
            let injector = Injector::new(&images);
            lose_superblocks(&injector, device);
            let outcome = repaired(injector.images());
            let told = outcome.as_ref().map(|repaired| &repaired.fixes);
            assert_eq!(judge(injector.images(), &outcome), "clean", "{name}, device {device}: {told:?}");
            assert_eq!(outcome.unwrap().given_up().count(), 0, "{name}, device {device}");
            assert!(contents(injector.images()) == before, "{name}, device {device}");
        }
    }
}

/// As a device that was replaced, or that was away for a while.
#[test]
fn no_image_becomes_a_device_that_it_is_not_or_is_no_more() {
    let Some(images) = kernel_image_or_skip("raid1") else { return };
    let injector = Injector::new(&images);
    let (current, away) = (&injector.images()[0], &injector.images()[1]);
    let old = std::fs::read(away).unwrap();
    let scratch = Scratch::new();
    let Some(mounted) = or_skip(Mounted::new(injector.images(), "rw", &scratch)) else { return };
    mounted.write_something();
    drop(mounted);
    let before = contents(injector.images());
    std::fs::write(away, old).unwrap();
    lose_superblocks(&injector, 1);
    for (what, length) in [("behind", None), ("empty", std::fs::metadata(away).ok().map(|metadata| metadata.len()))] {
        if let Some(length) = length {
            let file = std::fs::File::create(away).unwrap();
            file.set_len(length).unwrap();
        }
        let held = tool("sha256sum", injector.images()).unwrap();
        let outcome = repaired(injector.images());
        assert!(!outcome.is_ok_and(|repaired| repaired.is_clean()), "{what}");
        assert_eq!(tool("sha256sum", injector.images()).unwrap(), held, "{what}");
        assert!(contents(std::slice::from_ref(current)) == before, "{what}");
    }
}
