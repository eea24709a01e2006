//! The kernel's btrfs on copies of images.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Scratch;

/// The kernel knows a filesystem by its fsid: of two copies it mounts but one at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Loop devices, and the mount of what is on them; gone when dropped.
pub struct Mounted {
    loops: Vec<String>,
    mount: PathBuf,
    _guard: MutexGuard<'static, ()>,
}

impl Mounted {
    /// Mounts the filesystem of `images` with more `options`; an error says what the machine lacks. That the kernel does
    /// not mount it is a failure.
    pub fn new(images: &[PathBuf], options: &str, scratch: &Scratch) -> Result<Self, String> {
        let mut mounted = Self::attached(images, scratch)?;
        let devices: Vec<String> = mounted.loops.iter().map(|device| format!("device={device}")).collect();
        mounted.mount(&format!("{options},{}", devices.join(",")));
        Ok(mounted)
    }

    /// As [`Mounted::new`], where the kernel knows the devices by a scan alone.
    pub fn by_scan(images: &[PathBuf], scratch: &Scratch) -> Result<Self, String> {
        let mut mounted = Self::attached(images, scratch)?;
        // That it finds one that is no device of a filesystem is no failure.
        let scan = Command::new("btrfs").args(["device", "scan"]).args(&mounted.loops).output();
        scan.map_err(|error| format!("btrfs: {error}"))?;
        mounted.mount("ro");
        Ok(mounted)
    }

    fn attached(images: &[PathBuf], scratch: &Scratch) -> Result<Self, String> {
        let guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let mut mounted = Self { loops: Vec::new(), mount: scratch.new_directory(), _guard: guard };
        for image in images {
            mounted.loops.push(attach(image)?);
        }
        Ok(mounted)
    }

    fn mount(&mut self, options: &str) {
        let mount = Command::new("mount")
            .args(["-t", "btrfs", "-o", options, &self.loops[0]])
            .arg(&self.mount)
            .output()
            .unwrap();
        assert!(mount.status.success(), "{:?}: {}", self.loops, String::from_utf8_lossy(&mount.stderr));
    }

    pub fn path(&self) -> &Path {
        &self.mount
    }

    pub fn loops(&self) -> &[String] {
        &self.loops
    }

    /// A sum of all names, types and contents.
    pub fn contents(&self) -> String {
        let script = "find . -printf '%P %y %s %l\n' | sort | cksum && \
            find . -type f -print0 | sort -z | xargs -0 cat | cksum";
        let output = Command::new("sh").args(["-ec", script]).current_dir(&self.mount).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Has the kernel write files, and a snapshot.
    pub fn write_something(&self) {
        let script = "mkdir of-the-test && head -c 9000000 /dev/urandom >of-the-test/a && \
            cp of-the-test/a of-the-test/b && for n in $(seq 300); do echo $n >of-the-test/n$n; done && sync -f . && \
            btrfs -q subvolume snapshot . of-the-test/snapshot && sync -f . && rm of-the-test/a && sync -f .";
        let output = Command::new("sh").args(["-ec", script]).current_dir(&self.mount).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Has the kernel verify every copy of everything. It wants free space for that, which the images must have behind
    /// the ends of the devices.
    pub fn scrub(&self) {
        for devid in 1..=self.loops.len() {
            // A balance that was interrupted goes on as soon as it is mounted.
            let size = format!("{devid}:max");
            super::tool("btrfs", ["filesystem", "resize", "--enqueue", &size, self.mount.to_str().unwrap()]).unwrap();
        }
        let scrub = Command::new("btrfs").args(["scrub", "start", "-BR"]).arg(&self.mount).output().unwrap();
        let text = String::from_utf8_lossy(&scrub.stdout);
        assert!(scrub.status.success(), "{text}{}", String::from_utf8_lossy(&scrub.stderr));
        for line in text.lines().filter(|line| line.contains("_errors:")) {
            assert!(line.trim_end().ends_with(": 0"), "{text}");
        }
    }
}

impl Mounted {
    /// Has the kernel verify every copy of everything, and mend what is good elsewhere. Nothing is left that it could not.
    pub fn scrub_and_mend(&self) {
        let scrub = Command::new("btrfs").args(["scrub", "start", "-BR"]).arg(&self.mount).output().unwrap();
        let text = String::from_utf8_lossy(&scrub.stdout);
        let uncorrectable = text.lines().find(|line| line.contains("uncorrectable_errors:"));
        let is_mended = uncorrectable.is_some_and(|line| line.trim_end().ends_with(": 0"));
        assert!(is_mended, "{text}{}", String::from_utf8_lossy(&scrub.stderr));
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        unmount(&self.mount);
        self.loops.iter().for_each(|device| detach(device));
    }
}

/// Fails if `btrfs check` finds anything.
pub fn btrfs_check(images: &[PathBuf]) -> Result<(), String> {
    let check = btrfs_check_output(images)?;
    assert!(check.status.success(), "{images:?}: {}", String::from_utf8_lossy(&check.stderr));
    Ok(())
}

/// What `btrfs check` says of images. It finds the devices of a filesystem only as devices.
pub fn btrfs_check_output(images: &[PathBuf]) -> Result<Output, String> {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut loops = Vec::new();
    for image in images {
        match attach(image) {
            Ok(device) => loops.push(device),
            Err(error) => {
                loops.iter().for_each(|device| detach(device));
                return Err(error);
            }
        }
    }
    let _ = Command::new("btrfs").args(["device", "scan"]).args(&loops).output();
    let check = Command::new("btrfs").args(["check", "--force", &loops[0]]).output();
    loops.iter().for_each(|device| detach(device));
    check.map_err(|error| format!("btrfs: {error}"))
}

/// The loop device that an image is put behind.
pub fn attach(image: &Path) -> Result<String, String> {
    attach_with(image, &[])
}

pub fn attach_with(image: &Path, options: &[&str]) -> Result<String, String> {
    let mut message = String::new();
    for _ in 0..100 {
        let losetup = Command::new("losetup").args(["--find", "--show"]).args(options).arg(image).output();
        let output = losetup.map_err(|error| format!("losetup: {error}"))?;
        if output.status.success() {
            return Ok(String::from_utf8(output.stdout).unwrap().trim().to_owned());
        }
        message = String::from_utf8_lossy(&output.stderr).into_owned();
        // Another program took the device that was found.
        if !["busy", "temporarily"].iter().any(|word| message.contains(word)) {
            break;
        }
        std::thread::sleep(BRIEFLY);
    }
    Err(format!("no loop devices: {message}"))
}

/// Until the kernel, or a program that looks at all devices, has let go of one.
const BRIEFLY: Duration = Duration::from_millis(20);

/// Unmounts what may just be in use.
pub fn unmount(mount: &Path) {
    for _ in 0..500 {
        let umount = Command::new("umount").arg(mount).output();
        if umount.is_ok_and(|output| !String::from_utf8_lossy(&output.stderr).contains("busy")) {
            return;
        }
        std::thread::sleep(BRIEFLY);
    }
}

pub fn detach(device: &str) {
    let name = device.trim_start_matches("/dev/");
    let backing = || std::fs::read(format!("/sys/block/{name}/loop/backing_file")).ok();
    let image = backing();
    let _ = Command::new("btrfs").args(["device", "scan", "--forget", device]).output();
    let _ = Command::new("losetup").args(["--detach", device]).status();
    // Whoever looks at the device just then keeps it a while longer.
    for _ in 0..500 {
        if image.is_none() || backing() != image {
            return;
        }
        std::thread::sleep(BRIEFLY);
    }
}
