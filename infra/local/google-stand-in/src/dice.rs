//! Chance that repeats itself: `SplitMix64`, so that a seed names the same world on every machine and in every
//! version of this crate (the standard generators promise neither).

use uuid::Uuid;

const GOLDEN_GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// Mixes two numbers into one that looks random; the seed of a part of the world derives from the whole's by this.
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    Dice::new(a.wrapping_add(b.wrapping_mul(GOLDEN_GAMMA))).roll()
}

/// A stream of numbers fixed by its seed.
#[derive(Debug, Clone)]
pub(crate) struct Dice {
    state: u64,
}

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(crate) fn roll(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN_GAMMA);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n`; 0 when `n` is 0. The bias of the remainder does not matter here.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.roll() % n }
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: i64, high: i64) -> i64 {
        let span = high.abs_diff(low).saturating_add(1);
        low.saturating_add(i64::try_from(self.below(span)).expect("a span of this world fits"))
    }

    /// An index below `len`.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("below a usize")
    }

    /// True `percent` times in a hundred.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of `items`, which must not be empty.
    pub(crate) fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.index(items.len())]
    }

    pub(crate) fn uuid(&mut self) -> Uuid {
        Uuid::from_u64_pair(self.roll(), self.roll())
    }

    /// `words` × 16 lower-case hexadecimal digits.
    pub(crate) fn hex(&mut self, words: usize) -> String {
        (0..words).fold(String::new(), |text, _| format!("{text}{:016x}", self.roll()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_published_splitmix64_sequence() {
        let mut dice = Dice::new(0);
        assert_eq!([dice.roll(), dice.roll()], [0xE220_A839_7B1D_CDAF, 0x6E78_9E6A_A1B9_65F4]);
    }

    #[test]
    fn dice_stays_within_its_bounds() {
        let mut dice = Dice::new(7);
        for _ in 0..1000 {
            assert!((-3..=5).contains(&dice.between(-3, 5)));
            assert!(dice.index(4) < 4);
        }
        assert_eq!(dice.below(0), 0);
    }
}
