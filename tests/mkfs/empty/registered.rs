//! The kernel knows the devices of a filesystem as soon as it is made.

use std::path::PathBuf;
use std::process::Command;

use crate::support::mounted::{attach, detach, unmount};
use crate::support::{Run, Scratch, or_skip, run_rbtrfs};

/// Loop devices, gone when dropped.
struct Loops(Vec<String>);

impl Loops {
    fn new(count: usize, scratch: &Scratch) -> Option<Self> {
        let mut loops = Self(Vec::new());
        for number in 0..count {
            loops.0.push(or_skip(attach(&scratch.zeros(&format!("{number}.img"), 300 << 20)))?);
        }
        Some(loops)
    }
}

impl Drop for Loops {
    fn drop(&mut self) {
        self.0.iter().for_each(|device| detach(device));
    }
}

#[test]
fn several_devices_are_mounted_by_the_name_of_one() {
    let scratch = Scratch::new();
    let Some(loops) = Loops::new(2, &scratch) else { return };
    let devices: Vec<PathBuf> = loops.0.iter().map(PathBuf::from).collect();
    for options in [String::new(), format!("-f --rootdir {}", scratch.new_directory().display())] {
        let run = run_rbtrfs(&format!("mkfs -q -d raid1 -m raid1 {options}"), &devices);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{options}");
        let directory = scratch.new_directory();
        let mount = Command::new("mount").args(["-t", "btrfs"]).arg(&devices[1]).arg(&directory).output().unwrap();
        unmount(&directory);
        // Known under their old fsid they would be refused the next time.
        for device in &devices {
            let _ = Command::new("btrfs").args(["device", "scan", "--forget"]).arg(device).output();
        }
        assert!(mount.status.success(), "{options}: {}", String::from_utf8_lossy(&mount.stderr));
    }
}

#[test]
fn without_a_control_device_nothing_is_said() {
    let scratch = Scratch::new();
    let Some(loops) = Loops::new(1, &scratch) else { return };
    let device = &loops.0[0];
    // A directory of devices that has the one alone.
    let script = "mount -t tmpfs devices /dev && mknod \"$1\" b 7 \"${1#/dev/loop}\" && exec \"$0\" mkfs \"$1\"";
    let arguments = ["--mount", "sh", "-c", script, crate::support::PROGRAM, device];
    let run = Run::of(Command::new("unshare").args(arguments).output().unwrap());
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    assert!(run.stdout.contains(device.as_str()));
}
