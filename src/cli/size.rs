//! Sizes as people write them.

/// Bytes: a number with nothing behind it or one of k, m, g, t, p and e, upper or lower case, for powers of 1024.
pub fn parse(text: &str) -> Result<u64, String> {
    let expected = || format!("expected a size such as 4096, 16k or 2G, not {text:?}");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let power = match &text[digits.len()..] {
        "" => 0,
        unit => {
            1 + ["k", "m", "g", "t", "p", "e"]
                .iter()
                .position(|name| unit.eq_ignore_ascii_case(name))
                .ok_or_else(expected)?
        }
    };
    let number: u64 = digits.parse().map_err(|_| expected())?;
    number.checked_mul(1 << (10 * power)).ok_or_else(|| format!("{text} is too large"))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_size_is_never_taken_for_another() {
        for (text, bytes) in [("0", 0), ("4096", 4096), ("16k", 16 << 10), ("2G", 2 << 30), ("15E", 15 << 60)] {
            assert_eq!(parse(text), Ok(bytes));
        }
        for text in ["", "k", "1.5g", "-1", "16kb", "16E", "1 k", "0x10"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
