//! Content that is handed to a filesystem while it is made.

use std::path::PathBuf;

use rbtrfs::Error;
use rbtrfs::disk::inode::{DirItem, InodeItem, InodeRef, dir_type};
use rbtrfs::disk::{Key, KeyType, hash, objectid};
use rbtrfs::internals::{Estimate, Maker, MemoryBudget, NewExtent, OpenExtent, Preparation, Targets, TreeWriter};
use rbtrfs::mkfs::features::Features;
use rbtrfs::mkfs::{Builder, Options};
use rbtrfs::progress::Progress;
use zerocopy::IntoBytes;

use crate::support::{Scratch, mounted};

/// Bytes of an extent of test data.
const EXTENT: u64 = 256 << 10;

/// A directory of files, each of extents whose bytes tell where they belong.
struct Content {
    files: u64,
    extents: u64,
    /// How many more file extents the first extent of the first file has, each in a file of its own.
    shared: u64,
}

fn bytes_of(file: u64, extent: u64) -> Vec<u8> {
    (0..EXTENT).map(|position| (position / 4096 + file * 31 + extent * 7) as u8).collect()
}

fn name(file: u64) -> String {
    format!("file {file} with a name of some length")
}

impl Content {
    fn count(&self) -> u64 {
        self.files + self.shared
    }

    fn fill(&self, maker: &Maker<'_>) {
        let mut tree = maker.tree(objectid::FS_TREE).unwrap();
        self.directory(maker, &mut tree);
        let mut first = None;
        for file in 0..self.count() {
            let number = 257 + file;
            let extents = if file < self.files { self.extents } else { 1 };
            let mut inode = inode(maker, 0o100644);
            (inode.size, inode.nbytes) = ((extents * EXTENT).into(), (extents * EXTENT).into());
            tree.push(Key::new(number, KeyType::INODE_ITEM, 0), inode.as_bytes()).unwrap();
            let back = InodeRef { index: (file + 2).into(), name_len: (name(file).len() as u16).into() };
            let data = [back.as_bytes(), name(file).as_bytes()].concat();
            tree.push(Key::new(number, KeyType::INODE_REF, 256), &data).unwrap();
            for extent in 0..extents {
                let offset = extent * EXTENT;
                match &first {
                    Some(first) if file >= self.files => tree.share_extent(number, offset, first).unwrap(),
                    _ => {
                        let new = NewExtent { inode: number, offset, least: EXTENT, most: EXTENT, compressed: None };
                        let mut made = tree.add_extent(&new).unwrap();
                        write_extent(maker, &mut made, &bytes_of(file, extent));
                        first.get_or_insert(made);
                    }
                }
            }
        }
        tree.finish().unwrap();
    }

