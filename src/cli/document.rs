//! JSON documents on their way out.

use std::io::{self, BufWriter, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

/// The greatest integer that readers with floating point numbers take as it is.
const MAX_SAFE: u128 = (1 << 53) - 1;

/// Whether integers above [`MAX_SAFE`] are written as text.
static INTEGERS_AS_TEXT: AtomicBool = AtomicBool::new(false);
/// Whether anything of a document was written.
static BEGUN: AtomicBool = AtomicBool::new(false);

/// Has integers that some readers round written as text, in all documents from here on.
pub fn write_integers_as_text() {
    INTEGERS_AS_TEXT.store(true, Ordering::Relaxed);
}

/// Whether a document is on its way already.
pub fn is_begun() -> bool {
    BEGUN.load(Ordering::Relaxed)
}

/// Writes a document in one line.
pub fn write(out: impl Write, document: &impl Serialize) -> anyhow::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, Document::new(out));
    serde_json::to_writer(&mut out, document)?;
    out.write_all(b"\n")?;
    out.flush()?;
    Ok(())
}

/// Takes JSON, whoever made it, and writes it as it is to be read.
pub struct Document<W> {
    out: W,
    integers: Option<Integers>,
}

impl<W: Write> Document<W> {
    pub fn new(out: W) -> Self {
        Self { out, integers: INTEGERS_AS_TEXT.load(Ordering::Relaxed).then(Integers::default) }
    }
}

impl<W: Write> Write for Document<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        BEGUN.store(true, Ordering::Relaxed);
        match &mut self.integers {
            None => self.out.write(bytes),
            Some(integers) => {
                self.out.write_all(&integers.quoted(bytes))?;
                Ok(bytes.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Puts integers that are too great into quotes. Documents are seen piece by piece, cut anywhere; a number ends at what comes
/// after it.
#[derive(Default)]
struct Integers {
    place: Place,
    number: Vec<u8>,
}

#[derive(Clone, Copy, Default)]
enum Place {
    #[default]
    Outside,
    Text,
    /// Behind a backslash in a text.
    Escaped,
}

impl Integers {
    fn quoted(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len() + 16);
        for &byte in bytes {
            self.place = match (self.place, byte) {
                (Place::Outside, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9') => {
                    let begins = byte == b'-' || byte.is_ascii_digit();
                    if begins || !self.number.is_empty() {
                        self.number.push(byte)
                    } else {
                        out.push(byte)
                    }
                    continue;
                }
                (Place::Outside, b'"') => Place::Text,
                (Place::Text, b'"') => Place::Outside,
                (Place::Text, b'\\') => Place::Escaped,
                (Place::Escaped, _) => Place::Text,
                (place, _) => place,
            };
            self.end_number(&mut out);
            out.push(byte);
        }
        out
    }

    fn end_number(&mut self, out: &mut Vec<u8>) {
        let number = std::mem::take(&mut self.number);
        let digits = number.strip_prefix(b"-").unwrap_or(&number);
        let value = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<u128>().ok());
        let quote: &[u8] = if value.is_some_and(|value| value > MAX_SAFE) { b"\"" } else { b"" };
        out.extend([quote, &number, quote].concat());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_that_are_rounded_elsewhere_are_text_wherever_a_document_is_cut() {
        let document = br#"{"a\"18446744073709551615":18446744073709551615,"b":[9007199254740991,-9007199254740992,9007199254740992],"c":1e30,"d":true,"e":1.5,"f":false}
"#;
        let expect = br#"{"a\"18446744073709551615":"18446744073709551615","b":[9007199254740991,"-9007199254740992","9007199254740992"],"c":1e30,"d":true,"e":1.5,"f":false}
"#;
        for cut in 0..document.len() {
            let mut integers = Integers::default();
            let (start, end) = document.split_at(cut);
            let quoted = [integers.quoted(start), integers.quoted(end)].concat();
            assert_eq!(String::from_utf8_lossy(&quoted), String::from_utf8_lossy(expect), "{cut}");
        }
    }
}
