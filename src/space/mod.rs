//! Space: which block groups there are, what of them is used, and what is reserved of the rest.
//!
//! Nothing here calls up: what has no room says so, and `chunk` allocates a chunk before the edit begins.

mod free_extents;
pub mod free_space_items;
mod group;
mod holes;
mod load;
mod ranges;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::disk::flags::block_group;
use crate::disk::{BlockGroupFlags, Logical, Profile};

pub use free_extents::FreeExtents;
pub use group::BlockGroup;
pub use holes::{Hole, Holes};
pub use load::{excluded, without_excluded, without_extents};

/// Bytes that are reserved before an edit begins, so that it does not run out of space in the middle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reserve {
    /// The sum of all reservations.
    pub size: u64,
    /// What of it no block has taken yet.
    pub reserved: u64,
    /// The most that was reserved at once.
    pub peak: u64,
}

/// Whose share of the space a new block comes out of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Payer {
    /// What handles have reserved.
    #[default]
    Handle,
    /// The global reserve: no handle loses what it has reserved.
    Commit,
}

/// Block groups of one type; of a mixed filesystem data and metadata are one.
#[derive(Clone, Debug, Default)]
pub struct SpaceInfo {
    /// Type bits.
    pub flags: u64,
    /// Bytes of all groups.
    pub total: u64,
    /// Bytes of their extents.
    pub used: u64,
    /// Freed since the last commit.
    pub pinned: u64,
    /// Unused bytes of groups that are not allocated from.
    pub readonly: u64,
    /// What handles have reserved.
    pub reserve: Reserve,
    /// The global reserve, bytes for what the commit itself writes.
    global_rsv: u64,
    /// Some thread allocates a chunk of this type.
    pub chunk_alloc: bool,
    /// Number of groups of each profile.
    profiles: BTreeMap<Profile, usize>,
    /// The profile that a balance converts to, which goes on with the next mount.
    pub convert_target: Option<Profile>,
}

impl SpaceInfo {
    /// Whether there are groups of this profile.
    pub fn has_profile(&self, profile: Profile) -> bool {
        self.profiles.contains_key(&profile)
    }

    /// The profile of new chunks where `rw_devices` can be written: that which a balance converts to, or else the strongest
    /// that there is and that so many devices allow (`btrfs_reduce_alloc_profile` in fs/btrfs/block-group.c).
    pub fn profile(&self, rw_devices: u64) -> Profile {
        if let Some(target) = self.convert_target {
            return target;
        }
        use Profile::{Dup, Raid0, Raid1, Raid1c3, Raid1c4, Raid5, Raid6, Raid10, Single};
        let order = [Raid1c4, Raid6, Raid1c3, Raid5, Raid10, Raid1, Dup, Raid0];
        let is_possible =
            |profile: &Profile| self.has_profile(*profile) && u64::from(profile.geometry().devs_min) <= rw_devices;
        order.into_iter().find(is_possible).unwrap_or(Single)
    }

    /// The global reserve.
    pub fn global_rsv(&self) -> u64 {
        self.global_rsv
    }

    /// Bytes that are not free, without those that are reserved.
    pub fn taken(&self) -> u64 {
        self.used + self.pinned + self.readonly
    }

    /// Bytes that are not free or reserved.
    pub fn taken_or_reserved(&self) -> u64 {
        self.taken() + self.reserve.reserved
    }

    /// Bytes neither taken nor reserved by handles, the global reserve among them.
    pub fn unreserved(&self) -> u64 {
        self.total.saturating_sub(self.taken_or_reserved())
    }

    /// Bytes neither taken nor reserved, less the global reserve.
    pub fn available(&self) -> u64 {
        self.unreserved().saturating_sub(self.global_rsv)
    }

    /// Reserves so many bytes if they are available.
    #[must_use]
    pub fn reserve(&mut self, bytes: u64) -> bool {
        self.reserve_out_of(self.available(), bytes)
    }

    /// As [`SpaceInfo::reserve`], for changes that make space: they may have the global reserve. Its size stays the same, so that
    /// it is there again as soon as the bytes are released.
    #[must_use]
    pub fn reserve_with_global(&mut self, bytes: u64) -> bool {
        self.reserve_out_of(self.unreserved(), bytes)
    }

