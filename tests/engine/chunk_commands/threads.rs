//! Where the system gives fewer threads than are asked for, or no addresses for them, the work is done by those that there
//! are.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::Command;

use crate::support::change::make_filesystem;
use crate::support::mounted::{Mounted, btrfs_check};
use crate::support::*;

const NOBODY: u32 = 65534;

/// A program that anybody may run, and images of two devices with files that nobody owns.
fn of_nobody(scratch: &Scratch) -> Option<(PathBuf, Vec<PathBuf>)> {
    let images = make_filesystem(&["-m", "raid1", "-d", "raid0"], 2, 4 << 30, scratch)?;
    let mounted = or_skip(Mounted::new(&images, "rw", scratch))?;
    mounted.write_something();
    drop(mounted);
    let program = scratch.path("program");
    std::fs::copy(PROGRAM, &program).unwrap();
    std::fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    images.iter().for_each(|image| chown(image, Some(NOBODY), Some(NOBODY)).unwrap());
    chown(scratch.path(""), Some(NOBODY), Some(NOBODY)).unwrap();
    Some((program, images))
}

#[test]
fn what_is_asked_for_many_threads_is_done_with_few() {
    let scratch = Scratch::in_memory();
    let Some((program, images)) = of_nobody(&scratch) else { return };
    // The kernel bounds the processes of a user that is not root.
    let user = "--reuid=65534 --regid=65534 --clear-groups";
    let limits = [
        format!("exec setpriv {user} prlimit --nproc=1 \"$@\""),
        format!("ulimit -v 300000; exec setpriv {user} \"$@\""),
        format!("ulimit -v 120000; exec setpriv {user} \"$@\""),
    ];
    let rootdir = scratch.new_directory();
    std::fs::write(rootdir.join("file"), vec![7; 3 << 20]).unwrap();
    let made = scratch.path("made.img");
    for limit in limits {
        let run = |words: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", &limit, "sh"]).arg(&program).args(words.split_whitespace());
            if !words.starts_with("mkfs") {
                command.args(&images);
            }
            let run = Run::of(command.output().unwrap());
            assert_eq!(run.code, 0, "{limit}: {words}: {}", run.stderr);
            run.stdout
        };
        run("check --threads 64");
        run("check --threads 64 --check-data-csum --progress");
        run("dump-tree");
        run("chunk-alloc --type data --size 1M --count 100 --threads 64");
        run("chunk-remove --unused");
        let _ = std::fs::remove_file(&made);
        run(&format!("mkfs --threads 64 --rootdir {} {}", rootdir.display(), made.display()));
        btrfs_check(std::slice::from_ref(&made)).unwrap();
    }
    btrfs_check(&images).unwrap();
}
