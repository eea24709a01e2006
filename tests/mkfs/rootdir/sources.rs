//! Sources of other kinds: what comes in any order makes the same filesystem.

use std::ops::Range;
use std::path::{Path, PathBuf};

use rbtrfs::Error;
use rbtrfs::mkfs::content::{Method, Transfer};
use rbtrfs::mkfs::features::Features;
use rbtrfs::mkfs::source::{
    At, Attributes, Entries, FlagRequest, List, Listing, LocalFile, Source, SourceEntry, SourceFile, SubvolumeRequest,
};
use rbtrfs::mkfs::{Builder, LocalDirectory};
use rbtrfs::progress::Progress;

use super::{full_tree, is_root, mounted};
use crate::support::random::Random;
use crate::support::{Scratch, output_of};

fn shuffle<T>(things: &mut [T], seed: u64) {
    let mut random = Random(seed);
    for end in (1..things.len()).rev() {
        things.swap(end, random.below(end + 1));
    }
}

/// A directory that tells its entries in any order.
struct Shuffled {
    directory: LocalDirectory,
    seed: u64,
}

impl Shuffled {
    fn below(&self, directory: &[u8], found: &mut Vec<SourceEntry>) {
        let mut listing = Listing::default();
        self.directory.list(directory, &mut listing).unwrap();
        for (name, attributes, id) in listing.entries() {
            let path = if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() };
            if attributes.is_directory() {
                self.below(&path, found);
            }
            found.push(SourceEntry { path, attributes: *attributes, id });
        }
    }
}

impl Source for Shuffled {
    type Reader = <LocalDirectory as Source>::Reader;
    type File = LocalFile;

    fn root(&self) -> rbtrfs::Result<Attributes> {
        self.directory.root()
    }

    fn entries(&self) -> rbtrfs::Result<Entries<'_>> {
        let mut found = Vec::new();
        self.below(b"", &mut found);
        shuffle(&mut found, self.seed);
        Ok(Entries::Unordered(Box::new(found.into_iter().map(Ok))))
    }

    fn xattrs(
        &self,
        reader: &mut Self::Reader,
        at: &At<'_>,
        file: Option<&LocalFile>,
        visit: &mut dyn FnMut(&[u8], &[u8]),
    ) -> rbtrfs::Result<()> {
        self.directory.xattrs(reader, at, file, visit)
    }

    fn symlink(&self, reader: &mut Self::Reader, at: &At<'_>) -> rbtrfs::Result<Vec<u8>> {
        self.directory.symlink(reader, at)
    }

    fn open(&self, reader: &mut Self::Reader, at: &At<'_>) -> rbtrfs::Result<LocalFile> {
        self.directory.open(reader, at)
    }

    fn path_of(&self, path: &[u8]) -> PathBuf {
        self.directory.path_of(path)
    }
}

/// The bytes of an image that is made of a source.
fn bytes(builder: Builder, source: &impl Source, scratch: &Scratch) -> Vec<u8> {
    let image = scratch.new_directory().join("image");
    let fsid = rbtrfs::disk::fields::Uuid([7; 16]);
    let new = builder.fsid(fsid).time(1_700_000_000).build([&image]).unwrap();
    new.make(source, &Progress::default()).unwrap();
    let bytes = std::fs::read(&image).unwrap();
    std::fs::remove_file(image).unwrap();
    bytes
}

#[test]
fn the_order_of_entries_makes_no_difference() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let (root, _removed) = full_tree(&scratch);
    let (top, below) = {
        let mut directories: Vec<PathBuf> = std::fs::read_dir(&root)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_dir() && !path.is_symlink())
            .collect();
        directories.sort();
        let name = |path: &Path| PathBuf::from(path.file_name().unwrap());
        (name(&directories[0]), name(&directories[1]))
    };
    let subvolume = |path: &Path, is_default| SubvolumeRequest { path: path.to_owned(), read_only: false, is_default };
    let mut quotas = Features::default();
    quotas.apply_list("squota").unwrap();
    for builder in [
        Builder::new(),
        Builder::new().transfer(Transfer::Compressed(Method::Lzo)).features(quotas),
        Builder::new()
            .subvolume(subvolume(&below, true))
            .subvolume(subvolume(&top, false))
            .inode_flags(FlagRequest { path: below.clone(), nodatacow: true, nodatasum: false })
            .threads(1),
    ] {
        let directory = LocalDirectory::new(&root);
        let listed = bytes(builder.clone(), &directory, &scratch);
        for seed in [1, 2] {
            let shuffled = Shuffled { directory: directory.clone(), seed };
            // Once with all records in memory, and once with none.
            let memory = if seed == 1 { 1 << 30 } else { 0 };
            assert!(listed == bytes(builder.clone().memory(memory), &shuffled, &scratch), "{builder:?}, order {seed}");
        }
    }
}

