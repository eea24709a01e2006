//! Text put together from parts without the formatting machinery, which would take most of a dump's time.

use zerocopy::little_endian::{U16, U32, U64};

use crate::disk::fields::Uuid;
use crate::disk::{Logical, Transid};

/// A part of a line.
pub trait Put {
    /// Appends the value to `out`.
    fn put(&self, out: &mut Vec<u8>);
}

/// Appends each part to a `Vec<u8>`.
macro_rules! put {
    ($out:expr, $($part:expr),* $(,)?) => {{
        let out: &mut Vec<u8> = $out;
        $($crate::dump::put::Put::put(&$part, out);)*
    }};
}
pub(crate) use put;

impl Put for &str {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }
}

impl Put for &[u8] {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

macro_rules! put_integer {
    ($($type:ty),*) => {$(
        impl Put for $type {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(itoa::Buffer::new().format(*self).as_bytes());
            }
        }
    )*};
}
put_integer!(u8, u16, u32, u64, i64, usize);

macro_rules! put_converted {
    ($($type:ty => $integer:ty),*) => {$(
        impl Put for $type {
            fn put(&self, out: &mut Vec<u8>) {
                <$integer>::from(*self).put(out);
            }
        }
    )*};
}
put_converted!(U16 => u16, U32 => u32, U64 => u64);

impl Put for Logical {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
}

impl Put for Transid {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
}

impl Put for Uuid {
    fn put(&self, out: &mut Vec<u8>) {
        self.encode(&mut [0; 36]).put(out);
    }
}

/// A number in base 8 or 16, without prefix and at least one digit.
fn put_power_of_two_base(mut value: u64, bits: u32, out: &mut Vec<u8>) {
    let mut digits = [0; 22];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b"0123456789abcdef"[(value & ((1 << bits) - 1)) as usize];
        value >>= bits;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// A number in hexadecimal digits, without prefix.
pub struct HexNumber(pub u64);

impl Put for HexNumber {
    fn put(&self, out: &mut Vec<u8>) {
        put_power_of_two_base(self.0, 4, out);
    }
}

/// A number in octal digits.
pub struct OctalNumber(pub u64);

impl Put for OctalNumber {
    fn put(&self, out: &mut Vec<u8>) {
        put_power_of_two_base(self.0, 3, out);
    }
}

const HEX_PAIRS: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    pairs
};

/// Bytes as two hexadecimal digits each.
pub struct HexBytes<'a>(pub &'a [u8]);

impl Put for HexBytes<'_> {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.0.iter().flat_map(|byte| HEX_PAIRS[usize::from(*byte)]));
    }
}

/// A name or value with C escapes for what does not print in plain ASCII, and a backslash before a space.
pub struct Escaped<'a>(pub &'a [u8]);

impl Put for Escaped<'_> {
    fn put(&self, out: &mut Vec<u8>) {
        let mut rest = self.0;
        loop {
            let plain = rest.iter().take_while(|byte| matches!(byte, b'!'..=b'~') && **byte != b'\\').count();
            out.extend_from_slice(&rest[..plain]);
            let Some((&byte, tail)) = rest[plain..].split_first() else { return };
            rest = tail;
            let short = match byte {
                0x07 => b'a',
                0x08 => b'b',
                0x1b => b'e',
                0x0c => b'f',
                b'\n' => b'n',
                b'\r' => b'r',
                b'\t' => b't',
                0x0b => b'v',
                b' ' | b'\\' => byte,
                _ => {
                    out.extend([b'\\', b'0' + (byte >> 6), b'0' + (byte >> 3 & 7), b'0' + (byte & 7)]);
                    continue;
                }
            };
            out.extend([b'\\', short]);
        }
    }
}

/// Names joined by `|`; `none` stands for no name at all.
pub struct Joined<'a, I>(pub I, pub &'a str);

impl<'n, I: Iterator<Item = &'n str> + Clone> Put for Joined<'_, I> {
    fn put(&self, out: &mut Vec<u8>) {
        let start = out.len();
        for name in self.0.clone() {
            if out.len() > start {
                out.push(b'|');
            }
            name.put(out);
        }
        if out.len() == start {
            self.1.put(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_lines_or_terminals() {
        let mut out = Vec::new();
        put!(&mut out, Escaped(b"a b\n\t\\\x1b\xff\x00~"));
        assert_eq!(out, br"a\ b\n\t\\\e\377\000~");
    }

    #[test]
    fn bases_have_the_digits_of_the_formatter() {
        for value in [0, 7, 8, 0o40755, u64::MAX] {
            let mut out = Vec::new();
            put!(&mut out, OctalNumber(value), " ", HexNumber(value));
            assert_eq!(out, format!("{value:o} {value:x}").into_bytes());
        }
    }
}
