//! Which of many are timed: the others read no clock for it.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// One of so many is picked.
const PICKED_EVERY: u32 = 64;

/// Picks every 64th.
#[derive(Debug, Default)]
pub struct Sampler {
    seen: AtomicU32,
}

impl Sampler {
    /// Whether the one that comes now is picked.
    pub fn picks(&self) -> bool {
        self.seen.fetch_add(1, Relaxed) % PICKED_EVERY == PICKED_EVERY - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_64th_is_picked_and_every_64th_after_it() {
        let sampler = Sampler::default();
        let picked: Vec<u32> = (1..=200).filter(|_| sampler.picks()).collect();
        assert_eq!(picked, [64, 128, 192]);
    }
}
