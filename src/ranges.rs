//! Ranges of numbers, each from its start to before its end.

/// Sorts ranges, and makes one range of those that overlap or touch.
pub fn joined(mut ranges: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    ranges.sort_unstable();
    ranges.dedup_by(|next, last| {
        let is_joined = next.0 <= last.1;
        last.1 = if is_joined { last.1.max(next.1) } else { last.1 };
        is_joined
    });
    ranges
}
