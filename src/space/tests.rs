use super::*;
use crate::disk::STRIPE_LEN;
use crate::disk::volume::{Chunk, Stripe};
use crate::volume::ChunkMapping;

const METADATA: BlockGroupFlags = BlockGroupFlags(block_group::METADATA);

/// xorshift64: the same numbers each time.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

fn whole(group: &BlockGroup) -> Result<FreeExtents, ()> {
    let mut free = FreeExtents::default();
    free.add(group.logical, group.length);
    Ok(free)
}

fn space(groups: u64) -> Space {
    let mut space = Space::new(4096, false);
    for group in 0..groups {
        space.add(BlockGroup::existing(Logical(group << 20), 1 << 20, METADATA, 0, true));
    }
    space
}

/// What the sums of the groups say.
#[track_caller]
fn check_sums(space: &Space) {
    let info = space.info(METADATA);
    let sum = |of: fn(&BlockGroup) -> u64| space.groups().map(of).sum::<u64>();
    assert_eq!(info.total, sum(|group| group.length));
    assert_eq!(info.used, sum(|group| group.used));
    assert_eq!(info.pinned, sum(BlockGroup::pinned));
    assert_eq!(info.readonly, sum(BlockGroup::readonly));
}

#[test]
fn a_freed_block_is_not_used_again_before_the_commit() {
    let mut space = space(1);
    let take = |space: &mut Space| space.allocate_block(METADATA, Profile::Single, whole).unwrap();
    let blocks: Vec<_> = (0..256).map(|_| take(&mut space).unwrap()).collect();
    assert_eq!(take(&mut space), None);
    space.free(blocks[7], 4096);
    check_sums(&space);
    assert_eq!(take(&mut space), None);
    assert!(space.free_after_commit(Logical(0), whole).unwrap().iter().eq([(blocks[7], 4096)]));
    space.give_back(blocks[9], 4096);
    assert_eq!(take(&mut space), Some(blocks[9]));
    check_sums(&space);
}

#[test]
fn nothing_is_allocated_from_what_is_read_only() {
    let mut space = space(2);
    space.set_read_only(Logical(0));
    check_sums(&space);
    space.set_read_write(Logical(0));
    check_sums(&space);
    space.set_read_only(Logical(0));
    assert_eq!(space.info(METADATA).available(), 1 << 20);
    let block = space.allocate_block(METADATA, Profile::Single, whole).unwrap().unwrap();
    assert_eq!(block, Logical(1 << 20));
    space.set_read_only(Logical(1 << 20));
    assert_eq!(space.allocate_block(METADATA, Profile::Single, whole), Ok(None));
    space.set_read_write(Logical(1 << 20));
    check_sums(&space);
    assert!(space.allocate_block(METADATA, Profile::Single, whole).unwrap().is_some());
    space.set_read_only(Logical(1 << 20));
    space.free(block, 4096);
    check_sums(&space);
    space.remove(Logical(1 << 20));
    check_sums(&space);
}

#[test]
fn free_bytes_in_pieces_are_no_blocks() {
    let pieces = |group: &BlockGroup| -> Result<FreeExtents, ()> {
        let mut free = FreeExtents::default();
        (0..group.length / 8192).for_each(|piece| free.add(Logical(group.logical.0 + piece * 8192 + 1024), 4096));
        free.add(Logical(group.logical.0 + 5120), 3072);
        Ok(free)
    };
    let mut space = space(1);
    assert_eq!(space.info(METADATA).available(), 1 << 20);
    assert_eq!(space.has_blocks(METADATA, 4096, pieces), Ok(true));
    assert_eq!(space.has_blocks(METADATA, 2 * 4096, pieces), Ok(false));
    space.add(BlockGroup::existing(Logical(1 << 20), 1 << 20, METADATA, 0, true));
    assert_eq!(space.has_blocks(METADATA, 257 * 4096, whole), Ok(true));
    assert_eq!(space.has_blocks(METADATA, 258 * 4096, whole), Ok(false));
    space.set_read_only(Logical(1 << 20));
    assert_eq!(space.has_blocks(METADATA, 2 * 4096, whole), Ok(false));
}