/// Files in memory: what an archive is to the library.
#[derive(Clone, Default)]
struct Memory {
    entries: Vec<(String, u32, Vec<u8>)>,
}

const DIRECTORY: u32 = 0o40755;
const FILE: u32 = 0o100644;
const SYMLINK: u32 = 0o120777;

fn attributes(mode: u32, size: u64) -> Attributes {
    Attributes { mode, size, blocks: size.div_ceil(512), nlink: 1, ..Attributes::default() }
}

impl Memory {
    fn sample() -> Self {
        let mut memory = Self::default();
        for directory in 0..12 {
            memory.entries.push((format!("directory {directory}"), DIRECTORY, Vec::new()));
            for file in 0..40_usize {
                let contents = (0..file * file * 400).map(|byte| (byte / 7 + directory) as u8).collect();
                memory.entries.push((format!("directory {directory}/file {file}"), FILE, contents));
            }
            let target = format!("../directory {}", directory + 1).into_bytes();
            memory.entries.push((format!("directory {directory}/link"), SYMLINK, target));
        }
        memory
    }
}

struct Contents(Vec<u8>);

impl SourceFile for Contents {
    fn segments(&self, sectorsize: u64) -> rbtrfs::Result<Vec<Range<u64>>> {
        let end = (self.0.len() as u64).next_multiple_of(sectorsize);
        Ok(std::iter::once(0..end).collect())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> rbtrfs::Result<()> {
        buffer.copy_from_slice(&self.0[offset as usize..][..buffer.len()]);
        Ok(())
    }
}

impl Source for Memory {
    type Reader = ();
    type File = Contents;

    fn root(&self) -> rbtrfs::Result<Attributes> {
        Ok(attributes(DIRECTORY, 0))
    }

    fn entries(&self) -> rbtrfs::Result<Entries<'_>> {
        let entry = |(path, mode, contents): &(String, u32, Vec<u8>)| SourceEntry {
            path: path.clone().into_bytes(),
            attributes: attributes(*mode, contents.len() as u64),
            id: hash(path),
        };
        Ok(Entries::Unordered(Box::new(self.entries.iter().map(move |told| Ok(entry(told))))))
    }

    fn xattrs(
        &self,
        (): &mut (),
        at: &At<'_>,
        _: Option<&Contents>,
        visit: &mut dyn FnMut(&[u8], &[u8]),
    ) -> rbtrfs::Result<()> {
        visit(b"user.id", at.id.to_string().as_bytes());
        Ok(())
    }

    fn symlink(&self, (): &mut (), at: &At<'_>) -> rbtrfs::Result<Vec<u8>> {
        Ok(self.open(&mut (), at)?.0)
    }

    fn open(&self, (): &mut (), at: &At<'_>) -> rbtrfs::Result<Contents> {
        let (path, _, contents) = self.entries.iter().find(|(path, _, _)| hash(path) == at.id).unwrap();
        assert_eq!(path.as_bytes(), at.path());
        Ok(Contents(contents.clone()))
    }
}

fn hash(path: &str) -> u64 {
    path.bytes().fold(5381, |hash: u64, byte| hash.wrapping_mul(33) ^ u64::from(byte))
}

#[test]
fn what_is_in_memory_becomes_a_filesystem() {
    let scratch = Scratch::new();
    let mut memory = Memory::sample();
    let in_order = bytes(Builder::new(), &memory, &scratch);
    for seed in [3, 4] {
        shuffle(&mut memory.entries, seed);
        assert!(in_order == bytes(Builder::new(), &memory, &scratch), "order {seed}");
    }
    let image = scratch.path("image");
    std::fs::write(&image, in_order).unwrap();
    output_of("check --check-data-csum", std::slice::from_ref(&image));
    let Some(mounted) = mounted(&image, "", &scratch) else { return };
    for (path, mode, contents) in &memory.entries {
        let path = mounted.path().join(path);
        match *mode {
            FILE => assert!(std::fs::read(&path).unwrap() == *contents, "{path:?}"),
            SYMLINK => {
                use std::os::unix::ffi::OsStrExt;
                assert_eq!(std::fs::read_link(&path).unwrap().as_os_str().as_bytes(), contents);
            }
            _ => assert!(path.is_dir(), "{path:?}"),
        }
    }
}

