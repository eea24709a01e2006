//! Filesystems by chance: made from a directory, and by the kernel; and devices that missed what was written.

use std::path::PathBuf;
use std::process::Command;

use rbtrfs::disk::Profile;

use super::{Case, try_open};
use crate::support::mounted::Mounted;
use crate::support::random::Random;
use crate::support::{Scratch, run_rbtrfs};

const SIZE: &str = "192M";

pub fn make(random: &mut Random, scratch: &Scratch) -> Case {
    let devices = 2 + random.below(4);
    let mut profiles = Vec::new();
    if devices <= 4 {
        profiles.push("raid5");
    }
    if devices >= 3 {
        profiles.push("raid6");
    }
    let mut any = || profiles[random.below(profiles.len())];
    let (data, metadata) = (any(), any());
    let nodesize = ["4k", "16k", "16k", "64k"][random.below(4)];
    let layout = match random.below(6) {
        0 => format!("-M -d {data} -m {data}"),
        1 => format!("-d {data} -m raid1 -n {nodesize}"),
        _ => format!("-d {data} -m {metadata} -n {nodesize}"),
    };
    let content = scratch.new_directory();
    for number in 0..1 + random.below(60) {
        let size = [10, 1500, 5000, 40_000, 150_000][random.below(5)];
        let bytes: Vec<u8> = (0..size / 8).flat_map(|_| random.next().to_le_bytes()).collect();
        std::fs::write(content.join(format!("file-{number}")), bytes).unwrap();
    }
    let directory = scratch.new_directory();
    let images: Vec<PathBuf> = (0..devices).map(|number| directory.join(format!("{number}.img"))).collect();
    let uuid = format!("{:08x}-0000-4000-8000-{:012x}", random.next() as u32, random.next() >> 16);
    let options = format!("mkfs -q --byte-count {SIZE} -U {uuid} {layout} --rootdir {}", content.display());
    let run = run_rbtrfs(&options, &images);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{options}");
    let mut case = Case { history: vec![format!("{devices} devices {layout}")], images, ..Case::default() };
    if random.below(2) == 0 {
        write_by_kernel(&mut case, "rw", random, scratch);
    }
    case
}

/// Has the kernel write files and snapshots and delete some, so that rows are partly free.
fn write_by_kernel(case: &mut Case, options: &str, random: &mut Random, scratch: &Scratch) {
    let (files, name) = (1 + random.below(120), random.next() % 100_000);
    let script = format!(
        "mkdir d{name}; for n in $(seq {files}); do head -c $((n * 1777 % 60000)) /dev/urandom >d{name}/$n; done; sync -f .
         btrfs -q subvolume snapshot . s{name}; for n in $(seq 1 {} {files}); do rm d{name}/$n; done; sync -f .
         for n in $(seq {files}); do echo $n >d{name}/n$n; done; sync -f .
         if [ {} = 0 ]; then btrfs -q subvolume delete s{name}; btrfs subvolume sync . >/dev/null; fi",
        1 + random.below(4),
        random.below(2),
    );
    let mounted = Mounted::new(&case.present(), &format!("{options},commit=1"), scratch).unwrap();
    let output = Command::new("sh").args(["-ec", &script]).current_dir(mounted.path()).output().unwrap();
    case.history.push(format!("{files} files by the kernel, {options}: {}", output.status));
    // Linux 6.18 answers some writes of data to degraded RAID5 with EIO, and goes on; some data is not what its checksum
    // says then.
    case.has_kernel_failed |= !output.status.success();
    assert!(
        !case.has_kernel_failed || options == "degraded",
        "{}: {}",
        case.history.join("; "),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Lets some devices miss a change, no more than all chunks tolerate. They are left out afterwards, or are as they were.
pub fn lose_devices(case: &mut Case, random: &mut Random, scratch: &Scratch) {
    let volume = try_open(&case.images).unwrap();
    let tolerated = |profile: Profile| profile.geometry().tolerated_failures as usize;
    let most = volume.chunks().iter().map(|chunk| tolerated(chunk.profile)).min().unwrap();
    let count = [0, 0, 0, 1, 1, 2][random.below(6)].min(most);
    if count == 0 {
        return;
    }
    let mut devids: Vec<u64> = case.devids().collect();
    while devids.len() > count {
        devids.remove(random.below(devids.len()));
    }
    if random.below(2) == 0 {
        case.missing.extend(&devids);
        write_by_kernel(case, "degraded", random, scratch);
        case.missing.clear();
    } else {
        let before = scratch.new_directory();
        let images: Vec<PathBuf> = devids.iter().map(|devid| case.images[*devid as usize - 1].clone()).collect();
        let copies = crate::support::copies(&images, &before);
        for _ in 0..1 + random.below(3) {
            let kind = ["data", "metadata", "system"][random.below(3)];
            let run = run_rbtrfs(&format!("chunk-alloc --type {kind} --size 1M"), &case.images);
            case.history.push(format!("a {kind} chunk: {}", run.code));
        }
        for (copy, image) in copies.iter().zip(&images) {
            std::fs::rename(copy, image).unwrap();
        }
    }
    for devid in devids {
        match random.below(3) {
            0 => case.missing.insert(devid),
            _ => case.stale.insert(devid),
        };
    }
    case.history.push(format!("stale {:?}, missing {:?}", case.stale, case.missing));
}