#[test]
fn a_group_on_a_missing_device_is_not_removed_by_two() {
    let mut space = space(1);
    space.add(BlockGroup::existing(Logical(1 << 20), 1 << 20, METADATA, 4096, false));
    for is_read_only in [true, false] {
        match is_read_only {
            true => space.set_read_only(Logical(1 << 20)),
            false => space.set_read_write(Logical(1 << 20)),
        }
        assert_eq!(space.group(Logical(1 << 20)).unwrap().is_read_only, is_read_only);
        check_sums(&space);
    }
}

#[test]
fn what_was_promised_to_one_is_not_given_to_another() {
    let mut space = space(1);
    let take = |space: &mut Space| space.allocate_block(METADATA, Profile::Single, whole).unwrap();
    assert!(space.info_mut(METADATA).reserve(1 << 20));
    assert!(!space.info_mut(METADATA).reserve(1));
    for _ in 0..3 {
        take(&mut space).unwrap();
    }
    assert_eq!(space.info(METADATA).available(), 0);
    space.info_mut(METADATA).release(1 << 20);
    assert_eq!(space.info(METADATA).available(), (1 << 20) - 3 * 4096);
    assert_eq!(space.info(METADATA).reserve, Reserve { size: 0, reserved: 0, peak: 1 << 20 });
    assert!((0..253).all(|_| take(&mut space).is_some()));
    assert_eq!(take(&mut space), None);
}

#[test]
fn a_group_of_the_wanted_profile_comes_first() {
    let mut space = space(1);
    let dup = BlockGroupFlags(block_group::METADATA | block_group::DUP);
    space.add(BlockGroup::existing(Logical(1 << 20), 4096, dup, 0, true));
    let mut take = || space.allocate_block(METADATA, Profile::Dup, whole).unwrap();
    assert_eq!([take(), take()], [Some(Logical(1 << 20)), Some(Logical(0))]);
}

#[test]
fn a_profile_is_that_of_new_chunks_until_its_last_group_goes() {
    let mut space = space(1);
    let dup = BlockGroupFlags(block_group::METADATA | block_group::DUP);
    for group in [1, 2] {
        space.add(BlockGroup::existing(Logical(group << 20), 1 << 20, dup, 0, true));
    }
    space.remove(Logical(1 << 20));
    assert_eq!(space.info(METADATA).profile(1), Profile::Dup);
    space.remove(Logical(2 << 20));
    assert_eq!(space.info(METADATA).profile(1), Profile::Single);
}

#[test]
fn a_block_is_paid_for_by_what_its_handle_was_promised() {
    let mut space = space(1);
    assert!(space.info_mut(METADATA).reserve(2 * 4096));
    let available = space.info(METADATA).available();
    space.allocate_block(METADATA, Profile::Single, whole).unwrap().unwrap();
    assert_eq!(space.info(METADATA).reserve, Reserve { size: 2 * 4096, reserved: 4096, peak: 2 * 4096 });
    assert_eq!(space.info(METADATA).available(), available);
}

#[test]
fn only_what_devices_are_missing_of_is_written_with_fewer_copies() {
    let mut space = space(1);
    // That of a seed, or one that lacks more devices than its profile can do without.
    space.add(BlockGroup::existing(Logical(1 << 20), 1 << 20, METADATA, 0, false));
    space.add(BlockGroup::existing(Logical(2 << 20), 1 << 20, METADATA, 0, false).degraded(true));
    assert_eq!(space.info(METADATA).available(), 1 << 20);
    assert!(space.use_degraded(METADATA));
    assert_eq!(space.info(METADATA).available(), 2 << 20);
    let usable: Vec<u64> =
        space.groups().filter(|group| group.is_usable()).map(|group| group.logical.0 >> 20).collect();
    assert_eq!(usable, [0, 2]);
    check_sums(&space);
    assert!(!space.use_degraded(METADATA));
}

#[test]
fn what_is_given_back_to_a_closed_group_is_free_when_it_is_opened() {
    let mut space = space(1);
    let block = space.allocate_block(METADATA, Profile::Single, whole).unwrap().unwrap();
    space.set_read_only(Logical(0));
    space.give_back(block, 4096);
    check_sums(&space);
    assert_eq!(space.info(METADATA).available(), 0);
    space.set_read_write(Logical(0));
    assert_eq!(space.info(METADATA).available(), 1 << 20);
}

