//! Numbers, ranges and profiles as `btrfs balance start` takes them.

use crate::disk::Profile;

/// What is wrong with a filter, as a phrase behind it.
pub type Problem = &'static str;

/// A range of numbers; the filter says whether its end is part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub start: u64,
    pub end: u64,
}

/// A decimal number.
pub fn number(text: &str) -> Result<u64, Problem> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().map_err(|_| "is too large") } else { Err("is no number") }
}

/// `A..B`, `A..` without an end, or `..B` from 0 on.
pub fn bounds(text: &str) -> Result<Bounds, Problem> {
    let (start, end) = text.split_once("..").ok_or("is no number and no range A..B")?;
    if start.is_empty() && end.is_empty() {
        return Err("is a range without ends");
    }
    let start = if start.is_empty() { 0 } else { number(start)? };
    let end = if end.is_empty() { u64::MAX } else { number(end)? };
    if start <= end { Ok(Bounds { start, end }) } else { Err("ends before it begins") }
}

/// A range that is not empty although its end is not part of it.
pub fn strict(text: &str) -> Result<Bounds, Problem> {
    let range = bounds(text)?;
    if range.start < range.end { Ok(range) } else { Err("is an empty range") }
}

/// The range in 32 bits, where one without an end has the greatest number for it.
pub fn narrow(range: Bounds) -> Result<(u32, u32), Problem> {
    let end = if range.end == u64::MAX { u32::MAX.into() } else { range.end };
    match (u32::try_from(range.start), u32::try_from(end)) {
        (Ok(start), Ok(end)) => Ok((start, end)),
        _ => Err("is too large"),
    }
}

/// The profile of this name, upper or lower case.
pub fn profile_named(name: &str) -> Result<Profile, Problem> {
    let found = Profile::ALL.into_iter().find(|profile| profile.name().eq_ignore_ascii_case(name));
    found.ok_or("is no profile, which are single, dup, raid0, raid1, raid1c3, raid1c4, raid10, raid5 and raid6")
}
