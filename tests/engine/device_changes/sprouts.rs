//! Filesystems that grow from seeds.

use rbtrfs::device::{Occupied, sprout};
use rbtrfs::disk::flags::block_group::{DATA, SYSTEM};
use rbtrfs::disk::flags::superblock::SEEDING;
use rbtrfs::disk::{CsumType, STRIPE_LEN, Superblock};
use zerocopy::FromBytes;

use super::*;

/// Makes a filesystem a seed.
pub(super) fn make_seed(images: &[PathBuf]) -> Option<()> {
    images.iter().try_for_each(|image| or_skip(tool("btrfstune", ["-f", "-S", "1", image.to_str().unwrap()])).map(drop))
}

pub(super) fn system_devices(volume: &Volume) -> Vec<u64> {
    let system = volume.chunks().iter().filter(|chunk| chunk.flags.contains(SYSTEM));
    system.flat_map(|chunk| &chunk.stripes).map(|stripe| stripe.devid).collect()
}

fn grow_from(name: &str, chunks: usize) {
    let scratch = Scratch::in_memory();
    let Some(seeds) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
    let mut fs = open_for_change(&seeds);
    for _ in 0..chunks {
        allocate(&fs, &wish(DATA, None, STRIPE_LEN)).unwrap().unwrap();
    }
    if chunks > 0 {
        fs.commit().unwrap();
    }
    drop(fs);
    let Some(contents) = contents(&seeds) else { return };
    let Some(()) = make_seed(&seeds[..1]) else { return };
    let before = copies(&seeds, &scratch.new_directory());
    let new = scratch.zeros("new.img", 300 * MIB);
    let fs = sprout(&seeds, &new, Occupied::Refuse).unwrap();
    let (seed_fsid, fsid) = (open(&seeds).superblock().fsid, fs.volume().superblock().fsid);
    assert_ne!(fsid, seed_fsid);
    drop(fs);
    assert_identical(&seeds, &before, name);

    let all: Vec<PathBuf> = [new.clone()].into_iter().chain(seeds.iter().cloned()).collect();
    let volume = open(&all);
    let devid = seeds.len() as u64 + 1;
    assert_eq!((volume.superblock().fsid, volume.superblock().flags.get() & SEEDING), (fsid, 0));
    assert_eq!(volume.superblock().num_devices.get(), devid);
    assert!(system_devices(&volume).iter().all(|system| *system == devid), "{name}: {:?}", system_devices(&volume));
    drop(volume);
    assert_sound(&all, name);
    or_skip(btrfs_check(&all));

    let mounted = Mounted::new(&all, "rw", &scratch).unwrap();
    assert_eq!(mounted.contents(), contents, "{name}");
    assert_eq!(shown(&mounted).len() as u64, devid);
    mounted.write_something();
    drop(mounted);
    assert_sound(&all, &format!("{name}, and written to"));
    assert_identical(&seeds, &before, name);

    // It goes on as any other.
    let more = scratch.zeros("more.img", 200 * MIB);
    let mut fs = open_for_change(&all);
    add(&fs, &more, Occupied::Refuse).unwrap();
    allocate(&fs, &wish(DATA, None, 16 * MIB)).unwrap().unwrap();
    fs.commit().unwrap();
    drop(fs);
    assert_sound(&with(&all, &more), &format!("{name}, with one more device"));
    assert_identical(&seeds, &before, name);
}

#[test]
fn a_filesystem_grows_from_a_seed_that_stays_as_it_is() {
    ["single", "dup", "nodesize-64k", "mixed", "v1-cache", "no-cache", "sha256"]
        .iter()
        .for_each(|name| grow_from(name, 0));
}

/// Of which some leaves would stay on the seed if only what changes were copied.
#[test]
fn all_of_a_large_chunk_tree_is_on_the_new_device() {
    grow_from("nodesize-4k", 200);
    grow_from("single", 200);
}

#[test]
fn what_nothing_can_grow_from_changes_no_byte() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("single", &scratch) else { return };
    let new = scratch.zeros("new.img", 300 * MIB);
    let refused = |seeds: &[PathBuf], path: &Path, telling: &str| {
        let scratch = Scratch::in_memory();
        let all = with(seeds, path);
        let before = copies(&all, &scratch.new_directory());
        let error = sprout(seeds, path, Occupied::Refuse).unwrap_err().to_string();
        assert!(error.contains(telling), "{error}");
        assert_identical(&all, &before, telling);
    };
    refused(&images, &new, "is no seed");
    let Some(()) = make_seed(&images) else { return };
    refused(&images, &scratch.zeros("small.img", MIB), "1052672 are wanted");
    refused(&images, &scratch.zeros("little.img", 2 * MIB), "no device space left");
    let Some(other) = kernel_image_or_skip("dup") else { return };
    let occupied = scratch.path("occupied.img");
    std::fs::copy(&other[0], &occupied).unwrap();
    refused(&images, &occupied, "a btrfs filesystem");
    refused(&images, &images[0].clone(), "device 1 of this filesystem");

    // btrfs-progs refuse to make this one.
    let renamed = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("uuid-metadata", &renamed) else { return };
    for offset in SUPER_OFFSETS.iter().map(|offset| offset.0).take_while(|offset| *offset < 256 * MIB) {
        change(&images[0], offset, size_of::<Superblock>(), |bytes| {
            let (superblock, _) = Superblock::mut_from_prefix(bytes).unwrap();
            superblock.flags |= SEEDING;
            CsumType::Crc32c.stamp(bytes);
        });
    }
    refused(&images, &new, "fsid of the seed was changed");
}
