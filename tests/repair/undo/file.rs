//! An undo file that is not what a repair wrote is refused, and believed in nothing.

use rbtrfs::error::UndoProblem;
use xxhash_rust::xxh64::xxh64;

use super::*;
use crate::support::limits::rbtrfs_within_limits;
use crate::support::random::Random;

struct Saved {
    _scratch: Scratch,
    image: PathBuf,
    before: Vec<u8>,
    file: PathBuf,
    bytes: Vec<u8>,
}

fn saved() -> Option<Saved> {
    let scratch = Scratch::in_memory();
    let images = copy_of_kernel_image_or_skip("nodesize-4k", &scratch)?;
    let file = scratch.path("undo");
    change_with_undo(&images, &file);
    let (image, bytes) = (images[0].clone(), read(&file));
    Some(Saved { before: read(&image), image, bytes, file, _scratch: scratch })
}

impl Saved {
    /// Why the file is refused if it holds these bytes.
    #[track_caller]
    fn refusal_of(&self, bytes: &[u8]) -> UndoProblem {
        std::fs::write(&self.file, bytes).unwrap();
        match undo_with(&self.file, std::slice::from_ref(&self.image), None) {
            Err(Error::Undo { path, problem }) if path == self.file => problem,
            other => panic!("{other:?}"),
        }
    }
}

/// What the checksums of the file have to be.
fn stamp(bytes: &mut [u8]) {
    let put = |bytes: &mut [u8], at: usize, csum: u64| bytes[at..at + 8].copy_from_slice(&csum.to_le_bytes());
    let csum = xxh64(&bytes[..24], 0);
    put(bytes, 24, csum);
    let csum = xxh64(&bytes[32..80], 0);
    put(bytes, 80, csum);
    let number = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let mut position = 88;
    while number(bytes, position) == 1 {
        let length = number(bytes, position + 16);
        let end = position + 32 + length + length.div_ceil(512) * 8;
        if end > bytes.len() {
            return;
        }
        let covered = [&bytes[position..position + 24], &bytes[position + 32..end]].concat();
        put(bytes, position + 24, xxh64(&covered, 0));
        position = end;
    }
    let csum = xxh64(&bytes[..position + 24], 0);
    put(bytes, position + 24, csum);
}

#[test]
fn a_file_that_was_cut_short_is_refused_as_that() {
    let Some(saved) = saved() else { return };
    let mut random = Random(7);
    let length = saved.bytes.len();
    let mut lengths: Vec<usize> = (0..120).map(|_| random.below(length)).collect();
    lengths.extend([32, 33, 87, 88, 119, 120, length - 1, length - 31, length - 32, length - 33]);
    for length in lengths {
        let problem = saved.refusal_of(&saved.bytes[..length]);
        let expect = if length < 32 { UndoProblem::NotUndoFile } else { UndoProblem::Cut };
        assert_eq!(problem, expect, "{length} bytes");
    }
    assert!(read(&saved.image) == saved.before);
}

#[test]
fn a_file_with_a_flipped_bit_is_refused() {
    let Some(saved) = saved() else { return };
    let mut random = Random(8);
    let mut places: Vec<usize> = (0..150).map(|_| random.below(saved.bytes.len())).collect();
    places.extend(0..152);
    places.extend(saved.bytes.len() - 32..saved.bytes.len());
    for place in places {
        let mut bytes = saved.bytes.clone();
        bytes[place] ^= 1 << random.below(8);
        saved.refusal_of(&bytes);
    }
    let longer = [&saved.bytes[..], &[0]].concat();
    assert!(matches!(saved.refusal_of(&longer), UndoProblem::Damaged { .. }));
    assert!(read(&saved.image) == saved.before);
}

/// Its checksums are right, its numbers are not.
#[test]
fn a_file_that_was_made_up_is_refused_within_time_and_memory() {
    let Some(saved) = saved() else { return };
    stamp(&mut saved.bytes.clone());
    let mut again = saved.bytes.clone();
    stamp(&mut again);
    assert!(again == saved.bytes, "the format is not what this test takes it for");
    let end = saved.bytes.len() - 32;
    // Where, how many bytes, and what they are to be.
    let edits: [(usize, usize, u64); 17] = [
        (16, 4, u32::MAX.into()),
        (16, 4, 0),
        (12, 4, 2),
        (72, 8, 0),
        (72, 8, 1 << 16),
        (88, 4, 3),
        (92, 4, 1),
        (92, 4, u32::MAX.into()),
        (96, 8, u64::MAX),
        (96, 8, u64::MAX - 4095),
        (96, 8, 66048),
        (96, 8, 250 << 20),
        (104, 4, u32::MAX.into()),
        (104, 4, 0),
        (108, 4, 2),
        (104, 4, (1 << 20) + 1),
        (end + 8, 8, u64::MAX),
    ];
    for (at, length, value) in edits {
        let mut bytes = saved.bytes.clone();
        bytes[at..at + length].copy_from_slice(&value.to_le_bytes()[..length]);
        stamp(&mut bytes);
        let problem = saved.refusal_of(&bytes);
        assert!(matches!(problem, UndoProblem::Damaged { .. } | UndoProblem::Cut), "{at}: {value}: {problem:?}");
        let arguments = ["undo", saved.file.to_str().unwrap()];
        let ended = rbtrfs_within_limits(&arguments, &saved.image);
        assert_eq!((ended.code, ended.stderr.lines().count()), (Some(2), 1), "{at}: {value}: {}", ended.stderr);
    }
    // The next version.
    let mut bytes = saved.bytes.clone();
    bytes[8] = 2;
    stamp(&mut bytes);
    assert_eq!(saved.refusal_of(&bytes), UndoProblem::Version { have: 2, known: 1 });
    assert!(read(&saved.image) == saved.before);
}

#[test]
fn what_is_no_file_is_not_read() {
    let Some(saved) = saved() else { return };
    let pipe = saved.file.with_file_name("pipe");
    tool("mkfifo", [&pipe]).unwrap();
    for path in [Path::new("/dev/zero"), Path::new("/"), &pipe, &saved.image] {
        let ended = rbtrfs_within_limits(&["undo", path.to_str().unwrap()], &saved.image);
        assert_eq!(ended.code, Some(2), "{path:?}: {}", ended.stderr);
        assert!(ended.stderr.contains("is not an undo file"), "{path:?}: {}", ended.stderr);
    }
}
