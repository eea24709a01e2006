//! What a change of files or of data means for quotas.

use std::sync::atomic::Ordering;

use crate::disk::flags::qgroup_status::{ON, SIMPLE_MODE};
use crate::disk::quota::QgroupStatusItem;
use crate::disk::{Key, KeyType};
use crate::error::{Error, Result};
use crate::sync::AtomicBool;
use crate::tree::TreeRoot;
use crate::volume::Volume;

/// The key of the status item in the quota tree.
pub const STATUS: Key = Key::new(0, KeyType::QGROUP_STATUS, 0);

/// Whether quotas are on, and whether what they count was changed.
#[derive(Debug, Default)]
pub struct Quotas {
    /// Flags of the quota tree in the last commit.
    status: u64,
    is_recount_due: AtomicBool,
}

impl Quotas {
    /// Reads the flags of the quota tree.
    pub fn read(volume: &Volume, quota_tree: &TreeRoot) -> Result<Self> {
        let data = quota_tree.find(volume, STATUS)?;
        let status = data.as_deref().and_then(QgroupStatusItem::read_prefix);
        Ok(Self { status: status.map_or(0, |(status, _)| status.flags.get()), ..Self::default() })
    }

    /// The transaction is about to change files or data.
    ///
    /// # Errors
    /// Simple quotas are on: they count an extent for the tree that it was made for, which a recount cannot find.
    pub fn prepare(&self) -> Result<()> {
        match self.status & (ON | SIMPLE_MODE) {
            0 | SIMPLE_MODE => Ok(()),
            ON => {
                self.is_recount_due.store(true, Ordering::Relaxed);
                Ok(())
            }
            _ => Err(Error::SimpleQuotas),
        }
    }

    /// Whether a recount is due, once.
    pub fn take_recount(&self) -> bool {
        self.is_recount_due.swap(false, Ordering::Relaxed)
    }
}
