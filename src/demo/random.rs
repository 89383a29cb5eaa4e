//! Chance that can be repeated: a small generator, seeded by a number and by names, and the few distributions that the
//! demo draws from. Nothing here is fit for secrets.

/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): tiny, fast, and equal on every machine.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Draws further from the median than this many sigmas are held there: healthy traffic has no freaks.
const LARGEST_Z: f64 = 3.0;

impl Random {
    /// The stream of `seed` that these names choose: streams of other names are unrelated to it.
    pub fn of(seed: u64, names: &[&str]) -> Self {
        // FNV-1a, with a separator that no name holds.
        let bytes = names.iter().flat_map(|name| name.bytes().chain([0xff]));
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let mut random = Self(seed ^ hash.rotate_left(17));
        random.next();
        random
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// In `0.0..1.0`.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// In `low..high`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// In `0..bound`; 0 for an empty range.
    pub fn below(&mut self, bound: usize) -> usize {
        self.next().checked_rem(bound as u64).unwrap_or(0) as usize
    }

    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// One of a list that is not empty.
    pub fn pick<'l, T>(&mut self, list: &'l [T]) -> &'l T {
        &list[self.below(list.len())]
    }

    /// Log-normal: half of the draws are below `median`, `sigma` is the deviation of the logarithm.
    pub fn log_normal(&mut self, median: f64, sigma: f64) -> f64 {
        // Box and Muller's transform; 1 - u is never 0.
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        let z = radius * (std::f64::consts::TAU * self.unit()).cos();
        median * (sigma * z.clamp(-LARGEST_Z, LARGEST_Z)).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_depends_on_its_seed_and_its_names_only() {
        let first = |seed, names: &[&str]| Random::of(seed, names).next();
        assert_eq!(first(7, &["a", "b"]), first(7, &["a", "b"]));
        let others = [first(8, &["a", "b"]), first(7, &["ab"]), first(7, &["b", "a"]), first(7, &["a", "b", ""])];
        assert!(others.iter().all(|other| *other != first(7, &["a", "b"])));
    }

    #[test]
    fn log_normal_draws_lie_around_their_median() {
        let mut random = Random::of(1, &[]);
        let mut draws: Vec<f64> = (0..2_000).map(|_| random.log_normal(100.0, 0.3)).collect();
        draws.sort_by(f64::total_cmp);
        assert!((90.0..110.0).contains(&draws[1_000]), "{}", draws[1_000]);
        assert!(draws[0] > 100.0 * (-0.91f64).exp() && draws[1_999] < 100.0 * 0.91f64.exp());
    }

    #[test]
    fn an_empty_range_gives_its_start() {
        assert_eq!(Random::of(1, &[]).below(0), 0);
    }
}
