//! Where space is given out and where not, who may have the last of it, and which profile comes next.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

use rbtrfs::disk::flags::{balance, balance_args, block_group};
use rbtrfs::disk::superblock::SUPER_OFFSETS;
use rbtrfs::disk::volume::{BalanceItem, DiskBalanceArgs};
use rbtrfs::disk::{BlockGroupFlags, Key, KeyType, Profile, objectid};
use zerocopy::IntoBytes;

use super::{addresses, assert_refused, assert_sound, chunks, document};
use crate::support::change::{allocate, make_filesystem, open_for_change, wish};
use crate::support::inject::Injector;
use crate::support::mounted::{Mounted, btrfs_check};
use crate::support::small_image::{Options, write_small_image};
use crate::support::*;

const LOW: u64 = SUPER_OFFSETS[0].0;

/// As old versions of mkfs.btrfs make it: the system chunk begins at 0, and its first block lies where it is told.
fn system_chunk_at_zero(nodesize: u32, first_system_block: u64, scratch: &Scratch) -> Vec<PathBuf> {
    let image = scratch.path(&format!("{nodesize}-{first_system_block}.img"));
    let options = Options {
        size: 300 << 20,
        nodesize,
        metadata: Profile::Single,
        system_chunk: 0,
        first_system_block,
        ..Options::default()
    };
    write_small_image(&options, &File::create(&image).unwrap()).unwrap();
    vec![image]
}

/// btrfs-progs 6.2 misses low addresses among what is free, of filesystems that only the kernel wrote, too: it is no judge
/// here.
fn assert_sound_but_for_progs(images: &[PathBuf], what: &str) {
    super::assert_sound_with_data(images, what);
}

fn chunk_root(images: &[PathBuf]) -> u64 {
    open(images).superblock().chunk_root().0
}

#[test]
fn no_address_below_that_of_the_superblock_is_given_out() {
    let scratch = Scratch::in_memory();
    for nodesize in [4096, 16384, 65536] {
        let images = system_chunk_at_zero(nodesize, 2 * LOW, &scratch);
        assert_sound_but_for_progs(&images, "as it was made");
        let Some(contents) = or_skip(Mounted::new(&images, "ro", &scratch)).map(|mounted| mounted.contents()) else {
            return;
        };
        for command in
            ["chunk-alloc --type data --size 1M", "chunk-alloc --type metadata --size 1M", "chunk-remove --unused"]
        {
            for _ in 0..2 {
                document(command, &images);
                assert!(chunk_root(&images) >= LOW, "{command}, nodes of {nodesize}");
                assert_sound_but_for_progs(&images, command);
            }
        }
        let mounted = Mounted::new(&images, "rw", &scratch).unwrap();
        assert_eq!(mounted.contents(), contents);
        std::fs::write(mounted.path().join("new"), vec![b'n'; 100_000]).unwrap();
        mounted.scrub();
        drop(mounted);
        assert_sound_but_for_progs(&images, "after use by the kernel");
    }
}

/// btrfs-progs cannot open it. The next change moves the block away, and nothing follows it there.
#[test]
fn a_block_below_the_address_of_the_superblock_is_reported_and_goes() {
    let scratch = Scratch::in_memory();
    for first in [0, LOW - 4096] {
        let images = system_chunk_at_zero(4096, first, &scratch);
        let run = run_rbtrfs("check --json", &images);
        assert_eq!(run.code, 1);
        let found: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        let codes: Vec<_> = found["problems"].as_array().unwrap().iter().map(|problem| &problem["code"]).collect();
        assert_eq!(codes, ["extent-low"], "{found}");

        let mut fs = open_for_change(&images);
        for _ in 0..3 {
            allocate(&fs, &wish(block_group::DATA, None, 1 << 20)).unwrap().unwrap();
            fs.commit().unwrap();
            assert!(chunk_root(&images) >= LOW);
        }
        drop(fs);
        assert_sound_but_for_progs(&images, "after it went");
    }
}

