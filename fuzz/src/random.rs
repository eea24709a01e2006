//! Random numbers that are the same for the same seed (SplitMix64).

pub struct Random(u64);

impl Random {
    /// Each input has numbers of its own, so that it can be made again from the seed and its number alone.
    pub fn new(seed: u64, iteration: u64) -> Self {
        let mut random = Self(seed);
        Self(random.next() ^ iteration.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number less than `end`; 0 if there is none.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % (end as u64).max(1)) as usize
    }

    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// Rather a small one than a great one.
    pub fn few(&mut self, most: usize) -> usize {
        let end = 1 + self.below(most);
        1 + self.below(end)
    }
}
