//! Numbers mixed into one, where equality is told by hashes. None of it stands on a disk.

/// Mixes numbers into one whose bits all depend on all of them.
pub fn mix(numbers: &[u64]) -> u64 {
    numbers.iter().fold(0x9e37_79b9_7f4a_7c15, |state, number| mix_in(state, *number))
}

/// Mixes bytes into one number, the length among them.
pub fn mix_bytes(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let state = words.iter().fold(bytes.len() as u64, |state, word| mix_in(state, u64::from_le_bytes(*word)));
    mix_in(state, rest.iter().fold(0, |last, byte| last << 8 | u64::from(*byte)))
}

fn mix_in(state: u64, number: u64) -> u64 {
    let product = u128::from(state ^ number) * 0xd6e8_feb8_6659_fd93_u128 + u128::from(number);
    (product as u64 ^ (product >> 64) as u64).rotate_left(29).wrapping_mul(0x9fb2_1c65_1e98_df25)
}