    fn reserve_out_of(&mut self, available: u64, bytes: u64) -> bool {
        if available < bytes {
            return false;
        }
        self.reserve.size += bytes;
        self.reserve.reserved += bytes;
        self.reserve.peak = self.reserve.peak.max(self.reserve.size);
        true
    }

    /// Takes a reservation back; what blocks took of it stays taken.
    pub fn release(&mut self, bytes: u64) {
        self.reserve.size = self.reserve.size.saturating_sub(bytes);
        self.reserve.reserved = self.reserve.reserved.min(self.reserve.size);
    }

    /// Whether a block may be taken: out of what handles have reserved if a handle pays, or out of what is not reserved.
    fn may_take(&self, bytes: u64, payer: Payer) -> bool {
        self.is_paid_by_reserve(bytes, payer) || self.unreserved() >= bytes
    }

    /// Changes what of a group is not allocated from.
    fn change_readonly<T>(&mut self, group: &mut BlockGroup, change: impl FnOnce(&mut BlockGroup) -> T) -> T {
        let before = group.readonly();
        let changed = change(group);
        self.readonly = self.readonly.saturating_sub(before) + group.readonly();
        changed
    }

    /// What of a group is allocated from; `load` tells what is free in one of the last commit, if nothing is known yet.
    fn load<'g, E>(
        &mut self,
        group: &'g mut BlockGroup,
        load: impl FnOnce(&BlockGroup) -> Result<FreeExtents, E>,
    ) -> Result<&'g mut FreeExtents, E> {
        if group.free.is_none() {
            let free = load(group)?;
            self.change_readonly(group, |group| group.set_free(free));
        }
        Ok(group.free.get_or_insert_default())
    }

    fn take(&mut self, bytes: u64, payer: Payer) {
        if self.is_paid_by_reserve(bytes, payer) {
            self.reserve.reserved -= bytes;
        }
        self.used += bytes;
    }

    fn is_paid_by_reserve(&self, bytes: u64, payer: Payer) -> bool {
        payer == Payer::Handle && self.reserve.reserved >= bytes
    }
}

/// Groups of the profile that is asked for, and then the others.
const ANY: [bool; 2] = [true, false];

/// All block groups and what is known of their use.
#[derive(Debug)]
pub struct Space {
    infos: Vec<SpaceInfo>,
    /// The groups of each info: an allocation passes over none of another type.
    groups: Vec<BTreeMap<Logical, BlockGroup>>,
    /// Groups in which something was taken or freed since [`Space::take_touched`].
    touched: BTreeSet<Logical>,
    nodesize: u32,
}

impl Space {
    /// Space without block groups.
    pub fn new(nodesize: u32, is_mixed: bool) -> Self {
        let types = match is_mixed {
            true => vec![block_group::DATA | block_group::METADATA, block_group::SYSTEM],
            false => vec![block_group::DATA, block_group::METADATA, block_group::SYSTEM],
        };
        let groups = vec![BTreeMap::new(); types.len()];
        let info = |flags| SpaceInfo { flags, ..SpaceInfo::default() };
        Self { infos: types.into_iter().map(info).collect(), groups, touched: BTreeSet::new(), nodesize }
    }

    /// The space that groups with these flags belong to.
    pub fn info(&self, flags: BlockGroupFlags) -> &SpaceInfo {
        &self.infos[self.index(flags)]
    }

    /// The space that groups with these flags belong to.
    pub fn info_mut(&mut self, flags: BlockGroupFlags) -> &mut SpaceInfo {
        let index = self.index(flags);
        &mut self.infos[index]
    }

    /// Flags without a type go with the data: nothing is allocated for them.
    fn index(&self, flags: BlockGroupFlags) -> usize {
        self.infos.iter().position(|info| info.flags & flags.0 != 0).unwrap_or_default()
    }

    /// All groups; those of one type in order.
    pub fn groups(&self) -> impl Iterator<Item = &BlockGroup> {
        self.groups.iter().flat_map(BTreeMap::values)
    }

    /// Free bytes that are not allocated from, for something of the last commit shares their rows.
    pub fn partial_bytes(&self) -> u64 {
        self.groups().map(|group| group.partial().bytes()).fold(0, u64::saturating_add)
    }

    /// The groups of this type, in order.
    pub fn groups_of(&self, flags: BlockGroupFlags) -> impl Iterator<Item = &BlockGroup> {
        self.groups[self.index(flags)].values()
    }

