//! The filters choose what they choose in the kernel.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::support::mounted::Mounted;
use crate::support::{Scratch, copies, open, or_skip, tool};
use crate::{MIB, document, varied};

/// Balances by the kernel's own call, and prints how many block groups passed the filters before any was moved. Not all versions
/// of btrfs-progs pass on ranges as they are written.
const BALANCE: &str = r#"
import fcntl, os, struct, sys
path, kind, words = sys.argv[1], sys.argv[2], sys.argv[3]
flags, numbers = 0, dict(profiles=0, usage=(0, 0), devid=0, p=(0, 0), v=(0, 0), target=0, limit=(0, 0), stripes=(0, 0))
bits = dict(raid0=1 << 3, raid1=1 << 4, single=1 << 48)
whole = lambda text: (int(text) & 0xffffffff, int(text) >> 32)
pair = lambda text: tuple(int(number) for number in text.split('..'))
for word in filter(None, words.split(',')):
    name, _, value = word.partition('=')
    ranged = '..' in value
    if name == 'profiles':
        flags, numbers['profiles'] = flags | 1, sum(bits[profile] for profile in value.split('|'))
    elif name == 'usage':
        flags, numbers['usage'] = flags | (1 << 10 if ranged else 2), pair(value) if ranged else whole(value)
    elif name == 'limit':
        flags, numbers['limit'] = flags | (1 << 6 if ranged else 1 << 5), pair(value) if ranged else whole(value)
    elif name == 'devid':
        flags, numbers['devid'] = flags | 4, int(value)
    elif name == 'drange':
        flags, numbers['p'] = flags | 8, pair(value)
    elif name == 'vrange':
        flags, numbers['v'] = flags | 16, pair(value)
    elif name == 'stripes':
        flags, numbers['stripes'] = flags | 1 << 7, pair(value)
    elif name == 'convert':
        flags, numbers['target'] = flags | 1 << 8, bits[value]
    elif name == 'soft':
        flags |= 1 << 9
n = numbers
args = struct.pack('<QIIQQQQQQQIIII48x', n['profiles'], *n['usage'], n['devid'], *n['p'], *n['v'], n['target'], flags, *n['limit'],
                   *n['stripes'])
types = dict(d=1, s=2, m=4)[kind]
call = bytearray(struct.pack('<QQ', types, 0) + args * 3 + bytes(24 + 72 * 8))
fd = os.open(path, os.O_RDONLY)
fcntl.ioctl(fd, 0xc4009420, call, True)
print(struct.unpack_from('<Q', call, 424)[0])
"#;

fn addresses(images: &[PathBuf]) -> BTreeSet<u64> {
    open(images).chunks().iter().map(|chunk| chunk.logical.0).collect()
}

/// The block groups that this program would empty.
fn chosen(filters: &str, images: &[PathBuf]) -> BTreeSet<u64> {
    let document = document(&format!("balance --dry-run -{filters}"), images);
    document["block_groups"].as_array().unwrap().iter().map(|group| group["logical"].as_u64().unwrap()).collect()
}

#[test]
fn filters_choose_what_the_kernel_chooses() {
    let scratch = Scratch::in_memory();
    let Some(images) = varied(&scratch) else { return };
    if or_skip(tool("python3", ["--version"])).is_none() {
        return;
    }
    let chunks: Vec<_> = open(&images).chunks().iter().cloned().collect();
    let data: Vec<_> = chunks.iter().filter(|chunk| chunk.flags.contains(1) && chunk.length == 16 * MIB).collect();
    let (first, last) = (data[1], data[data.len() - 1]);
    let stripe = first.stripes[0];
    let cases = [
        "dusage=40".to_owned(),
        "dusage=30..70".to_owned(),
        "dusage=70..100".to_owned(),
        "dlimit=2".to_owned(),
        "dlimit=1..3".to_owned(),
        "dlimit=100..200".to_owned(),
        "ddevid=3,profiles=raid1".to_owned(),
        format!("ddevid={},drange={}..{}", stripe.devid, stripe.physical.0 + 1, stripe.physical.0 + 2),
        format!("dvrange={}..{}", first.logical.0 + first.length - 1, first.logical.0 + first.length),
        format!("dvrange={}..{},usage=95", last.logical.0, last.logical.0 + 1),
        "dprofiles=raid0|raid1,limit=1".to_owned(),
        "dstripes=3..9,limit=1".to_owned(),
        "dconvert=raid1,soft,profiles=raid1|raid0,limit=1".to_owned(),
        "mstripes=2..2".to_owned(),
    ];
    let mut judged = BTreeSet::new();
    for case in &cases {
        let directory = scratch.new_directory();
        let copies = copies(&images, &directory);
        let mine = chosen(case, &copies);
        let (kind, filters) = case.split_at(1);
        let before = addresses(&copies);
        let mounted = Mounted::new(&copies, "rw", &scratch).unwrap();
        let expected = tool("python3", ["-c", BALANCE, mounted.path().to_str().unwrap(), kind, filters]).unwrap();
        tool("sync", ["-f", mounted.path().to_str().unwrap()]).unwrap();
        drop(mounted);
        let gone: BTreeSet<u64> = before.difference(&addresses(&copies)).copied().collect();
        // Of the system nothing is asked of the kernel here; this program takes it with metadata.
        let system = |logical: &u64| chunks.iter().any(|chunk| chunk.logical.0 == *logical && chunk.flags.contains(2));
        let mine: BTreeSet<u64> = mine.into_iter().filter(|logical| !system(logical)).collect();
        if case.contains("usage") {
            // What moves fills up others, so that they do not pass any more when the kernel comes to them.
            assert_eq!(expected.trim().parse(), Ok(mine.len()), "{case}");
            assert!(!gone.is_empty() && gone.is_subset(&mine), "{case}: {mine:?} {gone:?}");
        } else {
            assert_eq!(mine, gone, "{case}");
        }
        judged.insert(gone);
        copies.iter().for_each(|image| std::fs::remove_file(image).unwrap());
    }
    assert!(judged.len() >= 8, "the cases hardly differ: {judged:?}");
}
