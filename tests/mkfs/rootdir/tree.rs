//! A tree with every kind of file.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use rbtrfs::disk::hash;
use rustix::fs::{CWD, FileType, Mode, OFlags, XattrFlags, lsetxattr, makedev, mkdirat, mknodat, openat, symlinkat};

use crate::support::random::Random;
use crate::support::tool;

/// Bytes that no compression makes shorter.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut random = Random(seed | 1);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&random.next().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Bytes that every compression makes shorter.
pub fn text(length: usize) -> Vec<u8> {
    (0..).flat_map(|line: u64| format!("{line:>8} of a text that repeats itself\n").into_bytes()).take(length).collect()
}

/// Pairs of names that share a hash.
pub fn colliding(prefix: &str, pairs: usize) -> Vec<String> {
    let mut seen: HashMap<u64, String> = HashMap::new();
    let mut found = Vec::new();
    // Names that differ in few bits never share one.
    for number in 1_u64.. {
        let name = format!("{prefix}{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        if let Some(other) = seen.insert(hash::dir_item(name.as_bytes()), name.clone()) {
            found.extend([other, name]);
        }
        if found.len() == 2 * pairs {
            break;
        }
    }
    found
}

pub fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    lsetxattr(path, name, value, XattrFlags::empty())
        .unwrap_or_else(|error| panic!("{}: {name}: {error}", path.display()));
}

fn node(path: &Path, kind: FileType, device: (u32, u32)) {
    mknodat(CWD, path, kind, Mode::from_raw_mode(0o640), makedev(device.0, device.1)).unwrap();
}

fn sparse(path: &Path, size: u64, parts: &[(u64, usize)]) {
    let file = File::create(path).unwrap();
    file.set_len(size).unwrap();
    for (offset, length) in parts {
        file.write_all_at(&noise(*length, *offset), *offset).unwrap();
    }
}

/// Files of all sizes that matter, in whole or in holes.
pub fn make_files(root: &Path) {
    for size in [0, 1, 2047, 2048, 2049, 4095, 4096, 4097, 131_071, 131_072, 131_073, 1 << 20, (1 << 20) + 1, 3_333_333]
    {
        fs::write(root.join(format!("text-{size}")), text(size)).unwrap();
        fs::write(root.join(format!("noise-{size}")), noise(size, 1)).unwrap();
    }
    // Compressible here and there.
    let mut mixed = Vec::new();
    for part in 0..20 {
        mixed.extend(if part % 3 == 0 { text(100_000) } else { noise(100_000, part) });
    }
    fs::write(root.join("mixed"), mixed).unwrap();
    sparse(&root.join("hole"), 10 << 20, &[]);
    sparse(&root.join("small-hole"), 1000, &[]);
    sparse(&root.join("hole-before"), 300_000, &[(200_000, 5)]);
    sparse(&root.join("hole-after"), 300_000, &[(0, 5)]);
    sparse(&root.join("holes"), 40 << 20, &[(0, 4096), (8192, 5000), (3 << 20, 2 << 20), (30 << 20, 70_000)]);
    sparse(&root.join("far"), 1 << 40, &[((1 << 40) - 100, 100)]);
}

