//! Whole images whose blocks are damaged and whose checksums are right.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rbtrfs::block::Block;
use rbtrfs::disk::superblock::{SUPER_INFO_SIZE, Superblock};
use rbtrfs::disk::{CsumType, Profile};
use rbtrfs::dump::Style;
use rbtrfs::dump::chunks::ChunkList;
use rbtrfs::dump::json::{Json, JsonLines};
use rbtrfs::dump::text::Text;
use rbtrfs::dump::tree::{Complaint, Form, Order, Selection, dump};
use rbtrfs::image::Image;
use rbtrfs::volume::{Volume, read_copies};
use zerocopy::{FromBytes, IntoBytes};

use crate::mutate::Mutator;
use crate::random::Random;
use crate::small_image::{Options, Piece, PieceKind, pieces};
use crate::superblock::{damage, print};
use crate::{Target, assert_json};

/// A file in memory that is read as an image. It has no name, so that nothing is left of it however the process ends.
pub struct Scratch {
    path: PathBuf,
    file: File,
}

impl Scratch {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("/dev/shm/rbtrfs-fuzz-{}-{number}", std::process::id());
        let file = File::options().read(true).write(true).create_new(true).open(&name).expect("/dev/shm is writable");
        std::fs::remove_file(name).expect("the name can be removed");
        file.set_len(Options::default().size).expect("the file can be extended");
        Self { path: format!("/proc/self/fd/{}", file.as_raw_fd()).into(), file }
    }

    pub fn write(&self, pieces: &[Piece]) {
        pieces.iter().for_each(|piece| self.write_at(piece.offset, &piece.bytes));
    }

    pub fn write_at(&self, offset: u64, bytes: &[u8]) {
        self.file.write_all_at(bytes, offset).expect("/dev/shm has room");
    }

    /// Reads all that the commands read.
    pub fn read(&self) {
        let Ok(image) = Image::open(&self.path) else { return };
        read_copies(&image).into_iter().flatten().for_each(|copy| print(&copy.superblock));
        let Ok(volume) = Volume::open(vec![image]) else { return };
        let style = Style { csum_headers: true, csum_items: true, ..Style::of(&volume) };
        let all = |order| Selection { backups: true, order, ..Selection::default() };
        dumped(&volume, &all(Order::DepthFirst), &Text { style });
        dumped(&volume, &all(Order::BreadthFirst), &Text { style });
        let roots = Selection { roots: true, ..all(Order::BreadthFirst) };
        assert_json(&dumped(&volume, &roots, &Json { style }));
        assert_json(&dumped(&volume, &all(Order::BreadthFirst), &Json { style }));
        let lines = dumped(&volume, &all(Order::DepthFirst), &JsonLines { style });
        lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).for_each(assert_json);
        let chunks = ChunkList::new(&volume);
        chunks.put_text(&mut Vec::new());
        assert_json(&serde_json::to_vec(&chunks).expect("a list serializes"));
        for chunk in volume.chunks().iter() {
            // Many mirrors only repeat what few do.
            for mirror in 1..=chunk.mirrors().min(8) {
                let _ = volume.read(chunk.logical, mirror, &mut [0; SUPER_INFO_SIZE]);
            }
        }
    }
}

fn dumped<F: Form>(volume: &Volume, selection: &Selection, form: &F) -> Vec<u8> {
    let mut out = Vec::new();
    let mut complain = |complaint: &Complaint| drop(complaint.to_string());
    dump(volume, selection, form, 1, &mut out, &mut complain).expect("memory can be written");
    out
}

/// Small images of several kinds.
pub struct Images {
    seeds: Vec<(CsumType, Vec<Piece>, Vec<u64>)>,
    scratch: Scratch,
}

impl Images {
    pub fn new() -> Self {
        let small = || Options { nodesize: 4096, ..Options::default() };
        let kinds = [
            small(),
            Options { metadata: Profile::Single, ..small() },
            Options { no_holes: true, block_group_tree: true, ..small() },
            Options { csum_type: CsumType::Xxhash, nodesize: 16384, ..small() },
        ];
        let seeds = kinds.map(|options| {
            let pieces = pieces(&options);
            let blocks = pieces.iter().filter(|piece| piece.kind == PieceKind::TreeBlock);
            let addresses = blocks.filter_map(|piece| Block::new(&piece.bytes));
            let addresses = addresses.map(|block| block.logical().0).collect();
            (options.csum_type, pieces, addresses)
        });
        Self { seeds: seeds.into(), scratch: Scratch::new() }
    }
}

impl Target for Images {
    type Input = Vec<Piece>;

    fn name(&self) -> &'static str {
        "image"
    }

    fn input(&self, mut random: Random) -> Vec<Piece> {
        let (csum_type, seed, values) = random.pick(&self.seeds);
        let mut pieces = seed.clone();
        let mut mutator = Mutator { random, values };
        for _ in 0..mutator.random.few(5) {
            let index = mutator.random.below(pieces.len());
            let old = pieces[index].bytes.clone();
            let mut new = old.clone();
            match pieces[index].kind {
                PieceKind::Data => continue,
                PieceKind::Superblock => {
                    let superblock = Superblock::mut_from_bytes(&mut new).expect("the length is that of a superblock");
                    damage(superblock, &mut mutator);
                    superblock.csum_type().unwrap_or(*csum_type).stamp(superblock.as_mut_bytes());
                }
                PieceKind::TreeBlock => {
                    let is_leaf = Block::new(&new).is_some_and(|block| block.level() == 0);
                    if is_leaf && mutator.random.one_in(6) {
                        mutator.new_leaf(&mut new);
                    } else {
                        mutator.block(&mut new);
                    }
                    csum_type.stamp(&mut new);
                }
            }
            // The other copy as well, or the damage would not be met; or not, and both copies are.
            let both = !mutator.random.one_in(8);
            for piece in pieces.iter_mut().filter(|piece| both && piece.bytes == old) {
                piece.bytes.clone_from(&new);
            }
            pieces[index].bytes = new;
        }
        pieces
    }

    fn run(&self, input: &Vec<Piece>) {
        self.scratch.file.set_len(0).expect("the file can be cut");
        self.scratch.file.set_len(Options::default().size).expect("the file can be extended");
        self.scratch.write(input);
        self.scratch.read();
    }

    fn save(&self, input: &Vec<Piece>, path: &Path) -> std::io::Result<()> {
        let file = File::create(path)?;
        file.set_len(Options::default().size)?;
        input.iter().try_for_each(|piece| file.write_all_at(&piece.bytes, piece.offset))
    }

    fn load(&self, path: &Path) -> std::io::Result<Vec<Piece>> {
        Ok(vec![Piece { kind: PieceKind::Data, offset: 0, bytes: std::fs::read(path)? }])
    }
}
