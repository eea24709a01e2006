//! What a change of files or of data means for quotas.

use std::sync::atomic::Ordering;

use crate::disk::flags::qgroup_status::{ON, SIMPLE_MODE};
use crate::disk::quota::{QgroupStatusItem, QgroupStatusSimple};
use crate::disk::{Key, KeyType, Transid};
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
    /// Up to which generation they are right.
    generation: Transid,
    /// With simple quotas, in which generation they were enabled.
    enabled: Transid,
    is_recount_due: AtomicBool,
}

impl Quotas {
    /// Reads the flags of the quota tree.
    pub fn read(volume: &Volume, quota_tree: &TreeRoot) -> Result<Self> {
        let data = quota_tree.find(volume, STATUS)?;
        let Some((status, rest)) = data.as_deref().and_then(QgroupStatusItem::read_prefix) else {
            return Ok(Self::default());
        };
        let enabled = QgroupStatusSimple::read_prefix(rest).map(|(simple, _)| simple.enable_gen.into());
        Ok(Self {
            status: status.flags.get(),
            generation: status.generation.into(),
            enabled: enabled.unwrap_or_default(),
            ..Self::default()
        })
    }

    /// Whether what the quota tree counts was right in this generation, the last one. The kernel takes the counts for wrong where
    /// the commits after them do not say that they still are (`btrfs_read_qgroup_config` in fs/btrfs/qgroup.c).
    pub fn are_of(&self, generation: Transid) -> bool {
        self.status & ON != 0 && self.generation == generation
    }

    /// The generation since which simple quotas count extents; nothing of other quotas.
    pub fn simple_since(&self) -> Option<Transid> {
        (self.status & (ON | SIMPLE_MODE) == (ON | SIMPLE_MODE)).then_some(self.enabled)
    }

    /// What the quota tree says was brought up to this generation.
    pub fn set_generation(&mut self, generation: Transid) {
        self.generation = generation;
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
