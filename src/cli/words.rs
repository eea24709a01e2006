//! Numbers and command lines as people read them.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub use indicatif::HumanBytes;

/// A count with its noun, which takes an s for more than one.
pub fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Bytes in a unit, and all of them.
pub fn exact_bytes(bytes: u64) -> String {
    format!("{} ({bytes} bytes)", HumanBytes(bytes))
}

/// A command of `rbtrfs` with its options and images, as a shell takes it.
pub fn command(command: &str, options: &[&str], images: &[PathBuf]) -> String {
    let words = ["rbtrfs", command].into_iter().chain(options.iter().copied()).map(str::to_owned);
    words.chain(images.iter().map(|image| quoted(image))).collect::<Vec<_>>().join(" ")
}

/// The path as a shell takes it for one word, and for no option.
pub fn quoted(path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes();
    let before = if bytes.starts_with(b"-") { "./" } else { "" };
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_./+:@%=,-".contains(byte);
    match path.to_str() {
        Some(text) if !bytes.is_empty() && bytes.iter().all(is_plain) => format!("{before}{text}"),
        Some(text) if !text.contains(char::is_control) => format!("'{before}{}'", text.replace('\'', r"'\''")),
        _ => {
            let escaped = bytes.iter().map(|byte| match byte {
                b'\'' | b'\\' => format!("\\{}", char::from(*byte)),
                b' '..=b'~' => char::from(*byte).to_string(),
                _ => format!("\\x{byte:02x}"),
            });
            format!("$'{before}{}'", escaped.collect::<String>())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_reads_back_the_very_path() {
        for path in
            [&b"/dev/sda1"[..], b"my disk.img", b"it's", b"-x", b"a\nb", b"\xff'\\", "müll $HOME".as_bytes(), b""]
        {
            let word = quoted(Path::new(OsStr::from_bytes(path)));
            let printed = Command::new("bash").args(["-c", &format!("printf %s {word}")]).output().unwrap().stdout;
            let printed = printed.strip_prefix(b"./").filter(|_| path.starts_with(b"-")).unwrap_or(&printed);
            assert_eq!(printed, path, "{word}");
        }
    }
}
