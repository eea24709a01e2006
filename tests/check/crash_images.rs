//! What a crash of the kernel leaves is no damage: the judges of other tests were unmounted in order.

use std::path::PathBuf;
use std::process::Command;

use rbtrfs::finding::Finding;

use crate::support::crash::{Left, after, is_superblock};
use crate::support::mounted::{Mounted, attach, btrfs_check_output, detach};
use crate::support::random::Random;
use crate::support::recording_disk::RecordingDisk;
use crate::support::soundness::{beyond_notes, describe};
use crate::support::{Scratch, check, mkfs_btrfs, open, or_skip};

const MIB: u64 = 1 << 20;

/// What runs while the machine stops: files written, synced, renamed, cloned, punched and removed, snapshots made and deleted, quotas,
/// and a balance that is cancelled. `$1` is the number of the round, `$2` a device to be added, or nothing.
const WORK: &str = r#"
n=$1
mkdir -p d$((n % 3))/of-$n
for i in $(seq 60); do echo "$n $i" >d$((n % 3))/of-$n/f$i; done
head -c 700000 /dev/urandom >large-$n
head -c 90000 /dev/urandom | dd of=synced-$n bs=9000 conv=fsync status=none
ln synced-$n d$((n % 3))/of-$n/link
sync d$((n % 3))/of-$n/f1
cp --reflink=always large-$n clone-$n
fallocate -p -o 65536 -l 131072 clone-$n
fallocate -l 400000 reserved-$n
setfattr -n user.round -v "$n" large-$n 2>/dev/null || true
mv d$((n % 3))/of-$n/f2 renamed-$n
sync renamed-$n
[ ! -e large-$((n - 2)) ] || rm large-$((n - 2)) synced-$((n - 2))
case $n in
  2) btrfs quota enable . ;;
  3 | 6) btrfs -q subvolume snapshot . snapshot-$n ;;
  4) btrfs -q subvolume create below && cp large-$n below/ ;;
  5) (btrfs balance start --full-balance . || true) >balance.log 2>&1 & sleep 0.3; btrfs balance cancel . || true; wait ;;
  7) btrfs -q subvolume delete snapshot-3; btrfs balance start -dusage=90 . ;;
  8) [ -z "$2" ] || { btrfs device add -f "$2" . && btrfs balance start -dconvert=raid1 -mconvert=raid1 -sconvert=raid1 -f . ; } ;;
  9) [ -z "$2" ] || btrfs device remove 1 . || true ;;
esac >/dev/null 2>&1
sync -f .
"#;

/// Filesystems of one device, and of one that gets a second and gives up the first.
const FORMS: [(&[&str], bool); 3] = [(&[], false), (&["-m", "single", "-O", "^no-holes"], false), (&[], true)];

/// `RBTRFS_CRASH_IMAGES` asks for more crashes of each filesystem than the few of every day, and `RBTRFS_CRASH_SEED` for others.
#[test]
fn what_a_crash_of_the_kernel_leaves_is_no_damage_where_btrfs_check_finds_none() {
    let number = |name: &str, otherwise: u64| std::env::var(name).map_or(otherwise, |text| text.parse().unwrap());
    let (count, seed) = (number("RBTRFS_CRASH_IMAGES", 6), number("RBTRFS_CRASH_SEED", 1));
    for (form, (options, has_second)) in FORMS.into_iter().enumerate() {
        let scratch = Scratch::in_memory();
        let Some(disk) = or_skip(recorded(options, has_second, &scratch)) else { return };
        let events = disk.events();
        let superblocks: Vec<usize> = (1..=events.len()).filter(|end| is_superblock(&events[end - 1])).collect();
        let mut random = Random((seed * 10 + form as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for number in 0..count {
            // Every third one stands between two superblocks.
            let end = match number % 3 {
                0 => superblocks[random.below(superblocks.len())],
                _ => random.below(events.len() + 1),
            };
            let left = [Left::Nothing, Left::All, Left::Some, Left::Torn(4096)][random.below(4)];
            let crashed = Scratch::in_memory();
            let images = devices(after(&disk, &events, (end, left), &mut random, &crashed));
            if images.is_empty() {
                continue;
            }
            let what = format!("form {form}, crash {number} after {end} of {} events, {left:?}", events.len());
            let found = beyond_notes(check(&open(&images), 2));
            let judged = btrfs_check_output(&images).unwrap();
            let codes: Vec<_> = found.iter().map(Finding::code).collect();
            println!("{what}: {codes:?}, btrfs check {}", judged.status);
            let their = String::from_utf8_lossy(&judged.stderr);
            assert_eq!(found.is_empty(), judged.status.success(), "{what}:{}\nbtrfs check: {their}", describe(&found));
        }
    }
}

fn recorded(options: &[&str], has_second: bool, scratch: &Scratch) -> Result<RecordingDisk, String> {
    let first = scratch.zeros("0.img", 320 * MIB);
    mkfs_btrfs(options, &[&first])?;
    let mut images = vec![first];
    if has_second {
        images.push(scratch.zeros("1.img", 320 * MIB));
    }
    let disk = RecordingDisk::new(&images, scratch)?;
    let second = if has_second { attach(&disk.images()[1])? } else { String::new() };
    let mounted = Mounted::new(&disk.images()[..1], "commit=1", scratch)?;
    for number in 1..=9 {
        let arguments = ["-ec", WORK, "sh", &number.to_string(), &second];
        let work = Command::new("bash").args(arguments).current_dir(mounted.path()).output();
        let work = work.map_err(|error| error.to_string())?;
        assert!(work.status.success(), "round {number}: {}", String::from_utf8_lossy(&work.stderr));
    }
    drop(mounted);
    if has_second {
        detach(&second);
    }
    Ok(disk)
}

/// Those images that are devices of the filesystem just then.
fn devices(images: Vec<PathBuf>) -> Vec<PathBuf> {
    let is_device = |image: &PathBuf| {
        let opened = rbtrfs::image::Image::open_unmapped(image).unwrap();
        rbtrfs::volume::Volume::open(vec![opened]).is_ok()
    };
    images.into_iter().filter(is_device).collect()
}
