//! Damage to copies of images, one thing at a time: what is changed gets a right checksum again, on every mirror.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rbtrfs::block::BlockKind;
use rbtrfs::block::verify::Expected;
use rbtrfs::disk::node::{HEADER_SIZE, Header, Item, KeyPtr};
use rbtrfs::disk::root::RootItem;
use rbtrfs::disk::superblock::{SUPER_INFO_SIZE, SUPER_OFFSETS};
use rbtrfs::disk::{DiskKey, Key, Logical, Physical, Superblock, objectid};
use rbtrfs::tree::TreeRoot;
use rbtrfs::volume::Volume;
use zerocopy::{FromBytes, IntoBytes, KnownLayout, Unaligned};

use super::{Scratch, copies};

/// Copies of a filesystem's images, removed at the end.
pub struct Injector {
    images: Vec<PathBuf>,
    _scratch: Scratch,
}

/// The items of a leaf.
pub type LeafItems = Vec<(Key, Vec<u8>)>;

impl Injector {
    pub fn new(images: &[PathBuf]) -> Self {
        let scratch = Scratch::in_memory();
        let images = copies(images, scratch.directory());
        Self { images, _scratch: scratch }
    }

    pub fn images(&self) -> &[PathBuf] {
        &self.images
    }

    pub fn volume(&self) -> Volume {
        super::open(&self.images)
    }

    fn file(&self, image: usize) -> File {
        OpenOptions::new().read(true).write(true).open(&self.images[image]).unwrap()
    }

    /// Makes an image longer or shorter.
    pub fn resize(&self, image: usize, size: u64) {
        self.file(image).set_len(size).unwrap();
    }

    /// Takes an image away.
    pub fn lose(&mut self, image: usize) {
        self.images.remove(image);
    }

