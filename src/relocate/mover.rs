//! Batch after batch: which block groups come next, and what is done where there is too little room.

use std::collections::BTreeMap;

use crate::chunk::is_lack_of_space;
use crate::disk::flags::block_group::{DATA, METADATA, SYSTEM};
use crate::disk::{BlockGroupFlags, Logical, Profile, objectid};
use crate::error::{Error, RelocationProblem, Result};
use crate::trans::Filesystem;
use crate::tree::TreeRoot;
use crate::volume::ChunkMapping;

use super::batch::{Batch, Done};
use super::contents::{Contents, Limits};
use super::request::{Evacuation, Moved, Options, Rules, Takers};
use super::room::{Emptied, Last, free_blocks, make_chunk, make_room, remove_emptied, wanted_blocks};
use super::trees::{drop_relocation_trees, refuse};

/// A batch at the most: what is known of its extents and blocks is in memory.
const LIMITS: Limits = Limits { extents: 1 << 18, bytes: 8 << 30, blocks: 1 << 16 };
/// How often a batch becomes half as large before there is too little room.
const HALVINGS: u32 = 12;

/// How often a batch that has too little room for tree blocks is tried again with another chunk for them.
const RETRIES: u32 = 4;

/// What an attempt came to.
enum Attempt {
    Done,
    /// Bytes that more room would take.
    NoRoom(u64),
}

/// A relocation.
pub struct Mover<'m> {
    evacuations: Vec<Evacuation>,
    rules: Rules<'m>,
    options: Options<'m>,
    moved: &'m mut Moved,
    /// Block groups that stay and take nothing.
    closed: Vec<Logical>,
    /// What the profiles of new chunks were to be, by type.
    targets: BTreeMap<u64, Profile>,
}

impl<'m> Mover<'m> {
    /// A relocation that adds to `moved`.
    pub fn new(evacuations: &[Evacuation], rules: Rules<'m>, options: &Options<'m>, moved: &'m mut Moved) -> Self {
        let (closed, targets) = Default::default();
        Self { evacuations: evacuations.to_vec(), rules, options: *options, moved, closed, targets }
    }

    /// Does it all.
    ///
    /// # Errors
    /// As those of [`super::relocate`].
    pub fn run(mut self, mut fs: Filesystem) -> Result<Filesystem> {
        refuse(fs.volume())?;
        self.moved.transactions += drop_relocation_trees(&mut fs)?;
        let mut total = 0;
        for Evacuation { start, into } in &self.evacuations {
            let group = fs.space().group(*start).map(|group| (group.flags, group.used));
            let (flags, used) = group.ok_or(Error::NoChunk { logical: *start })?;
            self.targets.entry(flags.type_bits()).or_insert(*into);
            total += used;
        }
        self.options.progress.begin("relocating", total);
        self.closed = self.passed_by(&fs);
        self.remove_space_caches(&mut fs)?;
        self.close(&fs, Takers::Staying, &[]);
        loop {
            let is_changed;
            (fs, is_changed) = self.remove_emptied(fs)?;
            self.options.progress.set_chunks_left(self.evacuations.len() as u64);
            if self.evacuations.is_empty() || self.options.progress.is_stopped() {
                break;
            }
            let (next, is_moved) = self.step(fs, is_changed)?;
            fs = next;
            if !is_moved {
                break;
            }
        }
        self.moved.left = self.evacuations.iter().map(|evacuation| evacuation.start).collect();
        let left = self.moved.left.iter().chain(&self.closed);
        left.for_each(|logical| fs.space().set_read_write(*logical));
        for type_bits in self.targets.keys() {
            fs.space().info_mut(BlockGroupFlags(*type_bits)).convert_target = None;
        }
        Ok(fs)
    }

    /// The block groups of the types that move which are neither emptied nor take anything.
    fn passed_by(&self, fs: &Filesystem) -> Vec<Logical> {
        let is_named = |logical: Logical| {
            self.rules.into.contains(&logical) || self.evacuations.iter().any(|evacuation| evacuation.start == logical)
        };
        let is_of_type = |flags: BlockGroupFlags| self.targets.contains_key(&flags.type_bits());
        let space = fs.space();
        let groups = space.groups().filter(|group| !self.rules.into.is_empty() && is_of_type(group.flags));
        groups.map(|group| group.logical).filter(|logical| !is_named(*logical)).collect()
    }

