//! Directories: one name, and all of them.
//!
//! A name stands in two items: `DIR_ITEM`, which is found by the hash of the name, and `DIR_INDEX`, which has an order. Where
//! they disagree, the entry is taken that leads to an inode with a reference back to this name, so that lookup and
//! listing agree.

use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;

use xxhash_rust::xxh64::xxh64;

use crate::disk::{DiskKey, Key, KeyType, hash};
use crate::error::{FileProblem, Result};

use super::entries::{DirEntry, RawEntry, is_name, raw_entries};
use super::id::{FileKind, InodeId};
use super::notice::{NameProblem, Notice};
use super::store::{Files, Subtree, tree_block};

impl<'v> Files<'v> {
    /// The entry of a directory with this name. A name that is not found by its hash is looked for in all of the directory.
    ///
    /// # Errors
    ///
    /// There is no such name ([`FileProblem::NotFound`]), this is no directory ([`FileProblem::NotDirectory`]), or blocks in
    /// which the name may stand cannot be read.
    pub fn lookup_in(&self, directory: InodeId, name: impl AsRef<[u8]>) -> Result<DirEntry> {
        let name = name.as_ref();
        self.refuse_other_than_directory(directory)?;
        let not_found = || directory.error(FileProblem::NotFound { name: name.to_vec() });
        if !is_name(name) || directory.is_placeholder() {
            return Err(not_found());
        }
        let key = Key::new(directory.ino.0, KeyType::DIR_ITEM, hash::dir_item(name));
        let (item, lost_item) = self.find_name(directory, key, key, name)?;
        if let Some(item) = &item
            && self.is_confirmed(directory, item)
        {
            return Ok(self.resolve(directory, item.clone()));
        }
        let key = |offset| Key::new(directory.ino.0, KeyType::DIR_INDEX, offset);
        let (index, lost_index) = self.find_name(directory, key(0), key(u64::MAX), name)?;
        match self.choose(directory, item, index) {
            Some(raw) => Ok(self.resolve(directory, raw)),
            None => Err(lost_item.or(lost_index).map_or_else(not_found, |problem| directory.error(problem))),
        }
    }

