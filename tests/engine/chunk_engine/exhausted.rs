//! No system space, and no room in the array for more: what cannot be done changes nothing.

use rbtrfs::Error;
use rbtrfs::chunk::{alloc, begin, finish, remove};
use rbtrfs::disk::flags::block_group::{DATA, METADATA, SYSTEM};
use rbtrfs::disk::{BlockGroupFlags, STRIPE_LEN};
use rbtrfs::trans::Filesystem;

use super::state::State;
use super::{allocate, assert_sound, items, make_filesystem, open_for_change, wish};
use crate::support::mounted::btrfs_check;
use crate::support::*;

/// Fills the array with small system chunks, and promises all system space to nobody. Returns what was promised.
pub fn exhaust(fs: &Filesystem) -> u64 {
    loop {
        match allocate(fs, &wish(SYSTEM, None, STRIPE_LEN)) {
            Err(Error::SysChunkArrayFull { .. }) => break,
            allocated => drop(allocated.unwrap()),
        }
    }
    let mut space = fs.space();
    let info = space.info_mut(BlockGroupFlags(SYSTEM));
    let left = info.available();
    assert!(info.reserve(left));
    left
}

#[test]
fn what_finds_no_system_space_changes_nothing() {
    for (options, devices) in [(&["-m", "dup", "-n", "4k"][..], 1), (&["-m", "raid1", "-d", "raid0"][..], 3)] {
        let scratch = Scratch::in_memory();
        let Some(images) = make_filesystem(options, devices, 1 << 40, &scratch) else { return };
        let mut fs = open_for_change(&images);
        let data = allocate(&fs, &wish(DATA, None, STRIPE_LEN)).unwrap().unwrap();
        let mut state = State::of(&images);
        let promised = exhaust(&fs);
        let is_refused = |error: Error| matches!(error, Error::NoSpace { .. } | Error::SysChunkArrayFull { .. });
        let before: Vec<_> = fs.chunks().map.iter().cloned().collect();
        for type_bits in [DATA, METADATA, SYSTEM] {
            let mut handle = begin(&fs, items(&fs)).unwrap();
            assert!(is_refused(alloc(&mut handle, &wish(type_bits, None, STRIPE_LEN)).unwrap_err()));
            finish(handle).unwrap();
        }
        for _ in 0..2 {
            let mut handle = begin(&fs, items(&fs)).unwrap();
            assert!(is_refused(remove(&mut handle, data).unwrap_err()), "{options:?}");
            finish(handle).unwrap();
        }
        assert!(!fs.is_poisoned(), "{options:?}");
        fs.space().info_mut(BlockGroupFlags(SYSTEM)).release(promised);
        // With space it goes on as if nothing had been tried.
        assert_eq!(fs.chunks().map.iter().cloned().collect::<Vec<_>>(), before, "{options:?}");
        let mut handle = begin(&fs, items(&fs)).unwrap();
        remove(&mut handle, data).unwrap();
        finish(handle).unwrap();
        state.chunks = before.into_iter().map(|chunk| (chunk.logical, chunk)).collect();
        state.chunks.remove(&data);
        fs.commit().unwrap();
        state.assert_follows(&images, &format!("{options:?}"));
        assert_sound(&images, &format!("{options:?}"));
        or_skip(btrfs_check(&images));
    }
}

/// Who has the chunks looks for system space, and then promises it. If a system chunk were taken out of use between the two,
/// it would find no space where there is room for more.
#[test]
fn no_system_chunk_goes_while_somebody_else_has_the_chunks() {
    let scratch = Scratch::in_memory();
    let Some(images) = make_filesystem(&["-m", "dup"], 1, 1 << 40, &scratch) else { return };
    let mut fs = open_for_change(&images);
    let system = allocate(&fs, &wish(SYSTEM, None, 1 << 20)).unwrap().unwrap();
    std::thread::scope(|scope| {
        let mut handle = begin(&fs, items(&fs)).unwrap();
        let chunks = fs.chunks();
        let remover = scope.spawn(move || remove(&mut handle, system).map(|()| finish(handle)));
        for _ in 0..100 {
            assert!(!fs.space().group(system).unwrap().is_read_only);
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        drop(chunks);
        remover.join().unwrap().unwrap().unwrap();
    });
    fs.commit().unwrap();
    assert_sound(&images, "after the removal");
}
