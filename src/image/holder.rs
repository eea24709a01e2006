//! Which programs and devices use an image.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::block_device::BlockDevice;
use super::mounts::mount_of;

/// What holds a device that cannot be opened exclusively, where neither mounts nor loop devices tell.
pub const EXCLUSIVE: &str = "opened exclusively by another program";

/// The filesystem, loop device or other device that uses the image.
pub fn of(image: &Path) -> Option<String> {
    if let Some(mount) = mount_of(image) {
        let how = if mount.read_write { "read-write" } else { "read-only" };
        return Some(format!("mounted {how} at {}", mount.point));
    }
    if let Some(device) = BlockDevice::loops().find(|device| device.is_backed_by(image)) {
        return Some(format!("backs the loop device /dev/{}", device.name()));
    }
    let users = BlockDevice::of(image)?.users();
    users.first().map(|user| format!("part of the device /dev/{user}"))
}

/// The process that holds the lock of a file (proc_locks(5)).
pub fn of_lock(image: &Path) -> String {
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    // The device is not compared: that of stat(2) is another one on filesystems with subvolumes.
    let inode = image.metadata().map_or(0, |metadata| metadata.ino()).to_string();
    let mut holders = locks.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK" | "POSIX", _, "WRITE", process, file, ..] = fields[..] else { return None };
        (file.rsplit(':').next() == Some(&inode)).then_some(process)
    });
    match (holders.next(), holders.next()) {
        (Some(process), None) => format!("locked by process {process}"),
        _ => "locked by another process".to_owned(),
    }
}