    /// Changes bytes without mending any checksum.
    pub fn bytes(&self, image: usize, offset: u64, length: usize, edit: impl FnOnce(&mut [u8])) {
        let file = self.file(image);
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, offset).unwrap();
        edit(&mut bytes);
        file.write_all_at(&bytes, offset).unwrap();
    }

    /// Changes one copy of a superblock.
    pub fn superblock_copy(&self, image: usize, mirror: usize, edit: impl FnOnce(&mut Superblock)) {
        self.bytes(image, SUPER_OFFSETS[mirror].0, SUPER_INFO_SIZE, |bytes| {
            let mut superblock = Superblock::read_from_bytes(bytes).unwrap();
            let csum_type = superblock.csum_type().unwrap();
            edit(&mut superblock);
            csum_type.stamp(superblock.as_mut_bytes());
            bytes.copy_from_slice(superblock.as_bytes());
        });
    }

    /// Changes all superblocks of all devices.
    pub fn superblocks(&self, edit: impl Fn(&mut Superblock)) {
        for image in 0..self.images.len() {
            self.superblocks_of(image, &edit);
        }
    }

    /// Changes all superblocks of one device.
    pub fn superblocks_of(&self, image: usize, edit: impl Fn(&mut Superblock)) {
        let size = std::fs::metadata(&self.images[image]).unwrap().len();
        let fits = |mirror: &usize| SUPER_OFFSETS[*mirror].0 + SUPER_INFO_SIZE as u64 <= size;
        for mirror in (0..SUPER_OFFSETS.len()).filter(fits) {
            self.superblock_copy(image, mirror, &edit);
        }
    }

    /// Changes the bytes of a block on all its mirrors, and stamps it.
    pub fn block(&self, logical: Logical, edit: impl Fn(&mut [u8])) {
        let csum_type = self.volume().format().csum_type;
        self.block_unstamped(logical, |bytes| {
            edit(bytes);
            csum_type.stamp(bytes);
        });
    }

    /// Changes the bytes of a block on all its mirrors.
    pub fn block_unstamped(&self, logical: Logical, edit: impl Fn(&mut [u8])) {
        let chunk = self.volume().chunks().find(logical).expect("a chunk holds the block").clone();
        assert_eq!(chunk.profile.geometry().nparity, 0, "parity is not kept up");
        for mirror in 1..=chunk.mirrors() {
            self.block_copy(logical, mirror, &edit);
        }
    }

    /// Puts two blocks in the places of each other.
    pub fn swap_blocks(&self, block: Logical, other: Logical) {
        let read = |logical: Logical| {
            let volume = self.volume();
            let mut bytes = vec![0; volume.format().nodesize as usize];
            volume.read(logical, 1, &mut bytes).unwrap();
            bytes
        };
        let (of_block, of_other) = (read(block), read(other));
        self.block_unstamped(block, |bytes| bytes.copy_from_slice(&of_other));
        self.block_unstamped(other, |bytes| bytes.copy_from_slice(&of_block));
    }

    /// Changes the bytes of one copy of a block. Returns the device and the place that it is at.
    pub fn block_copy(&self, logical: Logical, mirror: u16, edit: impl Fn(&mut [u8])) -> (u64, Physical) {
        let volume = self.volume();
        let chunk = volume.chunks().find(logical).expect("a chunk holds the block");
        let (stripe, physical) = chunk.place(logical, mirror).expect("there is such a mirror");
        let path = volume.device(stripe).expect("the device is there").image().path();
        let image = self.images.iter().position(|image| image == path).unwrap();
        self.bytes(image, physical.0, volume.format().nodesize as usize, &edit);
        (stripe.devid, physical)
    }

    /// The root of a tree.
    pub fn root(&self, tree: u64) -> TreeRoot {
        let volume = self.volume();
        match tree {
            objectid::ROOT_TREE => TreeRoot::root_tree(&volume),
            objectid::CHUNK_TREE => TreeRoot::chunk_tree(&volume),
            _ => {
                let roots = TreeRoot::root_tree(&volume).children(&volume);
                roots.into_iter().find(|root| root.key.objectid == tree).expect("the tree exists")
            }
        }
    }

    /// Writes a copy of the root block of a tree to another place, and has its root item lead there.
    pub fn move_root(&self, tree: u64, to: Logical) {
        let (volume, root) = (self.volume(), self.root(tree));
        let mut bytes = vec![0; volume.format().nodesize as usize];
        volume.read(root.logical, 1, &mut bytes).unwrap();
        Header::mut_from_prefix(&mut bytes).unwrap().0.bytenr.set(to.0);
        self.block(to, |block| block.copy_from_slice(&bytes));
        self.item_as(objectid::ROOT_TREE, root.key, |item: &mut RootItem| item.bytenr.set(to.0));
    }

    /// Where the leaf is that holds `key` or would.
    pub fn leaf_of(&self, tree: u64, key: Key) -> Logical {
        self.path(tree, key).0
    }

    /// The same, and the nodes on the way to it with the slots that lead there, the root first.
    fn path(&self, tree: u64, key: Key) -> (Logical, Vec<(Logical, usize)>) {
        let volume = self.volume();
        let mut expected = self.root(tree).expected();
        let mut buffer = Vec::new();
        let mut nodes = Vec::new();
        loop {
            let read = volume.read_block(&expected, &mut buffer).expect("the path is readable");
            let BlockKind::Node(node) = read.block.kind() else { return (expected.logical, nodes) };
            let slot = node.ptrs().partition_point(|ptr| Key::from(&ptr.key) <= key).saturating_sub(1);
            nodes.push((expected.logical, slot));
            expected = Expected::child(&node.ptrs()[slot], node.block().level());
        }
    }

    /// All items of a tree.
    pub fn items(&self, tree: u64) -> LeafItems {
        let volume = self.volume();
        let mut buffer = Vec::new();
        let mut items = Vec::new();
        for leaf in rbtrfs::tree::Walk::new(&volume, self.root(tree).expected(), rbtrfs::tree::Levels::Only(0)) {
            let read = volume.read_block(&leaf, &mut buffer).expect("the leaf is readable");
            let BlockKind::Leaf(leaf) = read.block.kind() else { continue };
            items.extend(leaf.items().map(|item| item.expect("the item is whole")).map(|i| (i.key, i.data.to_vec())));
        }
        items
    }

    /// Changes the data of an item. Its length stays.
    pub fn item(&self, tree: u64, key: Key, edit: impl Fn(&mut [u8])) {
        self.leaf(tree, key, |items| {
            let (_, data) = items.iter_mut().find(|item| item.0 == key).expect("the item exists");
            edit(data);
        });
    }

    /// Changes an item as the struct it begins with.
    pub fn item_as<T>(&self, tree: u64, key: Key, edit: impl Fn(&mut T))
    where
        T: FromBytes + IntoBytes + KnownLayout + Unaligned,
    {
        self.item(tree, key, |data| edit(T::mut_from_prefix(data).unwrap().0));
    }

    pub fn remove_item(&self, tree: u64, key: Key) {
        self.leaf(tree, key, |items| items.retain(|item| item.0 != key));
    }

    pub fn insert_item(&self, tree: u64, key: Key, data: &[u8]) {
        self.leaf(tree, key, |items| {
            items.push((key, data.to_vec()));
            items.sort();
        });
    }

    /// Lays the leaf out anew that holds `key` or would, and puts its first key into the nodes above it.
    pub fn leaf(&self, tree: u64, key: Key, edit: impl Fn(&mut LeafItems)) {
        let (logical, mut nodes) = self.path(tree, key);
        let first = Cell::new(None);
        self.leaf_at(logical, |items| {
            let before = items[0].0;
            edit(items);
            first.set(items.first().map(|item| item.0).filter(|first| *first != before));
        });
        while let (Some(first), Some((node, slot))) = (first.get(), nodes.pop()) {
            self.block(node, |bytes| {
                let at = HEADER_SIZE + slot * size_of::<KeyPtr>();
                KeyPtr::mut_from_bytes(&mut bytes[at..at + size_of::<KeyPtr>()]).unwrap().key = DiskKey::from(first);
            });
            if slot > 0 {
                break;
            }
        }
    }

    /// Lays out anew the leaf at `logical`.
    pub fn leaf_at(&self, logical: Logical, edit: impl Fn(&mut LeafItems)) {
        self.block(logical, |bytes| {
            let block = rbtrfs::block::Block::new(bytes).unwrap();
            let BlockKind::Leaf(leaf) = block.kind() else { panic!("a leaf") };
            let mut items: LeafItems = leaf.items().map(|i| i.unwrap()).map(|i| (i.key, i.data.to_vec())).collect();
            edit(&mut items);
            write_leaf(bytes, &items);
        });
    }
}

fn write_leaf(bytes: &mut [u8], items: &LeafItems) {
    let (header, body) = bytes.split_at_mut(HEADER_SIZE);
    Header::mut_from_bytes(header).unwrap().nritems.set(items.len() as u32);
    body.fill(0);
    let mut end = body.len();
    for (slot, (key, data)) in items.iter().enumerate() {
        end -= data.len();
        body[end..end + data.len()].copy_from_slice(data);
        let item = Item { key: DiskKey::from(*key), offset: (end as u32).into(), size: (data.len() as u32).into() };
        let start = slot * size_of::<Item>();
        body[start..start + size_of::<Item>()].copy_from_slice(item.as_bytes());
    }
    assert!(items.len() * size_of::<Item>() <= end, "the leaf is full");
}
