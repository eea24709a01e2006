//! Is the filesystem of an image mounted by the running kernel?

use std::path::{Path, PathBuf};

/// Where a filesystem is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    pub point: String,
    pub read_write: bool,
}

/// The mount of the btrfs filesystem that `image`, a file behind a loop device or a device itself, belongs to; one that
/// may be written to is preferred. Nothing where the kernel's lists cannot be read.
pub fn mount_of(image: &Path, fsid: &str) -> Option<Mount> {
    let image = image.canonicalize().ok()?;
    // Mounts name but one device of a filesystem; sysfs names all.
    let devices: Vec<String> = std::fs::read_dir(format!("/sys/fs/btrfs/{fsid}/devices"))
        .ok()?
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    if !devices.iter().any(|device| is_device(&image, device)) {
        return None;
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mounts = mounts.lines().filter_map(|line| btrfs_mount(line, &devices));
    mounts.max_by_key(|mount| mount.read_write)
}

/// Whether the block device called `device` is the image, or has it as its backing file.
fn is_device(image: &Path, device: &str) -> bool {
    let backing = std::fs::read_to_string(format!("/sys/class/block/{device}/loop/backing_file"));
    image == PathBuf::from("/dev").join(device)
        || backing.is_ok_and(|backing| Path::new(backing.trim_end_matches('\n')) == image)
}

/// The mount that a line of mountinfo describes (proc_pid_mountinfo(5)), if it is of one of these devices.
fn btrfs_mount(line: &str, devices: &[String]) -> Option<Mount> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let mut filesystem = filesystem.split(' ');
    let (fs_type, source, options) = (filesystem.next()?, filesystem.next()?, filesystem.next()?);
    let source = Path::new(source).canonicalize().unwrap_or_else(|_| PathBuf::from(source));
    let name = source.file_name()?.to_str()?;
    if fs_type != "btrfs" || !devices.iter().any(|device| device == name) {
        return None;
    }
    let point = mount.split(' ').nth(4)?.to_owned();
    Some(Mount { point, read_write: options.split(',').any(|option| option == "rw") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mounted_device_is_recognized_by_its_line() {
        let line = "36 35 0:31 / /mnt/a rw,relatime shared:1 - btrfs /dev/loop77 rw,space_cache=v2,subvolid=5";
        let devices = ["loop77".to_owned()];
        let mount = Mount { point: "/mnt/a".to_owned(), read_write: true };
        assert_eq!(btrfs_mount(line, &devices), Some(mount));
        assert_eq!(btrfs_mount(line, &["loop78".to_owned()]), None);
        assert_eq!(btrfs_mount(&line.replace("btrfs", "ext4"), &devices), None);
    }
}
