//! Making a device known to the kernel.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::Image;

const CONTROL: &str = "/dev/btrfs-control";
/// `BTRFS_IOC_SCAN_DEV`
const SCAN_DEV: rustix::ioctl::Opcode = rustix::ioctl::opcode::write::<VolArgs>(0x94, 4);
/// Room for a path in the arguments, with the byte that ends it (`BTRFS_PATH_NAME_MAX`).
const PATH_NAME_MAX: usize = 4087;

/// `struct btrfs_ioctl_vol_args`
#[repr(C)]
struct VolArgs {
    fd: i64,
    name: [u8; PATH_NAME_MAX + 1],
}

impl Image {
    /// Has the kernel read the superblock of a block device, so that a mount finds it among the devices of its filesystem.
    /// Does nothing for a file, and where the kernel has no btrfs.
    ///
    /// # Errors
    /// The kernel refuses the device, or the process may not ask for it.
    pub fn register(&self) -> io::Result<()> {
        if !self.is_device() {
            return Ok(());
        }
        match OpenOptions::new().read(true).write(true).open(CONTROL) {
            Ok(control) => scan(control.as_raw_fd(), &std::path::absolute(&self.path)?),
            Err(error) if is_absent(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Whether there is no control device, or no driver behind it.
fn is_absent(error: &io::Error) -> bool {
    let no_driver = matches!(error.raw_os_error(), Some(libc::ENXIO | libc::ENODEV));
    error.kind() == io::ErrorKind::NotFound || no_driver
}

#[expect(unsafe_code, reason = "the call has no safe form")]
fn scan(control: i32, device: &Path) -> io::Result<()> {
    let path = device.as_os_str().as_bytes();
    let mut args = VolArgs { fd: 0, name: [0; PATH_NAME_MAX + 1] };
    args.name
        .get_mut(..path.len())
        .filter(|_| path.len() <= PATH_NAME_MAX)
        .ok_or(io::ErrorKind::InvalidFilename)?
        .copy_from_slice(path);
    // SAFETY: the kernel reads the arguments, which have the size that the request says, and keeps no pointer to them.
    match unsafe { libc::ioctl(control, SCAN_DEV as _, &raw const args) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
