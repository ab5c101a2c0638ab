//! The simulation is the same each time, or no seed would be worth noting. Many seeds are a step of their own in
//! `tests/run`.

use tests::sim::run;

#[test]
fn a_seed_decides_everything_that_happens() {
    for seed in 0..10 {
        let (first, second) = (run(seed, false), run(seed, false));
        assert_eq!(first.coverage, second.coverage, "seed {seed}");
        assert_eq!(first.wrong, [""; 0], "seed {seed}");
    }
}