    /// The first entry with this name among the items in a range, and why there may be more than were found.
    fn find_name(
        &self,
        directory: InodeId,
        from: Key,
        to: Key,
        name: &[u8],
    ) -> Result<(Option<RawEntry>, Option<FileProblem>)> {
        let mut found = None;
        let unreadable = self.scan(directory.tree, from, to, |item| {
            found = raw_entries(item.key, item.data).flatten().find(|raw| raw.name == name);
            if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok((found, unreadable.map(|unreadable| tree_block(&unreadable.block))))
    }

    /// Chooses between what the two items of a name say.
    fn choose(&self, directory: InodeId, item: Option<RawEntry>, index: Option<RawEntry>) -> Option<RawEntry> {
        let (problem, raw) = match (item, index) {
            (Some(item), Some(index)) if item.location == index.location => return Some(item),
            (Some(item), Some(index)) => {
                let is_index = !self.is_confirmed(directory, &item) && self.is_confirmed(directory, &index);
                (NameProblem::Conflict, if is_index { index } else { item })
            }
            (Some(item), None) => (NameProblem::NoIndex, item),
            (None, Some(index)) => (NameProblem::NoItem, index),
            (None, None) => return None,
        };
        self.notice(|| Notice::Name { directory, name: raw.name.clone(), problem });
        Some(raw)
    }

    pub(super) fn refuse_other_than_directory(&self, id: InodeId) -> Result<()> {
        // Of an inode whose item is lost, or whose mode makes no sense, the entries may still be there.
        match self.find_attributes(id).map(|attributes| attributes.map(|attributes| attributes.kind())) {
            Ok(None | Some(FileKind::Directory | FileKind::Unknown)) | Err(_) => Ok(()),
            Ok(Some(_)) => Err(id.error(FileProblem::NotDirectory)),
        }
    }

    /// The entries of a directory, in the order in which they were made. Entries that make no sense, and blocks that cannot be
    /// read, are errors among them. Of a directory whose items agree one leaf is held at a time, of a damaged one all entries.
    ///
    /// # Errors
    ///
    /// There is no such tree, or this is no directory ([`FileProblem::NotDirectory`]).
    pub fn read_dir(&self, directory: InodeId) -> Result<ReadDir<'_, 'v>> {
        self.refuse_other_than_directory(directory)?;
        let subtree = self.tree(directory.tree)?;
        let mut read_dir = ReadDir { files: self, directory, subtree, pending: VecDeque::new(), next: None };
        if directory.is_placeholder() {
            return Ok(read_dir);
        }
        let key = |key_type, offset| Key::new(directory.ino.0, key_type, offset);
        let mut sums = EntrySums::default();
        let (from, to) = (key(KeyType::DIR_ITEM, 0), key(KeyType::DIR_INDEX, u64::MAX));
        let unreadable = self.scan(directory.tree, from, to, |item| {
            sums.add(item.key, item.data);
            ControlFlow::Continue(())
        })?;
        match sums.agree() && unreadable.is_none() {
            true => read_dir.next = Some(key(KeyType::DIR_INDEX, 0)),
            false => read_dir.pending = self.merged(directory)?.into(),
        }
        Ok(read_dir)
    }

    /// The entries of a directory whose items do not agree: each name once, in the order of indexes, then those without one.
    fn merged(&self, directory: InodeId) -> Result<Vec<Result<DirEntry>>> {
        let mut names: HashMap<Vec<u8>, usize> = HashMap::new();
        let mut both: Vec<[Option<RawEntry>; 2]> = Vec::new();
        let mut errors = Vec::new();
        for (place, key_type) in [(1, KeyType::DIR_INDEX), (0, KeyType::DIR_ITEM)] {
            let key = |offset| Key::new(directory.ino.0, key_type, offset);
            let unreadable = self.scan(directory.tree, key(0), key(u64::MAX), |item| {
                for raw in raw_entries(item.key, item.data) {
                    let raw = match raw {
                        Ok(raw) => raw,
                        Err(problem) => {
                            errors.push(Err(directory.error(problem)));
                            continue;
                        }
                    };
                    let number = *names.entry(raw.name.clone()).or_insert(both.len());
                    if number == both.len() {
                        both.push([None, None]);
                    }
                    both[number][place].get_or_insert(raw);
                }
                ControlFlow::Continue(())
            })?;
            errors.extend(unreadable.map(|unreadable| Err(directory.error(tree_block(&unreadable.block)))));
        }
        let chosen = both.into_iter().filter_map(|[item, index]| self.choose(directory, item, index));
        let entries: Vec<_> = chosen.map(|raw| Ok(self.resolve(directory, raw))).collect();
        Ok(entries.into_iter().chain(errors).collect())
    }
}

/// Sums of hashes of the entries in the two kinds of items: equal if both say the same.
#[derive(Default)]
struct EntrySums {
    items: u128,
    indexes: u128,
    is_damaged: bool,
}

impl EntrySums {
    fn add(&mut self, key: Key, data: &[u8]) {
        let sum = match key.key_type {
            KeyType::DIR_ITEM => &mut self.items,
            KeyType::DIR_INDEX => &mut self.indexes,
            _ => return,
        };
        for raw in raw_entries(key, data) {
            match raw {
                Ok(raw) if key.key_type == KeyType::DIR_ITEM && hash::dir_item(&raw.name) != key.offset => {
                    self.is_damaged = true;
                }
                Ok(raw) => *sum = sum.wrapping_add(entry_hash(raw)),
                Err(_) => self.is_damaged = true,
            }
        }
    }

    fn agree(&self) -> bool {
        self.items == self.indexes && !self.is_damaged
    }
}

fn entry_hash(raw: RawEntry) -> u128 {
    let mut bytes = raw.name;
    bytes.extend_from_slice(zerocopy::IntoBytes::as_bytes(&DiskKey::from(raw.location)));
    bytes.push(raw.raw_type);
    u128::from(xxh64(&bytes, 0)) << 64 | u128::from(xxh64(&bytes, 1))
}

/// The entries of a directory: see [`Files::read_dir`].
pub struct ReadDir<'f, 'v> {
    files: &'f Files<'v>,
    directory: InodeId,
    subtree: Subtree,
    pending: VecDeque<Result<DirEntry>>,
    next: Option<Key>,
}

impl ReadDir<'_, '_> {
    /// Takes the entries of the leaf that stands at `key`.
    fn load(&mut self, key: Key) {
        let Self { files, directory, .. } = *self;
        let last = Key::new(directory.ino.0, KeyType::DIR_INDEX, u64::MAX);
        match self.subtree.root.leaf_at(files.volume, &files.cache, key) {
            Ok(read) => {
                for item in read.items().filter(|item| key <= item.key && item.key <= last) {
                    let raws = raw_entries(item.key, item.data);
                    let entries = raws.map(|raw| match raw {
                        Ok(raw) => Ok(files.resolve(directory, raw)),
                        Err(problem) => Err(directory.error(problem)),
                    });
                    self.pending.extend(entries);
                }
                self.next = read.span.end;
            }
            Err(unreadable) => {
                files.notice_block(directory.tree, &unreadable.block);
                self.pending.push_back(Err(directory.error(tree_block(&unreadable.block))));
                self.next = unreadable.span.end;
            }
        }
        self.next = self.next.filter(|next| *next <= last);
    }
}

impl Iterator for ReadDir<'_, '_> {
    type Item = Result<DirEntry>;

    fn next(&mut self) -> Option<Result<DirEntry>> {
        while self.pending.is_empty() {
            let key = self.next.take()?;
            self.load(key);
        }
        self.pending.pop_front()
    }
}
