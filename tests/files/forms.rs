//! Forms of files that few filesystems have: many extents, long names and paths, parts of compressed extents.

use std::path::Path;
use std::process::Command;

use rbtrfs::files::{Files, Start};

use super::Told;
use super::like_mount::assert_like_mount;
use super::support::change::make_filesystem;
use super::support::mounted::Mounted;
use super::support::*;

/// Functions for the scripts that make files.
const PERL: &str = r#"
    use strict; use Fcntl; chdir shift or die;
    sub text { my ($size) = @_; substr join("", map "line $_ of a text\n", 1 .. 1 + $size / 16), 0, $size }
    sub noise { my ($seed, $size) = @_; srand $seed; pack "L*", map int rand 2**32, 1 .. $size / 4 }
    sub put { my ($name, $offset, $data) = @_; sysopen my $file, $name, O_RDWR | O_CREAT or die "$name: $!";
        sysseek $file, $offset, 0; syswrite($file, $data) == length $data or die "$name: $!" }
    # FICLONERANGE
    sub clone { my ($from, $start, $length, $to, $at) = @_;
        sysopen my $in, $from, O_RDONLY or die; sysopen my $out, $to, O_RDWR | O_CREAT or die;
        my $argument = pack "qQQQ", fileno $in, $start, $length, $at; ioctl $out, 0x4020940d, $argument or die "clone: $!" }
"#;