/// A tree of everything that a machine can have; root makes it.
pub fn make(root: &Path) {
    fs::create_dir(root).unwrap();
    make_files(root);
    let names = root.join("names");
    fs::create_dir(&names).unwrap();
    fs::write(names.join(OsStr::from_bytes(b"caf\xe9 \n\xff")), "not UTF-8").unwrap();
    fs::write(names.join("n".repeat(255)), "long").unwrap();
    colliding("entry-", 3).iter().for_each(|name| fs::write(names.join(name), name).unwrap());
    make_special(root);
    make_links(root);
    make_xattrs(root);
    make_deep(root);
    for (path, uid, gid, mode) in
        [("text-1", 1000, 1001, 0o4755), ("text-2047", 4_000_000_000, 7, 0), ("names", 5, 6, 0o2770)]
    {
        chown(root.join(path), Some(uid), Some(gid)).unwrap();
        fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    lchown(root.join("dangling"), Some(77), Some(78)).unwrap();
    for (path, time) in
        [("noise-1", Duration::new(1, 123_456_789)), ("names", Duration::new(4_102_444_800, 999_999_999))]
    {
        File::open(root.join(path)).unwrap().set_modified(UNIX_EPOCH + time).unwrap();
    }
    File::open(root.join("noise-0")).unwrap().set_modified(UNIX_EPOCH - Duration::new(1000, 5)).unwrap();
    fs::set_permissions(root, fs::Permissions::from_mode(0o1751)).unwrap();
    chown(root, Some(12), Some(34)).unwrap();
    File::open(root).unwrap().set_modified(UNIX_EPOCH + Duration::new(1_000_000_000, 42)).unwrap();
}

fn make_special(root: &Path) {
    symlink("/nowhere/at/all", root.join("dangling")).unwrap();
    symlink("names", root.join("to-directory")).unwrap();
    symlink("x".repeat(4095), root.join("longest-symlink")).unwrap();
    node(&root.join("null"), FileType::CharacterDevice, (1, 3));
    node(&root.join("large-numbers"), FileType::CharacterDevice, (4095, 1_048_575));
    node(&root.join("disk"), FileType::BlockDevice, (259, 70_000));
    node(&root.join("fifo"), FileType::Fifo, (0, 0));
    node(&root.join("socket"), FileType::Socket, (0, 0));
}

fn make_links(root: &Path) {
    let links = root.join("links");
    fs::create_dir_all(links.join("more")).unwrap();
    fs::hard_link(root.join("noise-4097"), links.join("in two directories")).unwrap();
    fs::hard_link(root.join("dangling"), links.join("symlink")).unwrap();
    fs::hard_link(root.join("null"), links.join("device")).unwrap();
    // More names than an item has room for, most of them in one directory.
    fs::write(links.join("many"), "many").unwrap();
    for number in 0..200 {
        let name = format!("{number:0>200}");
        fs::hard_link(links.join("many"), links.join(&name)).unwrap();
        if number % 3 == 0 {
            fs::hard_link(links.join("many"), links.join("more").join(&name)).unwrap();
        }
    }
}

fn make_xattrs(root: &Path) {
    let path = root.join("attributes");
    fs::write(&path, "attributes").unwrap();
    for (name, value) in [("user.empty", &b""[..]), ("user.bytes", b"\0\xff"), ("trusted.secret", b"root's")] {
        set_xattr(&path, name, value);
    }
    set_xattr(&path, "user.long", &noise(2000, 3));
    colliding("user.", 2).iter().for_each(|name| set_xattr(&path, name, name.as_bytes()));
    // cap_net_raw=ep, as the kernel stores it.
    set_xattr(&path, "security.capability", &[1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    set_xattr(&path, "security.selinux", b"system_u:object_r:etc_t:s0\0");
    set_xattr(&root.join("dangling"), "trusted.symlink", b"a symlink's");
    set_xattr(&root.join("fifo"), "trusted.fifo", b"a fifo's");
    set_xattr(&root.join("names"), "user.directory", b"a directory's");
    set_xattr(root, "user.root", b"the root directory's");
    tool("setfacl", ["-m".as_ref(), "u:1234:rw,g:99:x".as_ref(), path.as_os_str()]).unwrap();
    tool("setfacl", ["-d".as_ref(), "-m".as_ref(), "u:1234:rw".as_ref(), root.join("names").as_os_str()]).unwrap();
}

/// A path that is longer than the kernel takes at once.
fn make_deep(root: &Path) {
    let open = |directory: BorrowedFd<'_>, name: &str| {
        openat(directory, name, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
    };
    let mut directory: OwnedFd = File::open(root).unwrap().into();
    for _ in 0..30 {
        let name = "d".repeat(200);
        mkdirat(&directory, &name, Mode::RWXU).unwrap();
        directory = open(directory.as_fd(), &name);
    }
    let file = openat(&directory, "file", OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::RUSR).unwrap();
    File::from(file).write_all(&text(5000)).unwrap();
    symlinkat("file", &directory, "symlink").unwrap();
}

/// A deep directory must not be left behind: removing it by its path does not work everywhere.
pub struct Removed(pub PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = std::process::Command::new("rm").arg("-rf").arg(&self.0).status();
    }
}
