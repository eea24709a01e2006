//! All that there is to know of the files below a directory of this machine.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{SeekFrom, seek};

/// What one path is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub mode: u32,
    pub owner: (u32, u32),
    pub mtime: (i64, i64),
    pub device: u64,
    pub size: u64,
    /// A sum of the contents, or the target of a link.
    pub contents: Vec<u8>,
    /// Where data begins and ends, by SEEK_DATA and SEEK_HOLE.
    pub data: Vec<(u64, u64)>,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The first path of the same inode.
    pub first_name: Vec<u8>,
}

/// Facts by path. Attributes that only btrfs takes are left out.
pub type Manifest = BTreeMap<Vec<u8>, Facts>;

/// Of all that is below `root`, itself among it.
pub fn manifest(root: &Path) -> Manifest {
    let mut all = Manifest::new();
    let mut first_names: HashMap<(u64, u64), Vec<u8>> = HashMap::new();
    let mut pending = vec![Vec::new()];
    while let Some(path) = pending.pop() {
        let full = if path.is_empty() { root.to_owned() } else { root.join(OsStr::from_bytes(&path)) };
        let metadata = full.symlink_metadata().unwrap();
        let kind = metadata.file_type();
        let mut first_name = path.clone();
        let (mut contents, mut data, mut size) = (Vec::new(), Vec::new(), 0);
        if kind.is_dir() {
            for entry in std::fs::read_dir(&full).unwrap() {
                let name = entry.unwrap().file_name();
                let separator: &[u8] = if path.is_empty() { b"" } else { b"/" };
                pending.push([&path[..], separator, name.as_bytes()].concat());
            }
            // Smaller paths first.
            pending.sort_by(|one, other| other.cmp(one));
        } else {
            let identity = (metadata.dev(), metadata.ino());
            first_name.clone_from(first_names.entry(identity).or_insert(first_name.clone()));
        }
        if kind.is_file() {
            size = metadata.len();
            (contents, data) = contents_of(&File::open(&full).unwrap(), size);
        } else if kind.is_symlink() {
            contents = std::fs::read_link(&full).unwrap().as_os_str().as_bytes().to_vec();
        }
        let device = if kind.is_block_device() || kind.is_char_device() { metadata.rdev() } else { 0 };
        let facts = Facts {
            mode: metadata.mode(),
            owner: (metadata.uid(), metadata.gid()),
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            device,
            size,
            contents,
            data,
            xattrs: xattrs(&full),
            first_name,
        };
        all.insert(path, facts);
    }
    all
}

/// A sum of a file without its holes, and where these are not.
fn contents_of(file: &File, size: u64) -> (Vec<u8>, Vec<(u64, u64)>) {
    let (mut data, mut position) = (Vec::new(), 0);
    let mut hash = xxhash_rust::xxh64::Xxh64::new(0);
    let mut buffer = vec![0; 1 << 16];
    while let Some(start) = seek(file, SeekFrom::Data(position)).ok().filter(|start| *start < size) {
        let end = seek(file, SeekFrom::Hole(start)).unwrap();
        data.push((start, end));
        position = start;
        while position < end {
            let length = (end - position).min(buffer.len() as u64) as usize;
            file.read_exact_at(&mut buffer[..length], position).unwrap();
            // Zeroes count for nothing: whether they are a hole is another matter.
            for (index, block) in buffer[..length].chunks(4096).enumerate() {
                if block.iter().any(|byte| *byte != 0) {
                    hash.update(&(position + index as u64 * 4096).to_le_bytes());
                    hash.update(block);
                }
            }
            position += length as u64;
        }
    }
    (hash.digest().to_le_bytes().to_vec(), data)
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 65536];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    let names =
        names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty() && !name.starts_with(b"btrfs."));
    let value = |name: &[u8]| {
        let mut value = vec![0; 65536];
        let length = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value[..]).unwrap();
        value.truncate(length);
        value
    };
    names.map(|name| (name.to_vec(), value(name))).collect()
}

/// Fails with the first paths that differ.
#[track_caller]
pub fn assert_same(own: &Manifest, expected: &Manifest, what: &str) {
    let mut differences = Vec::new();
    for path in own.keys().chain(expected.keys()).collect::<std::collections::BTreeSet<_>>() {
        let (have, expect) = (own.get(path), expected.get(path));
        if have != expect {
            differences.push(format!("{}\n  have   {have:?}\n  expect {expect:?}", path.escape_ascii()));
        }
    }
    let count = differences.len();
    differences.truncate(3);
    assert!(count == 0, "{what}: {count} paths differ:\n{}", differences.join("\n"));
}
