//! Everything of a filesystem, compared with what the kernel says of it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rbtrfs::files::{Content, FileKind, Files, InodeId, Timestamp};
use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, SeekFrom, StatxFlags, openat, readlinkat, seek, statx};

/// What was compared.
#[derive(Debug, Default)]
pub struct Compared {
    pub files: usize,
    pub bytes: u64,
    pub xattrs: usize,
    pub placeholders: usize,
}

/// Compares all that is below `directory` with what the kernel has mounted at `mount`. Paths may be longer than the kernel
/// takes: each directory is opened from the one before it.
pub fn assert_like_mount(files: &Files<'_>, directory: InodeId, mount: &Path) -> Compared {
    let open = openat(CWD, mount, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    let mut compared = Compared::default();
    let mut pending = vec![(PathBuf::new(), directory, open)];
    while let Some((path, directory, open)) = pending.pop() {
        compare_inode(files, directory, &open, OsStr::new("."), &path, &mut compared);
        let is_placeholder = directory.ino.0 == 2;
        compared.placeholders += usize::from(is_placeholder);
        let kernel: Vec<Vec<u8>> = Dir::read_from(&open)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_bytes().to_vec())
            .filter(|name| name != b"." && name != b"..")
            .collect();
        let entries: Vec<_> = files.read_dir(directory).unwrap().map(Result::unwrap).collect();
        let names: Vec<Vec<u8>> = entries.iter().map(|entry| entry.name.clone()).collect();
        assert!(names == kernel, "{}: the names are not those of the kernel", path.display());
        for entry in entries {
            let name = OsStr::from_bytes(&entry.name);
            let below = path.join(name);
            assert_eq!(files.lookup_in(directory, &entry.name).unwrap(), entry, "{}", below.display());
            if entry.kind == FileKind::Directory {
                let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                pending.push((below, entry.inode, openat(&open, name, flags, Mode::empty()).unwrap()));
            } else {
                compare_inode(files, entry.inode, &open, name, &below, &mut compared);
            }
        }
    }
    compared
}

fn compare_inode(
    files: &Files<'_>,
    id: InodeId,
    directory: &OwnedFd,
    name: &OsStr,
    path: &Path,
    compared: &mut Compared,
) {
    let what = path.display();
    let stat = statx(directory, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::ALL).unwrap();
    let attributes = files.attributes(id).unwrap();
    compared.files += 1;
    assert_eq!(id.ino.0, stat.stx_ino, "{what}");
    assert_eq!(attributes.mode, u32::from(stat.stx_mode), "{what}");
    if id.ino.0 == 2 {
        return;
    }
    let size = if attributes.kind() == FileKind::Directory { stat.stx_size } else { attributes.size };
    assert_eq!(size, stat.stx_size, "{what}");
    assert_eq!((attributes.uid, attributes.gid), (stat.stx_uid, stat.stx_gid), "{what}");
    assert_eq!(attributes.nlink, stat.stx_nlink, "{what}");
    if matches!(attributes.kind(), FileKind::CharDevice | FileKind::BlockDevice) {
        assert_eq!(attributes.device(), (stat.stx_rdev_major, stat.stx_rdev_minor), "{what}");
    }
    let time = |time: rustix::fs::StatxTimestamp| Timestamp { sec: time.tv_sec, nsec: time.tv_nsec };
    assert_eq!(attributes.atime, time(stat.stx_atime), "{what}");
    assert_eq!(attributes.mtime, time(stat.stx_mtime), "{what}");
    assert_eq!(attributes.ctime, time(stat.stx_ctime), "{what}");
    assert_eq!(attributes.otime, time(stat.stx_btime), "{what}");
    compare_xattrs(files, id, directory, name, path, compared);
    match attributes.kind() {
        FileKind::File => {
            let file = openat(directory, name, OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).unwrap();
            compare_contents(files, id, &File::from(file), path, compared);
        }
        FileKind::Symlink => {
            let target = readlinkat(directory, name, Vec::new()).unwrap().into_bytes();
            assert_eq!(files.read_link(id).unwrap(), target, "{what}");
        }
        _ => {}
    }
}

fn compare_xattrs(
    files: &Files<'_>,
    id: InodeId,
    directory: &OwnedFd,
    name: &OsStr,
    path: &Path,
    compared: &mut Compared,
) {
    let link = PathBuf::from(format!("/proc/self/fd/{}", directory.as_fd().as_raw_fd())).join(name);
    let mut names = vec![0; 65536];
    let length = rustix::fs::llistxattr(&link, &mut names[..]).unwrap();
    let mut kernel = BTreeMap::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 65536];
        let length = rustix::fs::lgetxattr(&link, OsStr::from_bytes(name), &mut value[..]).unwrap();
        value.truncate(length);
        assert_eq!(files.xattr(id, name).unwrap().as_ref(), Some(&value), "{}", path.display());
        kernel.insert(name.to_vec(), value);
    }
    let xattrs = files.xattrs(id).unwrap().into_iter().map(Result::unwrap);
    let own: BTreeMap<_, _> = xattrs.map(|xattr| (xattr.name, xattr.value)).collect();
    assert_eq!(own, kernel, "{}", path.display());
    compared.xattrs += own.len();
}

/// Piece by piece, so that large holes cost nothing.
fn compare_contents(files: &Files<'_>, id: InodeId, kernel: &File, path: &Path, compared: &mut Compared) {
    let mut file = files.file(id).unwrap();
    let (mut end, mut buffer) = (0, Vec::new());
    while let Some(piece) = file.next_piece().unwrap() {
        assert_eq!(piece.offset, end, "{}", path.display());
        end = piece.offset + piece.length;
        match piece.content {
            Content::Data(data) => {
                buffer.resize(data.len(), 0);
                kernel.read_exact_at(&mut buffer, piece.offset).unwrap();
                assert!(buffer == data, "{}: bytes from {} to {end} differ", path.display(), piece.offset);
                compared.bytes += piece.length;
            }
            Content::Zeroes => {
                let mut position = piece.offset;
                while let Some(start) = seek(kernel, SeekFrom::Data(position)).ok().filter(|start| *start < end) {
                    buffer.resize((end - start).min(1 << 20) as usize, 0);
                    kernel.read_exact_at(&mut buffer, start).unwrap();
                    assert!(buffer.iter().all(|byte| *byte == 0), "{}: no zeroes at {start}", path.display());
                    position = start + buffer.len() as u64;
                }
            }
        }
    }
    assert_eq!(end, file.size(), "{}", path.display());
}
