//! Compression in the forms that the kernel reads.

use std::io;

use flate2::{Compress, Compression, FlushCompress, Status};

use crate::disk::flags::incompat;
use crate::disk::inode::compression;
use crate::error::{Error, Result};

/// The most of a file that one compressed extent holds (`BTRFS_MAX_UNCOMPRESSED`).
pub const LIMIT: usize = 128 << 10;

/// The kernel decompresses with a window of this many bits (`ZSTD_BTRFS_MAX_WINDOWLOG`).
const ZSTD_WINDOW_LOG: u32 = 17;

/// How to compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// zlib.
    Zlib {
        /// From 1 to 9.
        level: u32,
    },
    /// LZO.
    Lzo,
    /// zstd.
    Zstd {
        /// From 1 to 15.
        level: i32,
    },
}

impl Method {
    /// What file extents call it.
    pub fn raw(self) -> u8 {
        match self {
            Method::Zlib { .. } => compression::ZLIB,
            Method::Lzo => compression::LZO,
            Method::Zstd { .. } => compression::ZSTD,
        }
    }

    /// The name in messages and mount options.
    pub fn name(self) -> &'static str {
        match self {
            Method::Zlib { .. } => "zlib",
            Method::Lzo => "lzo",
            Method::Zstd { .. } => "zstd",
        }
    }

    /// The feature that a kernel must know to read it.
    pub fn incompat(self) -> u64 {
        match self {
            Method::Zlib { .. } => 0,
            Method::Lzo => incompat::COMPRESS_LZO,
            Method::Zstd { .. } => incompat::COMPRESS_ZSTD,
        }
    }
}

/// A method with what it needs to work.
pub enum Compressor {
    Zlib(Zlib),
    Lzo(Lzo),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl Compressor {
    /// # Errors
    /// [`Error::Compression`]
    pub fn new(method: Method) -> Result<Self> {
        Self::begin(method).map_err(|source| Error::Compression { method: method.name(), source })
    }

    fn begin(method: Method) -> io::Result<Self> {
        Ok(match method {
            Method::Zlib { level } => Self::Zlib(Zlib::new(level)),
            Method::Lzo => Self::Lzo(Lzo::default()),
            Method::Zstd { level } => {
                let mut compressor = zstd::bulk::Compressor::new(level)?;
                compressor.set_parameter(zstd::zstd_safe::CParameter::WindowLog(ZSTD_WINDOW_LOG))?;
                Self::Zstd(compressor)
            }
        })
    }

    /// Compresses into `out`, and returns the length; nothing if it does not fit there.
    pub fn compress(&mut self, data: &[u8], sectorsize: usize, out: &mut [u8]) -> Option<usize> {
        match self {
            Self::Zlib(zlib) => zlib.compress(data, out),
            Self::Lzo(lzo) => lzo.compress(data, sectorsize, out),
            Self::Zstd(zstd) => zstd.compress_to_buffer(data, out).ok(),
        }
    }
}

pub struct Zlib {
    level: u32,
    stream: Compress,
}

impl Zlib {
    fn new(level: u32) -> Self {
        Self { level, stream: Compress::new(Compression::new(level), true) }
    }

    fn compress(&mut self, data: &[u8], out: &mut [u8]) -> Option<usize> {
        let status = self.stream.compress(data, out, FlushCompress::Finish);
        if !matches!(status, Ok(Status::StreamEnd)) {
            // A reset of a stream that has not ended keeps its open block at level 1: the next stream could not be read.
            *self = Self::new(self.level);
            return None;
        }
        let length = self.stream.total_out() as usize;
        self.stream.reset();
        Some(length)
    }
}

/// LZO by sectors. The length of all comes first, then each sector with its own length before it; a length never lies
/// in two sectors of what comes out (fs/btrfs/lzo.c).
pub struct Lzo {
    dict: Box<lzokay::compress::Dict>,
    sector: Vec<u8>,
}

impl Default for Lzo {
    fn default() -> Self {
        Self { dict: lzokay::compress::Dict::new(), sector: Vec::new() }
    }
}

impl Lzo {
    const LENGTH: usize = 4;

