//! What commands say to people.

use std::path::PathBuf;
use std::process::Command;

use super::images;
use crate::support::{PROGRAM, Run, Scratch, output_of, run_rbtrfs};

/// Runs a shell script in which `$0` is the program, and the images are its arguments.
fn shell(script: &str, images: &[PathBuf]) -> Run {
    Run::of(Command::new("sh").args(["-c", script, PROGRAM]).args(images).output().unwrap())
}

#[test]
fn a_dry_run_does_not_say_that_anything_was_done() {
    let scratch = Scratch::in_memory();
    let images = images(&scratch);
    for (command, planned, done) in [
        ("chunk-alloc --type data", "would allocate chunk ", "allocated chunk "),
        ("balance -dusage=0", "would empty data ", "moved 0 B of data "),
        ("chunk-alloc --type data", "would allocate chunk ", "allocated chunk "),
        ("chunk-remove --unused", "would remove chunk ", "removed chunk "),
    ] {
        let text = output_of(&format!("{command} --dry-run"), &images);
        assert!(text.starts_with(planned), "{text}");
        let text = output_of(command, &images);
        assert!(text.starts_with(done), "{text}");
    }
}

#[test]
fn what_has_nothing_to_do_says_so() {
    let scratch = Scratch::in_memory();
    let images = images(&scratch);
    output_of("chunk-remove --unused", &images);
    for (command, text) in [
        ("chunk-remove --unused", "nothing to remove"),
        ("chunk-remove --unused --dry-run", "nothing to remove"),
        ("chunk-alloc --type data --force no", "nothing to allocate"),
        ("balance -dlimit=0", "nothing to balance"),
        ("balance -dlimit=0 --dry-run", "nothing to balance"),
    ] {
        let output = output_of(command, &images);
        assert!(output.starts_with(text) && output.lines().count() == 1, "{command}: {output}");
    }
}

#[test]
fn a_chunk_that_cannot_be_is_refused_for_its_own_reason() {
    let scratch = Scratch::in_memory();
    let images = images(&scratch);
    for (command, reasons) in [
        ("chunk-alloc --type data --count 0", ["--count", "1.."]),
        ("chunk-alloc --type data --size 0", ["0 bytes is too small", "65536"]),
        ("chunk-alloc --type data --size 4k", ["4096 bytes is too small", "65536"]),
        ("chunk-alloc --type data --profile raid6", ["RAID6 need 3 devices", "there are 2"]),
        ("chunk-alloc --type system --profile raid1c4", ["RAID1C4 need 4 devices", "there are 2"]),
        ("chunk-remove", ["--chunk <LOGICAL>", "--unused"]),
    ] {
        let run = run_rbtrfs(command, &images);
        assert!(run.code == 2 && run.says(&reasons), "{command}: {}", run.stderr);
    }
    // More than there is room for is as much as there is.
    output_of("chunk-alloc --type data --size 8E", &images);
}

#[test]
fn a_missing_directory_for_temporary_files_is_named() {
    let scratch = Scratch::in_memory();
    let (root, image) = (scratch.new_directory(), scratch.path("image"));
    let script = "TMPDIR=/no-such-directory exec \"$0\" mkfs --rootdir \"$1\" \"$2\"";
    let run = shell(script, &[root, image]);
    assert!(run.code == 2 && run.says(&["temporary file in /no-such-directory: No such file"]), "{}", run.stderr);
}

#[test]
fn a_size_that_no_file_can_have_is_named() {
    let scratch = Scratch::in_memory();
    let image = scratch.path("image");
    for option in ["--size", "--byte-count"] {
        let run = run_rbtrfs(&format!("mkfs {option} 8E"), std::slice::from_ref(&image));
        assert!(run.code == 2 && run.says(&["image: cannot be made 9223372036854775808 bytes long"]), "{}", run.stderr);
        assert!(!image.exists(), "a file is left");
    }
}

#[test]
fn a_missing_device_is_said_where_the_result_of_a_check_is() {
    let scratch = Scratch::in_memory();
    let images = images(&scratch);
    let run = run_rbtrfs("check", &images[..1]);
    let end = "no problems found\ndevice 2 is missing: what stands there was not verified\n";
    assert!(run.stdout.ends_with(end), "{}", run.stdout);
    assert!(run_rbtrfs("check", &images).stdout.ends_with("no problems found\n"));
}

#[test]
fn a_superblock_that_is_gone_is_said_in_a_sentence() {
    let scratch = Scratch::in_memory();
    let image = scratch.path("image");
    output_of("mkfs --quiet --byte-count 300M", std::slice::from_ref(&image));
    crate::support::change(&image, 0x400_0000, 4096, |bytes| bytes.fill(0));
    let path = image.display();
    for (command, sentence) in [
        ("check -s 1", format!("{path}: superblock at 67108864: bad magic, another copy of the superblock is there")),
        (
            "dump-super -s 1",
            format!("{path}: bad magic at 67108864, the image holds a btrfs filesystem (--force prints it anyway)"),
        ),
    ] {
        let run = run_rbtrfs(command, std::slice::from_ref(&image));
        assert!(run.code == 2 && run.stderr.ends_with(&format!(": {sentence}\n")), "{command}: {}", run.stderr);
    }
    let zeros = scratch.zeros("zeros", 1 << 20);
    let run = run_rbtrfs("dump-super", &[zeros]);
    assert!(run.says(&["zeros: bad magic at 65536 (--force"]), "{}", run.stderr);
}

#[test]
fn a_limit_for_the_size_of_files_is_a_failure_that_cleans_up() {
    let scratch = Scratch::in_memory();
    let image = scratch.path("image");
    let run = shell("ulimit -f 1000; exec \"$0\" mkfs -b 300M \"$1\"", std::slice::from_ref(&image));
    assert!(run.code == 2 && run.says(&["File too large"]) && !image.exists(), "{run:?}");
    let images = [images(&scratch), vec![scratch.path("dump")]].concat();
    let run = shell("ulimit -f 1; exec \"$0\" dump-tree \"$1\" \"$2\" >\"$3\"", &images);
    assert!(run.code == 2 && run.says(&["cannot write: File too large"]), "{run:?}");
}
