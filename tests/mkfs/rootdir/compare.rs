//! Two trees, file by file.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, SeekFrom, openat, readlinkat, seek, statat};

/// All that is to be told of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub mode: u32,
    pub owner: (u32, u32),
    pub rdev: u64,
    pub size: u64,
    pub mtime: (i64, i64),
    pub nlink: u64,
    /// The first name of the same file.
    pub same_as: PathBuf,
    pub target: Vec<u8>,
    /// Where data is, and what.
    pub data: Vec<(u64, u64)>,
    pub sum: u64,
    pub xattrs: BTreeMap<OsString, Vec<u8>>,
}

/// The facts of all files below `root`, and its own under an empty path.
pub fn facts(root: &Path) -> BTreeMap<PathBuf, Facts> {
    let mut all = BTreeMap::new();
    let mut first = HashMap::new();
    let open = openat(CWD, root, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    visit(&open, OsStr::new("."), Path::new(""), &mut all, &mut first);
    all
}

fn visit(
    directory: &OwnedFd,
    name: &OsStr,
    path: &Path,
    all: &mut BTreeMap<PathBuf, Facts>,
    first: &mut HashMap<(u64, u64), PathBuf>,
) {
    let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    let kind = stat.st_mode & 0o170_000;
    let same_as = first.entry((stat.st_dev, stat.st_ino)).or_insert_with(|| path.to_owned()).clone();
    let mut facts = Facts {
        mode: stat.st_mode,
        owner: (stat.st_uid, stat.st_gid),
        rdev: stat.st_rdev,
        size: stat.st_size as u64,
        mtime: (stat.st_mtime, stat.st_mtime_nsec),
        nlink: stat.st_nlink,
        same_as,
        target: Vec::new(),
        data: Vec::new(),
        sum: 0,
        xattrs: xattrs(directory, name),
    };
    match kind {
        0o040_000 => {
            // The size of a directory, and the number of its links, are for each filesystem to choose.
            (facts.size, facts.nlink) = (0, 0);
            let open =
                openat(directory, name, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).unwrap();
            let mut names: Vec<OsString> = Dir::read_from(&open)
                .unwrap()
                .map(|entry| OsStr::from_bytes(entry.unwrap().file_name().to_bytes()).to_owned())
                .filter(|name| name != "." && name != "..")
                .collect();
            names.sort();
            names.iter().for_each(|name| visit(&open, name, &path.join(name), all, first));
        }
        0o120_000 => facts.target = readlinkat(directory, name, Vec::new()).unwrap().into_bytes(),
        0o100_000 => {
            let file = openat(directory, name, OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).unwrap();
            (facts.data, facts.sum) = contents(&File::from(file), facts.size);
        }
        _ => {}
    }
    all.insert(path.to_owned(), facts);
}

fn contents(file: &File, size: u64) -> (Vec<(u64, u64)>, u64) {
    let (mut data, mut sum, mut position) = (Vec::new(), 0_u64, 0);
    while position < size {
        let Ok(start) = seek(file, SeekFrom::Data(position)) else { break };
        let end = seek(file, SeekFrom::Hole(start)).unwrap().min(size);
        let mut bytes = vec![0; (end - start) as usize];
        file.read_exact_at(&mut bytes, start).unwrap();
        for byte in bytes {
            sum = sum.wrapping_mul(0x0100_0000_01b3).wrapping_add(u64::from(byte)).rotate_left(5);
        }
        data.push((start, end));
        position = end;
    }
    (data, sum)
}

fn xattrs(directory: &OwnedFd, name: &OsStr) -> BTreeMap<OsString, Vec<u8>> {
    use std::os::fd::AsRawFd;
    let path = PathBuf::from(format!("/proc/self/fd/{}", directory.as_fd().as_raw_fd())).join(name);
    let mut names = vec![0; 65536];
    let length = rustix::fs::llistxattr(&path, &mut names[..]).unwrap_or(0);
    let mut all = BTreeMap::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 65536];
        let length = rustix::fs::lgetxattr(&path, name, &mut value[..]).unwrap();
        all.insert(OsStr::from_bytes(name).to_owned(), value[..length].to_vec());
    }
    all
}

/// Panics with the first difference.
pub fn assert_same(made: &Path, source: &BTreeMap<PathBuf, Facts>) {
    let made = facts(made);
    for (path, facts) in source {
        let found = made.get(path).unwrap_or_else(|| panic!("{} is missing", path.display()));
        assert_eq!(found, facts, "{}", path.display());
    }
    let more: Vec<_> = made.keys().filter(|path| !source.contains_key(*path)).collect();
    assert!(more.is_empty(), "{more:?}");
}
