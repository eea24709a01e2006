//! Headers of a tar stream: ustar (POSIX.1-1988), and before it an extended one (POSIX.1-2001) with what does not fit.

use std::ops::Range;

use crate::files::{Attributes, FileKind, Timestamp, Xattr};

use super::acl;

/// All of a stream is in blocks of so many bytes.
pub const BLOCK: usize = 512;
/// Two empty blocks end a stream.
pub const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// Lengths of fields, and the greatest numbers in the octal ones.
const NAME: usize = 100;
const MOST_ID: u64 = 0o7_777_777;
const MOST_SIZE: u64 = 0o77_777_777_777;

/// What stands in the stream for an inode.
pub struct Member<'m> {
    /// Without a slash before it; a directory's has one behind it.
    pub path: &'m [u8],
    pub kind: MemberKind<'m>,
    /// Nothing where they are not known.
    pub attributes: Option<&'m Attributes>,
    pub xattrs: &'m [Xattr],
}

pub enum MemberKind<'m> {
    /// A regular file with the ranges that are stored, if these are not all of it.
    File {
        size: u64,
        sparse: Option<&'m [Range<u64>]>,
    },
    /// A further name of the file at this path.
    Link(&'m [u8]),
    Symlink(&'m [u8]),
    Directory,
    /// A device or a pipe.
    Special(FileKind),
}

impl MemberKind<'_> {
    fn typeflag(&self) -> u8 {
        match self {
            Self::File { .. } => b'0',
            Self::Link(_) => b'1',
            Self::Symlink(_) => b'2',
            Self::Special(FileKind::CharDevice) => b'3',
            Self::Special(FileKind::BlockDevice) => b'4',
            Self::Directory => b'5',
            Self::Special(_) => b'6',
        }
    }
}

/// Appends the headers of a member, and of a sparse file also the map of what is stored, which is the beginning of its data.
pub fn put(member: &Member<'_>, out: &mut Vec<u8>) {
    let mut records = Vec::new();
    let mut name = member.path.to_vec();
    let (mut stored, mut map) = (0, Vec::new());
    if let MemberKind::File { size, sparse } = &member.kind {
        stored = *size;
        if let Some(ranges) = sparse {
            map = sparse_map(ranges, *size);
            let lengths = ranges.iter().map(|range| range.end - range.start);
            stored = lengths.fold(map.len() as u64, u64::saturating_add);
            name = sparse_name(member.path);
            record(&mut records, b"GNU.sparse.major", b"1");
            record(&mut records, b"GNU.sparse.minor", b"0");
            record(&mut records, b"GNU.sparse.name", member.path);
            record(&mut records, b"GNU.sparse.realsize", size.to_string().as_bytes());
        }
    }
    let link: &[u8] = match &member.kind {
        MemberKind::Link(target) | MemberKind::Symlink(target) => target,
        _ => b"",
    };
    if name.len() > NAME {
        record(&mut records, b"path", &name);
    }
    if link.len() > NAME {
        record(&mut records, b"linkpath", link);
    }
    if std::str::from_utf8(&records).is_err() {
        // It has to stand before the names that are of other bytes.
        let mut before = Vec::new();
        record(&mut before, b"hdrcharset", b"BINARY");
        records.splice(0..0, before);
    }
    if stored > MOST_SIZE {
        record(&mut records, b"size", stored.to_string().as_bytes());
    }
    if let Some(attributes) = member.attributes {
        attribute_records(attributes, &mut records);
    }
    if !matches!(member.kind, MemberKind::Link(_)) {
        member.xattrs.iter().for_each(|xattr| xattr_record(xattr, &mut records));
    }
    if !records.is_empty() {
        let header = ustar(&extended_name(member.path), b"", b'x', records.len() as u64, None);
        out.extend(header);
        out.extend(&records);
        pad(out);
    }
    out.extend(ustar(&name, link, member.kind.typeflag(), stored, member.attributes));
    out.extend(map);
}

/// Fills the last block.
pub fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(BLOCK), 0);
}

/// Zeroes behind data of so many bytes.
pub fn padding(length: u64) -> usize {
    (BLOCK - (length % BLOCK as u64) as usize) % BLOCK
}

/// The map of a sparse file, in the version 1.0 of GNU tar.
fn sparse_map(ranges: &[Range<u64>], size: u64) -> Vec<u8> {
    let has_end = ranges.last().is_some_and(|last| last.end == size);
    let end = (!has_end).then_some(size..size);
    let mut map = format!("{}\n", ranges.len() + usize::from(!has_end)).into_bytes();
    for range in ranges.iter().cloned().chain(end) {
        map.extend(format!("{}\n{}\n", range.start, range.end - range.start).bytes());
    }
    pad(&mut map);
    map
}

/// As GNU tar has it: readers that do not know sparse files put the raw data there.
fn sparse_name(path: &[u8]) -> Vec<u8> {
    beside(path, b"GNUSparseFile.0")
}

fn extended_name(path: &[u8]) -> Vec<u8> {
    beside(path.strip_suffix(b"/").unwrap_or(path), b"PaxHeaders")
}

/// A name in a directory beside what is at `path`.
fn beside(path: &[u8], directory: &[u8]) -> Vec<u8> {
    let at = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    [&path[..at], directory, b"/", &path[at..]].concat()
}

