//! What trees share stays shared, and is still told from what is a tree's own.

use std::path::Path;
use std::process::Command;

use rbtrfs::disk::Profile;

use super::support::mounted::{Mounted, btrfs_check};
use super::support::random::Random;
use super::support::soundness::assert_sound_with_data;
use super::support::{Scratch, mkfs_btrfs, or_skip};
use super::{all_groups, contents, move_all, move_groups};

/// Files of every kind and snapshots of several levels, of which some were written to, and some deleted.
const MAKE: &str = r#"
cd "$1"
btrfs -q subvolume create a; cd a
for d in 1 2 3 4 5 6; do mkdir d$d; for f in $(seq 60); do head -c $((f * 97)) /dev/urandom >d$d/f$f; done; done
head -c 6000000 /dev/urandom >large; cp --reflink=always large clone
dd if=/dev/urandom of=clone bs=64k count=3 seek=20 conv=notrunc status=none
fallocate -l 3M prealloc; dd if=/dev/urandom of=prealloc bs=4k count=20 seek=100 conv=notrunc status=none
touch nocow; chattr +C nocow; head -c 900000 /dev/urandom >nocow
mkdir z; btrfs property set z compression zstd; for f in 1 2 3; do seq $((f * 40000)) >z/f$f; done
truncate -s 5M holes; dd if=/dev/urandom of=holes bs=8k count=2 seek=77 conv=notrunc status=none
ln large link; setfattr -n user.x -v y large; cd ..
sync -f .
for s in 1 2 3 4 5; do
	btrfs -q subvolume snapshot a s$s
	for f in $(seq $((s * 7)) $((s * 7 + 12))); do head -c 3000 /dev/urandom >s$s/d$s/f$f; done
	dd if=/dev/urandom of=s$s/large bs=4k count=9 seek=$((s * 50)) conv=notrunc status=none
	rm a/d$s/f5*; head -c 200000 /dev/urandom >a/new$s; sync -f .
done
btrfs -q subvolume snapshot s2 s2s; btrfs -q subvolume snapshot -r s2s s2ss; echo more >s2s/d3/f7; rm s2s/clone
sync -f .
btrfs -q subvolume delete s3 s2; btrfs filesystem sync . ; btrfs subvolume sync -s 1 . >/dev/null; sync -f .
"#;

/// Writes to every subvolume, and deletes them in some order; after each step what the others hold is what it was.
const WRITE: &str = r#"
cd "$1"
sums() { find a s1 s4 s5 s2s s2ss -xdev -type f -print0 2>/dev/null | sort -z | xargs -0 -r md5sum; }
for v in $2; do
	case $v in s2ss) ;; *)
		sums | sed "\\, $v/,d" >/tmp/rbtrfs-sums-$$
		dd if=/dev/urandom of=$v/large bs=4k count=30 seek=11 conv=notrunc status=none
		echo x >>$v/d1/f9; rm -f $v/d4/f2*; dd if=/dev/urandom of=$v/nocow bs=4k count=5 seek=3 conv=notrunc status=none
		dd if=/dev/urandom of=$v/prealloc bs=4k count=30 seek=200 conv=notrunc status=none
		echo y >$v/d2/new; sync -f .
		sums | sed "\\, $v/,d" | cmp - /tmp/rbtrfs-sums-$$; rm /tmp/rbtrfs-sums-$$
	esac
done
for v in $2; do
	sums | sed "\\, $v/,d" >/tmp/rbtrfs-sums-$$
	btrfs -q subvolume delete $v; btrfs filesystem sync . ; btrfs subvolume sync -s 1 . >/dev/null
	sums | cmp - /tmp/rbtrfs-sums-$$; rm /tmp/rbtrfs-sums-$$
done
"#;

fn run(script: &str, mount: &Path, words: &str) {
    let output = Command::new("bash").args(["-ec", script, "-"]).arg(mount).arg(words).output().unwrap();
    assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
}

/// What `btrfs filesystem du` sums up, by file: all of it, and what is a file's own.
fn du(mounted: &Mounted) -> String {
    let output = Command::new("btrfs").args(["filesystem", "du", "--raw", "."]).current_dir(mounted.path()).output();
    String::from_utf8(output.unwrap().stdout).unwrap()
}

/// The kernel writes to each snapshot afterwards, and deletes them in some order: none of the others notices.
fn written_to_afterwards(options: &[&str], mount: &str, move_twice: bool, seed: u64) {
    let scratch = Scratch::in_memory();
    let image = [scratch.zeros("image", 900 << 20)];
    let Some(()) = or_skip(mkfs_btrfs(options, &image)) else { return };
    let Some(mounted) = or_skip(Mounted::new(&image, &format!("commit=1,{mount}"), &scratch)) else { return };
    run(MAKE, mounted.path(), "");
    drop(mounted);
    let Some(expected) = contents(&image, &scratch) else { return };
    let shared = or_skip(Mounted::new(&image, "ro", &scratch)).map(|mounted| du(&mounted));
    move_all(&image).unwrap();
    assert_sound_with_data(&image, "moved");
    or_skip(btrfs_check(&image));
    if move_twice {
        let to_dup = |fs: &_| all_groups(fs, |_| Some(Profile::Dup));
        move_groups(&image, to_dup).unwrap();
        assert_sound_with_data(&image, "moved twice");
        or_skip(btrfs_check(&image));
    }
    assert_eq!(contents(&image, &scratch), Some(expected));
    assert_eq!(or_skip(Mounted::new(&image, "ro", &scratch)).map(|mounted| du(&mounted)), shared);

    let mut random = Random(seed);
    let mut order = vec!["a", "s1", "s4", "s5", "s2s", "s2ss"];
    for last in (1..order.len()).rev() {
        order.swap(last, random.below(last + 1));
    }
    let Some(mounted) = or_skip(Mounted::new(&image, "rw,commit=1", &scratch)) else { return };
    let (some, others) = order.split_at(4);
    run(WRITE, mounted.path(), &some.join(" "));
    drop(mounted);
    assert_sound_with_data(&image, &format!("{order:?} written"));
    or_skip(btrfs_check(&image));
    move_all(&image).unwrap();
    assert_sound_with_data(&image, &format!("{order:?} written and moved again"));
    let Some(mounted) = or_skip(Mounted::new(&image, "rw,commit=1", &scratch)) else { return };
    run(WRITE, mounted.path(), &others.join(" "));
    drop(mounted);
    assert_sound_with_data(&image, &format!("{order:?} deleted"));
    or_skip(btrfs_check(&image));
}

#[test]
fn snapshots_that_moved_are_written_to_and_deleted_without_each_other() {
    written_to_afterwards(&["-n", "4k", "-m", "single", "-d", "single"], "rw", true, 1);
    written_to_afterwards(&["-m", "dup", "-O", "^no-holes,^skinny-metadata"], "compress=lzo", false, 2);
}
