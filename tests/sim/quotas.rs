//! A cluster that wants more than it may have stored: in one seed of eight, one cluster has a small quota. It is drawn apart, so that
//! the rest of a seed is what it would be without it.

use zonefold::core::endpoint::quota::Quota;

/// One in this number of seeds has a small quota.
const ONE_OF: u8 = 8;
/// Keeps the draws apart from those of the schedule.
const APART: u64 = 0x900_7A00_0000_0000;

/// The quota of each cluster; `None` for the default.
pub fn draw(seed: u64, clusters: usize) -> Vec<Option<Quota>> {
    let mut random = fastrand::Rng::with_seed(seed ^ APART);
    let mut quotas = vec![None; clusters];
    if random.u8(0..ONE_OF) == 0 {
        let cluster = random.usize(0..clusters);
        let quota = if random.u8(0..3) == 0 {
            // A few endpoints of some fifty octets: edits grow beyond it too.
            Quota { max_bytes: random.u64(150..=500), ..Quota::default() }
        } else {
            Quota { max_endpoints: random.usize(1..=6), ..Quota::default() }
        };
        quotas[cluster] = Some(quota);
    }
    quotas
}
