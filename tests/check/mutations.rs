//! A thousand random changes of a filesystem that the kernel made, each with right checksums: every one is survived
//! within the limits of time and memory, and every one is found.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::mem::offset_of;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::support::extents::read_extents;
use crate::support::inject::Injector;
use crate::support::kernel_image_or_skip;
use crate::support::limits::rbtrfs_within_limits;
use rbtrfs::block::BlockKind;
use rbtrfs::disk::extent::ExtentItem;
use rbtrfs::disk::flags::extent::FULL_BACKREF;
use rbtrfs::disk::inode::{DirItem, FileExtentItem, InodeItem, compression, file_extent_type};
use rbtrfs::disk::node::{HEADER_SIZE, Header, Item, KeyPtr};
use rbtrfs::disk::objectid::{FREE_SPACE_TREE, ROOT_TREE, ROOT_TREE_DIR, is_fs_tree, is_subvolume};
use rbtrfs::disk::root::RootItem;
use rbtrfs::disk::superblock::{SUPER_INFO_SIZE, SUPER_OFFSETS, SYSTEM_CHUNK_ARRAY_SIZE, Superblock};
use rbtrfs::disk::volume::{Chunk, DevExtent, DevItem};
use rbtrfs::disk::{CsumType, DiskKey, Key, KeyType, Logical};
use rbtrfs::internals::Cursor;
use rbtrfs::tree::{Levels, TreeRoot, Walk};
use rbtrfs::volume::Volume;

/// Numbers that are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % limit
    }
}

/// A tree block or superblock: its copies on the device, and what may be changed in it.
struct Target {
    name: String,
    /// Offset and content of each copy.
    copies: Vec<(u64, Vec<u8>)>,
    spans: Vec<Span>,
}

/// Bytes of a struct, from and up to.
type Bytes = (usize, usize);

/// A struct or the data of an item.
struct Span {
    name: String,
    start: usize,
    length: usize,
    /// What in it nothing can be told of.
    free: Vec<Bytes>,
}

impl Span {
    fn is_free(&self, byte: usize) -> bool {
        self.free.iter().any(|(from, to)| (*from..*to).contains(&byte))
    }
}

/// The place of a field in its struct.
macro_rules! field {
    ($type:ty, $field:ident) => {
        (
            offset_of!($type, $field),
            offset_of!($type, $field) + size_of_val(&<$type as zerocopy::FromZeros>::new_zeroed().$field),
        )
    };
}

fn all(data: &[u8]) -> Vec<Bytes> {
    vec![(0, data.len())]
}

/// Headers: the checksum is made anew; a relocation leaves its flag on blocks; and a shared block may have been written
/// for a subvolume that is gone.
fn free_of_header(header: &Header, is_root: bool) -> Vec<Bytes> {
    let flags = offset_of!(Header, flags);
    let mut free = vec![field!(Header, csum), (flags, flags + 1), (flags + 7, flags + 8)];
    if is_fs_tree(header.owner.get()) && !is_root {
        free.push(field!(Header, owner));
    }
    free
}

/// Fields of the superblock that nothing reads, that name old roots, or that are for people.
fn free_of_superblock(superblock: &Superblock) -> Vec<Bytes> {
    let (device, array) = (offset_of!(Superblock, dev_item), offset_of!(Superblock, sys_chunk_array));
    let within = |field: Bytes| (device + field.0, device + field.1);
    vec![
        field!(Superblock, csum),
        field!(Superblock, label),
        field!(Superblock, metadata_uuid),
        field!(Superblock, reserved),
        field!(Superblock, super_roots),
        field!(Superblock, padding),
        field!(Superblock, __unused_log_root_transid),
        (array + superblock.sys_chunk_array_size.get() as usize, array + SYSTEM_CHUNK_ARRAY_SIZE),
    ]
    .into_iter()
    .chain(free_of_device().into_iter().map(within))
    .collect()
}

