//! Random damage: whatever a repair says is clean is so for others, and files whose own metadata was not hit survive.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rbtrfs::block::Block;
use rbtrfs::disk::Logical;
use rbtrfs::files::{FileKind, Files, Start};
use rbtrfs::image::Image;
use rbtrfs::repair::Repaired;
use rbtrfs::volume::Volume;

use crate::support::contents::blocks;
use crate::support::inject::Injector;
use crate::support::mounted::{Mounted, btrfs_check_output};
use crate::support::random::Random;
use crate::support::repaired::repaired;
use crate::support::{Scratch, kernel_image_or_skip};

/// What every file holds, by its path.
fn contents(images: &[PathBuf]) -> BTreeMap<Vec<u8>, u64> {
    let mut found = BTreeMap::new();
    let opened = images.iter().map(|image| Image::open_unmapped(image).unwrap()).collect();
    let Ok(volume) = Volume::open(opened) else { return found };
    let Ok(files) = Files::open(&volume, Start::TopLevel) else { return found };
    for entry in files.walk(files.root()).flatten() {
        let mut hash = xxhash_rust::xxh64::Xxh64::new(0);
        if entry.entry.kind == FileKind::File {
            let mut bytes = Vec::new();
            let Ok(mut file) = files.file(entry.entry.inode) else { continue };
            if file.read_to_end(&mut bytes).is_err() {
                continue;
            }
            hash.update(&bytes);
        }
        found.insert(entry.path.clone(), hash.digest());
    }
    found
}

/// All tree blocks, those of a tree of their own kind together.
fn all_blocks(volume: &Volume) -> Vec<Logical> {
    let mut all: Vec<Logical> = blocks(volume).map(|expected| expected.logical).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Damages one of `all` blocks on all copies. Returns what was done; nothing where the chunks are known no more.
fn damage(injector: &Injector, all: &[Logical], random: &mut Random) -> Option<String> {
    let images = injector.images().iter().map(|image| Image::open_unmapped(image).unwrap()).collect();
    let volume = Volume::open(images).ok()?;
    let block = all[random.below(all.len())];
    volume.chunks().find(block)?;
    let length = volume.format().nodesize as usize;
    drop(volume);
    Some(match random.below(6) {
        0 => {
            injector.block_unstamped(block, |bytes| bytes.fill(0));
            format!("{block} zeroed")
        }
        1 => {
            let (at, bit) = (random.below(length), random.below(8));
            injector.block_unstamped(block, |bytes| bytes[at] ^= 1 << bit);
            format!("{block} bit {at}.{bit} flipped on the disk")
        }
        2 => {
            let (at, bit) = (32 + random.below(1000), random.below(8));
            injector.block(block, |bytes| bytes[at] ^= 1 << bit);
            format!("{block} bit {at}.{bit} flipped in memory")
        }
        3 => {
            let seed = random.next() | 1;
            injector.block_unstamped(block, |bytes| {
                let mut noise = Random(seed);
                bytes.iter_mut().for_each(|byte| *byte = noise.next() as u8);
            });
            format!("{block} overwritten")
        }
        4 => {
            injector.block(block, |bytes| {
                let generation = Block::new(bytes).unwrap().generation().0;
                bytes[80..88].copy_from_slice(&generation.saturating_sub(1).to_le_bytes());
            });
            format!("{block} of another generation")
        }
        _ => {
            let other = all[random.below(all.len())];
            let bytes = {
                let volume = injector.volume();
                let mut bytes = vec![0; length];
                volume.read(other, 1, &mut bytes).ok()?;
                bytes
            };
            injector.block_unstamped(block, |there| there.copy_from_slice(&bytes));
            format!("{block} has what {other} has")
        }
    })
}

/// How many files are as they were, of how many.
fn share(before: &BTreeMap<Vec<u8>, u64>, after: &BTreeMap<Vec<u8>, u64>) -> (usize, usize) {
    let is_saved = |(path, hash): &(&Vec<u8>, &u64)| after.get(*path) == Some(*hash);
    (before.iter().filter(is_saved).count(), before.len())
}

fn judge(images: &[PathBuf], outcome: &rbtrfs::Result<Repaired>) -> &'static str {
    match outcome {
        Err(_) => "refused",
        Ok(repaired) if repaired.is_clean() => {
            let judged = btrfs_check_output(images).unwrap();
            assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stderr));
            let scratch = Scratch::new();
            let mounted = Mounted::new(images, "ro", &scratch).unwrap();
            mounted.contents();
            "clean"
        }
        Ok(repaired) if repaired.is_better() => "better",
        Ok(_) => "left",
    }
}