/// All space is in chunks, the metadata is full but for what the commit keeps, and a data chunk is empty.
fn full(scratch: &Scratch) -> Option<Vec<PathBuf>> {
    let options = ["-m", "single", "-d", "single", "-n", "4k", "-s", "4k"];
    let images = make_filesystem(&options, 1, 200 << 20, scratch)?;
    let mounted = or_skip(Mounted::new(&images, "rw,commit=3000,nodiscard", scratch))?;
    let script = "head -c 30000000 /dev/urandom >big; sync -f .; mkdir a; i=0
        while printf %01900d 0 2>/dev/null >a/f$i; do i=$((i+1)); done
        rm -f a/f$i; sync -f .; btrfs -q subvolume snapshot . s1; sync -f .; n=0
        for k in $(seq 0 37 $i); do rm -f a/f$k 2>/dev/null || break; n=$((n+1)); [ $((n%50)) = 0 ] && sync -f .; done; true";
    let status = Command::new("sh").args(["-c", script]).current_dir(mounted.path()).output().unwrap().status;
    assert!(status.success());
    Some(images)
}

#[test]
fn a_full_filesystem_gives_up_an_empty_chunk() {
    let scratch = Scratch::in_memory();
    let Some(images) = full(&scratch) else { return };
    let empty = {
        let fs = open_for_change(&images);
        let space = fs.space();
        let empty = space.groups_of(BlockGroupFlags(block_group::DATA)).filter(|group| group.used == 0).count();
        let metadata = space.info(BlockGroupFlags(block_group::METADATA));
        assert_eq!(metadata.available(), 0, "{metadata:?}");
        assert!(empty > 0);
        empty
    };
    // What cannot be had changes nothing, however often it is tried.
    for _ in 0..2 {
        assert_refused("chunk-alloc --type metadata", &images, "space");
    }
    assert_eq!(addresses(&document("chunk-remove --unused", &images)).len(), empty);
    assert_sound(&images, "after the rescue");
    // With the space that it left the filesystem can be used again.
    document("chunk-alloc --type metadata --size 4M", &images);
    assert_sound(&images, "with more metadata");
    let mounted = Mounted::new(&images, "rw", &scratch).unwrap();
    assert_eq!(std::fs::read(mounted.path().join("big")).unwrap().len(), 30_000_000);
    std::fs::write(mounted.path().join("new"), vec![b'n'; 1000]).unwrap();
    drop(mounted);
    assert_sound(&images, "after use by the kernel");
}

#[test]
fn wide_filesystems_get_system_chunks_as_wide_as_fit() {
    for (profile, nodesize, devices, expected) in
        [("raid10", "64k", 40, 18), ("raid0", "64k", 33, 26), ("raid6", "32k", 36, 23), ("raid6", "64k", 57, 1)]
    {
        let scratch = Scratch::in_memory();
        let options = ["-m", profile, "-d", profile, "-n", nodesize];
        let Some(images) = make_filesystem(&options, devices, 2 << 30, &scratch) else { return };
        let before = chunks(&images, block_group::SYSTEM);
        let command = |kind: &str| format!("chunk-alloc --type {kind}");
        let array = open(&images).superblock().sys_chunk_array_size.get() as usize;
        let what = format!("{profile}, {devices} devices, array of {array} bytes");
        if expected < 2 {
            // Not even the narrowest has room.
            let generation = open(&images).superblock().generation();
            let run = run_rbtrfs(&command("system"), &images);
            assert!(run.code == 2 && run.says(&["system chunk array", "3 stripes"]), "{what}: {run:?}");
            assert_eq!(open(&images).superblock().generation(), generation);
            continue;
        }
        for kind in ["data", "metadata"] {
            document(&command(kind), &images);
        }
        let mut new = chunks(&images, block_group::SYSTEM).split_off(before.len());
        if new.is_empty() {
            document(&command("system"), &images);
            new = chunks(&images, block_group::SYSTEM).split_off(before.len());
        }
        assert_eq!(new.iter().map(|chunk| chunk.stripes.len()).collect::<Vec<_>>(), [expected], "{what}");
        assert!(new.iter().all(|chunk| chunk.profile == before[0].profile));
        super::assert_sound_with_data(&images, &what);
        // It wants each device as a device, which takes its time.
        if profile == "raid10" {
            btrfs_check(&images).unwrap();
        }
    }
}

fn profiles(images: &[PathBuf]) -> Vec<Profile> {
    let mut profiles: Vec<_> = chunks(images, block_group::DATA).iter().map(|chunk| chunk.profile).collect();
    profiles.sort();
    profiles
}

