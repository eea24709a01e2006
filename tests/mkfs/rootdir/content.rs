//! What is in files, and what is said of them.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::compare::{assert_same, facts};
use super::{full_tree, is_root, make, mkfs, mounted, tree};
use crate::support::mounted::Mounted;
use crate::support::{PROGRAM, Run, Scratch, or_skip, output_of, require, tool};

/// Makes images with each of `options`, and compares what the kernel reads of them.
fn assert_all_reads_back(options: &[&str]) {
    let scratch = Scratch::new();
    if !is_root() {
        return;
    }
    let (root, _removed) = full_tree(&scratch);
    let source = facts(&root);
    for (number, options) in options.iter().enumerate() {
        let image = scratch.path(&format!("{number}.img"));
        make(&root, &image, options);
        let Some(mounted) = mounted(&image, "", &scratch) else { return };
        assert_same(mounted.path(), &source);
    }
}

#[test]
fn every_kind_of_file_reads_back_as_it_was() {
    assert_all_reads_back(&[
        "",
        "--shrink",
        "-n 65536 --csum xxhash -O ^no-holes,^block-group-tree",
        "--csum blake2 -m single",
    ]);
}

#[test]
fn what_is_compressed_reads_back_as_it_was() {
    assert_all_reads_back(&[
        "--compress zstd",
        "--compress zstd:15 --csum sha256",
        "--compress zlib:9",
        "--compress lzo",
    ]);
}

#[test]
fn each_compression_is_used_where_it_saves_something() {
    let scratch = Scratch::new();
    let root = scratch.new_directory();
    tree::make_files(&root);
    for (name, number) in [("zlib", 1), ("lzo", 2), ("zstd", 3)] {
        let image = scratch.path(name);
        make(&root, &image, &format!("--compress {name}"));
        let dump = output_of("dump-tree -t 5", &[image]);
        let compressed = dump.lines().filter(|line| line.contains(&format!("extent compression {number} "))).count();
        let plain = dump.lines().filter(|line| line.contains("extent compression 0 ")).count();
        assert!(compressed > 20 && plain > 10, "{name}: {compressed} compressed, {plain} not");
        assert!(
            dump.lines().any(|line| line.contains("inline extent data") && line.contains(&format!("({name})"))),
            "{name}"
        );
    }
}

#[test]
fn small_files_stand_in_leaves_and_large_ones_in_few_extents() {
    let scratch = Scratch::new();
    let root = scratch.new_directory();
    fs::write(root.join("a"), tree::text(2048)).unwrap();
    fs::write(root.join("b"), tree::text(2049)).unwrap();
    fs::write(root.join("c"), tree::noise(200 << 20, 9)).unwrap();
    let image = scratch.path("image");
    make(&root, &image, "");
    let dump = output_of("dump-tree -t 5", &[image]);
    assert_eq!(dump.matches("inline extent data").count(), 1);
    let extents = dump.matches("extent data disk byte").count();
    // Two would do for the large one, were there no superblocks between.
    assert!((3..=6).contains(&extents), "{extents} extents");
}

#[test]
fn owners_and_devices_that_fakeroot_pretends_are_seen() {
    let scratch = Scratch::new();
    let root = scratch.new_directory();
    let image = scratch.path("image");
    let script = format!(
        "cd {0}; echo x >file; chown 123:456 file; mknod null c 1 3; mknod disk b 259 7; mkdir d; chown 9:9 d; \
         {PROGRAM} mkfs -q -r {0} {1}",
        root.display(),
        image.display()
    );
    let Some(_) = or_skip(tool("fakeroot", ["sh", "-ec", &script])) else { return };
    let dump = output_of("dump-tree -t 5", &[image]);
    let has = |text: &str| assert!(dump.contains(text), "{text}: {dump}");
    has("mode 100644 links 1 uid 123 gid 456 rdev 0");
    has("mode 20644 links 1 uid 0 gid 0 rdev 1048579");
    has("mode 60644 links 1 uid 0 gid 0 rdev 271581191");
    has("mode 40755 links 1 uid 9 gid 9 rdev 0");
}

