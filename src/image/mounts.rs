//! Is an image mounted by the running kernel?

use std::path::{Path, PathBuf};

use super::block_device::BlockDevice;

/// Where a filesystem is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub point: String,
    /// Whether it is mounted for writing.
    pub read_write: bool,
}

/// The mount of the filesystem that `image`, a file behind a loop device or a device itself, belongs to; one that may
/// be written to is preferred. Nothing where the kernel's lists cannot be read.
pub fn mount_of(image: &Path) -> Option<Mount> {
    let btrfs = btrfs_devices(image);
    let numbers = BlockDevice::of(image).and_then(|device| device.numbers());
    let mounts = std::fs::read("/proc/self/mountinfo").ok()?;
    // A mount point is any bytes: one that is no text must not hide the others.
    let mounts = String::from_utf8_lossy(&mounts);
    let mounts = mounts.lines().filter_map(|line| mount(line, &btrfs, numbers.as_deref()));
    mounts.max_by_key(|mount| mount.read_write)
}

/// The names of all devices of the mounted btrfs filesystem of which the image is one. Mounts name but one device of a
/// filesystem; sysfs names all.
fn btrfs_devices(image: &Path) -> Vec<String> {
    let filesystems = std::fs::read_dir("/sys/fs/btrfs").into_iter().flatten().flatten();
    let devices = |filesystem: std::fs::DirEntry| -> Vec<String> {
        let devices = std::fs::read_dir(filesystem.path().join("devices")).into_iter().flatten().flatten();
        devices.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    let is_of = |devices: &Vec<String>| devices.iter().any(|device| BlockDevice::named(device).holds(image));
    filesystems.map(devices).find(is_of).unwrap_or_default()
}

/// The mount that a line of mountinfo describes (proc_pid_mountinfo(5)), if it is of one of the `btrfs` devices, or, for
/// a filesystem that has but one device, of the device with these numbers.
fn mount(line: &str, btrfs: &[String], numbers: Option<&str>) -> Option<Mount> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let mut filesystem = filesystem.split(' ');
    let (fs_type, source, options) = (filesystem.next()?, filesystem.next()?, filesystem.next()?);
    let mut mount = mount.split(' ').skip(2);
    let (device, _root, point) = (mount.next()?, mount.next()?, mount.next()?);
    let is_of_image = if fs_type == "btrfs" {
        let source = PathBuf::from(unescaped(source));
        let source = source.canonicalize().unwrap_or(source);
        let name = source.file_name()?.to_str()?;
        btrfs.iter().any(|device| device == name)
    } else {
        numbers == Some(device)
    };
    let read_write = options.split(',').any(|option| option == "rw");
    is_of_image.then(|| Mount { point: unescaped(point), read_write })
}

/// A field of mountinfo: blanks and backslashes stand there as a backslash and three octal digits.
fn unescaped(field: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = field.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = digits.filter(|_| *first == b'\\').and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &behind[3..] } else { behind };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mounted_device_is_recognized_by_its_line() {
        let line = "36 35 0:31 / /mnt/a rw,relatime shared:1 - btrfs /dev/loop77 rw,space_cache=v2,subvolid=5";
        let devices = ["loop77".to_owned()];
        let expected = Mount { point: "/mnt/a".to_owned(), read_write: true };
        assert_eq!(mount(line, &devices, None), Some(expected.clone()));
        assert_eq!(mount(line, &["loop78".to_owned()], Some("0:31")), None);
        let other = line.replace("btrfs", "ext4");
        assert_eq!(mount(&other, &devices, Some("7:77")), None);
        assert_eq!(mount(&other, &[], Some("0:31")), Some(expected));
    }

    #[test]
    fn a_mount_point_with_blanks_is_named_as_it_is() {
        let line = r"36 35 0:31 / /mnt/my\040disk\134a rw shared:1 - btrfs /dev/loop77 rw";
        let point = mount(line, &["loop77".to_owned()], None).map(|mount| mount.point);
        assert_eq!(point.as_deref(), Some(r"/mnt/my disk\a"));
        assert_eq!(unescaped(r"\04\\9"), r"\04\\9");
    }
}