fn attribute_records(attributes: &Attributes, records: &mut Vec<u8>) {
    for (name, id) in [(&b"uid"[..], attributes.uid), (b"gid", attributes.gid)] {
        if u64::from(id) > MOST_ID {
            record(records, name, id.to_string().as_bytes());
        }
    }
    record(records, b"mtime", time(attributes.mtime).as_bytes());
    record(records, b"atime", time(attributes.atime).as_bytes());
    if matches!(attributes.kind(), FileKind::CharDevice | FileKind::BlockDevice) {
        let (major, minor) = attributes.device();
        if u64::from(major.max(minor)) > MOST_ID {
            record(records, b"SCHILY.devmajor", major.to_string().as_bytes());
            record(records, b"SCHILY.devminor", minor.to_string().as_bytes());
        }
    }
}

fn xattr_record(xattr: &Xattr, records: &mut Vec<u8>) {
    let acl = match &xattr.name[..] {
        b"system.posix_acl_access" => Some(&b"SCHILY.acl.access"[..]),
        b"system.posix_acl_default" => Some(&b"SCHILY.acl.default"[..]),
        _ => None,
    };
    if let Some((name, text)) = acl.zip(acl::text(&xattr.value)) {
        return record(records, name, text.as_bytes());
    }
    let mut name = b"SCHILY.xattr.".to_vec();
    // An equals sign would end the name; GNU tar writes both so.
    for byte in &xattr.name {
        match byte {
            b'=' => name.extend(b"%3D"),
            b'%' => name.extend(b"%25"),
            byte => name.push(*byte),
        }
    }
    record(records, &name, &xattr.value);
}

/// Seconds since 1970 as a decimal number.
fn time(time: Timestamp) -> String {
    let nanos = time.nanoseconds();
    let (sign, seconds, nanos) = match (time.sec < 0, nanos) {
        (false, nanos) => ("", time.sec.unsigned_abs(), nanos),
        (true, 0) => ("-", time.sec.unsigned_abs(), 0),
        (true, nanos) => ("-", time.sec.unsigned_abs() - 1, 1_000_000_000 - nanos),
    };
    match nanos {
        0 => format!("{sign}{seconds}"),
        nanos => format!("{sign}{seconds}.{nanos:09}"),
    }
}

/// `LENGTH NAME=VALUE`, where the length counts itself too.
fn record(records: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let rest = name.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend(length.to_string().bytes());
    records.push(b' ');
    records.extend(name);
    records.push(b'=');
    records.extend(value);
    records.push(b'\n');
}

/// What does not fit is cut, or 0: an extended header before it says what it is.
fn ustar(name: &[u8], link: &[u8], typeflag: u8, size: u64, attributes: Option<&Attributes>) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &name[..name.len().min(NAME)]);
    let is_link = typeflag == b'1' || typeflag == b'2';
    put(157, &link[..link.len().min(if is_link { NAME } else { 0 })]);
    let default = if typeflag == b'5' { 0o700 } else { 0o600 };
    let mode = attributes.map_or(default, |attributes| attributes.mode & 0o7777);
    let seconds = attributes.map_or(0, |attributes| u64::try_from(attributes.mtime.sec).unwrap_or_default());
    let (uid, gid) = attributes.map_or((0, 0), |attributes| (attributes.uid, attributes.gid));
    let fitting = |number: u64, most: u64| if number > most { 0 } else { number };
    for (at, number) in [(100, mode), (108, uid), (116, gid)] {
        put(at, format!("{:07o}\0", fitting(number.into(), MOST_ID)).as_bytes());
    }
    let size = if matches!(typeflag, b'0' | b'x') { fitting(size, MOST_SIZE) } else { 0 };
    for (at, number) in [(124, size), (136, fitting(seconds, MOST_SIZE))] {
        put(at, format!("{number:011o}\0").as_bytes());
    }
    put(156, &[typeflag]);
    put(257, b"ustar\x0000");
    if matches!(typeflag, b'3' | b'4') {
        let (major, minor) = attributes.map_or((0, 0), Attributes::device);
        for (at, number) in [(329, major), (337, minor)] {
            put(at, format!("{:07o}\0", fitting(number.into(), MOST_ID)).as_bytes());
        }
    }
    put(148, b"        ");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::{record, time};
    use crate::files::Timestamp;

    #[test]
    fn a_record_counts_its_own_length() {
        for length in [1, 85, 86, 87, 88, 984, 985, 986, 9984] {
            let mut records = Vec::new();
            record(&mut records, b"name", &vec![b'x'; length]);
            let text = String::from_utf8(records).unwrap();
            assert_eq!(text.split(' ').next().unwrap().parse::<usize>().unwrap(), text.len());
        }
    }

    #[test]
    fn a_time_before_1970_keeps_its_fraction() {
        let text = |sec, nsec| time(Timestamp { sec, nsec });
        assert_eq!(text(1, 5), "1.000000005");
        assert_eq!(text(-2, 500_000_000), "-1.500000000");
        assert_eq!(text(-1, 999_999_999), "-0.000000001");
        assert_eq!(text(-3, 0), "-3");
        assert_eq!(text(i64::MIN, u32::MAX), "-9223372036854775807.000000001");
    }
}