#[test]
fn neither_threads_nor_time_change_a_byte() {
    let scratch = Scratch::new();
    if !is_root() {
        return;
    }
    let (root, _removed) = full_tree(&scratch);
    let mut made = Vec::new();
    for (number, threads) in ["1", "4", "4"].into_iter().enumerate() {
        let image = scratch.path(&format!("{number}.img"));
        let uuids =
            ["-U", "01234567-89ab-cdef-0123-456789abcdef", "--device-uuid", "fedcba98-7654-3210-fedc-ba9876543210"];
        let rest = ["--shrink", "--compress", "zstd:1", "--subvol", "names", "--threads", threads, "-r"];
        let mut options: Vec<&std::ffi::OsStr> = uuids.iter().chain(&rest).map(|word| word.as_ref()).collect();
        options.extend([root.as_os_str(), image.as_os_str()]);
        let run = mkfs(&options, &[("SOURCE_DATE_EPOCH", "1700000000")]);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""));
        made.push(image);
    }
    for other in &made[1..] {
        tool("cmp", [&made[0], other]).unwrap();
    }
}

#[test]
fn a_million_names_take_little_memory() {
    // Not a million here, for the time it takes; the benchmark has as many.
    let scratch = Scratch::new();
    let root = scratch.new_directory();
    (0..30_000).for_each(|number| drop(fs::File::create(root.join(format!("file-{number:07}"))).unwrap()));
    let image = scratch.path("image");
    make(&root, &image, "");
    let Some(mounted) = mounted(&image, "", &scratch) else { return };
    assert_same(mounted.path(), &facts(&root));
}

#[test]
fn data_without_checksums_has_none() {
    let scratch = Scratch::new();
    let root = scratch.new_directory();
    fs::create_dir_all(root.join("database/below")).unwrap();
    for path in ["summed", "unsummed", "database/table", "database/below/log"] {
        fs::write(root.join(path), tree::text(100_000)).unwrap();
    }
    let image = scratch.path("image");
    make(&root, &image, "--compress zstd --inode-flags nodatasum:unsummed --inode-flags nodatacow:/database");
    let Some(mounted) = mounted(&image, "", &scratch) else { return };
    assert_same(mounted.path(), &facts(&root));
    let attributes = |path: &str| {
        let text = tool("lsattr", ["-d".as_ref(), mounted.path().join(path).as_os_str()]).unwrap();
        text.split_whitespace().next().unwrap().contains('C')
    };
    assert!(["database", "database/table", "database/below", "database/below/log"].into_iter().all(attributes));
    assert!(!["summed", "unsummed", "."].into_iter().any(attributes));
}

#[test]
fn many_commands_call_us_with_a_directory() {
    let scratch = Scratch::new();
    let root = scratch.new_directory();
    fs::create_dir(root.join("live")).unwrap();
    fs::write(root.join("live/file"), tree::text(10_000)).unwrap();
    let made = |command: &str, existing: Option<u64>| {
        let image = scratch.path("image");
        let _ = fs::remove_file(&image);
        if let Some(size) = existing {
            fs::File::create(&image).unwrap().set_len(size).unwrap();
        }
        let command = command.replace("DIR", root.to_str().unwrap()).replace("FILE", image.to_str().unwrap());
        let words: Vec<&str> = command.split_whitespace().map(|word| if word == "''" { "" } else { word }).collect();
        let run = mkfs(&words, &[]);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{command}");
        assert_eq!(run.stdout.is_empty(), words.iter().any(|word| ["-q", "--quiet"].contains(word)), "{command}");
        super::assert_sound(&image);
        fs::metadata(&image).unwrap().len()
    };
    const UUID: &str = "01234567-89ab-cdef-0123-456789abcdef";
    let mib = 1 << 20;
    // systemd-repart
    made(
        &format!("-L label -U {UUID} --nodiscard -r DIR -q --compress zstd:3 --sectorsize=4096 FILE --subvol ro:/live"),
        Some(200 * mib),
    );
    made(&format!("-L label -U {UUID} --nodiscard -r DIR FILE --shrink"), Some(200 * mib));
    // buildroot
    assert_eq!(made("-f -r DIR -L '' --byte-count 120m --nodesize 16384 --sectorsize 4096 FILE", None), 120 * mib);
    // Yocto
    assert!(made("-n 4096 --shrink -r DIR FILE", None) < 100 * mib);
    assert_eq!(
        made(&format!("-b 163636428 -r DIR -L l -U {UUID} FILE --quiet --mixed -K"), None),
        163_636_428 / 4096 * 4096
    );
    // genimage: not a byte may be added.
    assert_eq!(made("-L l -r DIR FILE", Some(150 * mib)), 150 * mib);
    // nixpkgs
    assert!(made(&format!("-L l -U {UUID} -r DIR --shrink FILE"), None) < 100 * mib);
    // antlir
    let plain = made("--compress zstd:1 --label l --rootdir DIR --shrink --subvol rw:live FILE", None);
    let slack = made(
        "--compress zstd:1 --label l --rootdir DIR --shrink --shrink-slack-size 33554432 --subvol rw:live FILE",
        None,
    );
    assert_eq!(slack - plain, 32 * mib);
}