    fn directory(&self, maker: &Maker<'_>, tree: &mut TreeWriter<'_, '_>) {
        let mut inode = inode(maker, 0o40755);
        inode.size = (0..self.count()).map(|file| 2 * name(file).len() as u64).sum::<u64>().into();
        tree.push(Key::new(256, KeyType::INODE_ITEM, 0), inode.as_bytes()).unwrap();
        let dots = InodeRef { index: 0.into(), name_len: 2.into() };
        tree.push(Key::new(256, KeyType::INODE_REF, 256), &[dots.as_bytes(), b".."].concat()).unwrap();
        let entry = |file: u64| {
            let mut entry = DirItem::zeroed();
            entry.location = Key::new(257 + file, KeyType::INODE_ITEM, 0).into();
            entry.transid = maker.generation().0.into();
            (entry.name_len, entry.r#type) = ((name(file).len() as u16).into(), dir_type::REG_FILE);
            [entry.as_bytes(), name(file).as_bytes()].concat()
        };
        let mut by_hash: Vec<u64> = (0..self.count()).collect();
        by_hash.sort_by_key(|file| hash::dir_item(name(*file).as_bytes()));
        for file in by_hash {
            let key = Key::new(256, KeyType::DIR_ITEM, hash::dir_item(name(file).as_bytes()));
            tree.push(key, &entry(file)).unwrap();
        }
        for file in 0..self.count() {
            tree.push(Key::new(256, KeyType::DIR_INDEX, file + 2), &entry(file)).unwrap();
        }
    }
}

fn write_extent(maker: &Maker<'_>, extent: &mut OpenExtent, bytes: &[u8]) {
    let csum_type = maker.options().csum_type;
    // In pieces that do not fit rows.
    for piece in bytes.chunks(24 * 4096) {
        let csums = piece.chunks(4096).flat_map(|sector| csum_type.compute(sector).into_iter().take(csum_type.size()));
        let placed = maker.place_data(extent, piece.len() as u64, Some(&csums.collect::<Vec<u8>>())).unwrap();
        maker.write_data(placed, piece, None).unwrap();
    }
    assert_eq!(extent.left(), 0);
}

fn inode(maker: &Maker<'_>, mode: u32) -> InodeItem {
    let mut inode = InodeItem::zeroed();
    (inode.generation, inode.transid) = (maker.generation().0.into(), maker.generation().0.into());
    (inode.nlink, inode.mode) = (1.into(), mode.into());
    let time = maker.time();
    (inode.atime, inode.ctime, inode.mtime, inode.otime) = (time, time, time, time);
    inode
}

fn builder(data: &str, metadata: &str, features: &str) -> Builder {
    let profile = |name: &str| rbtrfs::disk::Profile::ALL.into_iter().find(|profile| profile.name() == name);
    let mut chosen = Features::default();
    chosen.apply_list(features).unwrap();
    Builder::new().data(profile(data)).metadata(profile(metadata)).features(chosen)
}

/// Size of a new file, and whether it grows.
type Size = (u64, bool);

fn preparation<'a>(
    options: &'a Options,
    estimate: &'a Estimate,
    (size, grows): Size,
    progress: &'a Progress,
) -> Preparation<'a> {
    Preparation {
        options,
        estimate,
        byte_count: None,
        size,
        grows,
        force: false,
        shared: None,
        discard: false,
        progress,
    }
}

fn make(
    builder: Builder,
    count: usize,
    size: Size,
    content: &Content,
    shrunk: Option<u64>,
    scratch: &Scratch,
) -> Vec<PathBuf> {
    let directory = scratch.new_directory();
    let images: Vec<PathBuf> = (0..count).map(|number| directory.join(format!("{number}.img"))).collect();
    let options = builder.options(count).unwrap();
    let estimate = Estimate { metadata: if shrunk.is_some() { 4 << 20 } else { 0 }, ..Estimate::default() };
    let (targets, devices) =
        Targets::prepare(&images, &preparation(&options, &estimate, size, &Progress::default())).unwrap();
    // So little room that records go to files.
    let budget = MemoryBudget::new(100_000);
    let maker = Maker::new(options.clone(), devices, &estimate, &budget).unwrap();
    content.fill(&maker);
    maker.finish(targets.order(), shrunk, &Progress::default()).unwrap();
    targets.keep();
    images
}

/// The files of an image, read by the kernel.
fn compare(images: &[PathBuf], content: &Content, scratch: &Scratch) {
    let Some(mounted) = crate::support::or_skip(mounted::Mounted::new(images, "ro", scratch)) else { return };
    for file in 0..content.count() {
        let read = std::fs::read(mounted.path().join(name(file))).unwrap();
        let extents = if file < content.files { content.extents } else { 1 };
        let source = if file < content.files { file } else { 0 };
        let expected: Vec<u8> = (0..extents).flat_map(|extent| bytes_of(source, extent)).collect();
        assert!(read == expected, "file {file} of {images:?}");
    }
}

#[test]
fn data_is_read_back_from_every_profile() {
    let content = Content { files: 40, extents: 3, shared: 0 };
    for (count, data, metadata, features) in [
        (1, "single", "DUP", ""),
        (1, "DUP", "single", "^skinny-metadata"),
        (3, "RAID0", "RAID1C3", "^bgt"),
        (4, "RAID10", "RAID10", "quota"),
        (3, "RAID5", "RAID5", ""),
        (5, "RAID6", "RAID6", "squota"),
        (4, "RAID1C4", "RAID0", "^free-space-tree,^bgt"),
    ] {
        let scratch = Scratch::new();
        let builder = builder(data, metadata, features);
        let images = make(builder, count, (256 << 20, false), &content, None, &scratch);
        assert_eq!(crate::support::check_data(&crate::support::open(&images), 2), [], "{data} {metadata} {features}");
        compare(&images, &content, &scratch);
        if features != "squota" {
            crate::support::or_skip(mounted::btrfs_check(&images));
        }
    }
}

