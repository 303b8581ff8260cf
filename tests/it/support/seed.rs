//! Random choices that can be repeated.

/// The generator of a test: of the seed in the environment, or of the test's own. The seed is printed.
pub fn seeded(default: u64) -> fastrand::Rng {
    let seed = std::env::var("ZONEFOLD_TEST_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default);
    println!("ZONEFOLD_TEST_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}