#[test]
fn a_shrunk_filesystem_can_be_written_to() {
    let scratch = Scratch::new();
    let (few, many, data) = (scratch.new_directory(), scratch.new_directory(), scratch.new_directory());
    fs::write(few.join("file"), "x").unwrap();
    (0..20_000).for_each(|number| drop(fs::File::create(many.join(format!("file-{number:07}"))).unwrap()));
    (0..8).for_each(|number| fs::write(data.join(format!("{number}")), tree::noise(20 << 20, number)).unwrap());
    for (root, options) in [
        (&few, "--shrink"),
        (&few, "--shrink -m single"),
        (&few, "--shrink -n 4096"),
        (&few, "--shrink --mixed"),
        (&many, "--shrink"),
        (&many, "--shrink -m single -n 65536"),
        (&data, "--shrink --csum sha256"),
        (&data, "--shrink --compress zstd:1 -m single"),
    ] {
        let image = scratch.path("image");
        make(root, &image, options);
        let Some(mounted) = or_skip(Mounted::new(std::slice::from_ref(&image), "rw", &scratch)) else { return };
        let script = "mkdir new && for n in $(seq 50); do echo $n >new/$n; done && sync -f . && rm new/7 && sync -f .";
        let output = Command::new("sh").args(["-ec", script]).current_dir(mounted.path()).output().unwrap();
        assert!(output.status.success(), "{options}: {}", String::from_utf8_lossy(&output.stderr));
        drop(mounted);
        super::assert_sound(&image);
        fs::remove_file(&image).unwrap();
    }
}

#[test]
fn all_the_slack_is_left_that_was_asked_for() {
    let scratch = Scratch::new();
    let root = scratch.new_directory();
    fs::write(root.join("file"), "x").unwrap();
    let size = |options: &str| {
        let image = scratch.path("image");
        let _ = fs::remove_file(&image);
        make(&root, &image, options);
        fs::metadata(&image).unwrap().len()
    };
    assert_eq!(size("--shrink --shrink-slack-size 1g") - size("--shrink"), 1 << 30);
}

#[test]
fn the_clock_that_faketime_shows_is_ours() {
    let scratch = Scratch::new();
    let root = scratch.new_directory();
    fs::write(root.join("file"), "x").unwrap();
    let image = scratch.path("image");
    let needed = Command::new("faketime").arg("--version").output();
    if !require("the_clock_that_faketime_shows_is_ours", needed.is_ok(), "no faketime") {
        return;
    }
    // A clock that stands still there.
    let arguments = [
        Path::new("-f"),
        Path::new("1970-01-02 00:00:00"),
        Path::new(PROGRAM),
        Path::new("mkfs"),
        Path::new("-q"),
        Path::new("-r"),
        &root,
        &image,
    ];
    let run = Run::of(Command::new("faketime").env("TZ", "UTC").args(arguments).output().unwrap());
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    assert!(output_of("dump-tree -t 1", &[image]).contains("otime 86400."));
}
