//! Moments at which the machine may stop, and what it leaves then.

use std::path::{Path, PathBuf};

use rbtrfs::disk::superblock::SUPER_OFFSETS;
use rbtrfs::image::Image;
use rbtrfs::volume::read_copies;

use super::Scratch;
use super::random::Random;
use super::recording_disk::{Event, RecordingDisk};

/// What a crash leaves of the writes that no barrier covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    Nothing,
    All,
    /// Some of them, each whole.
    Some,
    /// Of some only a part of their sectors, which are so many bytes long.
    Torn(u64),
}

/// Moments of a crash, as numbers of events that came before, and what it leaves: each barrier with nothing and with all of
/// what follows the one before, each superblock torn `tears` times, and `count` others.
pub fn moments(events: &[Event], count: usize, tears: usize, random: &mut Random) -> Vec<(usize, Left)> {
    let mut moments = Vec::new();
    for (number, event) in events.iter().enumerate() {
        match event {
            Event::Barrier { .. } => {
                moments.extend([(number, Left::Nothing), (number, Left::All), (number + 1, Left::Nothing)]);
            }
            event if is_superblock(event) => {
                // Torn by chance: some of its sectors may be the same in both states.
                moments.extend(std::iter::repeat_n((number + 1, Left::Torn(512)), tears));
                moments.push((number + 1, Left::Some));
            }
            _ => {}
        }
    }
    let kinds = [Left::Some, Left::Torn(512), Left::Torn(4096)];
    moments.extend((0..count).map(|number| (random.below(events.len() + 1), kinds[number % kinds.len()])));
    moments
}

pub fn is_superblock(event: &Event) -> bool {
    let places = SUPER_OFFSETS.map(|offset| offset.0);
    matches!(event, Event::Write { offset, .. } | Event::Failed { offset, .. } if places.contains(offset))
}

/// The images after a crash at a moment.
pub fn after(
    disk: &RecordingDisk,
    events: &[Event],
    moment: (usize, Left),
    random: &mut Random,
    to: &Scratch,
) -> Vec<PathBuf> {
    let (count, left) = moment;
    let mut fates: Vec<usize> = events.iter().map(|_| random.below(4)).collect();
    let sector = match left {
        Left::Torn(sector) => sector,
        _ => u64::MAX,
    };
    // What came last is torn for sure.
    if let (Left::Torn(_), Some(last)) = (left, count.checked_sub(1)) {
        fates[last] = 3;
    }
    let survives = |event: usize, _| match (left, fates[event]) {
        (Left::Nothing, _) => false,
        (Left::All, _) => true,
        (Left::Some, fate) => fate % 2 == 0,
        (Left::Torn(_), 0) => false,
        (Left::Torn(_), 1) => true,
        (Left::Torn(_), _) => random.below(2) == 1,
    };
    disk.after_torn_crash(count, sector, survives, to)
}

pub fn is_primary_intact(image: &Path) -> bool {
    let copies = read_copies(&Image::open(image).unwrap()).unwrap();
    copies.first().is_some_and(|copy| copy.offset == SUPER_OFFSETS[0] && copy.superblock.is_intact())
}
