//! A disk that is soon full.

use std::path::PathBuf;
use std::process::Command;

use super::Scratch;

/// A small tmpfs, gone when dropped.
pub struct SmallDisk(pub PathBuf);

impl SmallDisk {
    /// An error says what the machine lacks.
    pub fn new(size: &str, scratch: &Scratch) -> Result<Self, String> {
        let path = scratch.new_directory();
        let options = format!("size={size}");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "small"]).arg(&path).output();
        let mount = mount.map_err(|error| format!("mount: {error}"))?;
        match mount.status.success() {
            true => Ok(Self(path)),
            false => Err(String::from_utf8_lossy(&mount.stderr).into_owned()),
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}
