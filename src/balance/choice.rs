//! Which block groups a balance takes, and what they become (`__btrfs_balance` in fs/btrfs/volumes.c).

use crate::disk::Profile;
use crate::disk::flags::block_group;
use crate::trans::Filesystem;
use crate::volume::ChunkMapping;

use super::request::Balance;

/// A block group that is balanced.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// Its chunk.
    pub chunk: ChunkMapping,
    /// Its bytes in use.
    pub used: u64,
    /// The profile of the chunks that take what is in it.
    pub into: Profile,
}

/// The block groups that a balance takes, by address from the last to the first: a limit leaves out those at lower addresses,
/// as in the kernel. Where fewer are there than a limit wants at least, none of the type is taken.
pub fn choose(fs: &Filesystem, balance: &Balance) -> Vec<Chosen> {
    let chunks = fs.chunks();
    let space = fs.space();
    let rw_devices = chunks.rw_devices().count() as u64;
    let groups = chunks.map.iter().filter_map(|chunk| Some((chunk, space.group(chunk.logical)?)));
    let mut passing: Vec<Chosen> = groups
        .filter_map(|(chunk, group)| {
            let filters = balance.filters(chunk.flags)?;
            let into = filters.convert.unwrap_or_else(|| space.info(chunk.flags).profile(rw_devices));
            filters.accepts(chunk, group.used).then(|| Chosen { chunk: chunk.clone(), used: group.used, into })
        })
        .collect();
    passing.reverse();
    limited(balance, passing)
}

/// Those that the limits of their types leave.
fn limited(balance: &Balance, passing: Vec<Chosen>) -> Vec<Chosen> {
    let mut chosen = Vec::new();
    let mut rest = passing;
    for type_bits in [block_group::DATA, block_group::SYSTEM, block_group::METADATA] {
        let (mut of_type, others) =
            rest.into_iter().partition::<Vec<_>, _>(|group| group.chunk.flags.contains(type_bits));
        let limit = of_type.first().and_then(|group| balance.filters(group.chunk.flags)?.limit);
        if let Some(limit) = limit {
            of_type.truncate(usize::try_from(limit.max).unwrap_or(usize::MAX));
            if (of_type.len() as u64) < limit.min {
                of_type.clear();
            }
        }
        chosen.extend(of_type);
        rest = others;
    }
    chosen
}
