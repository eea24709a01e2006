//! What a change of files or of data means for quotas.

use std::sync::atomic::Ordering;

use zerocopy::IntoBytes;

use crate::disk::flags::qgroup_status::{INCONSISTENT, ON, RESCAN, SIMPLE_MODE};
use crate::disk::quota::QgroupStatusItem;
use crate::disk::{Key, KeyType, objectid};
use crate::error::{Error, Result};
use crate::sync::lock;
use crate::tree::TreeRoot;
use crate::volume::Volume;

use super::Filesystem;
use super::open::unreadable;

const STATUS: Key = Key::new(0, KeyType::QGROUP_STATUS, 0);

/// The flags of the quota tree.
pub fn status(volume: &Volume, quota_tree: &TreeRoot) -> Result<u64> {
    let data = quota_tree.find(volume, STATUS).map_err(unreadable)?;
    Ok(data.as_deref().and_then(QgroupStatusItem::read_prefix).map_or(0, |(status, _)| status.flags.get()))
}

impl Filesystem {
    /// To be called before files or data are changed. What quota groups count is to be counted anew then; simple quotas
    /// cannot be, for they go by what each extent was made for.
    pub(super) fn prepare_quotas(&self) -> Result<()> {
        match self.quota_status & (ON | SIMPLE_MODE) {
            0 | SIMPLE_MODE => Ok(()),
            ON => {
                self.is_recount_due.store(true, Ordering::Relaxed);
                Ok(())
            }
            _ => Err(Error::SimpleQuotas),
        }
    }

    /// Tells the kernel that quotas are to be counted anew, if they are. A count that is under way would go on amid what
    /// it has counted before.
    pub(super) fn invalidate_quotas(&self) -> Result<bool> {
        if !self.is_recount_due.swap(false, Ordering::Relaxed) {
            return Ok(false);
        }
        let tree = self.tree(objectid::QUOTA_TREE)?;
        let mut tree = lock(&tree);
        let logical = tree.root.logical;
        tree.edit(self, |editor| {
            let data = editor.data_mut(STATUS)?;
            let Some((status, _)) = QgroupStatusItem::read_prefix(data) else {
                return Err(Error::Block { what: "quota tree", logical, problem: "has a status too short".to_owned() });
            };
            let mut status = *status;
            status.flags = ((status.flags.get() | INCONSISTENT) & !RESCAN).into();
            data[..size_of::<QgroupStatusItem>()].copy_from_slice(status.as_bytes());
            Ok(())
        })?;
        Ok(true)
    }
}
