//! Paths, and symbolic links, which paths do not follow.

use crate::error::{FileProblem, Result};

use super::id::{FileKind, InodeId};
use super::store::Files;

/// The kernel makes no longer target (`PATH_MAX`), and a leaf has no room for one that is longer than this.
const TARGET_LIMIT: u64 = 64 << 10;

impl Files<'_> {
    /// The inode at a path, which begins at [`Files::root`], with or without a slash, and leads into subvolumes. `.` is the
    /// directory itself, `..` the one before it on the path. Symbolic links are not followed, the last one neither: see
    /// [`Files::read_link`].
    ///
    /// # Errors
    ///
    /// As [`Files::lookup_in`] for each directory on the path.
    pub fn lookup(&self, path: impl AsRef<[u8]>) -> Result<InodeId> {
        let mut inodes = vec![self.root()];
        for name in path.as_ref().split(|byte| *byte == b'/') {
            let current = inodes.last().copied().unwrap_or(self.root());
            match name {
                b"" | b"." | b".." => {
                    self.refuse_other_than_directory(current)?;
                    if name == b".." && inodes.len() > 1 {
                        inodes.pop();
                    }
                }
                name => inodes.push(self.lookup_in(current, name)?.inode),
            }
        }
        Ok(inodes.last().copied().unwrap_or(self.root()))
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    ///
    /// This is none ([`FileProblem::NotSymlink`]), or it cannot be read.
    pub fn read_link(&self, id: InodeId) -> Result<Vec<u8>> {
        let attributes = self.attributes(id)?;
        if attributes.kind() != FileKind::Symlink {
            return Err(id.error(FileProblem::NotSymlink));
        }
        if attributes.size > TARGET_LIMIT {
            return Err(id.error(FileProblem::TargetTooLong { have: attributes.size, limit: TARGET_LIMIT }));
        }
        let mut target = vec![0; attributes.size as usize];
        let length = self.contents(id, Some(attributes))?.read_full(0, &mut target)?;
        target.truncate(length);
        Ok(target)
    }
}
