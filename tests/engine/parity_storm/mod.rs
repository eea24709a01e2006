//! Filesystems of parity profiles with bad sectors and devices that missed commits, by chance: what could be read before
//! chunks came and went can be read afterwards, whichever devices are lost then, or the command refused and wrote nothing.
//!
//! `scripts/parity-storm` runs many. A failure names its seed.

mod damage;
mod make;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::support::random::Random;
use crate::support::*;
use state::{State, fingerprint, try_open};

/// A filesystem and what happened to its devices, whose ids count from 1 in the order of the images.
#[derive(Default)]
pub struct Case {
    /// How it came to be, for the report.
    pub history: Vec<String>,
    pub images: Vec<PathBuf>,
    /// Devices that lack newer blocks, and those that are not there.
    pub stale: BTreeSet<u64>,
    pub missing: BTreeSet<u64>,
    pub is_damaged: bool,
    /// Whether the kernel could not write all that it was to write to it degraded.
    pub has_kernel_failed: bool,
}

impl Case {
    /// The images that are there.
    pub fn present(&self) -> Vec<PathBuf> {
        self.devids().map(|devid| self.images[devid as usize - 1].clone()).collect()
    }

    pub fn devids(&self) -> impl Iterator<Item = u64> + '_ {
        (1..=self.images.len() as u64).filter(|devid| !self.missing.contains(devid))
    }

    pub fn absent(&self) -> BTreeSet<u64> {
        self.stale.union(&self.missing).copied().collect()
    }
}

#[derive(Default)]
struct Tally {
    changed: usize,
    refused: usize,
    /// Filesystems of which the kernel lost something before anything else was done.
    lost_by_kernel: usize,
    failures: BTreeMap<u64, String>,
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |value| value.parse().expect("a number"))
}

#[test]
fn what_could_be_read_before_chunks_came_and_went_can_be_read_afterwards() {
    // Among the first are filesystems that an engine loses which takes columns for good without verifying them.
    let (count, first) = (number("RBTRFS_STORM_COUNT", 8), number("RBTRFS_STORM_SEED", 19));
    let probe = Scratch::in_memory();
    let has_loops = mounted::attach(&probe.zeros("probe", 1 << 20)).map(|device| mounted::detach(&device));
    if or_skip(has_loops).is_none() {
        return;
    }
    let (next, tally) = (AtomicU64::new(first), Mutex::new(Tally::default()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return;
            }
            let mut outcome = Tally::default();
            let run = catch_unwind(AssertUnwindSafe(|| storm(seed, &mut outcome)));
            let failure = run.unwrap_or_else(|panic| {
                let text = panic.downcast_ref::<String>().cloned();
                Err(text.or(panic.downcast_ref::<&str>().map(|text| text.to_string())).unwrap_or_default())
            });
            let mut tally = tally.lock().unwrap();
            tally.changed += outcome.changed;
            tally.refused += outcome.refused;
            tally.lost_by_kernel += outcome.lost_by_kernel;
            if let Err(failure) = failure {
                println!("seed {seed}: {failure}");
                tally.failures.insert(seed, failure);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from).min(4) {
            scope.spawn(work);
        }
    });
    let Tally { changed, refused, lost_by_kernel, failures } = tally.into_inner().unwrap();
    let failed = failures.len();
    println!(
        "{count} filesystems, {changed} changes, {refused} refusals, {lost_by_kernel} that the kernel left unreadable in \
         part, {failed} failures"
    );
    assert!(
        failures.is_empty(),
        "{}",
        failures.iter().map(|(seed, why)| format!("seed {seed}: {why}\n")).collect::<String>()
    );
    assert!(changed > 0, "nothing was ever changed");
    assert!(lost_by_kernel as u64 <= count / 10 + 1, "too many are not judged");
}

fn storm(seed: u64, tally: &mut Tally) -> Result<(), String> {
    // Seeds that follow each other begin alike.
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    (0..16).for_each(|_| _ = random.next());
    let scratch = Scratch::in_memory();
    let mut case = make::make(&mut random, &scratch);
    make::lose_devices(&mut case, &mut random, &scratch);
    let told = |case: &Case, what: String| Err(format!("{}: {what}", case.history.join("; ")));
    let sound = match State::of(&case) {
        Ok(state) => state,
        Err(_) if case.has_kernel_failed => {
            tally.lost_by_kernel += 1;
            return Ok(());
        }
        Err(problem) => return told(&case, format!("before any damage: {problem}")),
    };
    damage::damage(&mut case, &sound, &mut random);
    let mut before = match State::of(&case) {
        Ok(state) => state,
        Err(problem) => return told(&case, format!("before any command: {problem}")),
    };
    for _ in 0..1 + random.below(3) {
        let command = choose_command(&case, &mut random);
        let images = case.present();
        let prints: Vec<_> = images.iter().map(|image| fingerprint(image)).collect();
        let run = run_rbtrfs(&command, &images);
        case.history.push(format!("{command}: {}", run.code));
        match run.code {
            0 => {
                let after = match State::of(&case) {
                    Ok(state) => state,
                    Err(problem) => return told(&case, format!("afterwards: {problem}")),
                };
                if let Err(problem) = after.keeps(&before, &case) {
                    return told(&case, problem);
                }
                before = after;
                tally.changed += 1;
            }
            2 => {
                tally.refused += 1;
                if !images.iter().zip(&prints).all(|(image, print)| fingerprint(image) == *print) {
                    return told(&case, format!("refused, and something was written: {}", run.stderr));
                }
                let is_full = ["space", "room", "last of its type"].iter().any(|reason| run.stderr.contains(reason));
                if !case.is_damaged && case.absent().is_empty() && !is_full {
                    return told(&case, format!("refused without a cause: {}", run.stderr));
                }
            }
            _ => return told(&case, run.stderr),
        }
    }
    Ok(())
}

fn choose_command(case: &Case, random: &mut Random) -> String {
    // Where a device is missing or may be taken for missing; seldom not, and then it is refused.
    let degraded = if !case.absent().is_empty() && random.below(8) > 0 { " --degraded" } else { "" };
    let volume = try_open(&case.present()).expect("it was opened a moment ago");
    let list = run_rbtrfs("list-chunks", &case.present());
    let empty: Vec<u64> = list
        .stdout
        .lines()
        .filter(|line| line.starts_with("chunk ") && line.contains(" used 0"))
        .map(|line| line.split(' ').nth(1).unwrap().parse().unwrap())
        .filter(|logical| volume.chunks().iter().any(|chunk| chunk.logical.0 == *logical))
        .collect();
    match random.below(8) {
        0 | 1 if !empty.is_empty() => format!("chunk-remove{degraded} --chunk {}", empty[random.below(empty.len())]),
        0..=2 => format!("chunk-remove{degraded} --unused"),
        _ => {
            let kind = ["data", "metadata", "system"][random.below(3)];
            let size = ["", " --size 1M", " --size 4M"][random.below(3)];
            let (count, threads) = ([1, 1, 2, 5][random.below(4)], [1, 1, 4][random.below(3)]);
            format!("chunk-alloc{degraded} --type {kind}{size} --count {count} --threads {threads}")
        }
    }
}
