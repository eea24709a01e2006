//! Decompression of file data: zlib, LZO and zstd in the forms that the kernel writes.
//!
//! What is shorter than its extent is followed by zeroes, what is longer is cut: so the kernel defines it for compressed
//! data that programs hand to it (`BTRFS_IOC_ENCODED_WRITE`).

use flate2::{Decompress, FlushDecompress, Status};
use zstd::zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, ResetDirective};

use crate::disk::inode::compression;
use crate::error::CompressedProblem;

/// The most bytes of a compressed extent, before and after compression (`BTRFS_MAX_COMPRESSED`, `BTRFS_MAX_UNCOMPRESSED`).
pub const MAX_COMPRESSED: usize = 128 << 10;

/// The window of zstd frames has at most this many bits (`ZSTD_BTRFS_MAX_WINDOWLOG`).
const ZSTD_WINDOW_LOG: u32 = 17;

/// Length of the lengths in LZO data.
const LZO_LEN: usize = 4;

/// How a file extent is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// `BTRFS_COMPRESS_ZLIB`.
    Zlib,
    /// `BTRFS_COMPRESS_LZO`.
    Lzo,
    /// `BTRFS_COMPRESS_ZSTD`.
    Zstd,
}

impl Compression {
    /// The method that a file extent item names; nothing for a number that is not known, and for data that is not
    /// compressed.
    pub fn from_raw(raw: u8) -> Option<Self> {
        Some(match raw {
            compression::ZLIB => Self::Zlib,
            compression::LZO => Self::Lzo,
            compression::ZSTD => Self::Zstd,
            _ => return None,
        })
    }

    /// The name in messages and mount options.
    pub fn name(self) -> &'static str {
        match self {
            Self::Zlib => "zlib",
            Self::Lzo => "lzo",
            Self::Zstd => "zstd",
        }
    }
}

/// Decompresses extents one after the other. Memory is made when a method is met first, and does not depend on the data.
#[derive(Default)]
pub struct Decompressor {
    zlib: Option<Decompress>,
    zstd: Option<DCtx<'static>>,
    segment: Vec<u8>,
}

impl Decompressor {
    /// Fills `out`, which has the length that the extent has uncompressed, from all of the extent's bytes. Bytes behind the
    /// compressed data, which fill its last sector, are passed over.
    ///
    /// # Errors
    ///
    /// The data is not of this method, is damaged, or ends before it says so. What is in `out` then means nothing.
    pub fn decompress(
        &mut self,
        method: Compression,
        data: &[u8],
        sectorsize: u32,
        out: &mut [u8],
    ) -> Result<(), CompressedProblem> {
        let length = match method {
            Compression::Zlib => self.zlib(data, out)?,
            Compression::Lzo => self.lzo(data, sectorsize as usize, out)?,
            Compression::Zstd => self.zstd(data, out)?,
        };
        if let Some(rest) = out.get_mut(length..) {
            rest.fill(0);
        }
        Ok(())
    }

    fn zlib(&mut self, data: &[u8], out: &mut [u8]) -> Result<usize, CompressedProblem> {
        let zlib = self.zlib.get_or_insert_with(|| Decompress::new(true));
        zlib.reset(true);
        loop {
            let (read, written) = (zlib.total_in() as usize, zlib.total_out() as usize);
            let (Some(input), Some(output)) = (data.get(read..), out.get_mut(written..)) else {
                return Err(CompressedProblem::Invalid);
            };
            let status = zlib.decompress(input, output, FlushDecompress::Finish);
            let status = status.map_err(|_| CompressedProblem::Invalid)?;
            let has_moved = (zlib.total_in() as usize, zlib.total_out() as usize) != (read, written);
            if status == Status::StreamEnd || zlib.total_out() as usize == out.len() {
                return Ok(zlib.total_out() as usize);
            }
            if !has_moved {
                return Err(CompressedProblem::Cut);
            }
        }
    }