/// Advice to the allocator that was never used.
fn free_of_device() -> Vec<Bytes> {
    vec![
        field!(DevItem, io_align),
        field!(DevItem, io_width),
        field!(DevItem, r#type),
        field!(DevItem, generation),
        field!(DevItem, start_offset),
        field!(DevItem, dev_group),
        field!(DevItem, seek_speed),
        field!(DevItem, bandwidth),
    ]
}

/// What an inode says of itself alone.
fn free_of_inode(inode: &InodeItem) -> Vec<Bytes> {
    let mode = offset_of!(InodeItem, mode);
    let mut free = vec![
        field!(InodeItem, generation),
        field!(InodeItem, transid),
        field!(InodeItem, block_group),
        field!(InodeItem, uid),
        field!(InodeItem, gid),
        (mode, mode + 2), // permissions, and the type with them
        field!(InodeItem, rdev),
        field!(InodeItem, flags),
        field!(InodeItem, sequence),
        field!(InodeItem, reserved),
        field!(InodeItem, atime),
        field!(InodeItem, ctime),
        field!(InodeItem, mtime),
        field!(InodeItem, otime),
    ];
    // A directory's size is that of its names. Where there may be holes without items, a file may have any.
    if inode.mode.get() & 0o170000 != 0o040000 {
        free.push(field!(InodeItem, size));
    }
    if ![0o100000, 0o120000].contains(&(inode.mode.get() & 0o170000)) {
        free.push(field!(InodeItem, nbytes));
    }
    free
}

fn free_of_root(is_subvolume: bool) -> Vec<Bytes> {
    let mut free = vec![
        field!(RootItem, inode), // a copy, whose flags only are read
        field!(RootItem, byte_limit),
        field!(RootItem, bytes_used),
        field!(RootItem, last_snapshot),
        field!(RootItem, flags), // read-only or not
        field!(RootItem, parent_uuid),
        field!(RootItem, ctransid),
        field!(RootItem, otransid),
        field!(RootItem, stransid),
        field!(RootItem, rtransid),
        field!(RootItem, ctime),
        field!(RootItem, otime),
        field!(RootItem, stime),
        field!(RootItem, rtime),
        field!(RootItem, reserved),
    ];
    if !is_subvolume {
        free.extend([field!(RootItem, root_dirid), field!(RootItem, generation_v2), field!(RootItem, uuid)]);
        free.push(field!(RootItem, received_uuid));
    }
    free
}

fn free_of_file_extent(data: &[u8]) -> Vec<Bytes> {
    let (item, _) = FileExtentItem::read_prefix(data).unwrap();
    // The generation may be any up to now. Whether compressed data can be unpacked, and to what, is not looked at.
    let mut free = vec![field!(FileExtentItem, generation), field!(FileExtentItem, compression)];
    if item.compression != compression::NONE {
        free.push(field!(FileExtentItem, ram_bytes));
    }
    if item.r#type == file_extent_type::INLINE {
        free.push((size_of::<FileExtentItem>(), data.len()));
    }
    free
}

