//! What is to be balanced, and whether it may be (`btrfs_balance` in fs/btrfs/volumes.c).

use std::fmt;

use crate::disk::flags::{balance, block_group, incompat};
use crate::disk::volume::BalanceItem;
use crate::disk::{BlockGroupFlags, Profile};
use crate::error::{BalanceProblem, Error, Result};
use crate::trans::Filesystem;

use super::filters::Filters;

/// The types that are balanced, each with its filters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// Of data, and of mixed block groups.
    pub data: Option<Filters>,
    /// Of metadata.
    pub metadata: Option<Filters>,
    /// Of system chunks.
    pub system: Option<Filters>,
    /// Whether metadata may get a profile of less redundancy.
    pub force: bool,
}

/// What a profile survives, and how much is stored for that: more is more redundancy.
fn redundancy(profile: Profile) -> (u16, u16) {
    let geometry = profile.geometry();
    (geometry.tolerated_failures, geometry.ncopies + geometry.nparity)
}

impl Balance {
    /// All block groups of all types.
    pub fn full() -> Self {
        let all = Some(Filters::default());
        Self { data: all.clone(), metadata: all.clone(), system: all, force: false }
    }

    /// The balance that an item tells of, as the kernel goes on with it.
    ///
    /// # Errors
    /// Filters or profiles that are not known.
    pub fn resumed(item: &BalanceItem) -> Result<Self> {
        let Self { data, metadata, system, force } = Self::of_item(item)?;
        let resumed = |filters: Option<Filters>| filters.map(Filters::resumed);
        Ok(Self { data: resumed(data), metadata: resumed(metadata), system: resumed(system), force })
    }

    /// The balance that an item tells of, as it was begun.
    ///
    /// # Errors
    /// Filters or profiles that are not known.
    pub fn of_item(item: &BalanceItem) -> Result<Self> {
        let flags = item.flags.get();
        let of = |flag: u64, args| (flags & flag != 0).then(|| Filters::of_item(args)).transpose();
        Ok(Self {
            data: of(balance::DATA, &item.data)?,
            metadata: of(balance::METADATA, &item.meta)?,
            system: of(balance::SYSTEM, &item.sys)?,
            force: flags & balance::FORCE != 0,
        })
    }

    /// The filters for a block group of this type; of a mixed one those for data.
    pub fn filters(&self, flags: BlockGroupFlags) -> Option<&Filters> {
        if flags.contains(block_group::DATA) {
            self.data.as_ref()
        } else if flags.contains(block_group::SYSTEM) {
            self.system.as_ref()
        } else {
            self.metadata.as_ref()
        }
    }

    /// The types with their bits, in the order in which redundancy rises: what describes all else first.
    pub fn types(&self) -> [(&'static str, u64, Option<&Filters>); 3] {
        [
            ("metadata", block_group::METADATA, self.metadata.as_ref()),
            ("system", block_group::SYSTEM, self.system.as_ref()),
            ("data", block_group::DATA, self.data.as_ref()),
        ]
    }

    /// Fails if the filesystem cannot be balanced so.
    ///
    /// # Errors
    /// Profiles that the devices do not allow, filters of mixed block groups that differ, and less redundancy of metadata
    /// without `force`.
    pub fn check(&self, fs: &Filesystem) -> Result<()> {
        let is_mixed = fs.volume().superblock().has_incompat(incompat::MIXED_GROUPS);
        if is_mixed && self.data != self.metadata {
            return Err(BalanceProblem::Mixed.into());
        }
        let devices = fs.chunks().rw_devices().count();
        for (what, type_bits, filters) in self.types() {
            let Some(target) = filters.and_then(|filters| filters.convert) else { continue };
            let needed = target.geometry().devs_min;
            if devices < usize::from(needed) {
                return Err(Error::FewDevices { profile: target.name(), needed, devices });
            }
            let lowered = filters.and_then(|filters| lowered(fs, type_bits, filters, target));
            if let Some(from) = lowered.filter(|_| type_bits != block_group::DATA && !self.force) {
                return Err(BalanceProblem::LessRedundancy { what, from: from.name(), to: target.name() }.into());
            }
        }
        Ok(())
    }
}

/// The profile of the most redundancy that block groups of this type give up for `target`.
fn lowered(fs: &Filesystem, type_bits: u64, filters: &Filters, target: Profile) -> Option<Profile> {
    let space = fs.space();
    let profiles = space.groups_of(BlockGroupFlags(type_bits)).filter_map(|group| group.flags.profile());
    let is_meant = |profile: &Profile| filters.profiles.as_ref().is_none_or(|meant| meant.contains(profile));
    let most = profiles.filter(is_meant).max_by_key(|profile| redundancy(*profile))?;
    (redundancy(target) < redundancy(most)).then_some(most)
}

impl fmt::Display for Balance {
    /// As the options of a command.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = [("-d", &self.data), ("-m", &self.metadata), ("-s", &self.system)];
        let words = options.iter().filter_map(|(option, filters)| Some(format!("{option}{}", filters.as_ref()?)));
        f.write_str(&words.collect::<Vec<_>>().join(" "))
    }
}
