//! Which trees share what: the bytes that each set of trees reaches.
//!
//! A scan visits a shared block once, in one of its trees. So only pointers are recorded. Sets of trees then flow along
//! them from the roots down to the data, level by level. Pointers and places are sorted by address, so that each level is
//! one merge, in memory or through temporary files; there are few different sets, and each is kept once.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::rc::Rc;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::block::reference::{file_extents, node_children};
use crate::disk::{Logical, MAX_LEVEL};
use crate::table::{MemoryBudget, Part, Record, Table, Writer};
use crate::tree::{Tree, Visit};

/// From a block to one below it, or to data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Pointer {
    from: Logical,
    to: Logical,
    /// Bytes of what is pointed to.
    length: u64,
}

impl Record for Pointer {
    fn key(&self) -> u64 {
        self.from.0
    }
}

/// Something that a set of trees reaches in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct ReachedRange {
    logical: Logical,
    length: u64,
    set: u64,
}

impl Record for ReachedRange {
    fn key(&self) -> u64 {
        self.logical.0
    }
}

/// The pointers of one thread, by the level of the block that has them.
#[derive(Default)]
pub struct PointerParts([Part<Pointer>; MAX_LEVEL]);

/// The pointers of all trees of files.
pub struct Pointers<'r> {
    budget: &'r MemoryBudget,
    writers: [Writer<'r>; MAX_LEVEL],
}

impl<'r> Pointers<'r> {
    pub fn new(budget: &'r MemoryBudget) -> Self {
        Self { budget, writers: std::array::from_fn(|_| Writer::new(budget)) }
    }

    /// Notes the pointers of a block.
    pub fn visit(&self, parts: &mut PointerParts, visit: Visit<'_>) {
        let block = visit.block();
        let level = usize::from(block.level());
        let (Some(writer), Some(part)) = (self.writers.get(level), parts.0.get_mut(level)) else { return };
        let (from, owner) = (block.logical(), block.header().owner.get());
        match visit {
            Visit::Node(node, first) => {
                let length = block.bytes().len() as u64;
                node_children(node, owner, first, 0, |ptr, _| {
                    writer.push(part, Pointer { from, to: ptr.blockptr.into(), length });
                });
            }
            Visit::Leaf(leaf) => {
                let mut last = None;
                file_extents(leaf, owner, 0, |found| {
                    // A file that was partly overwritten refers to one extent many times over.
                    if last.replace(found.extent) != Some(found.extent) {
                        writer.push(part, Pointer { from, to: found.extent, length: found.length });
                    }
                });
            }
        }
    }

    /// Hands each set of `trees`, by their ids, that reaches anything to `visit`, with the bytes that all of the set reach
    /// and no other tree does. Returns false if there are too many sets: then nothing was handed out.
    pub fn sum(
        self,
        parts: Vec<PointerParts>,
        trees: &[Tree],
        nodesize: u32,
        mut visit: impl FnMut(&[u64], u64),
    ) -> io::Result<bool> {
        let ids: BTreeSet<u64> = trees.iter().map(|tree| tree.id()).collect();
        let ids: Vec<u64> = ids.into_iter().collect();
        let mut levels: [Vec<Part<Pointer>>; MAX_LEVEL] = Default::default();
        for part in parts {
            levels.iter_mut().zip(part.0).for_each(|(level, part)| level.push(part));
        }
        let mut sets = Sets::new(SETS_LIMIT);
        let (mut writer, mut part) = (Writer::new(self.budget), Part::default());
        let pointers = self.writers.into_iter().zip(levels).enumerate().rev();
        for (level, (pointers, parts)) in pointers {
            for tree in trees.iter().filter(|tree| usize::from(tree.root.level) == level) {
                let index = ids.binary_search(&tree.id()).unwrap_or_default() as u32;
                let Some(set) = sets.of(&[index]) else { return Ok(false) };
                writer.push(
                    &mut part,
                    ReachedRange { logical: tree.root.logical, length: nodesize.into(), set: set.into() },
                );
            }
            let places = writer.finish(vec![part])?;
            (writer, part) = (Writer::new(self.budget), Part::default());
            let pointers: Table<Pointer> = pointers.finish(parts)?;
            let mut below = pointers.iter().peekable();
            let fits = sets.join(&places, |from, set| {
                while let Some(pointer) = below.next_if(|pointer| pointer.from <= from) {
                    if pointer.from == from {
                        writer.push(
                            &mut part,
                            ReachedRange { logical: pointer.to, length: pointer.length, set: set.into() },
                        );
                    }
                }
            });
            if !fits {
                return Ok(false);
            }
            [places.failure(), pointers.failure()].into_iter().flatten().try_for_each(Err)?;
        }
        let data = writer.finish(vec![part])?;
        if !sets.join(&data, |_, _| {}) {
            return Ok(false);
        }
        data.failure().map_or(Ok(()), Err)?;
        for (set, bytes) in sets.sets.iter().zip(&sets.bytes).filter(|(_, bytes)| **bytes > 0) {
            let roots: Vec<u64> = set.iter().filter_map(|index| ids.get(*index as usize).copied()).collect();
            visit(&roots, *bytes);
        }
        Ok(true)
    }
}