    fn zstd(&mut self, data: &[u8], out: &mut [u8]) -> Result<usize, CompressedProblem> {
        let context = self.zstd.get_or_insert_with(DCtx::create);
        let invalid = |_| CompressedProblem::Invalid;
        context.reset(ResetDirective::SessionAndParameters).map_err(invalid)?;
        context.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG)).map_err(invalid)?;
        let mut input = InBuffer::around(data);
        let length = out.len();
        let mut output = OutBuffer::around(out);
        loop {
            let before = (input.pos(), output.pos());
            let left = context.decompress_stream(&mut output, &mut input).map_err(invalid)?;
            if left == 0 || output.pos() == length {
                return Ok(output.pos());
            }
            if (input.pos(), output.pos()) == before {
                return Err(CompressedProblem::Cut);
            }
        }
    }

    /// The length of all comes first, then segments with their own lengths before them, each of which yields a sector or
    /// less. A length never lies in two sectors of the compressed data (fs/btrfs/lzo.c).
    fn lzo(&mut self, data: &[u8], sectorsize: usize, out: &mut [u8]) -> Result<usize, CompressedProblem> {
        let length_at = |data: &[u8], position: usize| {
            let bytes = data.get(position..).and_then(<[u8]>::first_chunk::<LZO_LEN>);
            bytes.map(|bytes| u32::from_le_bytes(*bytes) as usize).ok_or(CompressedProblem::Cut)
        };
        let total = length_at(data, 0)?;
        let data = data.get(..total).ok_or(CompressedProblem::Cut)?;
        self.segment.resize(sectorsize, 0);
        let (mut position, mut filled) = (LZO_LEN, 0);
        while position < total && filled < out.len() {
            let length = length_at(data, position)?;
            position += LZO_LEN;
            let end = position.checked_add(length).ok_or(CompressedProblem::Cut)?;
            let segment = data.get(position..end).ok_or(CompressedProblem::Cut)?;
            let yielded = lzokay::decompress::decompress(segment, &mut self.segment);
            let yielded = yielded.map_err(|_| CompressedProblem::Invalid)?;
            let taken = yielded.min(out.len() - filled);
            let (Some(from), Some(to)) = (self.segment.get(..taken), out.get_mut(filled..filled + taken)) else {
                return Err(CompressedProblem::Invalid);
            };
            to.copy_from_slice(from);
            filled += taken;
            position = end;
            let left_in_sector = sectorsize - position % sectorsize;
            if left_in_sector < LZO_LEN {
                position += left_in_sector;
            }
        }
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METHODS: [Compression; 3] = [Compression::Zlib, Compression::Lzo, Compression::Zstd];

    fn decompress(method: Compression, data: &[u8], length: usize) -> Result<Vec<u8>, CompressedProblem> {
        let mut out = vec![7; length];
        Decompressor::default().decompress(method, data, 4096, &mut out)?;
        Ok(out)
    }

    fn zlib(data: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(data.len() + 1000);
        let mut zlib = flate2::Compress::new(flate2::Compression::new(3), true);
        zlib.compress_vec(data, &mut out, flate2::FlushCompress::Finish).unwrap();
        out
    }

    fn zstd(data: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(data, 3).unwrap()
    }

    /// Segments, each of them the LZO form of a part.
    fn lzo(parts: &[&[u8]]) -> Vec<u8> {
        let mut out = vec![0; LZO_LEN];
        for part in parts {
            let left = 4096 - out.len() % 4096;
            if left < LZO_LEN {
                out.resize(out.len() + left, 0);
            }
            let segment = lzokay::compress::compress(part).unwrap();
            out.extend((segment.len() as u32).to_le_bytes());
            out.extend(segment);
        }
        let length = out.len() as u32;
        out[..LZO_LEN].copy_from_slice(&length.to_le_bytes());
        out
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 88172645463325252_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn what_is_short_is_followed_by_zeroes_and_what_is_long_is_cut() {
        let data: Vec<u8> = (0..6000).map(|number| (number / 7) as u8).collect();
        let forms = [zlib(&data), lzo(&[&data[..4096], &data[4096..]]), zstd(&data)];
        for (method, form) in METHODS.into_iter().zip(&forms) {
            let mut padded = form.clone();
            padded.resize(form.len().next_multiple_of(4096), 0);
            let long = decompress(method, &padded, 8192).unwrap();
            assert!(long[..6000] == data && long[6000..].iter().all(|byte| *byte == 0), "{method:?}");
            assert_eq!(decompress(method, &padded, 6000).unwrap(), data, "{method:?}");
            assert_eq!(decompress(method, &padded, 5000).unwrap(), data[..5000], "{method:?}");
            assert_eq!(decompress(method, form, 1).unwrap(), data[..1], "{method:?}");
        }
    }

    #[test]
    fn data_that_ends_early_is_an_error() {
        let data = noise(9000);
        let forms = [zlib(&data), lzo(&[&data[..4096], &data[4096..8192], &data[8192..]]), zstd(&data)];
        for (method, form) in METHODS.into_iter().zip(&forms) {
            for length in [0, 1, 3, 4, 7, 8, 100, 5000, form.len() / 2] {
                assert!(decompress(method, &form[..length], 9000).is_err(), "{method:?} {length}");
            }
        }
    }

    #[test]
    fn a_length_that_would_lie_in_two_sectors_is_in_the_next() {
        // Literals take their own length and three to six bytes: some of these segments end where a length has no room.
        let mut met = 0;
        for length in 4060..4096 {
            let data = noise(length + 4096);
            let form = lzo(&[&data[..length], &data[length..]]);
            let first = LZO_LEN + LZO_LEN + u32::from_le_bytes(*form[4..].first_chunk().unwrap()) as usize;
            met += usize::from(4096 - first % 4096 < LZO_LEN);
            assert_eq!(decompress(Compression::Lzo, &form, data.len()).unwrap(), data, "{length}");
        }
        assert!(met >= 3, "{met}");
    }

    #[test]
    fn a_zstd_window_that_the_kernel_has_no_memory_for_is_refused() {
        let mut compressor = zstd::bulk::Compressor::new(3).unwrap();
        compressor.set_parameter(zstd::zstd_safe::CParameter::WindowLog(24)).unwrap();
        compressor.set_parameter(zstd::zstd_safe::CParameter::ContentSizeFlag(false)).unwrap();
        let form = compressor.compress(&noise(20 << 20)).unwrap();
        assert_eq!(decompress(Compression::Zstd, &form, MAX_COMPRESSED), Err(CompressedProblem::Invalid));
    }

    #[test]
    fn damaged_data_is_an_error_or_other_bytes_and_nothing_else() {
        let data: Vec<u8> = (0..60_000_u32).map(|number| (number * number / 77) as u8).collect();
        let sectors: Vec<&[u8]> = data.chunks(4096).collect();
        let forms = [zlib(&data), lzo(&sectors), zstd(&data)];
        let choices = noise(60_000);
        let mut decompressor = Decompressor::default();
        let mut out = vec![0; MAX_COMPRESSED];
        for (method, form) in METHODS.into_iter().zip(&forms) {
            let mut errors = 0;
            for choice in choices.chunks_exact(12) {
                let mut damaged = form.clone();
                for place in choice.chunks_exact(4) {
                    let at = u16::from_le_bytes([place[0], place[1]]) as usize % form.len();
                    let at = if place[3] < 128 { at % 16 } else { at };
                    damaged[at] = place[2];
                }
                errors += usize::from(decompressor.decompress(method, &damaged, 4096, &mut out).is_err());
            }
            assert!(errors > 500, "{method:?}: {errors} errors");
            // What was before leaves nothing behind.
            decompressor.decompress(method, form, 4096, &mut out).unwrap();
            assert!(out[..data.len()] == data, "{method:?}");
        }
    }
}