    /// The group that begins at `logical`.
    pub fn group(&self, logical: Logical) -> Option<&BlockGroup> {
        self.groups.iter().find_map(|groups| groups.get(&logical))
    }

    fn group_mut(&mut self, logical: Logical) -> Option<&mut BlockGroup> {
        self.groups.iter_mut().find_map(|groups| groups.get_mut(&logical))
    }

    /// The group that holds `logical`.
    fn group_of_mut(&mut self, logical: Logical) -> Option<&mut BlockGroup> {
        let before = self.groups.iter_mut().filter_map(|groups| groups.range_mut(..=logical).next_back());
        before.map(|(_, group)| group).find(|group| logical < group.end())
    }

    /// Adds a block group.
    pub fn add(&mut self, group: BlockGroup) {
        let info = self.info_mut(group.flags);
        info.total += group.length;
        info.used += group.used;
        if let Some(profile) = group.flags.profile() {
            *info.profiles.entry(profile).or_default() += 1;
        }
        info.readonly += group.readonly();
        let index = self.index(group.flags);
        if group.item_used.is_none() {
            self.touched.insert(group.logical);
        }
        self.groups[index].insert(group.logical, group);
    }

    /// Takes a group away; its pinned bytes with it.
    pub fn remove(&mut self, logical: Logical) -> Option<BlockGroup> {
        let group = self.groups.iter_mut().find_map(|groups| groups.remove(&logical))?;
        let info = self.info_mut(group.flags);
        info.total = info.total.saturating_sub(group.length);
        info.used = info.used.saturating_sub(group.used);
        if let Some(profile) = group.flags.profile()
            && let Some(count) = info.profiles.get_mut(&profile)
        {
            *count -= 1;
            if *count == 0 {
                info.profiles.remove(&profile);
            }
        }
        info.pinned = info.pinned.saturating_sub(group.pinned());
        info.readonly = info.readonly.saturating_sub(group.readonly());
        Some(group)
    }

    /// Sets the global reserve, in bytes of METADATA space.
    pub fn set_global_rsv(&mut self, bytes: u64) {
        self.info_mut(BlockGroupFlags(block_group::METADATA)).global_rsv = bytes;
    }

    /// After a commit: what was freed before it can be used again.
    pub fn unpin(&mut self) {
        for (info, groups) in self.infos.iter_mut().zip(&mut self.groups) {
            for group in groups.values_mut() {
                info.pinned = info.pinned.saturating_sub(info.change_readonly(group, BlockGroup::unpin));
            }
        }
    }

    /// Keeps all handles and the commit from allocating in a group.
    pub fn set_read_only(&mut self, logical: Logical) {
        self.change_group(logical, |group| group.is_read_only = true);
    }

    /// Takes [`Space::set_read_only`] back.
    pub fn set_read_write(&mut self, logical: Logical) {
        self.change_group(logical, |group| group.is_read_only = false);
    }

    /// Allocates from degraded groups of this type, too: what is written there has fewer copies until the missing devices are
    /// replaced. Whether there are any that were not allocated from.
    pub fn use_degraded(&mut self, flags: BlockGroupFlags) -> bool {
        let of_type = self.groups_of(flags).filter(|group| group.is_degraded && !group.is_writable);
        let degraded: Vec<Logical> = of_type.map(|group| group.logical).collect();
        for logical in &degraded {
            self.change_group(*logical, |group| group.is_writable = true);
        }
        !degraded.is_empty()
    }

    /// Allocates from ranges of [`BlockGroup::partial`], too, until the next commit.
    pub fn open_rows(&mut self, logical: Logical, ranges: &FreeExtents) {
        self.change_group(logical, |group| {
            for (start, length) in ranges.iter() {
                group.partial.remove(start, length);
                group.free.get_or_insert_default().add(start, length);
            }
        });
    }

    fn change_group(&mut self, logical: Logical, change: impl FnOnce(&mut BlockGroup)) {
        let mut groups = self.infos.iter_mut().zip(&mut self.groups);
        if let Some((info, group)) = groups.find_map(|(info, groups)| Some((info, groups.get_mut(&logical)?))) {
            info.change_readonly(group, change);
        }
    }

    /// Notes what is written in the item of a group now.
    pub fn set_item_used(&mut self, logical: Logical, used: u64) {
        if let Some(group) = self.group_mut(logical) {
            group.item_used = Some(used);
        }
    }

