//! Against an oracle: all times sorted.

use proptest::{
    collection::vec,
    prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest},
};

use super::{change, report, row};
use crate::{dwell::QUANTILE_ERROR, track::Dwell};

/// Of any size: all numbers of bits are equally likely.
fn time() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..64_u32).prop_map(|(bits, shift)| bits >> shift)
}

/// Near one length, as the times of one state are: within 25 %.
fn near(middle: u64) -> impl Strategy<Value = u64> {
    (middle..middle + middle / 4 + 1).prop_map(|ns| ns)
}

fn times() -> impl Strategy<Value = Vec<u64>> {
    let clustered = time().prop_flat_map(|middle| vec(near(middle / 2), 1..400));
    proptest::prop_oneof![vec(time(), 1..400), clustered]
}

proptest! {
    #[test]
    fn sums_are_exact_and_quantiles_within_the_stated_bound(mut times in times()) {
        let changes: Vec<_> = times
            .iter()
            .map(|ns| change(tcpstate_common::state::TcpState::TimeWait, Dwell::Exact(*ns)))
            .collect();
        let row = row(&report(&[], &changes, &[]));
        times.sort_unstable();
        prop_assert_eq!(row.count, times.len() as u64);
        prop_assert_eq!(row.sum_ns, times.iter().map(|ns| u128::from(*ns)).sum::<u128>());
        prop_assert_eq!(row.decades.iter().sum::<u64>(), row.count);
        let exact = row.exact.unwrap();
        prop_assert_eq!(exact.min_ns, times[0]);
        prop_assert_eq!(exact.max_ns, times[times.len() - 1]);
        for (percent, told) in [(50, exact.p50_ns), (90, exact.p90_ns), (99, exact.p99_ns)] {
            let rank = (times.len() * percent).div_ceil(100);
            let truth = times[rank - 1];
            #[expect(clippy::cast_precision_loss, reason = "a bound need not be exact")]
            let most = truth as f64 * (1.0 + QUANTILE_ERROR);
            #[expect(clippy::cast_precision_loss, reason = "a bound need not be exact")]
            let close = told as f64 <= most;
            prop_assert!(truth <= told && close, "p{} is {} for {}", percent, told, truth);
        }
    }
}
