//! Rows of chunks with parity that hold something of the last commit.
//!
//! A write to such a row changes the parity that protects what else is in it. The allocator passes these rows over, unless
//! the caller allows them; then all that they hold is verified first, and what is bad on its device is written anew before
//! the parity changes that it is rebuilt from.

use std::collections::BTreeSet;

use crate::block::extent_item::ExtentKind;
use crate::block::verify::Expected;
use crate::disk::Logical;
use crate::disk::flags::block_group::{METADATA, SYSTEM};
use crate::error::Result;
use crate::space::{BlockGroup, FreeExtents};
use crate::survey::UsedExtent;
use crate::tree::TreeRoot;
use crate::tree::csums::CsumRoot;

use super::filesystem::Filesystem;

/// Good bytes in the place of bad ones.
pub(super) type Mended = Vec<(Logical, Vec<u8>)>;

impl Filesystem {
    /// Allocates tree blocks, until the next commit, from rows of chunks with parity that hold something already, too.
    /// Rows in which something in use cannot be told good by its checksum, from its device or from parity, stay as they
    /// are.
    ///
    /// While such a row is written its parity protects nothing: after a crash then, and the loss of a device, what was in
    /// it may be gone.
    pub fn allow_partial_rows(&mut self) -> Result<()> {
        let groups: Vec<(Logical, FreeExtents)> = {
            let space = self.space();
            let is_partial = |group: &&BlockGroup| group.flags.0 & (METADATA | SYSTEM) != 0 && group.is_usable();
            let groups = space.groups().filter(is_partial).filter(|group| group.partial().bytes() > 0);
            groups.map(|group| (group.logical, group.partial().clone())).collect()
        };
        for (logical, mut partial) in groups {
            let Some(chunk) = self.volume().chunks().find(logical) else { continue };
            let Some(length) = chunk.row_length() else { continue };
            let row_of = |address: Logical| address.0.saturating_sub(chunk.logical.0) / length;
            let rows = |(start, length): (Logical, u64)| row_of(start)..=row_of(Logical(start.0 + length - 1));
            let wanted: BTreeSet<u64> = partial.iter().flat_map(rows).collect();
            let mut mended = Mended::new();
            let mut closed = BTreeSet::new();
            for live in self.trust.extents_of(self.volume(), chunk)? {
                let own = rows((live.logical, live.length));
                if wanted.range(own.clone()).next().is_some() && !self.mend(&live, &mut mended)? {
                    closed.extend(own);
                }
            }
            mended.retain(|(start, bytes)| rows((*start, bytes.len() as u64)).any(|row| !closed.contains(&row)));
            closed.iter().for_each(|row| partial.remove(Logical(chunk.logical.0 + row * length), length));
            self.space().open_rows(logical, &partial);
            self.mended.append(&mut mended);
        }
        self.mended.sort_unstable();
        Ok(())
    }

    /// Whether all of an extent is good; what is bad on its device is then added to `mended` as it should be.
    fn mend(&self, live: &UsedExtent, mended: &mut Mended) -> Result<bool> {
        match live.kind {
            ExtentKind::Block { level } => Ok(self.mend_block(live, level, mended)),
            ExtentKind::Data { length } => self.mend_data(live.logical, length, mended),
        }
    }

    fn mend_block(&self, live: &UsedExtent, level: u8, mended: &mut Mended) -> bool {
        let expected = Expected { level: Some(level), generation: live.generation, ..Expected::at(live.logical) };
        let mut buffer = Vec::new();
        if self.volume().read_copy(&expected, 1, &mut buffer).is_ok() {
            return true;
        }
        let Ok(read) = self.volume().read_block(&expected, &mut buffer) else { return false };
        mended.push((live.logical, read.block.bytes().to_vec()));
        true
    }

    /// Data without a checksum for each sector cannot be told good.
    fn mend_data(&self, start: Logical, length: u64, mended: &mut Mended) -> Result<bool> {
        let volume = self.volume();
        let (csum_type, sectorsize) = (volume.format().csum_type, u64::from(volume.format().sectorsize));
        let mut sector = vec![0; sectorsize as usize];
        let mut good = 0;
        let csums = CsumRoot::of(volume, &TreeRoot::root_tree(volume))?;
        csums.for_each(volume, &[(start.0, start.0.saturating_add(length))], |run| {
            for (index, csum) in run.csums.chunks_exact(csum_type.size()).enumerate() {
                let logical = Logical(run.logical.0 + index as u64 * sectorsize);
                let mut is_good = |mirror| {
                    volume.read(logical, mirror, &mut sector).is_ok() && csum_type.compute(&sector).starts_with(csum)
                };
                match (1..=volume.mirrors(logical)).find(|mirror| is_good(*mirror)) {
                    Some(1) => {}
                    Some(_) => mended.push((logical, sector.clone())),
                    None => continue,
                }
                good += sectorsize;
            }
        })?;
        Ok(good == length)
    }
}