    /// The chunk tree knows the chunk of the group from now on.
    pub fn set_has_chunk_item(&mut self, logical: Logical) {
        if let Some(group) = self.group_mut(logical) {
            group.has_chunk_item = true;
        }
    }

    /// A block for a tree, as [`Space::allocate_block_for`] gives it to a handle.
    pub fn allocate_block<E>(
        &mut self,
        flags: BlockGroupFlags,
        profile: Profile,
        load: impl FnMut(&BlockGroup) -> Result<FreeExtents, E>,
    ) -> Result<Option<Logical>, E> {
        self.allocate_block_for(Payer::Handle, flags, profile, load)
    }

    /// A block for a tree, from a group of this type: of this profile where there is one. `load` tells what is free in a
    /// group of the last commit. Nothing if there is no room.
    pub fn allocate_block_for<E>(
        &mut self,
        payer: Payer,
        flags: BlockGroupFlags,
        profile: Profile,
        load: impl FnMut(&BlockGroup) -> Result<FreeExtents, E>,
    ) -> Result<Option<Logical>, E> {
        let (info, nodesize) = (self.index(flags), self.nodesize);
        if !self.infos[info].may_take(nodesize.into(), payer) {
            return Ok(None);
        }
        let block = self.allocate(info, nodesize.into(), profile, &ANY, load, |free| free.take_block(nodesize))?;
        if block.is_some() {
            self.infos[info].take(nodesize.into(), payer);
        }
        Ok(block)
    }

    /// As [`Space::allocate_block_for`] for the commit, from groups of this profile alone.
    pub fn allocate_block_in<E>(
        &mut self,
        flags: BlockGroupFlags,
        profile: Profile,
        load: impl FnMut(&BlockGroup) -> Result<FreeExtents, E>,
    ) -> Result<Option<Logical>, E> {
        let (info, nodesize) = (self.index(flags), self.nodesize);
        if self.infos[info].unreserved() < nodesize.into() {
            return Ok(None);
        }
        let block = self.allocate(info, nodesize.into(), profile, &[true], load, |free| free.take_block(nodesize))?;
        if block.is_some() {
            self.infos[info].take(nodesize.into(), Payer::Commit);
        }
        Ok(block)
    }

    /// The free ranges of all groups of this type and profile that are allocated from, start and bytes, in order.
    pub fn free_ranges<E>(
        &mut self,
        flags: BlockGroupFlags,
        profile: Profile,
        mut load: impl FnMut(&BlockGroup) -> Result<FreeExtents, E>,
    ) -> Result<Vec<(Logical, u64)>, E> {
        let info = self.index(flags);
        let (space_info, groups) = (&mut self.infos[info], &mut self.groups[info]);
        let mut ranges = Vec::new();
        for group in groups.values_mut() {
            if group.is_usable() && group.flags.profile() == Some(profile) && group.unused() > 0 {
                ranges.extend(space_info.load(group, &mut load)?.iter());
            }
        }
        Ok(ranges)
    }

    /// Takes a range of data out of one that [`Space::free_ranges`] has named.
    pub fn take_range(&mut self, logical: Logical, length: u64) {
        let Some(group) = self.group_of_mut(logical) else { return };
        if let Some(free) = &mut group.free {
            free.remove(logical, length);
        }
        group.used += length;
        let (start, flags) = (group.logical, group.flags);
        self.touched.insert(start);
        self.info_mut(flags).used += length;
    }

    /// Space for `length` bytes of data in one piece, as above. What was reserved for trees is not taken.
    pub fn allocate_data<E>(
        &mut self,
        length: u64,
        sectorsize: u32,
        profile: Profile,
        load: impl FnMut(&BlockGroup) -> Result<FreeExtents, E>,
    ) -> Result<Option<Logical>, E> {
        let info = self.index(BlockGroupFlags(block_group::DATA));
        if self.infos[info].available() < length {
            return Ok(None);
        }
        let data = self.allocate(info, length, profile, &ANY, load, |free| free.take(length, sectorsize))?;
        if data.is_some() {
            self.infos[info].used += length;
        }
        Ok(data)
    }

