//! Superblocks and system chunk arrays.

use rbtrfs::disk::superblock::{SUPER_INFO_SIZE, SUPER_OFFSETS, SYSTEM_CHUNK_ARRAY_SIZE, Superblock};
use rbtrfs::disk::{CsumType, Logical};
use rbtrfs::dump::superblock::{put_json, put_superblock};
use rbtrfs::volume::sys_chunk_array::Entries;
use rbtrfs::volume::{ChunkMap, ChunkMapping};
use zerocopy::{FromBytes, IntoBytes};

use crate::image::Scratch;
use crate::mutate::Mutator;
use crate::random::Random;
use crate::small_image::{self, Options, PieceKind};
use crate::{Target, assert_json};

/// Prints a superblock in all forms.
pub fn print(superblock: &Superblock) {
    let _ = put_superblock(superblock, true, &mut Vec::new());
    let mut json = Vec::new();
    put_json("image", SUPER_OFFSETS[0], superblock, &mut json);
    assert_json(&json);
}

fn seed() -> Superblock {
    let pieces = small_image::pieces(&Options::default());
    let piece = pieces.iter().find(|piece| piece.kind == PieceKind::Superblock).expect("an image has a superblock");
    Superblock::read_from_bytes(&piece.bytes).expect("the length is that of a superblock")
}

/// Damages the fields of a superblock, most of which stand at its beginning, and its array.
pub fn damage(superblock: &mut Superblock, mutator: &mut Mutator<'_>) {
    for _ in 0..mutator.random.few(4) {
        match mutator.random.below(6) {
            0 => mutator.bytes(superblock.as_mut_bytes()),
            1 | 2 => {
                let used = superblock.sys_chunk_array_size.get() as usize;
                mutator.bytes(&mut superblock.sys_chunk_array[..used.min(SYSTEM_CHUNK_ARRAY_SIZE)]);
            }
            3 => mutator.bytes(superblock.sys_chunk_array_size.as_mut_bytes()),
            _ => mutator.bytes(&mut superblock.as_mut_bytes()[32..352]),
        }
    }
}

/// A superblock before an image that it need not fit.
pub struct Superblocks {
    seed: Superblock,
    scratch: Scratch,
}

impl Superblocks {
    pub fn new() -> Self {
        let scratch = Scratch::new();
        scratch.write(&small_image::pieces(&Options::default()));
        Self { seed: seed(), scratch }
    }
}

impl Target for Superblocks {
    type Input = Vec<u8>;

    fn name(&self) -> &'static str {
        "superblock"
    }

    fn input(&self, random: Random) -> Vec<u8> {
        let mut superblock = self.seed;
        let mut mutator = Mutator { random, values: &[self.seed.root.get(), self.seed.chunk_root.get()] };
        damage(&mut superblock, &mut mutator);
        let mut bytes = superblock.as_bytes().to_vec();
        // With the type that it claims, so that it is taken for intact.
        superblock.csum_type().unwrap_or(CsumType::Crc32c).stamp(&mut bytes);
        bytes
    }

    fn run(&self, input: &Vec<u8>) {
        let Ok(block) = <&[u8; SUPER_INFO_SIZE]>::try_from(input.as_slice()) else { return };
        print(Superblock::from_block(block));
        self.scratch.write_at(SUPER_OFFSETS[0].0, input);
        self.scratch.read();
    }

    fn save(&self, input: &Vec<u8>, path: &std::path::Path) -> std::io::Result<()> {
        std::fs::write(path, input)
    }

    fn load(&self, path: &std::path::Path) -> std::io::Result<Vec<u8>> {
        std::fs::read(path)
    }
}

/// A system chunk array on its own.
pub struct SysChunkArrays {
    seed: Vec<u8>,
}

impl SysChunkArrays {
    pub fn new() -> Self {
        let superblock = seed();
        Self { seed: superblock.sys_chunk_array().repeat(4) }
    }
}

impl Target for SysChunkArrays {
    type Input = Vec<u8>;

    fn name(&self) -> &'static str {
        "sys-array"
    }

    fn input(&self, random: Random) -> Vec<u8> {
        let mut mutator = Mutator { random, values: &[1 << 16, 1 << 20, 16 << 20, 17 << 20] };
        let mut array = self.seed.clone();
        // Less than a whole number of entries, or more.
        if mutator.random.one_in(4) {
            array.truncate(mutator.random.below(self.seed.len()));
        } else if mutator.random.one_in(8) {
            array = array.repeat(6);
            array.truncate(SYSTEM_CHUNK_ARRAY_SIZE);
        }
        for _ in 0..mutator.random.few(8) {
            mutator.bytes(&mut array);
        }
        array
    }

    fn run(&self, input: &Vec<u8>) {
        let mut chunks = ChunkMap::default();
        for entry in Entries::new(input).flatten() {
            if let Ok(mapping) = ChunkMapping::new(Logical(entry.key.offset), entry.chunk, entry.stripes) {
                let _ = chunks.insert(mapping);
            }
        }
        for chunk in chunks.iter() {
            let (start, last) = (chunk.logical, Logical(chunk.end().0 - 1));
            let _ = (chunk.stripe_size(), chunk.data_stripes());
            for logical in [start, last, chunk.end(), Logical(start.0 + chunk.length / 2), Logical(0)] {
                let _ = chunks.find(logical);
                for mirror in 0..=chunk.mirrors().saturating_add(1) {
                    let _ = chunk.place(logical, mirror);
                }
            }
        }
        let mut superblock = Superblock::zeroed();
        let used = input.len().min(SYSTEM_CHUNK_ARRAY_SIZE);
        superblock.sys_chunk_array[..used].copy_from_slice(&input[..used]);
        superblock.sys_chunk_array_size = (input.len() as u32).into();
        print(&superblock);
    }

    fn save(&self, input: &Vec<u8>, path: &std::path::Path) -> std::io::Result<()> {
        std::fs::write(path, input)
    }

    fn load(&self, path: &std::path::Path) -> std::io::Result<Vec<u8>> {
        std::fs::read(path)
    }
}