/// Bytes of memory that sets may take: enough for millions of them, and a filesystem with more has no use of its quotas.
const SETS_LIMIT: usize = 256 << 20;
/// About what an entry of the maps takes beside its numbers, in bytes.
const ENTRY: usize = 64;

/// Sets of trees, each kept once, and the bytes that each reaches.
struct Sets {
    /// Bytes that may still be taken.
    left: usize,
    /// Sorted.
    sets: Vec<Rc<[u32]>>,
    bytes: Vec<u64>,
    numbers: HashMap<Rc<[u32]>, u32>,
    /// The unions that were made, by the sorted numbers of their sets.
    unions: HashMap<Box<[u32]>, u32>,
}

impl Sets {
    fn new(limit: usize) -> Self {
        Self { left: limit, sets: Vec::new(), bytes: Vec::new(), numbers: HashMap::new(), unions: HashMap::new() }
    }

    fn take(&mut self, numbers: &[u32]) -> Option<()> {
        self.left = self.left.checked_sub(size_of_val(numbers) + ENTRY)?;
        Some(())
    }

    /// The number of a sorted set; nothing if there is no room.
    fn of(&mut self, roots: &[u32]) -> Option<u32> {
        if let Some(number) = self.numbers.get(roots) {
            return Some(*number);
        }
        self.take(roots)?;
        let (set, number): (Rc<[u32]>, _) = (roots.into(), self.sets.len() as u32);
        self.sets.push(Rc::clone(&set));
        self.bytes.push(0);
        self.numbers.insert(set, number);
        Some(number)
    }

    /// The union of sets, whose numbers are sorted.
    fn union(&mut self, sets: &[u32]) -> Option<u32> {
        if let [number] = sets {
            return Some(*number);
        }
        if let Some(number) = self.unions.get(sets) {
            return Some(*number);
        }
        self.take(sets)?;
        let members = sets.iter().filter_map(|number| self.sets.get(*number as usize));
        let union: BTreeSet<u32> = members.flat_map(|set| set.iter().copied()).collect();
        let union: Vec<u32> = union.into_iter().collect();
        let number = self.of(&union)?;
        self.unions.insert(sets.into(), number);
        Some(number)
    }

    /// Adds up what is reached, and hands each address with the set that reaches it to `visit`. Returns false if there is
    /// no room.
    fn join(&mut self, places: &Table<ReachedRange>, mut visit: impl FnMut(Logical, u32)) -> bool {
        let mut places = places.iter().peekable();
        let mut numbers = Vec::new();
        while let Some(first) = places.next() {
            numbers.clear();
            numbers.push(first.set as u32);
            while let Some(other) = places.next_if(|other| other.logical == first.logical) {
                // In the order of the records, so that most that are the same follow each other.
                if numbers.last() != Some(&(other.set as u32)) {
                    numbers.push(other.set as u32);
                }
            }
            numbers.sort_unstable();
            numbers.dedup();
            let Some(set) = self.union(&numbers) else { return false };
            if let Some(bytes) = self.bytes.get_mut(set as usize) {
                *bytes = bytes.saturating_add(first.length);
            }
            visit(first.logical, set);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::Sets;

    #[test]
    fn equal_unions_are_one_set_and_too_many_sets_are_refused() {
        let mut sets = Sets::new(1 << 20);
        let single: Vec<u32> = (0..4).map(|root| sets.of(&[root]).unwrap()).collect();
        let left = sets.union(&single[..2]).unwrap();
        let right = sets.union(&single[2..]).unwrap();
        let all = sets.union(&single).unwrap();
        assert_eq!(sets.union(&[left, right]), Some(all));
        assert_eq!(*sets.sets[all as usize], [0, 1, 2, 3]);
        let mut sets = Sets::new(1000);
        assert!((0..100).any(|root| sets.of(&[root]).is_none()));
    }
}
