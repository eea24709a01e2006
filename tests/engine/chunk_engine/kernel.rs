//! The kernel allocates chunks, and the engine in a copy from before: both have to make the same ones.

use std::collections::BTreeSet;
use std::path::PathBuf;

use rbtrfs::chunk::{AllocRequest, Force, begin, finish, remove};
use rbtrfs::disk::flags::block_group::{DATA, METADATA, SYSTEM};
use rbtrfs::disk::{Logical, Profile};
use rbtrfs::volume::ChunkMapping;

use super::{allocate, assert_sound, items, open_for_change, wish};
use crate::support::mounted::Mounted;
use crate::support::*;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Why the kernel allocates.
#[derive(Clone, Copy, Debug)]
enum Reason {
    /// A file of so many bytes.
    File(u64),
    /// Chunks of this type are converted to this profile.
    Conversion(u64, Profile),
}

/// Devices of different sizes: of equal ones the kernel takes any.
struct Case {
    options: &'static [&'static str],
    sizes: &'static [u64],
    /// Leaves holes of many sizes first.
    is_fragmented: bool,
    reason: Reason,
}

const fn case(options: &'static [&'static str], sizes: &'static [u64], reason: Reason) -> Case {
    Case { options, sizes, is_fragmented: false, reason }
}

const fn fragmented(options: &'static [&'static str], sizes: &'static [u64], reason: Reason) -> Case {
    Case { is_fragmented: true, ..case(options, sizes, reason) }
}

const SINGLE: &[&str] = &["-m", "single", "-d", "single"];

const CASES: [Case; 15] = {
    use Profile::*;
    use Reason::*;
    [
        // Where a tenth is less than 64 MiB, and where it is more.
        case(SINGLE, &[639 * MIB], File(300 * MIB)),
        case(SINGLE, &[641 * MIB], File(300 * MIB)),
        case(&["-m", "dup", "-d", "dup"], &[639 * MIB + 4096], File(200 * MIB)),
        case(SINGLE, &[300 * MIB], Conversion(METADATA, Dup)),
        // Where metadata chunks become larger.
        case(SINGLE, &[50 * GIB], Conversion(METADATA, Dup)),
        case(SINGLE, &[50 * GIB + MIB], Conversion(METADATA, Dup)),
        case(SINGLE, &[50 * GIB + MIB], Conversion(SYSTEM, Dup)),
        case(SINGLE, &[30 * GIB, 31 * GIB, 33 * GIB, 32 * GIB, 34 * GIB], Conversion(METADATA, Raid10)),
        case(SINGLE, &[30 * GIB, 31 * GIB, 33 * GIB, 32 * GIB, 34 * GIB], Conversion(SYSTEM, Raid6)),
        case(&["-m", "raid1", "-d", "raid0"], &[30 * GIB, 31 * GIB, 33 * GIB, 10 * GIB], File(50 * GIB)),
        case(&["-m", "raid1c3", "-d", "raid5"], &[30 * GIB, 31 * GIB, 33 * GIB], File(20 * GIB)),
        fragmented(SINGLE, &[2 * GIB], Conversion(METADATA, Dup)),
        fragmented(SINGLE, &[2 * GIB], Conversion(SYSTEM, Dup)),
        fragmented(SINGLE, &[2 * GIB, 3 * GIB, GIB], Conversion(METADATA, Raid1)),
        fragmented(&["-m", "single", "-d", "dup"], &[GIB], File(GIB / 4)),
    ]
};

fn chunks(images: &[PathBuf]) -> Vec<ChunkMapping> {
    open(images).chunks().iter().cloned().collect()
}

impl Case {
    fn make(&self, scratch: &Scratch) -> Option<Vec<PathBuf>> {
        let zeros = |(number, size): (usize, &u64)| scratch.zeros(&format!("{number}.img"), *size);
        let images: Vec<PathBuf> = self.sizes.iter().enumerate().map(zeros).collect();
        or_skip(mkfs_btrfs(["-K"].iter().chain(self.options), &images))?;
        if self.is_fragmented {
            self.fragment(&images);
        }
        Some(images)
    }

