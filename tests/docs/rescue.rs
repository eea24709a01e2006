//! From "mount: wrong fs type, bad superblock" to the files, by the chapter "My filesystem does not mount": the commands of its
//! sections, on the damage that each is for.

use std::fs;
use std::path::{Path, PathBuf};

use rbtrfs::disk::{Key, KeyType, objectid};

use crate::blocks::{Shell, blocks_of, read};
use crate::support::inject::Injector;
use crate::support::mounted::Mounted;
use crate::support::{Scratch, copies, or_skip, run_rbtrfs, tool};

/// The id of the first subvolume.
const SUBVOLUME: u64 = 256;

/// Zeroes, as a bad sector or a discard of what was in use leaves them.
fn lose(block: &mut [u8]) {
    block.fill(0);
}

/// Filesystems that the kernel has used for some commits, on `names`, and what was in them. On one device it allocated a chunk in
/// one of the commits. Nothing where it cannot mount.
fn used(names: &[&str], shell: &Shell, scratch: &Scratch) -> Option<(Vec<PathBuf>, PathBuf)> {
    let images: Vec<PathBuf> = names.iter().map(|name| shell.directory.join(name)).collect();
    let profile = if names.len() == 1 { "" } else { "-d raid1 -m raid1" };
    let made = run_rbtrfs(&format!("mkfs -q -b 600M {profile}"), &images);
    assert_eq!(made.code, 0, "{}", made.stderr);
    let original = scratch.path("original");
    let mounted = or_skip(Mounted::new(&images, "commit=1000", scratch))?;
    let script = "btrfs -q subvolume create home && mkdir home/ann etc && echo host >etc/hostname && \
        head -c 3000000 /dev/urandom >home/ann/photo && for n in $(seq 400); do echo note $n >home/ann/note-$n; done && \
        sync -f . && for round in 1 2 3; do for n in $(seq 200); do echo $round $n >home/ann/letter-$round-$n; done; \
        sync -f .; done && if test -n \"$3\"; then fallocate -l 300M large && sync -f . && rm large && sync -f .; fi && \
        cp -a . \"$1\"";
    let script = format!("cd \"$2\" && {script}");
    let is_alone = if names.len() == 1 { "yes" } else { "" };
    let words = ["-euc", &script, "sh", original.to_str().unwrap(), mounted.path().to_str().unwrap(), is_alone];
    or_skip(tool("sh", words))?;
    drop(mounted);
    Some((images, original))
}

/// Damages a filesystem with `damage`, which the kernel then does not mount, and runs the section's commands. The files are
/// in `rescued` directories then.
struct Rescue {
    _scratch: Scratch,
    shell: Shell,
    original: PathBuf,
    printed: String,
}

impl Rescue {
    fn by(
        section: &str,
        sign: (&str, Option<u64>),
        names: &[&str],
        damage: impl FnOnce(&mut Injector),
    ) -> Option<Self> {
        let scratch = Scratch::new();
        let shell = Shell::new(&scratch)?;
        let (images, original) = used(names, &shell, &scratch)?;
        let mut injector = Injector::new(&images);
        damage(&mut injector);
        images.iter().for_each(|image| fs::remove_file(image).unwrap());
        copies(injector.images(), &shell.directory);
        let is_mounted = shell.run(
            "mount",
            "mkdir mnt; if mount -o loop,ro \"$(ls *.img | head -n 1)\" mnt; then umount mnt; echo mounted; fi; rmdir mnt",
        );
        let is_of_a_file = section.starts_with("A part");
        assert_eq!(is_mounted.contains("mounted\n"), is_of_a_file, "{section}: {is_mounted}");
        let chapter = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/src/no-mount.md"));
        let link = format!("](#{})", section.to_lowercase().replace(' ', "-"));
        let row =
            chapter.lines().find(|line| line.starts_with('|') && line.contains(&link)).expect("the table leads to it");
        // What the check says is what the table sends a person here by.
        let (words, tree) = sign;
        assert!(
            row.contains(words) && tree.is_none_or(|tree| row.contains(&format!("tree {tree} "))),
            "{section}: {row}"
        );
        let images: Vec<PathBuf> =
            injector.images().iter().map(|image| shell.directory.join(image.file_name().unwrap())).collect();
        let said = run_rbtrfs("check --json", &images);
        let tree = tree.map_or(String::new(), |tree| format!("\"tree\":{tree},"));
        let is_said =
            said.stdout.contains(&format!("{:?}", words)) && said.stdout.contains(&tree) || said.says(&[words]);
        assert!(is_said, "{section}: {}{}", said.stdout, said.stderr);
        let mut printed = String::new();
        for (heading, block) in blocks_of(&chapter) {
            if heading == section {
                printed += &shell.run(section, &block);
            }
        }
        Some(Self { _scratch: scratch, shell, original, printed })
    }