#[test]
fn free_ranges_are_those_that_may_be_taken_and_what_was_taken_is_none() {
    let mut space = space(4);
    let dup = BlockGroupFlags(block_group::METADATA | block_group::DUP);
    space.add(BlockGroup::existing(Logical(4 << 20), 1 << 20, dup, 0, true));
    space.add(BlockGroup::existing(Logical(5 << 20), 1 << 20, METADATA, 1 << 20, true));
    space.set_read_only(Logical(1 << 20));
    space.take_touched();
    // What is free in a full group is not asked for.
    let load = |group: &BlockGroup| if group.used < group.length { whole(group) } else { Err(()) };
    let ranges = |space: &mut Space| -> Vec<(u64, u64)> {
        let ranges = space.free_ranges(METADATA, Profile::Single, load).unwrap();
        ranges.into_iter().map(|(start, length)| (start.0, length)).collect()
    };
    assert_eq!(ranges(&mut space), [(0, 1 << 20), (2 << 20, 1 << 20), (3 << 20, 1 << 20)]);
    space.take_range(Logical((2 << 20) + 8192), 4096);
    let rest = ((2 << 20) + 12288, (1 << 20) - 12288);
    assert_eq!(ranges(&mut space), [(0, 1 << 20), (2 << 20, 8192), rest, (3 << 20, 1 << 20)]);
    assert_eq!(space.group(Logical(2 << 20)).unwrap().used, 4096);
    assert!(space.take_touched().into_iter().eq([Logical(2 << 20)]));
    check_sums(&space);
}

#[test]
fn a_block_of_one_profile_alone_is_put_in_no_other() {
    let mut space = space(1);
    let dup = BlockGroupFlags(block_group::METADATA | block_group::DUP);
    space.add(BlockGroup::existing(Logical(1 << 20), 4096, dup, 0, true));
    let take = |space: &mut Space| space.allocate_block_in(METADATA, Profile::Dup, whole).unwrap();
    assert!(space.info_mut(METADATA).reserve(1 << 20));
    // What handles were promised is not taken, though it is free.
    assert!(space.info_mut(METADATA).reserve(1));
    assert_eq!(take(&mut space), None);
    space.info_mut(METADATA).release(1);
    assert_eq!(take(&mut space), Some(Logical(1 << 20)));
    assert_eq!(space.info(METADATA).reserve.reserved, 1 << 20);
    space.info_mut(METADATA).release(1 << 20);
    assert_eq!(take(&mut space), None);
    check_sums(&space);
}

#[test]
fn data_is_not_put_where_trees_were_promised_space() {
    let mut space = Space::new(4096, true);
    let both = BlockGroupFlags(block_group::DATA | block_group::METADATA);
    space.add(BlockGroup::existing(Logical(1024), 1 << 20, both, 0, true));
    let take = |space: &mut Space, length| space.allocate_data(length, 4096, Profile::Single, whole).unwrap();
    assert!(space.info_mut(both).reserve(1 << 19));
    assert_eq!(take(&mut space, (1 << 19) + 1), None);
    // It begins with a sector, and lies in one piece.
    assert_eq!(take(&mut space, 8192), Some(Logical(4096)));
    assert_eq!(space.info(both).reserve.reserved, 1 << 19);
    assert_eq!(take(&mut space, (1 << 19) - 8192), Some(Logical(12288)));
    assert_eq!(take(&mut space, 4096), None);
    space.free(Logical(4096), 8192);
    space.info_mut(both).release(1 << 19);
    assert_eq!(take(&mut space, 8192), Some(Logical((1 << 19) + 4096)));
    assert_eq!((space.info(both).used, space.info(both).pinned), (1 << 19, 8192));
}

/// A chunk of RAID5 with rows of 128 KiB.
fn with_rows() -> ChunkMapping {
    let mut chunk = Chunk::zeroed();
    chunk.length = (1 << 20).into();
    (chunk.stripe_len, chunk.num_stripes) = (STRIPE_LEN.into(), 3.into());
    chunk.r#type = (block_group::METADATA | block_group::RAID5).into();
    ChunkMapping::new(Logical(1 << 20), &chunk, &[Stripe::zeroed(); 3]).unwrap()
}

