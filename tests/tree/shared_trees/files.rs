//! Changes of a tree of files, in the tree and in a map of its items.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rbtrfs::Result;
use rbtrfs::block::ItemRef;
use rbtrfs::block::reference::{FileExtent, Reference, file_extent};
use rbtrfs::disk::flags::inode::NODATASUM;
use rbtrfs::disk::inode::{DirItem, FileExtentDisk, FileExtentItem, InodeItem, InodeRef, dir_type, file_extent_type};
use rbtrfs::disk::{Key, KeyType, Logical, hash, objectid};
use rbtrfs::error::Error;
use rbtrfs::trans::Filesystem;
use rbtrfs::volume::{ChunkMap, Volume};
use zerocopy::IntoBytes;

use crate::support::contents::{for_each_item, tree};
use crate::support::random::Random;

/// Ids of the inodes that are made here begin above this.
const NEW_INODES: u64 = 1 << 30;
const SECTOR: u64 = 4096;

/// A piece of an extent as a file's item has it.
#[derive(Clone, Copy, Debug)]
struct Piece {
    extent: Logical,
    length: u64,
    offset: u64,
    bytes: u64,
}

pub struct Files {
    pub id: u64,
    pub items: BTreeMap<Key, Vec<u8>>,
}

/// What is in each sector that is written here.
fn sector_at(address: u64) -> [u8; SECTOR as usize] {
    std::array::from_fn(|at| (address / SECTOR).wrapping_mul(at as u64 / 64 + 7) as u8)
}

/// Writes data that has its checksums already.
pub fn write_data(images: &[PathBuf], chunks: &ChunkMap, extents: &[(Logical, u64)]) {
    let files: Vec<_> = images.iter().map(|image| OpenOptions::new().write(true).open(image).unwrap()).collect();
    for (extent, length) in extents {
        for address in (extent.0..extent.0 + length).step_by(SECTOR as usize) {
            let chunk = chunks.find(Logical(address)).unwrap();
            for mirror in 1..=chunk.mirrors() {
                let (stripe, physical) = chunk.place(Logical(address), mirror).unwrap();
                files[stripe.devid as usize - 1].write_all_at(&sector_at(address), physical.0).unwrap();
            }
        }
    }
}

impl Files {
    pub fn read(volume: &Volume, id: u64) -> Self {
        let mut items = BTreeMap::new();
        for_each_item(volume, &tree(volume, id), |item| drop(items.insert(item.key, item.data.to_vec())));
        Self { id, items }
    }

    /// One random change. Data that is new is noted in `written`.
    pub fn change(&mut self, fs: &Filesystem, random: &mut Random, written: &Mutex<Vec<(Logical, u64)>>) -> Result<()> {
        match random.below(20) {
            0..8 => self.set_xattr(fs, random),
            8..12 => self.remove_xattr(fs, random),
            12..15 => self.clone_pieces(fs, random),
            15..18 => self.write_file(fs, random, written),
            _ => self.truncate(fs, random),
        }
    }

    fn insert(&mut self, fs: &Filesystem, key: Key, data: &[u8]) -> Result<()> {
        let tree = fs.tree(self.id)?;
        tree.lock().edit(fs, |editor| editor.insert(key, data))?;
        assert!(self.items.insert(key, data.to_vec()).is_none());
        Ok(())
    }

    fn replace(&mut self, fs: &Filesystem, key: Key, data: &[u8]) -> Result<()> {
        let tree = fs.tree(self.id)?;
        tree.lock().edit(fs, |editor| editor.replace(key, data))?;
        assert!(self.items.insert(key, data.to_vec()).is_some());
        Ok(())
    }

    fn delete(&mut self, fs: &Filesystem, key: Key) -> Result<()> {
        let tree = fs.tree(self.id)?;
        tree.lock().edit(fs, |editor| editor.delete(key))?;
        assert!(self.items.remove(&key).is_some());
        Ok(())
    }

    /// An inode of a regular file, and its item.
    fn file(&self, random: &mut Random) -> Option<(Key, InodeItem)> {
        let is_file = |(key, data): &(&Key, &Vec<u8>)| {
            key.key_type == KeyType::INODE_ITEM
                && InodeItem::read_prefix(data).is_some_and(|(inode, _)| inode.mode.get() & 0o170_000 == 0o100_000)
        };
        let files: Vec<(&Key, &Vec<u8>)> = self.items.iter().filter(is_file).collect();
        let (key, data) = files.get(random.below(files.len()))?;
        Some((**key, *InodeItem::read_prefix(data).unwrap().0))
    }

    fn set_xattr(&mut self, fs: &Filesystem, random: &mut Random) -> Result<()> {
        let Some((file, _)) = self.file(random) else { return Ok(()) };
        let name = format!("user.test-{}", random.below(12));
        let value = vec![random.below(256) as u8; [random.below(40), random.below(900)][random.below(2)]];
        let mut item = DirItem::zeroed();
        item.transid = fs.generation().0.into();
        item.data_len = (value.len() as u16).into();
        item.name_len = (name.len() as u16).into();
        item.r#type = dir_type::XATTR;
        let data = [item.as_bytes(), name.as_bytes(), &value].concat();
        let key = Key::new(file.objectid, KeyType::XATTR_ITEM, hash::dir_item(name.as_bytes()));
        match self.items.contains_key(&key) {
            true => self.replace(fs, key, &data),
            false => self.insert(fs, key, &data),
        }
    }