    /// No hole that is left has what a chunk would like to have.
    fn fragment(&self, images: &[PathBuf]) {
        let mut fs = open_for_change(images);
        let mut added = Vec::new();
        for size in [3, 90, 20, 160, 5, 40].iter().cycle() {
            match allocate(&fs, &wish(DATA, Some(Profile::Single), size * MIB)) {
                Ok(logical) => added.extend(logical),
                Err(_) => break,
            }
        }
        fs.commit().unwrap();
        for logical in added.into_iter().skip(1).step_by(2) {
            let mut handle = begin(&fs, items(&fs)).unwrap();
            remove(&mut handle, logical).unwrap();
            finish(handle).unwrap();
        }
        fs.commit().unwrap();
        assert_sound(images, "fragmented");
    }

    /// The chunks that the kernel makes, in order; of a conversion, which gives chunks back, the first.
    fn by_kernel(
        &self,
        images: &[PathBuf],
        before: &BTreeSet<Logical>,
        scratch: &Scratch,
    ) -> Option<Vec<ChunkMapping>> {
        let mounted = or_skip(Mounted::new(images, "rw,commit=300", scratch))?;
        let path = mounted.path().to_str().unwrap();
        match self.reason {
            Reason::File(size) => {
                tool("fallocate", ["-l", &size.to_string(), &format!("{path}/file")]).unwrap();
            }
            Reason::Conversion(kind, profile) => {
                let letter = if kind == SYSTEM { 's' } else { 'm' };
                let convert = format!("-{letter}convert={}", profile.name().to_lowercase());
                tool("btrfs", ["balance", "start", "-f", &convert, path]).unwrap();
            }
        }
        drop(mounted);
        let new = chunks(images).into_iter().filter(|chunk| !before.contains(&chunk.logical));
        match self.reason {
            Reason::File(_) => Some(new.collect()),
            Reason::Conversion(..) => Some(new.take(1).collect()),
        }
    }

    /// The same chunks by the engine, one after the other.
    fn by_engine(&self, images: &[PathBuf], wanted: &[ChunkMapping]) -> Vec<ChunkMapping> {
        let mut fs = open_for_change(images);
        let mut made = Vec::new();
        for chunk in wanted {
            let type_bits = chunk.flags.0 & (DATA | METADATA | SYSTEM);
            let profile = match self.reason {
                Reason::File(_) => None,
                Reason::Conversion(_, profile) => Some(profile),
            };
            let logical =
                allocate(&fs, &AllocRequest { type_bits, profile, size: None, force: Force::Force }).unwrap().unwrap();
            made.push(fs.chunks().map.find(logical).unwrap().clone());
        }
        fs.commit().unwrap();
        made
    }
}

#[test]
fn chunks_are_those_that_the_kernel_makes_of_the_same_filesystem() {
    for case in &CASES {
        let what = format!("{:?} {:?} {:?}", case.options, case.sizes, case.reason);
        let scratch = Scratch::in_memory();
        let Some(images) = case.make(&scratch) else { return };
        let copies = copies(&images, &scratch.new_directory());
        let before = chunks(&images).into_iter().map(|chunk| chunk.logical).collect();
        let Some(expected) = case.by_kernel(&images, &before, &scratch) else { return };
        match case.reason {
            Reason::File(_) => assert!(expected.len() > 1, "{what}: {expected:?}"),
            Reason::Conversion(kind, profile) => {
                assert_eq!((expected[0].flags.0 & kind, expected[0].profile), (kind, profile), "{what}");
            }
        }
        assert_eq!(case.by_engine(&copies, &expected), expected, "{what}");
        assert_sound(&copies, &what);
    }
}