    fn compress(&mut self, data: &[u8], sectorsize: usize, out: &mut [u8]) -> Option<usize> {
        let mut end = Self::LENGTH;
        for sector in data.chunks(sectorsize) {
            let left = sectorsize - end % sectorsize;
            if left < Self::LENGTH {
                out.get_mut(end..end + left)?.fill(0);
                end += left;
            }
            self.sector.resize(lzokay::compress::compress_worst_size(sector.len()), 0);
            let length = lzokay::compress::compress_no_alloc(sector, &mut self.sector, &mut self.dict).ok()?;
            let (header, rest) = out.get_mut(end..)?.split_at_mut_checked(Self::LENGTH)?;
            header.copy_from_slice(&(length as u32).to_le_bytes());
            rest.get_mut(..length)?.copy_from_slice(&self.sector[..length]);
            end += Self::LENGTH + length;
        }
        out.get_mut(..Self::LENGTH)?.copy_from_slice(&(end as u32).to_le_bytes());
        Some(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::decompress::{Compression as Form, Decompressor};

    #[test]
    fn what_is_compressed_is_decompressed_to_the_same() {
        let text: Vec<u8> = (0..LIMIT as u32).map(|number| (number.wrapping_mul(number) / 977) as u8).collect();
        let methods = [Method::Zlib { level: 3 }, Method::Zlib { level: 9 }, Method::Lzo, Method::Zstd { level: 3 }];
        let mut decompressor = Decompressor::default();
        for method in methods {
            let mut compressor = Compressor::new(method).unwrap();
            for sectorsize in [4096, 16384, 65536] {
                for length in [1, 100, 4095, 4096, 4097, 20_000, 65_536, 100_001, LIMIT] {
                    let mut compressed = vec![0; 2 * LIMIT];
                    let size = compressor.compress(&text[..length], sectorsize, &mut compressed).unwrap();
                    let data = &compressed[..size.next_multiple_of(sectorsize)];
                    let mut out = vec![7; length];
                    let form = Form::from_raw(method.raw()).unwrap();
                    decompressor.decompress(form, data, sectorsize as u32, &mut out).unwrap();
                    assert!(out == text[..length], "{method:?} {sectorsize} {length}");
                }
            }
        }
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let next = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u8
        };
        (0..length).map(next).collect()
    }

    #[test]
    fn what_did_not_fit_leaves_nothing_in_what_comes_next() {
        let zlib = (1..=9).map(|level| Method::Zlib { level });
        let zstd = [1, 3, 15].map(|level| Method::Zstd { level });
        let text: Vec<u8> =
            (0..20_000_u32).flat_map(|line| format!("line {}\n", line / 3).into_bytes()).take(LIMIT).collect();
        for method in zlib.chain(zstd).chain([Method::Lzo]) {
            let compressed = |compressor: &mut Compressor, data: &[u8]| {
                let mut out = vec![0; data.len() - 4096];
                compressor.compress(data, 4096, &mut out).map(|length| out[..length].to_vec())
            };
            let expected = compressed(&mut Compressor::new(method).unwrap(), &text).expect("text becomes shorter");
            let mut compressor = Compressor::new(method).unwrap();
            for length in [LIMIT, 8192, 20_000] {
                assert_eq!(compressed(&mut compressor, &noise(length)), None, "{method:?}: {length} bytes of noise");
                assert!(compressed(&mut compressor, &text).as_ref() == Some(&expected), "{method:?} after {length}");
                assert!(compressed(&mut compressor, &text).as_ref() == Some(&expected), "{method:?} after text");
            }
            if let Method::Zlib { .. } = method {
                let mut plain = vec![0; LIMIT];
                let mut stream = flate2::Decompress::new(true);
                let status = stream.decompress(&expected, &mut plain, flate2::FlushDecompress::Finish).unwrap();
                assert!(status == Status::StreamEnd && plain == text, "{method:?}");
            }
        }
    }
}