    fn remove_xattr(&mut self, fs: &Filesystem, random: &mut Random) -> Result<()> {
        let is_ours = |(key, data): &(&Key, &Vec<u8>)| {
            key.key_type == KeyType::XATTR_ITEM && data[30..].starts_with(b"user.test-")
        };
        let keys: Vec<Key> = self.items.iter().filter(is_ours).map(|(key, _)| *key).collect();
        match keys.get(random.below(keys.len())) {
            Some(key) => self.delete(fs, *key),
            None => Ok(()),
        }
    }

    /// The pieces of extents that files have whose data has checksums and is neither compressed nor preallocated.
    fn pieces(&self) -> Vec<Piece> {
        let has_sums = |inode: u64| {
            let item = self.items.get(&Key::new(inode, KeyType::INODE_ITEM, 0));
            item.is_some_and(|data| InodeItem::read_prefix(data).unwrap().0.flags.get() & NODATASUM == 0)
        };
        let items = self.items.iter().filter(|(key, _)| key.key_type == KeyType::EXTENT_DATA && has_sums(key.objectid));
        let piece = |(_, data): (_, &Vec<u8>)| {
            let (extent, rest) = FileExtentItem::read_prefix(data).unwrap();
            if extent.r#type != file_extent_type::REG || extent.compression != 0 {
                return None;
            }
            let (disk, _) = FileExtentDisk::read_prefix(rest).unwrap();
            let (extent, length) = (Logical(disk.disk_bytenr.get()), disk.disk_num_bytes.get());
            (extent.0 != 0).then_some(Piece { extent, length, offset: disk.offset.get(), bytes: disk.num_bytes.get() })
        };
        items.filter_map(piece).collect()
    }

    /// A new file of pieces of what is there.
    fn clone_pieces(&mut self, fs: &Filesystem, random: &mut Random) -> Result<()> {
        let all = self.pieces();
        if all.is_empty() {
            return Ok(());
        }
        let mut pieces: Vec<Piece> = (0..1 + random.below(8)).map(|_| all[random.below(all.len())]).collect();
        if random.below(2) == 0 {
            // Again and again the same.
            pieces = vec![pieces[0]; 1 + random.below(60)];
        }
        for piece in &mut pieces {
            let skipped = random.below((piece.bytes / SECTOR) as usize) as u64 * SECTOR;
            piece.offset += skipped;
            piece.bytes -= skipped;
            piece.bytes = SECTOR * (1 + random.below((piece.bytes / SECTOR) as usize) as u64);
        }
        self.create(fs, &pieces)
    }

    /// A new file of new data.
    fn write_file(&mut self, fs: &Filesystem, random: &mut Random, written: &Mutex<Vec<(Logical, u64)>>) -> Result<()> {
        let mut pieces = Vec::new();
        for _ in 0..1 + random.below(4) {
            let length = SECTOR * (1 + random.below(12) as u64);
            let extent = match fs.allocate_data(length) {
                Ok(extent) => extent,
                Err(Error::NoSpace { .. }) => break,
                Err(error) => return Err(error),
            };
            let format = fs.volume().format();
            let size = format.csum_type.size();
            let sectors = (extent.0..extent.0 + length).step_by(SECTOR as usize);
            let sums: Vec<u8> =
                sectors.flat_map(|sector| format.csum_type.compute(&sector_at(sector))[..size].to_vec()).collect();
            let key = Key::new(objectid::EXTENT_CSUM, KeyType::EXTENT_CSUM, extent.0);
            let tree = fs.tree(objectid::CSUM_TREE)?;
            tree.lock().edit(fs, |editor| editor.insert(key, &sums))?;
            // Some of it nobody refers to in the end.
            if random.below(10) > 0 {
                written.lock().unwrap().push((extent, length));
                pieces.push(Piece { extent, length, offset: 0, bytes: length });
            }
        }
        self.create(fs, &pieces)
    }

    fn create(&mut self, fs: &Filesystem, pieces: &[Piece]) -> Result<()> {
        let newest = self.items.keys().rfind(|key| key.key_type == KeyType::INODE_ITEM).unwrap().objectid;
        let number = newest.max(NEW_INODES) + 1;
        let name = format!("made-{number}");
        let directory = Key::new(objectid::ROOT_DIR, KeyType::INODE_ITEM, 0);
        let mut parent = *InodeItem::read_prefix(&self.items[&directory]).unwrap().0;
        parent.size += 2 * name.len() as u64;
        let indexes = Key::new(objectid::ROOT_DIR, KeyType::DIR_INDEX, 0)..Key::new(objectid::ROOT_DIR, KeyType(97), 0);
        let index = self.items.range(indexes).next_back().map_or(2, |(key, _)| key.offset + 1);
        let by_name = Key::new(objectid::ROOT_DIR, KeyType::DIR_ITEM, hash::dir_item(name.as_bytes()));
        if self.items.contains_key(&by_name) {
            return Ok(());
        }
        self.replace(fs, directory, parent.as_bytes())?;

        let mut inode = InodeItem::zeroed();
        inode.generation = fs.generation().0.into();
        inode.transid = inode.generation;
        let bytes: u64 = pieces.iter().map(|piece| piece.bytes).sum();
        (inode.size, inode.nbytes) = (bytes.into(), bytes.into());
        (inode.nlink, inode.mode) = (1.into(), 0o100_644.into());
        let inode_key = Key::new(number, KeyType::INODE_ITEM, 0);
        self.insert(fs, inode_key, inode.as_bytes())?;
        let name_len = (name.len() as u16).into();
        let reference = InodeRef { index: index.into(), name_len };
        let data = [reference.as_bytes(), name.as_bytes()].concat();
        self.insert(fs, Key::new(number, KeyType::INODE_REF, objectid::ROOT_DIR), &data)?;
        let mut entry = DirItem::zeroed();
        entry.location = inode_key.into();
        (entry.transid, entry.name_len, entry.r#type) = (inode.transid, name_len, dir_type::REG_FILE);
        let data = [entry.as_bytes(), name.as_bytes()].concat();
        self.insert(fs, by_name, &data)?;
        self.insert(fs, Key::new(objectid::ROOT_DIR, KeyType::DIR_INDEX, index), &data)?;

        let mut at = 0;
        for piece in pieces {
            let mut extent = FileExtentItem::zeroed();
            (extent.generation, extent.r#type) = (inode.generation, file_extent_type::REG);
            extent.ram_bytes = piece.length.into();
            let mut disk = FileExtentDisk::zeroed();
            (disk.disk_bytenr, disk.disk_num_bytes) = (piece.extent.0.into(), piece.length.into());
            (disk.offset, disk.num_bytes) = (piece.offset.into(), piece.bytes.into());
            let key = Key::new(number, KeyType::EXTENT_DATA, at);
            self.insert(fs, key, &[extent.as_bytes(), disk.as_bytes()].concat())?;
            let reference =
                Reference::ExtentData { root: self.id, objectid: number, offset: at.wrapping_sub(piece.offset) };
            fs.add_data_reference(&FileExtent { extent: piece.extent, length: piece.length, reference })?;
            at += piece.bytes;
        }
        Ok(())
    }

    fn truncate(&mut self, fs: &Filesystem, random: &mut Random) -> Result<()> {
        match self.file(random) {
            Some((file, inode)) => self.truncate_file(fs, file, inode).map(drop),
            None => Ok(()),
        }
    }

    /// Takes all data from a file. Returns the extents.
    fn truncate_file(&mut self, fs: &Filesystem, file: Key, mut inode: InodeItem) -> Result<Vec<Logical>> {
        let mut dropped = Vec::new();
        (inode.size, inode.nbytes) = (0.into(), 0.into());
        self.replace(fs, file, inode.as_bytes())?;
        let from = Key::new(file.objectid, KeyType::EXTENT_DATA, 0);
        let keys = self.items.range(from..Key::new(file.objectid, KeyType(109), 0)).map(|(key, _)| *key);
        for key in keys.collect::<Vec<_>>() {
            let data = self.items[&key].clone();
            self.delete(fs, key)?;
            if let Some(file) = file_extent(&ItemRef { slot: 0, key, offset: 0, data: &data }, self.id) {
                fs.drop_data_reference(&file)?;
                dropped.push(file.extent);
            }
        }
        Ok(dropped)
    }

    /// Takes all data from all files. Returns the extents.
    pub fn truncate_all(&mut self, fs: &Filesystem) -> Result<Vec<Logical>> {
        let inodes = self.items.iter().filter(|(key, _)| key.key_type == KeyType::INODE_ITEM);
        let inode = |(key, data): (&Key, &Vec<u8>)| (*key, *InodeItem::read_prefix(data).unwrap().0);
        let files: Vec<(Key, InodeItem)> =
            inodes.map(inode).filter(|(_, inode)| inode.mode.get() & 0o170_000 == 0o100_000).collect();
        let mut dropped = Vec::new();
        for (file, inode) in files {
            dropped.extend(self.truncate_file(fs, file, inode)?);
        }
        Ok(dropped)
    }

    /// Whether the kernel finds the files that were made; in the top-level tree, whose path is known.
    pub fn assert_readable(&self, mount: &Path) {
        if self.id != objectid::FS_TREE {
            return;
        }
        let entries = self.items.iter().filter(|(key, _)| key.key_type == KeyType::DIR_INDEX);
        let names = entries.filter_map(|(_, data)| std::str::from_utf8(&data[size_of::<DirItem>()..]).ok());
        for name in names.filter(|name| name.starts_with("made-")) {
            assert!(mount.join(name).is_file(), "{name}");
        }
    }
}
