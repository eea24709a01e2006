//! What edits of leaves and of nodes have in common.

use std::ops::Range;

use crate::disk::node::Header;
use crate::disk::{Key, MAX_NODESIZE};
pub use crate::error::EditError;

pub(super) fn split_header(bytes: &mut [u8]) -> Result<(&mut Header, &mut [u8]), EditError> {
    if bytes.len() > MAX_NODESIZE as usize {
        return Err(EditError::Malformed("size"));
    }
    zerocopy::FromBytes::mut_from_prefix(bytes).map_err(|_| EditError::Malformed("size"))
}

/// The first `count` elements of a body.
pub(super) fn elements<T>(body: &[u8], count: usize) -> &[T]
where
    T: zerocopy::FromBytes + zerocopy::KnownLayout + zerocopy::Immutable + zerocopy::Unaligned,
{
    <[T] as zerocopy::FromBytes>::ref_from_prefix_with_elems(body, count).map_or(&[], |(elements, _)| elements)
}

pub(super) fn elements_mut<T>(body: &mut [u8], count: usize) -> &mut [T]
where
    T: zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::KnownLayout + zerocopy::Unaligned,
{
    <[T] as zerocopy::FromBytes>::mut_from_prefix_with_elems(body, count).map_or(&mut [], |(elements, _)| elements)
}

pub(super) fn check_slots(slots: &Range<usize>, count: usize) -> Result<(), EditError> {
    match slots.start > slots.end || slots.end > count {
        true => Err(EditError::NoSlot { slot: slots.end, count }),
        false => Ok(()),
    }
}

/// Whether `keys` ascend, and lie between their neighbours.
pub(super) fn check_order(
    before: Option<Key>,
    keys: impl Iterator<Item = Key>,
    after: Option<Key>,
) -> Result<(), EditError> {
    let mut previous = before;
    for key in keys.chain(after) {
        if previous.is_some_and(|previous| previous >= key) {
            return Err(EditError::KeyOrder { key });
        }
        previous = Some(key);
    }
    Ok(())
}