#[test]
fn entries_that_no_filesystem_can_have_are_named() {
    for (path, mode, says) in [
        ("nowhere/file", FILE, "directory that is not there"),
        ("directory 1/file 1/below", FILE, "directory that is not there"),
        ("directory 1/file 1", FILE, "twice"),
        ("directory 1/..", FILE, "name that no file can have"),
        ("directory 1/", FILE, "name that no file can have"),
        ("", DIRECTORY, "name that no file can have"),
        ("directory 1/a\0b", FILE, "name that no file can have"),
        ("directory 1/odd", 0o7, "no type"),
    ] {
        let scratch = Scratch::new();
        let mut memory = Memory::sample();
        memory.entries.insert(5, (path.to_owned(), mode, Vec::new()));
        let image = scratch.path("image");
        let error = Builder::new().build([&image]).unwrap().make(&memory, &Progress::default()).unwrap_err();
        assert!(matches!(&error, Error::Unfit { path: named, .. } if named == Path::new(path)), "{path}: {error}");
        assert!(error.to_string().contains(says), "{path}: {error}");
        assert!(!image.exists(), "{path}: an image was made");
    }
}

/// A source whose files hold something else than was told.
struct Lying<F>(F);

struct LyingFile(Vec<Range<u64>>);

impl SourceFile for LyingFile {
    fn segments(&self, _: u64) -> rbtrfs::Result<Vec<Range<u64>>> {
        Ok(self.0.clone())
    }

    fn read_exact_at(&self, buffer: &mut [u8], _: u64) -> rbtrfs::Result<()> {
        buffer.fill(1);
        Ok(())
    }
}

impl<F: Fn() -> (u64, Vec<Range<u64>>) + Sync> Source for Lying<F> {
    type Reader = ();
    type File = LyingFile;

    fn root(&self) -> rbtrfs::Result<Attributes> {
        Ok(attributes(DIRECTORY, 0))
    }

    fn entries(&self) -> rbtrfs::Result<Entries<'_>> {
        Ok(Entries::Listed(self))
    }

    fn xattrs(
        &self,
        (): &mut (),
        _: &At<'_>,
        _: Option<&LyingFile>,
        _: &mut dyn FnMut(&[u8], &[u8]),
    ) -> rbtrfs::Result<()> {
        Ok(())
    }

    fn symlink(&self, (): &mut (), _: &At<'_>) -> rbtrfs::Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn open(&self, (): &mut (), _: &At<'_>) -> rbtrfs::Result<LyingFile> {
        Ok(LyingFile(self.0().1))
    }
}

impl<F: Fn() -> (u64, Vec<Range<u64>>) + Sync> List for Lying<F> {
    fn list(&self, _: &[u8], listing: &mut Listing) -> rbtrfs::Result<()> {
        listing.push(b"file", &Attributes { blocks: 0, ..attributes(FILE, self.0().0) }, 0);
        Ok(())
    }

    fn look_up(&self, _: &[u8]) -> rbtrfs::Result<(Attributes, u64)> {
        Ok((attributes(DIRECTORY, 0), 0))
    }
}

#[test]
fn data_where_none_can_be_is_named_and_not_written() {
    const MIB: u64 = 1 << 20;
    for size in [5000, 3 * MIB, u64::MAX] {
        for segments in [
            &[(0, 4096), (4096, 16 * MIB)][..],
            &[(1, 4096)],
            &[(0, 5000)],
            &[(4096, 8192), (0, 4096)],
            &[(0, 8192), (4096, 8192)],
            &[(4096, 4096)],
            &[(0, u64::MAX)],
        ] {
            let segments: Vec<Range<u64>> = segments.iter().map(|(start, end)| *start..*end).collect();
            let scratch = Scratch::new();
            let image = scratch.path("image");
            let lying = Lying(|| (size, segments.clone()));
            let error = Builder::new().size(128 * MIB).build([&image]).unwrap().make(&lying, &Progress::default());
            let error = error.unwrap_err();
            assert!(matches!(error, Error::Unfit { .. }), "{size} {segments:?}: {error}");
        }
    }
}

#[path = "../../../examples/mkfs-from-directory.rs"]
#[expect(dead_code, reason = "the program around what is tested")]
mod example;

#[test]
fn the_example_makes_a_sound_filesystem() {
    let scratch = Scratch::new();
    let root = scratch.new_directory();
    std::fs::create_dir(root.join("below")).unwrap();
    std::fs::write(root.join("below/file"), vec![7; 100_000]).unwrap();
    let image = scratch.path("image");
    example::make(root, image.clone(), std::iter::once("below".into())).unwrap();
    super::assert_sound(&image);
    let Some(mounted) = mounted(&image, "", &scratch) else { return };
    assert_eq!(std::fs::read(mounted.path().join("below/file")).unwrap(), vec![7; 100_000]);
}