/// What `btrfs check --repair` makes of the same damage.
fn beside(injector: &Injector, before: &BTreeMap<Vec<u8>, u64>) -> String {
    let other = Injector::new(injector.images());
    let run = |options: &[&str]| {
        let arguments = ["60", "btrfs", "check", "--force"];
        Command::new("timeout")
            .args(arguments)
            .args(options)
            .arg(&other.images()[0])
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    let repaired = run(&["--repair"]);
    if !repaired.status.success() && String::from_utf8_lossy(&repaired.stderr).contains("init-extent-tree") {
        run(&["--repair", "--init-extent-tree"]);
    }
    let verdict = if run(&["--readonly"]).status.success() { "clean" } else { "left" };
    let (saved, all) = share(before, &contents(other.images()));
    format!("{verdict}, {saved} of {all} files")
}

/// `RBTRFS_REPAIR_BESIDE` has `btrfs check --repair` tried on the same damage. `RBTRFS_REPAIR_ROUNDS` asks for more rounds than the few of every day, and `RBTRFS_REPAIR_SEED` for others.
#[test]
fn no_random_damage_makes_a_repair_call_clean_what_others_do_not() {
    let number = |name: &str, otherwise: u64| std::env::var(name).map_or(otherwise, |text| text.parse().unwrap());
    let (rounds, seed) = (number("RBTRFS_REPAIR_ROUNDS", 6), number("RBTRFS_REPAIR_SEED", 1));
    for image in ["snapshots", "load"] {
        let Some(images) = kernel_image_or_skip(image) else { return };
        let before = contents(&images);
        for round in number("RBTRFS_REPAIR_FIRST", 0)..rounds {
            let mut random = Random((seed * 1000 + round).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
            let injector = Injector::new(&images);
            let count = 1 + random.below(if round % 2 == 0 { 1 } else { 8 });
            let blocks = all_blocks(&injector.volume());
            let mut done = Vec::new();
            for _ in 0..count {
                done.extend(damage(&injector, &blocks, &mut random));
            }
            if std::env::var_os("RBTRFS_REPAIR_BESIDE").is_some() {
                println!("{image} {round} beside: {}", beside(&injector, &before));
            }
            let outcome = repaired(injector.images());
            let verdict = judge(injector.images(), &outcome);
            let after = contents(injector.images());
            let (saved, all) = share(&before, &after);
            let given_up = outcome.as_ref().map_or(0, |repaired| repaired.given_up().count());
            println!("{image} {round}: {verdict}, {saved} of {all} files, {given_up} given up; {}", done.join(", "));
            if verdict == "clean" && saved != all && given_up == 0 {
                // A bit that flipped in what nothing is known of, such as inline data, shows in nothing.
                let lost: Vec<_> = before.iter().filter(|(path, hash)| after.get(*path) != Some(*hash)).collect();
                let fixes = outcome.as_ref().map(|repaired| repaired.fixes.clone()).unwrap_or_default();
                let names: Vec<_> = lost.iter().map(|(path, _)| path.escape_ascii().to_string()).collect();
                panic!("files are lost without a word: {names:?}, {fixes:?}");
            }
        }
    }
}