    /// Closes block groups to everything new, and says which profile new chunks have.
    fn close(&self, fs: &Filesystem, takers: Takers, batch: &[Logical]) {
        let mut space = fs.space();
        self.closed.iter().for_each(|logical| space.set_read_only(*logical));
        for Evacuation { start, .. } in &self.evacuations {
            match takers == Takers::Staying || batch.contains(start) {
                true => space.set_read_only(*start),
                false => space.set_read_write(*start),
            }
        }
        for (type_bits, target) in &self.targets {
            space.info_mut(BlockGroupFlags(*type_bits)).convert_target = Some(*target);
        }
    }

    /// Deletes the v1 caches of free space: files whose data the mover would have to move, and which no commit leaves valid.
    fn remove_space_caches(&mut self, fs: &mut Filesystem) -> Result<()> {
        if !fs.remove_space_caches()? {
            return Ok(());
        }
        self.commit(fs)
    }

    fn commit(&mut self, fs: &mut Filesystem) -> Result<()> {
        let chunks = |fs: &Filesystem| -> Vec<ChunkMapping> { fs.volume().chunks().iter().cloned().collect() };
        let (before, generation) = (chunks(fs), fs.generation());
        fs.commit()?;
        let after = chunks(fs);
        self.moved.transactions += u64::from(fs.generation() != generation);
        let is_in = |chunks: &[ChunkMapping], logical: Logical| {
            chunks.binary_search_by_key(&logical, |chunk| chunk.logical).is_ok()
        };
        self.moved.chunks_made.retain(|chunk| is_in(&after, chunk.logical));
        self.moved.chunks_made.extend(after.iter().filter(|chunk| !is_in(&before, chunk.logical)).cloned());
        self.moved.chunks_removed.extend(before.into_iter().filter(|chunk| !is_in(&after, chunk.logical)));
        Ok(())
    }

