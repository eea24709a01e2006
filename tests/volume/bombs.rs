//! Filesystems of a few blocks that once took hours to read, or wrote terabytes.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::small_image::{self, DEVICE_UUID, GENERATION, Options, Piece, PieceKind};
use rbtrfs::disk::fields::Uuid;
use rbtrfs::disk::flags::block_group;
use rbtrfs::disk::node::{HEADER_SIZE, Header, Item, KeyPtr};
use rbtrfs::disk::root::RootItem;
use rbtrfs::disk::superblock::Superblock;
use rbtrfs::disk::volume::{Chunk, Stripe};
use rbtrfs::disk::{CsumType, Key, KeyType, Profile, STRIPE_LEN, objectid};
use zerocopy::{FromBytes, IntoBytes};

/// The largest blocks make the largest bombs.
const OPTIONS: Options = Options {
    size: 16 << 20,
    nodesize: 65536,
    csum_type: CsumType::Crc32c,
    metadata: Profile::Single,
    no_holes: false,
    block_group_tree: false,
    system_chunk: small_image::SYSTEM_CHUNK,
    first_system_block: small_image::SYSTEM_CHUNK,
};

/// The tree block with this owner and level.
fn block(pieces: &mut [Piece], owner: u64, level: u8) -> &mut Vec<u8> {
    let is_it = |bytes: &[u8]| {
        let header = Header::read_prefix(bytes).expect("a piece is longer than a header").0;
        bytes.len() == OPTIONS.nodesize as usize && header.owner.get() == owner && header.level == level
    };
    let piece = pieces.iter_mut().find(|piece| is_it(&piece.bytes)).expect("the small image has such a block");
    &mut piece.bytes
}

fn bytenr(block: &[u8]) -> u64 {
    Header::read_prefix(block).expect("a block begins with a header").0.bytenr.get()
}

/// Makes a leaf of these items of a block.
fn make_leaf(block: &mut [u8], items: &[(Key, Vec<u8>)]) {
    let (mut front, mut end) = (HEADER_SIZE, block.len());
    for (key, data) in items {
        end -= data.len();
        block[end..][..data.len()].copy_from_slice(data);
        let (offset, size) = (((end - HEADER_SIZE) as u32).into(), (data.len() as u32).into());
        block[front..][..size_of::<Item>()].copy_from_slice(Item { key: (*key).into(), offset, size }.as_bytes());
        front += size_of::<Item>();
    }
    assert!(front <= end);
    finish(block, 0, items.len());
}

/// Fills a node with pointers to the same block.
fn make_node(block: &mut [u8], key: Key, child: u64) {
    let ptr = KeyPtr { key: key.into(), blockptr: child.into(), generation: GENERATION.into() };
    let ptrs = block[HEADER_SIZE..].chunks_exact_mut(size_of::<KeyPtr>());
    let count = ptrs.map(|slot| slot.copy_from_slice(ptr.as_bytes())).count();
    finish(block, 1, count);
}

fn finish(block: &mut [u8], level: u8, nritems: usize) {
    let header = Header::mut_from_bytes(&mut block[..HEADER_SIZE]).expect("the length is that of a header");
    header.level = level;
    header.nritems = (nritems as u32).into();
    CsumType::Crc32c.stamp(block);
}

fn image(name: &str, pieces: &[Piece]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let file = File::create(&path).expect("the image is created");
    file.set_len(OPTIONS.size).expect("the image is extended");
    pieces.iter().for_each(|piece| file.write_all_at(&piece.bytes, piece.offset).expect("the image is written"));
    path
}

/// Every command ends in time, without a signal, and with no more output than this.
#[track_caller]
fn assert_harmless(image: &Path, most: u64) {
    let commands = [
        &["dump-tree"][..],
        &["dump-tree", "--json"],
        &["dump-tree", "--dfs"],
        &["list-chunks"],
        &["check", "--all"],
        &["check", "--json"],
    ];
    for command in commands {
        let mut child = Command::new("sh")
            .args(["-c", "ulimit -v 524288; exec timeout 10 \"$@\"", "sh", env!("CARGO_BIN_EXE_rbtrfs")])
            .args(command)
            .arg(image)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh runs");
        let mut stdout = child.stdout.take().expect("stdout is a pipe").take(most + 1);
        let written = std::io::copy(&mut stdout, &mut std::io::sink()).expect("stdout can be read");
        drop(stdout);
        let status = child.wait().expect("the command ends");
        assert!(written <= most, "{command:?} writes more than {most} bytes");
        let expected = if command[0] == "check" { [1, 2] } else { [0, 2] };
        assert!(status.code().is_some_and(|code| expected.contains(&code)), "{command:?}: {status}");
    }
}