#[test]
fn a_row_that_holds_something_is_not_allocated_from() {
    let chunk = with_rows();
    let (start, row, flags) = (chunk.logical.0, chunk.row_length().unwrap(), chunk.flags);
    // One block in the first row, one in the third.
    let free = |group: &BlockGroup| -> Result<FreeExtents, ()> {
        let mut free = whole(group)?;
        [0, 2 * row + 4096].into_iter().for_each(|offset| free.remove(Logical(start + offset), 4096));
        Ok(free)
    };
    let mut space = Space::new(4096, false);
    space.add(BlockGroup::existing(chunk.logical, chunk.length, flags, 2 * 4096, true).in_rows_of(&chunk));
    space.load_rows(METADATA, free).unwrap();
    check_sums(&space);
    assert_eq!(space.info(METADATA).available(), 6 * row);
    let take = |space: &mut Space| space.allocate_block(METADATA, Profile::Raid5, free).unwrap();
    let blocks: Vec<u64> = std::iter::from_fn(|| take(&mut space)).map(|block| block.0 - start).collect();
    assert_eq!(blocks.len() as u64, 6 * row / 4096);
    assert!(blocks.iter().all(|block| block / row != 0 && block / row != 2));
    // What was made in this transaction is given back to it, what the last commit has is not.
    space.give_back(Logical(start + row), 4096);
    space.free(Logical(start), 4096);
    check_sums(&space);
    assert_eq!((take(&mut space), take(&mut space)), (Some(Logical(start + row)), None));
    space.unpin();
    check_sums(&space);
    assert_eq!(take(&mut space), Some(Logical(start)));
    assert_eq!(space.info(METADATA).available(), row - 4096);
}

#[test]
fn rows_that_were_opened_are_closed_by_the_commit() {
    let chunk = with_rows();
    let free = |group: &BlockGroup| -> Result<FreeExtents, ()> {
        let mut free = FreeExtents::default();
        free.add(group.logical, 8192);
        Ok(free)
    };
    let mut space = Space::new(4096, false);
    let used = chunk.length - 8192;
    space.add(BlockGroup::existing(chunk.logical, chunk.length, chunk.flags, used, true).in_rows_of(&chunk));
    space.load_rows(METADATA, free).unwrap();
    let take = |space: &mut Space| space.allocate_block(METADATA, Profile::Raid5, free).unwrap();
    assert_eq!(take(&mut space), None);
    let partial = space.group(chunk.logical).unwrap().partial().clone();
    assert_eq!(partial.bytes(), 8192);
    space.open_rows(chunk.logical, &partial);
    check_sums(&space);
    assert_eq!(take(&mut space), Some(chunk.logical));
    space.unpin();
    check_sums(&space);
    assert_eq!((take(&mut space), space.info(METADATA).available()), (None, 0));
}

#[test]
fn what_is_kept_for_the_commit_is_lent_and_comes_back() {
    let mut space = space(1);
    space.set_global_rsv(1 << 20);
    let info = space.info_mut(METADATA);
    let before = format!("{info:?}");
    assert!(!info.reserve(1));
    assert!(!info.reserve_with_global((1 << 20) + 1));
    assert_eq!(format!("{info:?}"), before);
    // Less is free than the global reserve: what is free may be reserved all the same, again and again.
    info.used = 3 << 18;
    for _ in 0..3 {
        assert!(!info.reserve_with_global((1 << 18) + 1));
        assert!(info.reserve_with_global(1 << 18));
        assert!(!info.reserve_with_global(1));
        info.release(1 << 18);
    }
    info.used = 0;
    assert_eq!((info.available(), info.unreserved()), (0, 1 << 20));
    info.total += 4096;
    assert!(info.reserve(4096) && !info.reserve(1));
}

#[test]
fn what_was_promised_to_handles_is_not_for_the_commit() {
    let mut space = space(1);
    assert!(space.info_mut(METADATA).reserve((1 << 20) - 2 * 4096));
    let take = |space: &mut Space, payer| space.allocate_block_for(payer, METADATA, Profile::Single, whole).unwrap();
    let promised = space.info(METADATA).reserve;
    assert!(take(&mut space, Payer::Commit).is_some() && take(&mut space, Payer::Commit).is_some());
    assert_eq!(take(&mut space, Payer::Commit), None);
    assert_eq!(space.info(METADATA).reserve, promised);
    assert!((0..254).all(|_| take(&mut space, Payer::Handle).is_some()));
    assert_eq!(take(&mut space, Payer::Handle), None);
    check_sums(&space);
}