    /// What `take` takes out of the first group that it fits in. `wants_profile` says in turn whether groups of the profile are
    /// looked at, or the others.
    fn allocate<E>(
        &mut self,
        info: usize,
        length: u64,
        profile: Profile,
        wants_profile: &[bool],
        mut load: impl FnMut(&BlockGroup) -> Result<FreeExtents, E>,
        mut take: impl FnMut(&mut FreeExtents) -> Option<Logical>,
    ) -> Result<Option<Logical>, E> {
        let (space_info, groups) = (&mut self.infos[info], &mut self.groups[info]);
        for wants_profile in wants_profile {
            for group in groups.values_mut() {
                let taken = group.used.saturating_add(group.pinned()).saturating_add(length);
                let fits = (group.flags.profile() == Some(profile)) == *wants_profile;
                if !fits || taken > group.length || !group.is_usable() {
                    continue;
                }
                if let Some(start) = take(space_info.load(group, &mut load)?) {
                    group.used += length;
                    self.touched.insert(group.logical);
                    return Ok(Some(start));
                }
            }
        }
        Ok(None)
    }

    /// Learns what is free in the groups of this type whose rows may not all be allocated from: until then their sums say
    /// that all free bytes are.
    pub fn load_rows<E>(
        &mut self,
        flags: BlockGroupFlags,
        mut load: impl FnMut(&BlockGroup) -> Result<FreeExtents, E>,
    ) -> Result<(), E> {
        let index = self.index(flags);
        let mut groups = self.groups[index].values_mut().filter(|group| group.has_rows() && group.is_usable());
        groups.try_for_each(|group| self.infos[index].load(group, &mut load).map(drop))
    }

    /// Whether blocks of so many bytes together could be taken now. Free bytes alone do not tell: they may lie in pieces
    /// that are too small. `load` is as for [`Space::allocate_block`].
    pub fn has_blocks<E>(
        &mut self,
        flags: BlockGroupFlags,
        bytes: u64,
        mut load: impl FnMut(&BlockGroup) -> Result<FreeExtents, E>,
    ) -> Result<bool, E> {
        let (nodesize, info) = (self.nodesize, self.index(flags));
        let mut missing = bytes.div_ceil(nodesize.into());
        let space_info = &mut self.infos[info];
        for group in self.groups[info].values_mut().filter(|group| group.is_usable()) {
            if missing == 0 {
                break;
            }
            missing -= space_info.load(group, &mut load)?.count_blocks(nodesize, missing);
        }
        Ok(missing == 0)
    }

    /// Frees a range that the last commit had in use: it is pinned, and not allocated before the next commit.
    pub fn free(&mut self, logical: Logical, length: u64) {
        let Some(group) = self.group_of_mut(logical) else { return };
        group.used = group.used.saturating_sub(length);
        group.pinned.add(logical, length);
        let (start, flags) = (group.logical, group.flags);
        self.touched.insert(start);
        let info = self.info_mut(flags);
        info.used = info.used.saturating_sub(length);
        info.pinned += length;
    }

    /// Frees a range that was allocated since the last commit.
    pub fn give_back(&mut self, logical: Logical, length: u64) {
        let Some(group) = self.group_of_mut(logical) else { return };
        group.used = group.used.saturating_sub(length);
        if let Some(free) = &mut group.free {
            free.add(logical, length);
        }
        let (start, flags, is_usable) = (group.logical, group.flags, group.is_usable());
        self.touched.insert(start);
        let info = self.info_mut(flags);
        info.used = info.used.saturating_sub(length);
        if !is_usable {
            info.readonly += length;
        }
    }

    /// The groups in which something was taken or freed since the last call, and new ones.
    pub fn take_touched(&mut self) -> BTreeSet<Logical> {
        std::mem::take(&mut self.touched)
    }

    /// What will be free in a group after the commit. `load` tells what is free in one of the last commit.
    pub fn free_after_commit<E>(
        &mut self,
        logical: Logical,
        load: impl FnOnce(&BlockGroup) -> Result<FreeExtents, E>,
    ) -> Result<FreeExtents, E> {
        let mut groups = self.infos.iter_mut().zip(&mut self.groups);
        let found = groups.find_map(|(info, groups)| Some((info, groups.get_mut(&logical)?)));
        let Some((info, group)) = found else { return Ok(FreeExtents::default()) };
        let mut free = info.load(group, load)?.clone();
        group.partial.iter().chain(group.pinned.iter()).for_each(|(start, length)| free.add(start, length));
        Ok(free)
    }
}