/// Each block of the tree was read as often as pointers lead to it, and each of its roots led to the tree again.
#[test]
fn a_node_of_equal_pointers_is_not_followed_over_and_over() {
    let mut pieces = small_image::pieces(&OPTIONS);
    let leaf = block(&mut pieces, objectid::CSUM_TREE, 0);
    let child = bytenr(leaf);
    let node = block(&mut pieces, objectid::ROOT_TREE, 0);
    let root = bytenr(node);
    let tree = |id: u64| Key::new(id, KeyType::ROOT_ITEM, 0);
    make_node(node, tree(1000), child);
    let mut item = RootItem::zeroed();
    item.bytenr = root.into();
    item.generation = GENERATION.into();
    item.level = 1;
    let items: Vec<_> = (1000..1100).map(|id| (tree(id), item.as_bytes().to_vec())).collect();
    make_leaf(block(&mut pieces, objectid::CSUM_TREE, 0), &items);
    let superblock = pieces.iter_mut().find(|piece| piece.kind == PieceKind::Superblock).expect("there is one");
    let fields = Superblock::mut_from_bytes(&mut superblock.bytes).expect("the length is that of a superblock");
    fields.root_level = 1;
    CsumType::Crc32c.stamp(&mut superblock.bytes);
    assert_harmless(&image("pointers.img", &pieces), 64 << 20);
}

/// Each of the stripes was taken for the second damaged one in turn, and all others were read each time.
#[test]
fn a_block_is_not_rebuilt_from_thousands_of_stripes() {
    let mut pieces = small_image::pieces(&OPTIONS);
    let (chunk_at, stripes) = (17 << 20, 1000_u16);
    let mut chunk = Chunk::zeroed();
    chunk.length = (4_u64 << 20).into();
    chunk.owner = objectid::EXTENT_TREE.into();
    chunk.stripe_len = STRIPE_LEN.into();
    chunk.r#type = (block_group::METADATA | block_group::RAID6).into();
    chunk.num_stripes = stripes.into();
    for devids in [1..=1, 1..=u64::from(stripes)] {
        let mut item = chunk.as_bytes().to_vec();
        for devid in devids.cycle().take(stripes.into()) {
            let dev_uuid = if devid == 1 { DEVICE_UUID } else { Uuid(u128::from(devid).to_le_bytes()) };
            item.extend(Stripe { devid: devid.into(), offset: (8 << 20).into(), dev_uuid }.as_bytes());
        }
        let key = Key::new(objectid::FIRST_CHUNK_TREE, KeyType::CHUNK_ITEM, chunk_at);
        make_leaf(block(&mut pieces, objectid::CHUNK_TREE, 0), &[(key, item)]);
        assert_harmless(&image("stripes.img", &pieces), 64 << 20);
    }
}

/// Each block of a ring was entered again, or called the blocks above it.
#[test]
fn a_block_that_leads_to_itself_or_above_is_not_followed_for_ever() {
    let root = |id: u64| Key::new(id, KeyType::ROOT_ITEM, 0);
    let item = |bytenr: u64, level: u8| {
        let mut item = RootItem::zeroed();
        (item.bytenr, item.generation, item.level) = (bytenr.into(), GENERATION.into(), level);
        item.as_bytes().to_vec()
    };
    for level in 0..8 {
        // A node of pointers to itself, as the root of a tree.
        let mut pieces = small_image::pieces(&OPTIONS);
        let node = block(&mut pieces, objectid::CSUM_TREE, 0);
        let own = bytenr(node);
        make_node(node, root(1000), own);
        Header::mut_from_prefix(node).expect("a block begins with a header").0.level = level;
        CsumType::Crc32c.stamp(node);
        let items = [(root(objectid::FS_TREE), item(own, level)), (root(1000), item(own, level))];
        make_leaf(block(&mut pieces, objectid::ROOT_TREE, 0), &items);
        assert_harmless(&image(&format!("self-{level}.img"), &pieces), 64 << 20);
    }
    // Two nodes that lead to each other, and root items that lead to the root tree.
    let mut pieces = small_image::pieces(&OPTIONS);
    let trees = [objectid::CSUM_TREE, objectid::FS_TREE];
    let places = trees.map(|tree| bytenr(block(&mut pieces, tree, 0)));
    for (tree, other) in trees.into_iter().zip([places[1], places[0]]) {
        make_node(block(&mut pieces, tree, 0), root(1000), other);
    }
    let leaf = block(&mut pieces, objectid::ROOT_TREE, 0);
    let own = bytenr(leaf);
    let items = [(2, places[0], 1), (5, places[1], 1), (1000, own, 0)];
    let items = items.map(|(tree, bytenr, level)| (root(tree), item(bytenr, level)));
    make_leaf(leaf, &items);
    assert_harmless(&image("ring.img", &pieces), 64 << 20);
}
