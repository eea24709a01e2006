//! Preallocated data that has checksums: what was written through another file has them, too.

use crate::block::ItemRef;
use crate::block::reference::file_data;
use crate::disk::inode::file_extent_type;
use crate::disk::{Key, KeyType, Logical};
use crate::ranges::joined;
use crate::survey::files::{Fault, Inode};
use crate::survey::{CsumRuns, Job, SecondLook};
use crate::tree::{Tree, Visit};
use crate::volume::Volume;

/// Where data lies, from its first byte to before its last.
type Range = (u64, u64);

/// A preallocated extent of a file.
pub struct Suspect {
    pub tree: Tree,
    pub inode: Inode,
    range: Range,
}

impl Suspect {
    /// The extent at `offset` of a file; nothing if its item cannot be read.
    pub fn new(volume: &Volume, tree: &Tree, inode: &Inode, offset: u64) -> Option<Self> {
        let key = Key::new(inode.number, KeyType::EXTENT_DATA, offset);
        let data = tree.root.find(volume, key).ok().flatten()?;
        let (_, range) = range_of(&ItemRef { slot: 0, key, offset: 0, data: &data })?;
        Some(Self { tree: *tree, inode: *inode, range })
    }

    /// Whether there are checksums of any of it that is not among `written`.
    pub fn is_summed_beyond(&self, written: &[Range], csums: &CsumRuns) -> bool {
        let mut start = self.range.0;
        for (from, to) in written.iter().take_while(|(from, _)| *from < self.range.1) {
            if *from > start && csums.is_any(Logical(start), *from - start) {
                return true;
            }
            start = start.max(*to);
        }
        start < self.range.1 && csums.is_any(Logical(start), self.range.1 - start)
    }
}

/// What may have been written.
pub struct Written<'a> {
    /// All trees of files: they share data.
    pub trees: &'a [Tree],
    /// The data of log trees.
    pub logged: Vec<Range>,
}

impl Written<'_> {
    /// What of the suspects is written data of any file, in order.
    pub fn ranges(&self, job: &Job<'_>, suspects: &[(Suspect, Fault)]) -> Vec<Range> {
        // Joined, so that one of them is looked at for each extent.
        let wanted = joined(suspects.iter().map(|(suspect, _)| suspect.range).collect());
        let is_wanted = |range: &Range| {
            let after = wanted.partition_point(|(from, _)| *from < range.1);
            wanted[..after].last().is_some_and(|(_, to)| range.0 < *to)
        };
        let look = SecondLook::new(|ranges: &mut Vec<Range>, _: &Tree, visit: Visit<'_>| {
            let Visit::Leaf(leaf) = visit else { return };
            let items = leaf.items().flatten().filter(|item| item.key.key_type == KeyType::EXTENT_DATA);
            let written = items.filter_map(|item| range_of(&item)).filter(|(kind, _)| *kind == file_extent_type::REG);
            ranges.extend(written.map(|(_, range)| range).filter(is_wanted));
        });
        let mut ranges: Vec<Range> = self.logged.iter().copied().filter(is_wanted).collect();
        ranges.extend(job.scan().run(self.trees, &look).into_iter().flat_map(|(_, part)| part));
        ranges.sort_unstable();
        ranges
    }
}

/// The type of a file extent and the data that it stands for.
fn range_of(item: &ItemRef<'_>) -> Option<(u8, Range)> {
    let (extent, start, length) = file_data(item)?;
    Some((extent.r#type, (start.0, start.0.saturating_add(length))))
}