    /// Files that differ from those that were there, or lack.
    fn differences(&self, directory: &str) -> Vec<String> {
        let script = format!("diff -rq --no-dereference {:?} {directory} || true", self.original);
        self.shell.run("diff", &script).lines().map(str::to_owned).collect()
    }

    fn assert_all_is_there(&self, directory: &str) {
        let differences = self.differences(directory);
        assert!(differences.is_empty(), "{directory}: {differences:#?}\n{}", self.printed);
    }
}

#[test]
fn files_come_back_where_the_superblock_is_gone() {
    let rescue = Rescue::by("Superblock gone", ("super-magic", None), &["disk.img"], |injector| {
        injector.bytes(0, 65_536, 4096, lose);
    });
    let Some(rescue) = rescue else { return };
    rescue.assert_all_is_there("rescued");
}

#[test]
fn files_come_back_where_the_chunk_root_is_gone() {
    let rescue =
        Rescue::by("Chunk root gone", ("block-unreadable", Some(objectid::CHUNK_TREE)), &["disk.img"], |injector| {
            injector.block_unstamped(injector.root(objectid::CHUNK_TREE).logical, lose);
        });
    let Some(rescue) = rescue else { return };
    rescue.assert_all_is_there("rescued");
}

#[test]
fn files_come_back_where_the_root_tree_is_gone() {
    let rescue =
        Rescue::by("Root tree gone", ("block-unreadable", Some(objectid::ROOT_TREE)), &["disk.img"], |injector| {
            injector.block_unstamped(injector.root(objectid::ROOT_TREE).logical, lose);
        });
    let Some(rescue) = rescue else { return };
    // The last commit did nothing but remove a file.
    for directory in ["rescued", "rescued-by-root"] {
        let others: Vec<String> =
            rescue.differences(directory).into_iter().filter(|line| !line.ends_with(": large")).collect();
        assert!(others.is_empty(), "{directory}: {others:#?}\n{}", rescue.printed);
    }
}

#[test]
fn files_come_back_where_a_leaf_of_a_subvolume_is_gone() {
    let rescue =
        Rescue::by("A part of a subvolume gone", ("block-unreadable", Some(SUBVOLUME)), &["disk.img"], |injector| {
            let inode = Key::new(600, KeyType::INODE_ITEM, 0);
            injector.block_unstamped(injector.leaf_of(SUBVOLUME, inode), lose);
        });
    let Some(rescue) = rescue else { return };
    let verified = rescue.differences("rescued-verified");
    // A leaf has some dozens of small files.
    assert!((1..150).contains(&verified.len()), "{verified:#?}\n{}", rescue.printed);
    for directory in ["rescued", "rescued-by-repair"] {
        rescue.assert_all_is_there(directory);
    }
}

#[test]
fn files_come_back_where_a_device_is_missing() {
    let rescue = Rescue::by("A device missing", ("is missing", None), &["a.img", "b.img"], |injector| injector.lose(1));
    let Some(rescue) = rescue else { return };
    rescue.assert_all_is_there("rescued");
}
