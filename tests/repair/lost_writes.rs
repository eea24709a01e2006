//! What a disk leaves that says of writes that they are done, and loses some: "parent transid verify failed".

use std::collections::BTreeSet;
use std::process::Command;

use rbtrfs::block::Block;
use rbtrfs::disk::fields::Uuid;

use crate::outcome::{Contents, beside, contents, is_beside, judge, number};
use crate::support::mounted::Mounted;
use crate::support::random::Random;
use crate::support::recording_disk::{Event, RecordingDisk};
use crate::support::repaired::repaired;
use crate::support::{Scratch, mkfs_btrfs, open, or_skip};

const NODESIZE: u64 = 16384;

/// What is done to the files before each commit: more of them, changed, renamed and removed ones, and snapshots.
const WORK: &str = r#"
n=$1
mkdir -p d$((n % 3))/of-$n
for i in $(seq 150); do echo "$n $i" >d$((n % 3))/of-$n/f$i; done
head -c 300000 /dev/urandom >large-$n
for i in 3 33 71; do [ ! -e d0/of-$((n - 1))/f$i ] || echo changed >>d0/of-$((n - 1))/f$i; done
[ ! -e d1/of-$((n - 2))/f5 ] || mv d1/of-$((n - 2))/f5 d1/moved-$n
rm -f d2/of-$((n - 1))/f9*
[ $((n % 4)) != 1 ] || btrfs -q subvolume snapshot . snapshot-$n
[ $((n % 5)) != 4 ] || btrfs -q subvolume create subvolume-$n
sync -f .
"#;

/// A filesystem that the kernel wrote, and how many events there were at the end of each of its commits.
fn recorded(scratch: &Scratch) -> Result<(RecordingDisk, Vec<usize>), String> {
    let images = [scratch.zeros("0.img", 256 << 20)];
    mkfs_btrfs(["-m", "single"], &images)?;
    let disk = RecordingDisk::new(&images, scratch)?;
    let mounted = Mounted::new(disk.images(), "commit=3000", scratch)?;
    let mut ends = Vec::new();
    for number in 1..=12 {
        let work =
            Command::new("sh").args(["-ec", WORK, "sh", &number.to_string()]).current_dir(mounted.path()).output();
        let work = work.map_err(|error| error.to_string())?;
        assert!(work.status.success(), "{}", String::from_utf8_lossy(&work.stderr));
        ends.push(disk.events().len());
    }
    Ok((disk, ends))
}

/// Tree blocks that were written among `events`, by the numbers of the event and of the block's place on the disk.
fn tree_blocks(events: &[Event], first: usize, fsid: Uuid) -> Vec<(usize, u64)> {
    let of_event = |(number, event): (usize, &Event)| {
        let Event::Write { offset, bytes, .. } = event else { return Vec::new() };
        let places = (offset.next_multiple_of(NODESIZE)..).step_by(NODESIZE as usize);
        let whole = places.take_while(|place| place + NODESIZE <= offset + bytes.len() as u64);
        let is_block = |place: &u64| {
            let bytes = &bytes[(place - offset) as usize..][..NODESIZE as usize];
            Block::new(bytes).is_some_and(|block| block.header().fsid == fsid)
        };
        whole.filter(is_block).map(|place| (first + number, place / NODESIZE)).collect()
    };
    events.iter().enumerate().flat_map(of_event).collect()
}

/// How many files of the last but one commit are as they were then or as the last one left them, of how many that both have.
fn share(states: &[&Contents; 2], after: &Contents) -> (usize, usize) {
    let both = states[0].keys().filter(|path| states[1].contains_key(*path));
    both.fold((0, 0), |(saved, all), path| {
        let found = after.get(path);
        let is_saved = found.is_some() && states.iter().any(|state| state.get(path) == found);
        (saved + usize::from(is_saved), all + 1)
    })
}

/// `RBTRFS_REPAIR_ROUNDS` asks for more losses than the few of every day, and `RBTRFS_REPAIR_BESIDE` has `btrfs check --repair`
/// tried on the same ones.
#[test]
fn lost_writes_do_not_cost_the_files_of_the_commit_before() {
    let scratch = Scratch::in_memory();
    let Some((disk, ends)) = or_skip(recorded(&scratch)) else { return };
    let (rounds, seed) = (number("RBTRFS_REPAIR_ROUNDS", 8), number("RBTRFS_REPAIR_SEED", 1));
    let events = disk.events();
    let state = |commit: usize| {
        let scratch = Scratch::in_memory();
        contents(&disk.after_crash(ends[commit], |_| true, &scratch))
    };
    let states: Vec<Contents> = (0..ends.len()).map(state).collect();
    let fsid = open(disk.images()).superblock().metadata_fsid();
    let mut whole = 0;
    for round in number("RBTRFS_REPAIR_FIRST", 0)..rounds {
        let mut random = Random((seed * 1000 + round).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let commit = 2 + random.below(ends.len() - 2);
        let written = tree_blocks(&events[ends[commit - 1]..ends[commit]], ends[commit - 1], fsid);
        let count = 1 + random.below(4);
        let lost: BTreeSet<_> = (0..count).map(|_| written[random.below(written.len())]).collect();
        let scratch = Scratch::in_memory();
        let images =
            disk.after_lost_writes(ends[commit], NODESIZE, |event, place| lost.contains(&(event, place)), &scratch);
        let both = [&states[commit - 1], &states[commit]];
        if is_beside() {
            let (verdict, after) = beside(&images);
            let (saved, all) = share(&both, &after);
            println!("losses {round} beside: {verdict}, {saved} of {all} files");
        }
        let outcome = repaired(&images);
        let verdict = judge(&images, &outcome);
        let (saved, all) = share(&both, &contents(&images));
        println!("losses {round}: {verdict}, {saved} of {all} files; {} blocks of commit {commit} lost", lost.len());
        whole += u64::from(saved == all);
    }
    assert!(whole * 2 >= rounds, "all files are there after {whole} of {rounds} losses");
}