#[test]
fn an_extent_has_more_references_than_its_item_holds() {
    let content = Content { files: 1, extents: 1, shared: 500 };
    for nodesize in [4096, 16384] {
        let scratch = Scratch::new();
        let builder = Builder::new().nodesize(nodesize);
        let images = make(builder, 1, (128 << 20, false), &content, None, &scratch);
        assert_eq!(crate::support::check_data(&crate::support::open(&images), 2), [], "nodesize {nodesize}");
        crate::support::or_skip(mounted::btrfs_check(&images));
    }
}

#[test]
fn an_image_grows_and_is_cut_to_what_it_holds() {
    let content = Content { files: 300, extents: 2, shared: 0 };
    let bytes = 600 * EXTENT;
    for (metadata, grows) in [("single", true), ("DUP", true), ("single", false)] {
        let scratch = Scratch::new();
        let size = if grows { 8 << 20 } else { 2 << 30 };
        let images = make(builder("single", metadata, ""), 1, (size, grows), &content, Some(0), &scratch);
        let length = std::fs::metadata(&images[0]).unwrap().len();
        assert!(length >= bytes && length < bytes + (64 << 20), "{metadata} {grows}: {length} for {bytes} of data");
        let volume = crate::support::open(&images);
        assert_eq!(volume.superblock().total_bytes.get(), length);
        assert_eq!(crate::support::check_data(&volume, 2), [], "{metadata} {grows}");
        compare(&images, &content, &scratch);
        crate::support::or_skip(mounted::btrfs_check(&images));
    }
}

#[test]
fn content_larger_than_its_device_is_an_error() {
    let scratch = Scratch::new();
    let image = scratch.zeros("a.img", 64 << 20);
    let options = builder("single", "single", "").options(1).unwrap();
    let estimate = Estimate::default();
    let progress = Progress::default();
    let preparation = preparation(&options, &estimate, (0, false), &progress);
    let (_targets, devices) = Targets::prepare(std::slice::from_ref(&image), &preparation).unwrap();
    let budget = MemoryBudget::new(1 << 20);
    let maker = Maker::new(options.clone(), devices, &estimate, &budget).unwrap();
    let mut tree = maker.tree(objectid::FS_TREE).unwrap();
    let new =
        |number: u64| NewExtent { inode: 257, offset: number << 20, least: 4096, most: 1 << 20, compressed: None };
    let full = (0..).map(|number| tree.add_extent(&new(number))).find_map(Result::err).unwrap();
    assert!(full.to_string().contains("space left"), "{full}");
}

#[test]
fn data_that_disagrees_with_its_extent_is_not_written() {
    let scratch = Scratch::new();
    let image = scratch.zeros("a.img", 128 << 20);
    let (estimate, progress) = (Estimate::default(), Progress::default());
    let options = Builder::new().options(1).unwrap();
    let (_targets, devices) =
        Targets::prepare(std::slice::from_ref(&image), &preparation(&options, &estimate, (0, false), &progress))
            .unwrap();
    let budget = MemoryBudget::new(1 << 20);
    let maker = Maker::new(options.clone(), devices, &estimate, &budget).unwrap();
    let mut tree = maker.tree(objectid::FS_TREE).unwrap();
    let new = NewExtent { inode: 257, offset: 0, least: 8192, most: 8192, compressed: None };
    let mut extent = tree.add_extent(&new).unwrap();
    let is_fault = |result: rbtrfs::Result<()>| matches!(result, Err(Error::Internal { .. }));
    for (length, csums) in [(4096, &[0; 8][..]), (4096, &[]), (12288, &[0; 12]), (100, &[])] {
        assert!(is_fault(maker.place_data(&mut extent, length, Some(csums)).map(drop)), "{length} {}", csums.len());
    }
    let placed = maker.place_data(&mut extent, 8192, Some(&[0; 8])).unwrap();
    assert!(is_fault(maker.write_data(placed, &[0; 4096], None)));
}
