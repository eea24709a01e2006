//! The roots of a volume, where a person chose others than those of the superblock.

use crate::block::verify::Expected;
use crate::disk::superblock::RootBackup;
use crate::disk::{Logical, Transid};
use crate::error::{Addressed, Error, Result};

use super::opened::Volume;
use super::root_choice::RootChoice;

impl Volume {
    /// Before the chunk tree is read, which the chunks of the system chunk array hold.
    pub(super) fn choose_chunk_root(&mut self, choice: &RootChoice) -> Result<()> {
        if let Some(logical) = choice.chunk_root {
            let (level, generation) = self.header(Addressed::ChunkRoot, logical)?;
            self.superblock.chunk_root = logical.0.into();
            self.superblock.chunk_root_level = level;
            self.superblock.chunk_root_generation = generation.0.into();
        }
        Ok(())
    }

    /// After the chunk tree was read.
    pub(super) fn choose_tree_root(&mut self, choice: &RootChoice) -> Result<()> {
        if choice.backup {
            let backup = self.newest_backup()?;
            let superblock = &mut self.superblock;
            superblock.bytes_used = backup.bytes_used;
            superblock.total_bytes = backup.total_bytes;
            superblock.num_devices = backup.num_devices;
            self.set_tree_root(backup.tree_root.into(), backup.tree_root_level, backup.tree_root_gen.into());
        }
        if let Some(logical) = choice.tree_root {
            let (level, generation) = self.header(Addressed::TreeRoot, logical)?;
            self.set_tree_root(logical, level, generation);
        }
        Ok(())
    }

    fn set_tree_root(&mut self, logical: Logical, level: u8, generation: Transid) {
        let superblock = &mut self.superblock;
        // A log continues the newest commit only.
        if generation != superblock.generation() {
            superblock.log_root = 0.into();
        }
        superblock.root = logical.0.into();
        superblock.root_level = level;
        superblock.generation = generation.0.into();
    }

    /// Level and generation that a block says it has.
    fn header(&self, what: Addressed, logical: Logical) -> Result<(u8, Transid)> {
        let mut buffer = Vec::new();
        match self.read_block(&Expected::at(logical), &mut buffer) {
            Ok(read) => Ok((read.block.level(), read.block.header().generation.into())),
            Err(bad) => Err(Error::Block { what, logical, problem: bad.into() }),
        }
    }

    fn newest_backup(&self) -> Result<RootBackup> {
        let mut backups: Vec<RootBackup> = self.superblock.super_roots.to_vec();
        backups.retain(|backup| {
            let generation = Transid::from(backup.tree_root_gen);
            backup.tree_root.get() != 0 && generation < self.superblock.generation()
        });
        backups.sort_by_key(|backup| std::cmp::Reverse(Transid::from(backup.tree_root_gen)));
        let mut buffer = Vec::new();
        let is_readable = |backup: &&RootBackup| {
            let expected = Expected {
                level: Some(backup.tree_root_level),
                generation: Some(backup.tree_root_gen.into()),
                ..Expected::at(backup.tree_root.into())
            };
            self.read_block(&expected, &mut buffer).is_ok()
        };
        backups.iter().find(is_readable).copied().ok_or(Error::NoBackupRoot)
    }
}