/// An entry's generation is not read. The highest bit of its type is for the kernel's encryption to come.
fn free_of_entry(key: Key, data: &[u8]) -> Vec<Bytes> {
    let mut free = vec![field!(DirItem, transid), field!(DirItem, r#type)];
    if key.key_type == KeyType::XATTR_ITEM {
        let (item, _) = DirItem::read_prefix(data).unwrap();
        free.push((size_of::<DirItem>() + usize::from(item.name_len.get()), data.len()));
    }
    free
}

/// What nothing can be told of in the data of an item of a tree.
fn free_of_item(tree: u64, key: Key, data: &[u8]) -> Vec<Bytes> {
    match key.key_type {
        KeyType::INODE_ITEM => free_of_inode(InodeItem::read_prefix(data).unwrap().0),
        KeyType::ROOT_ITEM => free_of_root(is_subvolume(key.objectid)),
        KeyType::EXTENT_DATA => free_of_file_extent(data),
        KeyType::DIR_ITEM | KeyType::DIR_INDEX | KeyType::XATTR_ITEM => free_of_entry(key, data),
        KeyType::DEV_ITEM => free_of_device(),
        KeyType::DEV_EXTENT => vec![field!(DevExtent, chunk_tree_uuid)], // zeros from some kernels
        // Stripes have no parts but in RAID10.
        KeyType::CHUNK_ITEM => {
            vec![field!(Chunk, owner), field!(Chunk, io_align), field!(Chunk, io_width), field!(Chunk, sub_stripes)]
        }
        // When data was written is not known elsewhere.
        KeyType::EXTENT_ITEM => vec![field!(ExtentItem, generation)],
        // A leaf that refers to no extents has full back references or not.
        KeyType::METADATA_ITEM => vec![(offset_of!(ExtentItem, flags) + 1, offset_of!(ExtentItem, flags) + 2)],
        // Checksums of data, which is not read, and counts of errors.
        KeyType::EXTENT_CSUM | KeyType::PERSISTENT_ITEM => all(data),
        // The directory of the default subvolume has a name that nothing reads.
        KeyType::INODE_REF if tree == ROOT_TREE => all(data),
        _ => vec![],
    }
}

/// What nothing can be told of in the key of an item: the place of a name in a directory, where a snapshot has the name
/// of a subvolume that it does not hold; the place in a file of an extent of a shared leaf, whose back reference does not
/// name it; and when a snapshot was made.
fn free_of_key(key: Key, leads_to_subvolume: bool, is_shared: bool) -> Vec<Bytes> {
    let is_free = match key.key_type {
        KeyType::DIR_INDEX => leads_to_subvolume,
        KeyType::EXTENT_DATA => is_shared,
        KeyType::ROOT_ITEM => is_subvolume(key.objectid),
        KeyType::INODE_REF => key.objectid == ROOT_TREE_DIR || key.offset == ROOT_TREE_DIR,
        _ => false,
    };
    if is_free { vec![field!(DiskKey, offset)] } else { vec![] }
}

fn targets(volume: &Volume) -> Vec<Target> {
    let root_tree = TreeRoot::root_tree(volume);
    let roots = [TreeRoot::chunk_tree(volume), root_tree].into_iter().chain(root_tree.children(volume));
    let (mut seen, extents) = (BTreeSet::new(), read_extents(volume));
    let mut targets = vec![superblock(volume)];
    let mut buffer = Vec::new();
    for root in roots {
        let tree = root.key.objectid;
        for expected in Walk::new(volume, root.expected(), Levels::All).filter(|block| seen.insert(block.logical)) {
            let block = volume.read_block(&expected, &mut buffer).unwrap().block;
            let is_shared = extents
                .find(expected.logical, &mut Cursor::default())
                .is_some_and(|extent| extent.flags & FULL_BACKREF != 0);
            let mut spans = vec![Span {
                name: "header".to_owned(),
                start: 0,
                length: HEADER_SIZE,
                free: free_of_header(block.header(), expected.logical == root.logical),
            }];
            match block.kind() {
                BlockKind::Node(node) => spans.extend((0..node.ptrs().len()).map(|slot| Span {
                    name: format!("pointer {slot}"),
                    start: HEADER_SIZE + slot * size_of::<KeyPtr>(),
                    length: size_of::<KeyPtr>(),
                    free: vec![],
                })),
                BlockKind::Leaf(leaf) => {
                    for item in leaf.items().map(Result::unwrap) {
                        let key = item.key;
                        // mkfs leaves free space of block groups behind that it has taken away.
                        if tree == FREE_SPACE_TREE && volume.chunks().find(Logical(key.objectid)).is_none() {
                            continue;
                        }
                        let location = DirItem::read_prefix(item.data).map(|(entry, _)| entry.location.r#type);
                        let leads_to_subvolume = location == Some(KeyType::ROOT_ITEM.0);
                        spans.push(Span {
                            name: format!("item {} {key}", item.slot),
                            start: HEADER_SIZE + item.slot as usize * size_of::<Item>(),
                            length: size_of::<Item>(),
                            free: free_of_key(key, leads_to_subvolume, is_shared),
                        });
                        spans.push(Span {
                            name: format!("data of {} {key}", item.slot),
                            start: HEADER_SIZE + item.offset as usize,
                            length: item.data.len(),
                            free: free_of_item(tree, key, item.data),
                        });
                    }
                }
            }
            // Those in which there is anything to change.
            spans.retain(|span| (0..span.length).any(|byte| !span.is_free(byte)));
            let chunk = volume.chunks().find(expected.logical).unwrap();
            let place = |mirror| chunk.place(expected.logical, mirror).unwrap().1.0;
            let copies = (1..=chunk.mirrors()).map(|mirror| (place(mirror), block.bytes().to_vec())).collect();
            targets.push(Target { name: format!("tree {tree} block {}", expected.logical), copies, spans });
        }
    }
    targets
}

fn superblock(volume: &Volume) -> Target {
    let device = &volume.devices()[0];
    let fits = SUPER_OFFSETS.iter().filter(|offset| offset.0 + SUPER_INFO_SIZE as u64 <= device.image().size());
    let copies = fits.map(|offset| {
        let mut bytes = vec![0; SUPER_INFO_SIZE];
        device.image().read(*offset, &mut bytes).unwrap();
        (offset.0, bytes)
    });
    let free = free_of_superblock(volume.superblock());
    let spans = vec![Span { name: "fields".to_owned(), start: 0, length: SUPER_INFO_SIZE, free }];
    Target { name: "superblock".to_owned(), copies: copies.collect(), spans }
}

/// A change of one byte.
struct Mutation<'t> {
    target: &'t Target,
    span: &'t Span,
    position: usize,
    value: u8,
}

impl<'t> Mutation<'t> {
    fn random(targets: &'t [Target], numbers: &mut Numbers) -> Self {
        loop {
            let target = &targets[numbers.below(targets.len())];
            let span = &target.spans[numbers.below(target.spans.len())];
            let within = numbers.below(span.length);
            let position = span.start + within;
            let old = target.copies[0].1[position];
            let value = match numbers.below(4) {
                0 => numbers.below(256) as u8,
                1 => [0, 1, 0x7f, 0x80, 0xff][numbers.below(5)],
                _ => old ^ 1 << numbers.below(8),
            };
            if value != old && !span.is_free(within) {
                return Self { target, span, position, value };
            }
        }
    }

    fn describe(&self) -> String {
        let old = self.target.copies[0].1[self.position];
        let within = self.position - self.span.start;
        format!("{}, {}, byte {within}: {old:#04x} -> {:#04x}", self.target.name, self.span.name, self.value)
    }

    fn make(&self, csum_type: CsumType, write: impl Fn(u64, &[u8])) {
        for (offset, sound) in &self.target.copies {
            let mut bytes = sound.clone();
            bytes[self.position] = self.value;
            csum_type.stamp(&mut bytes);
            write(*offset, &bytes);
        }
    }

    fn undo(&self, write: impl Fn(u64, &[u8])) {
        self.target.copies.iter().for_each(|(offset, sound)| write(*offset, sound));
    }
}

/// Runs a mutation on a copy of the image, of which a check says `sound`; what is wrong with its outcome.
fn judge(mutation: &Mutation<'_>, injector: &Injector, csum_type: CsumType, sound: &[u8]) -> Option<String> {
    let image = &injector.images()[0];
    let file = OpenOptions::new().write(true).open(image).unwrap();
    let write = |offset: u64, bytes: &[u8]| file.write_all_at(bytes, offset).unwrap();
    mutation.make(csum_type, write);
    let ended = rbtrfs_within_limits(&["check", "--json"], image);
    mutation.undo(write);
    match ended.code {
        _ if ended.stderr.contains("panicked at") => Some(format!("panics: {}", ended.stderr)),
        Some(1) => None,
        Some(2) if ended.stderr.lines().count() == 1 => None,
        // A note will do: of what is new rather than wrong.
        Some(0) if ended.stdout == sound => Some("is not found".to_owned()),
        Some(0) => None,
        code => Some(format!("ends with {code:?}: {}", ended.stderr)),
    }
}

#[test]
fn a_thousand_mutations_are_survived_and_found() {
    let Some(images) = kernel_image_or_skip("nodesize-4k") else { return };
    let count = std::env::var("RBTRFS_MUTATIONS").map_or(1000, |count| count.parse().unwrap());
    let volume = crate::support::open(&images);
    let targets = targets(&volume);
    let csum_type = volume.format().csum_type;
    let sound = rbtrfs_within_limits(&["check", "--json"], &images[0]).stdout;
    let next = AtomicU64::new(0);
    let worker = || {
        let injector = Injector::new(&images);
        let mut failures = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return failures;
            }
            let mutation = Mutation::random(&targets, &mut Numbers(number));
            if let Some(wrong) = judge(&mutation, &injector, csum_type, &sound) {
                failures.push(format!("{number}: {} {wrong}", mutation.describe()));
            }
        }
    };
    let failures: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(worker)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(failures.is_empty(), "{} of {count}\n{}", failures.len(), failures.join("\n"));
}