fn make_files(mount: &Path, script: &str) {
    let script = format!("{PERL}\n{script}");
    let output = Command::new("perl").args(["-e", &script]).arg(mount).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A filesystem of the kernel with the files of a script, and what `compare` says with its mount.
fn compare_files(mkfs: &[&str], mount: &str, script: &str, judge: impl FnOnce(&Files<'_>, &Path)) {
    let scratch = Scratch::new();
    let Some(images) = make_filesystem(mkfs, 1, 1 << 30, &scratch) else { return };
    let Some(mounted) = or_skip(Mounted::new(&images, &format!("noatime,{mount}"), &scratch)) else { return };
    make_files(mounted.path(), script);
    tool("sync", ["-f", mounted.path().to_str().unwrap()]).unwrap();
    let volume = open(&images);
    let told = Told::default();
    let files = told.open(&volume, Start::Default);
    assert_like_mount(&files, files.root(), mounted.path());
    judge(&files, mounted.path());
    drop(files);
    assert_eq!(told.take(), []);
}

#[test]
fn parts_of_compressed_extents_and_inline_ones_are_what_the_kernel_reads() {
    for method in ["zlib", "zlib:9", "lzo", "zstd", "zstd:15"] {
        for mkfs in [&["-O", "no-holes"][..], &["-O", "^no-holes"]] {
            let script = r#"
                put "large", 0, text 1000000; put "mixed", 0, text(50000) . noise(1, 60000) . text(70000);
                put "inline-$_", 0, text $_ for 1, 70, 2000, 2040, 4000; put "odd-$_", 0, text $_ for 4097, 9999, 131073;
                system "sync", "-f", ".";
                clone "large", 4096 * $_, 4096 * (1 + $_ % 7), "parts", 16384 * $_ for 0 .. 99;
                clone "large", 131072 - 4096, 8192, "across", 0; clone "mixed", 40960, 65536, "across", 65536;
                put "large", 200000, noise 2, 5000; put "large", 300000, text 1000; truncate "odd-9999", 5000;
                truncate "odd-4097", 100000; truncate "inline-2000", 1000; truncate "inline-4000", 100000;
            "#;
            compare_files(mkfs, &format!("compress-force={method}"), script, |files, _| {
                let (mut compressed, mut inline) = (0, 0);
                let volume = files.volume();
                for_each_extent(volume, |extent| {
                    compressed += usize::from(extent.compression != 0);
                    inline += usize::from(extent.compression != 0 && extent.r#type == 0);
                });
                assert!(compressed > 100 && inline > 1, "{method}: {compressed} compressed, {inline} of them inline");
            });
        }
    }
}

fn for_each_extent(volume: &rbtrfs::volume::Volume, mut visit: impl FnMut(&rbtrfs::disk::inode::FileExtentItem)) {
    contents::for_each_item(volume, &contents::tree(volume, 5), |item| {
        if item.key.key_type == rbtrfs::disk::KeyType::EXTENT_DATA {
            visit(rbtrfs::disk::inode::FileExtentItem::read_prefix(item.data).unwrap().0);
        }
    });
}

#[test]
fn holes_and_preallocation_are_zeroes_wherever_they_are() {
    let script = r#"
        put "before", 65536, noise 1, 4096; put "after", 0, noise 2, 8192; truncate "after", 1 << 40;
        truncate "all", 1 << 20; put "one", 12345, "x"; put "ends-$_", 0, noise $_, $_ for 4, 4092, 4096, 4100, 65532;
        system "fallocate", "-l", "1M", "written"; put "written", 4096 * $_ * 3, noise $_, 4096 for 0 .. 80;
        system "fallocate", "-n", "-o", "8192", "-l", "1M", "ends-4100";
        put "punched", 0, noise 3, 400000; system "fallocate", "-p", "-o", "5000", "-l", "100000", "punched";
        system "fallocate", "-z", "-o", "200000", "-l", "70000", "punched"; system "fallocate", "-c", "-o", "4096", "-l", "8192", "punched";
        put "nodatasum", 0, ""; system "chattr", "+C", "nodatasum"; put "nodatasum", 0, noise 4, 300000;
        system "fallocate", "-o", "400000", "-l", "100000", "nodatasum"; put "nodatasum", 450000, noise 5, 4096;
    "#;
    for mkfs in [&["-O", "no-holes"][..], &["-O", "^no-holes"], &["-M", "-n", "4k"]] {
        compare_files(mkfs, "rw", script, |files, _| {
            let mut byte = [7];
            let id = files.lookup("after").unwrap();
            assert_eq!(files.read(id, (1 << 40) - 1, &mut byte).unwrap(), 1);
            assert_eq!(byte, [0]);
            assert_eq!(files.read(id, 1 << 40, &mut byte).unwrap(), 0);
            assert_eq!(files.read(id, u64::MAX, &mut byte).unwrap(), 0);
        });
    }
}

#[test]
fn a_file_of_a_hundred_thousand_extents_is_read_in_order_and_at_random() {
    const BLOCKS: usize = 100_000;
    let script = r#"
        put "source", 0, noise 1, 16 * 4096; system "sync", "-f", ".";
        sysopen my $in, "source", O_RDONLY or die; sysopen my $out, "many", O_RDWR | O_CREAT or die;
        for my $n (0 .. 99999) { my $argument = pack "qQQQ", fileno $in, 4096 * ($n * 7 % 16), 4096, 4096 * $n;
            ioctl $out, 0x4020940d, $argument or die "clone: $!" }
    "#;
    let scratch = Scratch::new();
    let Some(images) = make_filesystem(&[], 1, 1 << 30, &scratch) else { return };
    let Some(mounted) = or_skip(Mounted::new(&images, "noatime", &scratch)) else { return };
    make_files(mounted.path(), script);
    drop(mounted);
    let volume = open(&images);
    let files = Files::open(&volume, Start::Default).unwrap();
    let source = super::read(&files, "source");
    let block = |number: usize| &source[number * 7 % 16 * 4096..][..4096];
    let id = files.lookup("many").unwrap();
    let mut file = files.file(id).unwrap();
    let (mut extents, mut offset) = (0, 0);
    while let Some(piece) = file.next_piece().unwrap() {
        let rbtrfs::files::Content::Data(data) = piece.content else { panic!("a hole at {offset}") };
        for (number, bytes) in data.chunks(4096).enumerate() {
            assert!(bytes == block(offset / 4096 + number), "{offset}");
        }
        (extents, offset) = (extents + 1, offset + data.len());
    }
    assert_eq!((extents, offset), (BLOCKS, BLOCKS * 4096));
    let mut random = random::Random(7);
    let mut bytes = vec![0; 10_000];
    for _ in 0..500 {
        let start = random.below(BLOCKS * 4096 - bytes.len());
        assert_eq!(file.read_at(start as u64, &mut bytes).unwrap(), bytes.len());
        let expected = (start..start + bytes.len()).map(|at| block(at / 4096)[at % 4096]);
        assert!(expected.eq(bytes.iter().copied()), "{start}");
    }
}

#[test]
fn long_names_deep_paths_and_links_in_many_directories_are_found() {
    let script = r#"
        my @bytes = grep $_ != 47, 1 .. 255; my $name = join "", map chr, @bytes, 65; put $name, 0, "any bytes";
        mkdir "links"; put "links/first", 0, "linked";
        for (1 .. 50) { mkdir "links/$_"; link "links/first", "links/$_/" . "n" x (5 * $_) or die "link: $!" }
        mkdir "deep"; chdir "deep" or die;
        for (1 .. 1500) { my $name = "d" x (1 + $_ % 9); mkdir $name or die "$_: $!"; chdir $name or die "$_: $!" }
        put "bottom", 0, "found";
    "#;
    compare_files(&[], "rw", script, |files, _| {
        let name: Vec<u8> = (1..=255).filter(|byte| *byte != b'/').chain([b'A']).collect();
        assert_eq!(name.len(), 255);
        let id = files.lookup(&name).unwrap();
        let mut bytes = [0; 20];
        assert_eq!(files.read(id, 0, &mut bytes).unwrap(), 9);
        assert_eq!(&bytes[..9], b"any bytes");
        let first = files.lookup("links/first").unwrap();
        for number in 1..=50 {
            let path = format!("links/{number}/{}", "n".repeat(5 * number));
            assert_eq!(files.lookup(&path).unwrap(), first, "{path}");
        }
        let directories: Vec<String> = (1..=1500).map(|number| "d".repeat(1 + number % 9)).collect();
        let path = format!("deep/{}/bottom", directories.join("/"));
        let id = files.lookup(&path).unwrap();
        assert_eq!(files.path_in_subvolume(id).unwrap(), path.as_bytes());
        let walked: Vec<_> = files.walk(files.root()).map(Result::unwrap).collect();
        assert_eq!(walked.iter().filter(|met| met.path == path.as_bytes()).count(), 1);
        assert_eq!(walked.len(), 1 + 1 + 1 + 50 * 2 + 1 + 1500 + 1);
    });
}

#[test]
fn what_mkfs_compresses_into_sectors_of_every_size_is_read_back() {
    let scratch = Scratch::new();
    let source = scratch.new_directory();
    make_files(
        &source,
        r#"
        put "text-$_", 0, text $_ for 1, 100, 3000, 4096, 5000, 65536, 70000, 131072, 131073, 1000000;
        put "noise-$_", 0, noise $_, $_ for 4, 5000, 200000; put "mixed", 0, text(100000) . noise(1, 100000) . text(300000);
    "#,
    );
    for sectorsize in ["4096", "8192", "16384", "65536"] {
        for method in ["no", "zlib", "lzo", "zstd"] {
            let image = scratch.zeros("made.img", 512 << 20);
            let rootdir = source.to_str().unwrap();
            let options = format!(
                "mkfs --quiet --force --sectorsize {sectorsize} --nodesize 65536 --rootdir {rootdir} --compress {method}"
            );
            let run = run_rbtrfs(&options, std::slice::from_ref(&image));
            assert_eq!(run.code, 0, "{options}: {}", run.stderr);
            let volume = open(std::slice::from_ref(&image));
            let files = Files::open(&volume, Start::Default).unwrap();
            let mut count = 0;
            for entry in std::fs::read_dir(&source).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                let expected = std::fs::read(source.join(&name)).unwrap();
                assert!(super::read(&files, &name) == expected, "{options}: {name}");
                count += 1;
            }
            assert_eq!(count, 14);
            let mut compressed = 0;
            for_each_extent(&volume, |extent| compressed += usize::from(extent.compression != 0));
            assert_eq!(compressed > 5, method != "no", "{options}: {compressed}");
            std::fs::remove_file(&image).unwrap();
        }
    }
}
