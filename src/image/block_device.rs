//! What sysfs says of block devices.

use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// A block device, as its directory in sysfs.
pub struct BlockDevice {
    directory: PathBuf,
}

impl BlockDevice {
    /// The device that a special file stands for, whatever its name.
    pub fn of(path: &Path) -> Option<Self> {
        let metadata = path.metadata().ok().filter(|metadata| metadata.file_type().is_block_device())?;
        let directory = format!("/sys/dev/block/{}", numbers(metadata.rdev()));
        Some(Self { directory: Path::new(&directory).canonicalize().ok()? })
    }

    /// The device that the kernel calls `name`.
    pub fn named(name: &str) -> Self {
        // A slash in a name is an exclamation mark in sysfs.
        Self { directory: Path::new("/sys/class/block").join(name.replace('/', "!")) }
    }

    /// The loop devices that have a backing file.
    pub fn loops() -> impl Iterator<Item = Self> {
        let devices = std::fs::read_dir("/sys/block").into_iter().flatten().flatten();
        let devices = devices.map(|entry| Self { directory: entry.path() });
        devices.filter(|device| device.attribute("loop/backing_file").is_some())
    }

    /// What the kernel calls it, such as `sda1`.
    pub fn name(&self) -> String {
        self.directory.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Whether this device is the image, or has it as its backing file.
    pub fn holds(&self, image: &Path) -> bool {
        let is_same = BlockDevice::of(image).is_some_and(|device| device.name() == self.name());
        is_same || self.is_backed_by(image)
    }

    /// Whether this is a loop device whose backing file is `image`, under whatever name: it may have been renamed or
    /// linked, or be seen through another mount.
    pub fn is_backed_by(&self, image: &Path) -> bool {
        let inode = |metadata: Metadata| (metadata.dev(), metadata.ino());
        let Some(backing) = self.attribute("loop/backing_file") else { return false };
        match (Path::new(&backing).metadata(), image.metadata()) {
            (Ok(backing), Ok(image)) => inode(backing) == inode(image),
            _ => false,
        }
    }

    pub fn is_read_only(&self) -> bool {
        self.attribute("ro").is_some_and(|value| value == "1")
    }

    /// Whether it can be told that blocks are not needed any more. Partitions have the queue of their disk.
    pub fn can_discard(&self) -> bool {
        const NAME: &str = "queue/discard_max_bytes";
        let bytes = self.attribute(NAME).or_else(|| self.attribute(&format!("../{NAME}")));
        bytes.is_some_and(|bytes| bytes != "0")
    }

    /// Major and minor number, with a colon between.
    pub fn numbers(&self) -> Option<String> {
        self.attribute("dev")
    }

    /// Devices that are built of this one, such as those of LVM.
    pub fn users(&self) -> Vec<String> {
        let users = std::fs::read_dir(self.directory.join("holders")).into_iter().flatten().flatten();
        users.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    fn attribute(&self, name: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.directory.join(name)).ok()?;
        Some(text.strip_suffix('\n').unwrap_or(&text).to_owned())
    }
}

/// Major and minor number in a device number of stat(2) (makedev(3)).
fn numbers(device: u64) -> String {
    let major = (device >> 32 & 0xffff_f000) | (device >> 8 & 0xfff);
    let minor = (device >> 12 & 0xffff_ff00) | (device & 0xff);
    format!("{major}:{minor}")
}

/// Whether a file that is missing would be made among the devices, where a slip of the pen leads. What is mounted below
/// them, such as /dev/shm, is another place.
pub fn is_in_dev(path: &Path) -> bool {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let is_below = directory.canonicalize().is_ok_and(|directory| directory.starts_with("/dev"));
    let filesystem_of = |path: &Path| std::fs::metadata(path).map(|metadata| metadata.dev()).ok();
    is_below && filesystem_of(directory) == filesystem_of(Path::new("/dev"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_are_split_as_the_kernel_writes_them() {
        assert_eq!(numbers(0x0801), "8:1");
        assert_eq!(numbers(0x10_3f12), "63:274");
    }
}