/// The first mutations, and blocks of which no copy can be read.
#[test]
fn problems_are_the_same_for_any_number_of_threads() {
    for image in ["nodesize-4k", "balance-interrupted", "half-dropped"] {
        let Some(images) = kernel_image_or_skip(image) else { return };
        let volume = crate::support::open(&images);
        let (targets, injector) = (targets(&volume), Injector::new(&images));
        let file = OpenOptions::new().write(true).open(&injector.images()[0]).unwrap();
        let write = |offset: u64, bytes: &[u8]| file.write_all_at(bytes, offset).unwrap();
        let outputs = |what: String| {
            let [one, two, sixteen] = ["1", "2", "16"].map(|threads| {
                crate::support::Run::of(crate::support::rbtrfs(
                    "check",
                    &["--json", "--threads", threads],
                    injector.images(),
                ))
            });
            assert!(one == two, "{image}: {what}:\n{one:?}\n{two:?}");
            assert!(one == sixteen, "{image}: {what}:\n{one:?}\n{sixteen:?}");
        };
        outputs("sound".to_owned());
        for number in 0..60 {
            let mutation = Mutation::random(&targets, &mut Numbers(number));
            // Every other change without a right checksum.
            mutation.make(volume.format().csum_type, |offset, bytes| {
                let mut bytes = bytes.to_vec();
                bytes[0] ^= (number % 2) as u8;
                write(offset, &bytes);
            });
            outputs(mutation.describe());
            mutation.undo(write);
        }
    }
}