#[test]
fn of_each_profile_one_chunk_stays() {
    for options in [&["-m", "raid1", "-d", "raid1"][..], &["-m", "raid1", "-d", "raid1", "-M"]] {
        let scratch = Scratch::in_memory();
        let Some(images) = make_filesystem(options, 2, 4 << 30, &scratch) else { return };
        let data = |profile: &str| {
            let new = document(&format!("chunk-alloc --type data --size 8M {profile}"), &images);
            new["chunks"][0]["profile"].as_str().unwrap().to_owned()
        };
        document("chunk-remove --unused", &images);
        assert_eq!(profiles(&images), [Profile::Raid1]);
        assert_eq!(data("--profile single --count 3"), "single");
        assert_eq!(data("--count 2"), "RAID1");
        assert_eq!(addresses(&document("chunk-remove --unused", &images)).len(), 4, "{options:?}");
        assert_eq!(profiles(&images), [Profile::Single, Profile::Raid1]);
        assert_eq!(addresses(&document("chunk-remove --unused", &images)).len(), 0, "{options:?}");
        assert_eq!(data(""), "RAID1");
        assert_sound(&images, "one of each");
        // What is named goes, the last of its profile too.
        let named = |profile: Profile| {
            let chunks = chunks(&images, block_group::DATA).into_iter();
            let empty = chunks.rev().filter(|chunk| chunk.profile == profile);
            let names = empty.map(|chunk| format!("--chunk {}", chunk.logical)).collect::<Vec<_>>();
            format!("chunk-remove {}", names.join(" "))
        };
        if options.contains(&"-M") {
            assert_refused(&named(Profile::Raid1), &images, "is in use");
            document(&named(Profile::Single), &images);
            assert_eq!(data(""), "RAID1");
        } else {
            document(&named(Profile::Raid1), &images);
            assert_eq!(data(""), "single");
            assert_refused(&named(Profile::Single), &images, "is the last of its type");
        }
        assert_sound(&images, "after all");
    }
}

/// A balance that is paused goes on with the next mount: the kernel makes new chunks with its targets until then.
#[test]
fn new_chunks_have_the_profile_that_a_paused_balance_converts_to() {
    let scratch = Scratch::in_memory();
    let Some(images) = make_filesystem(&["-m", "raid1", "-d", "single"], 2, 4 << 30, &scratch) else { return };
    let args = |target: u64| {
        let mut args = DiskBalanceArgs::zeroed();
        (args.flags, args.target) = (balance_args::CONVERT.into(), target.into());
        args
    };
    let with_item = |edit: &dyn Fn(&mut BalanceItem)| {
        let injector = Injector::new(&images);
        let mut item = BalanceItem::zeroed();
        item.flags = (balance::DATA | balance::METADATA | balance::SYSTEM).into();
        edit(&mut item);
        let key = Key::new(objectid::BALANCE, KeyType::TEMPORARY_ITEM, 0);
        injector.insert_item(objectid::ROOT_TREE, key, item.as_bytes());
        injector
    };
    let injector = with_item(&|item| {
        (item.data, item.meta) = (args(block_group::RAID1), args(BlockGroupFlags::AVAIL_SINGLE));
        item.sys = args(block_group::DUP);
    });
    let copy = copies(injector.images(), &scratch.new_directory());
    let new = |kind: &str| {
        let new = document(&format!("chunk-alloc --type {kind} --size 32M"), injector.images());
        new["chunks"].as_array().unwrap().last().unwrap()["profile"].as_str().unwrap().to_owned()
    };
    assert_eq!(["data", "metadata", "system"].map(new), ["RAID1", "single", "DUP"]);
    assert_eq!(new("data --profile raid0"), "RAID0");
    assert_sound(injector.images(), "with targets");
    // The kernel does the same.
    let before = chunks(&copy, block_group::DATA).len();
    let Some(mounted) = or_skip(Mounted::new(&copy, "rw,skip_balance", &scratch)) else { return };
    std::fs::write(mounted.path().join("large"), vec![1; 40 << 20]).unwrap();
    drop(mounted);
    let made = chunks(&copy, block_group::DATA).split_off(before);
    assert!(!made.is_empty() && made.iter().all(|chunk| chunk.profile == Profile::Raid1), "{made:?}");
    // A filter that converts nothing has no say, and a target that is none is not guessed at.
    let injector = with_item(&|item| item.data.target = block_group::RAID1.into());
    let alloc = "chunk-alloc --type data --size 32M";
    assert_eq!(document(alloc, injector.images())["chunks"][0]["profile"], "single");
    let injector = with_item(&|item| item.data = args(block_group::RAID1 | block_group::DUP));
    assert_refused(alloc, injector.images(), "balance item");
}