    /// Removes the block groups that are empty. Returns whether any went.
    fn remove_emptied(&mut self, mut fs: Filesystem) -> Result<(Filesystem, bool)> {
        let is_empty = |fs: &Filesystem, start: Logical| {
            fs.space().group(start).is_some_and(|group| group.used == 0 && group.pinned() == 0)
        };
        let mut is_changed = false;
        for takers in [Takers::Staying, Takers::All] {
            let starts = self.evacuations.iter().map(|evacuation| evacuation.start);
            let empty: Vec<Logical> = starts.filter(|start| is_empty(&fs, *start)).collect();
            self.close(&fs, takers, &empty);
            for start in empty {
                let removed = self.remove(&fs, start).and_then(|removed| {
                    self.commit(&mut fs)?;
                    Ok(removed)
                });
                match removed {
                    Ok(Emptied::Waits) => {}
                    Ok(emptied) => {
                        is_changed = true;
                        self.evacuations.retain(|evacuation| evacuation.start != start);
                        if emptied == Emptied::Stays {
                            fs.space().set_read_write(start);
                        }
                    }
                    // What was begun cannot be finished.
                    Err(error) if is_lack_of_space(&error) => {
                        let empty: Vec<Logical> = self.evacuations.iter().map(|evacuation| evacuation.start).collect();
                        fs = self.reopen(fs, Takers::Staying, &empty)?;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok((fs, is_changed))
    }

    /// Removes a block group that is empty.
    fn remove(&self, fs: &Filesystem, start: Logical) -> Result<Emptied> {
        let type_of = |start: Logical| fs.space().group(start).map_or(0, |group| group.flags.type_bits());
        let own = type_of(start);
        let others = self.evacuations.iter().filter(|other| other.start != start);
        let is_last = !others.into_iter().any(|other| type_of(other.start) & own != 0);
        let into = self.evacuations.iter().find(|evacuation| evacuation.start == start);
        let into = into.map_or(Profile::Single, |evacuation| evacuation.into);
        let last = match is_last {
            _ if self.rules.last_goes => Last::Goes,
            true => Last::Stays,
            false => Last::Waits,
        };
        remove_emptied(fs, start, into, last)
    }

    /// Moves one batch. Returns false if the work was stopped before.
    fn step(&mut self, mut fs: Filesystem, is_changed: bool) -> Result<(Filesystem, bool)> {
        let mut missing: Option<(BlockGroupFlags, Profile, u64)> = None;
        for takers in [Takers::Staying, Takers::All] {
            for (flags, profile) in self.kinds(&fs) {
                let attempt;
                (fs, attempt) = match self.attempt(fs, takers, flags, profile) {
                    Err(Stopped::Interrupted(fs)) => return Ok((*fs, false)),
                    Err(Stopped::Failed(error)) => return Err(error),
                    Ok(attempted) => attempted,
                };
                match attempt {
                    Attempt::Done => return Ok((fs, true)),
                    Attempt::NoRoom(bytes) => missing = missing.or(Some((flags, profile, bytes))),
                }
            }
        }
        // What is left is empty, and waits for room: what went before it has made some.
        let waits = |fs: &Filesystem| {
            let space = fs.space();
            let group = self.evacuations.iter().find_map(|evacuation| space.group(evacuation.start));
            group.map(|group| (group.flags, group.flags.profile().unwrap_or(Profile::Single), group.length))
        };
        match missing.or_else(|| waits(&fs)) {
            None => Ok((fs, true)),
            Some(_) if missing.is_none() && is_changed => Ok((fs, true)),
            Some((flags, profile, missing)) => {
                let what = kind_of(flags);
                Err(RelocationProblem::NotEnoughRoom { what, profile: profile.name(), missing }.into())
            }
        }
    }

    /// The kinds of block groups that are to be emptied, in their order: data waits until what leads to it is as safe as it is to be.
    fn kinds(&self, fs: &Filesystem) -> Vec<(BlockGroupFlags, Profile)> {
        let space = fs.space();
        let mut kinds: Vec<(BlockGroupFlags, Profile)> = Vec::new();
        for Evacuation { start, into } in &self.evacuations {
            let Some(group) = space.group(*start).filter(|group| group.used > 0) else { continue };
            let kind = (BlockGroupFlags(group.flags.type_bits()), *into);
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        kinds.sort_by_key(|(flags, into)| {
            let order = [METADATA, SYSTEM, DATA].into_iter().position(|bit| flags.contains(bit));
            (order, *into)
        });
        kinds
    }

    /// The block groups of a kind, the emptiest first: start, end and used bytes.
    fn groups(&self, fs: &Filesystem, flags: BlockGroupFlags, profile: Profile) -> Vec<(Logical, Logical, u64)> {
        let space = fs.space();
        let of_kind = self.evacuations.iter().filter(|evacuation| evacuation.into == profile);
        let groups = of_kind.filter_map(|evacuation| space.group(evacuation.start));
        let groups = groups.filter(|group| group.used > 0 && group.flags.type_bits() == flags.0);
        let mut groups: Vec<_> = groups.map(|group| (group.logical, group.end(), group.used)).collect();
        groups.sort_by_key(|(start, _, used)| (*used, *start));
        groups
    }

    /// The next batch of a kind, and its block groups.
    fn next_batch(
        &self,
        fs: &Filesystem,
        takers: Takers,
        flags: BlockGroupFlags,
        profile: Profile,
        mut limits: Limits,
    ) -> Result<(Batch, Vec<Logical>)> {
        let root_tree = TreeRoot::root_tree(fs.volume());
        let extent_tree = root_tree.find_child(fs.volume(), objectid::EXTENT_TREE)?;
        let no_tree = Error::NoTree { tree: objectid::EXTENT_TREE, name: "EXTENT_TREE" };
        let extent_tree = extent_tree.ok_or(no_tree)?;
        let mut batch = Batch { flags, profile, ranges: Vec::new(), data: Vec::new(), blocks: 0 };
        let mut groups = Vec::new();
        for (start, end, _) in self.groups(fs, flags, profile) {
            if limits.is_spent() || takers == Takers::All && !groups.is_empty() {
                break;
            }
            let contents = Contents::read(fs.volume(), &extent_tree, start, end, limits)?;
            limits = limits.without(&contents);
            batch.ranges.push((start, contents.end));
            batch.blocks += contents.blocks;
            batch.data.extend(contents.data);
            groups.push(start);
        }
        batch.ranges.sort_unstable();
        batch.data.sort_unstable_by_key(|extent| extent.start);
        Ok((batch, groups))
    }

    /// Moves a batch of a kind, as large as the room allows.
    fn attempt(
        &mut self,
        mut fs: Filesystem,
        takers: Takers,
        flags: BlockGroupFlags,
        profile: Profile,
    ) -> Result<(Filesystem, Attempt), Stopped> {
        let mut missing = 0;
        for halving in 0..HALVINGS {
            let limits = Limits {
                extents: (LIMITS.extents >> halving).max(1),
                bytes: (LIMITS.bytes >> halving).max(1),
                blocks: (LIMITS.blocks >> halving).max(1),
            };
            self.close(&fs, takers, &[]);
            let (mut batch, groups) = self.next_batch(&fs, takers, flags, profile, limits)?;
            self.close(&fs, takers, &groups);
            match make_room(&fs, &batch).and_then(|()| self.commit(&mut fs)) {
                // What was begun cannot be finished: there is only the room that there was.
                Err(error) if is_lack_of_space(&error) => fs = self.reopen(fs, takers, &groups)?,
                made => made?,
            }
            if flags.contains(METADATA) {
                let free = free_blocks(&fs, flags, profile)?;
                if free < wanted_blocks(batch.blocks) && batch.blocks > 0 {
                    let blocks = (free.saturating_sub(64) / 9 * 8).max(1);
                    missing = (wanted_blocks(batch.blocks) - free) * u64::from(fs.volume().format().nodesize);
                    (batch, _) = self.next_batch(&fs, takers, flags, profile, Limits { blocks, ..limits })?;
                }
            }
            let (placed, unplaced) = batch.place(&fs)?;
            let is_too_little = match takers {
                Takers::Staying => placed.is_empty() && batch.blocks == 0,
                Takers::All => {
                    unplaced > 0 || batch.ranges.iter().any(|(start, end)| !self.is_whole(&fs, *start, *end))
                }
            };
            if unplaced > 0 {
                missing = unplaced;
            }
            if is_too_little {
                if takers == Takers::All {
                    break;
                }
                continue;
            }
            for _ in 0..RETRIES {
                let ran = batch.run(&fs, self.options.threads, self.options.progress);
                let committed = ran.and_then(|done| self.commit(&mut fs).map(|()| done));
                match committed {
                    Ok(done) => {
                        self.count(done);
                        return Ok((fs, Attempt::Done));
                    }
                    Err(Error::Interrupted) => {
                        let fs = self.reopen(fs, takers, &groups)?;
                        return Err(Stopped::Interrupted(Box::new(fs)));
                    }
                    Err(error) if is_lack_of_space(&error) => {
                        if let Error::NoSpace { wanted, left, .. } = error {
                            missing = missing.max(wanted.saturating_sub(left));
                        }
                        fs = self.reopen(fs, takers, &groups)?;
                        let type_bits = if flags.contains(SYSTEM) { SYSTEM } else { METADATA };
                        let made = make_chunk(&fs, type_bits, None, missing).and_then(|made| {
                            self.commit(&mut fs)?;
                            Ok(made)
                        });
                        match made {
                            Ok(true) => {}
                            Ok(false) => break,
                            Err(error) if is_lack_of_space(&error) => {
                                fs = self.reopen(fs, takers, &groups)?;
                                break;
                            }
                            Err(error) => return Err(error.into()),
                        }
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok((fs, Attempt::NoRoom(missing)))
    }

    /// Whether a range is all of a block group.
    fn is_whole(&self, fs: &Filesystem, start: Logical, end: Logical) -> bool {
        fs.space().group(start).is_some_and(|group| group.end() == end)
    }

    fn reopen(&self, fs: Filesystem, takers: Takers, groups: &[Logical]) -> Result<Filesystem> {
        let fs = fs.abandon()?;
        self.close(&fs, takers, groups);
        Ok(fs)
    }

    fn count(&mut self, done: Done) {
        self.options.progress.add(done.bytes_left);
        self.moved.data_bytes += done.data_bytes;
        self.moved.tree_blocks += done.tree_blocks;
        self.moved.healed_bytes += done.healed_bytes;
        self.moved.damaged.extend(done.damaged);
    }
}

/// Why an attempt has no outcome.
enum Stopped {
    /// The filesystem as the last commit left it.
    Interrupted(Box<Filesystem>),
    Failed(Error),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

fn kind_of(flags: BlockGroupFlags) -> &'static str {
    if flags.contains(SYSTEM) {
        "system"
    } else if flags.contains(METADATA) {
        "metadata"
    } else {
        "data"
    }
}

/// Moves everything out of the block groups, and removes their chunks, but for the last of its type that is empty and as it
/// should be. The filesystem is opened anew where a batch finds too little room, and is returned after the last commit.
/// `moved` says what was committed, with an error too.
///
/// # Errors
/// There is no such block group; [`crate::error::RelocationProblem`]; damage; what cannot be read or written. Batches before
/// it were committed, and nothing else has changed.
pub fn relocate(
    fs: Filesystem,
    evacuations: &[Evacuation],
    options: &Options<'_>,
    moved: &mut Moved,
) -> Result<Filesystem> {
    relocate_by(fs, evacuations, Rules::default(), options, moved)
}

/// As [`relocate`], by other rules.
///
/// # Errors
/// As those of [`relocate`].
pub fn relocate_by(
    fs: Filesystem,
    evacuations: &[Evacuation],
    rules: Rules<'_>,
    options: &Options<'_>,
    moved: &mut Moved,
) -> Result<Filesystem> {
    Mover::new(evacuations, rules, options, moved).run(fs)
}
