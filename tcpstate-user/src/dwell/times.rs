//! The times of one group.

use hdrhistogram::Histogram;

use crate::track::Dwell;

/// By how much a quantile can be greater than the true one, as a part of it. It
/// is never less: significant decimal digits are three, and of the values that
/// are counted together the greatest is given, or the greatest that there was.
pub const QUANTILE_ERROR: f64 = 0.001;

/// Cells of the small picture: below 10 µs, then by the decade up to 10^5 s
/// (28 hours), and what is above.
pub const DECADES: usize = 12;

/// Below this power of ten, in nanoseconds, everything is in the first cell.
const FIRST_DECADE: u32 = 3;

/// Lengths of the stays of which begin and end were seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exact {
    /// The shortest.
    pub min_ns: u64,
    /// Half of them are at most this long.
    pub p50_ns: u64,
    /// Nine of ten are at most this long.
    pub p90_ns: u64,
    /// 99 of 100 are at most this long.
    pub p99_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

/// Stays that are over.
#[derive(Debug)]
pub(super) struct Times {
    /// 32 bits per bucket halve the memory: four thousand million stays of the
    /// same length saturate one, and leave every other number right.
    histogram: Histogram<u32>,
    pub(super) count: u64,
    pub(super) sum_ns: u128,
    min_ns: u64,
    max_ns: u64,
    pub(super) decades: [u64; DECADES],
    pub(super) at_least: u64,
    pub(super) at_least_sum_ns: u128,
    pub(super) unknown: u64,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            histogram: Histogram::new(3).expect("three digits are few enough"),
            count: 0,
            sum_ns: 0,
            min_ns: u64::MAX,
            max_ns: 0,
            decades: [0; DECADES],
            at_least: 0,
            at_least_sum_ns: 0,
            unknown: 0,
        }
    }
}

impl Times {
    pub(super) fn add(&mut self, dwell: Dwell) {
        match dwell {
            Dwell::Exact(ns) => self.add_exact(ns),
            Dwell::AtLeast(ns) => {
                self.at_least += 1;
                self.at_least_sum_ns += u128::from(ns);
            }
            Dwell::Unknown => self.unknown += 1,
        }
    }

    fn add_exact(&mut self, ns: u64) {
        let recorded = self.histogram.record(ns);
        debug_assert!(recorded.is_ok(), "it grows as far as 64 bits need");
        self.count += 1;
        self.sum_ns += u128::from(ns);
        self.min_ns = self.min_ns.min(ns);
        self.max_ns = self.max_ns.max(ns);
        self.decades[decade(ns)] += 1;
    }

    pub(super) fn exact(&self) -> Option<Exact> {
        let quantile = |quantile| {
            let value = self.histogram.value_at_quantile(quantile);
            value.clamp(self.min_ns, self.max_ns)
        };
        (self.count > 0).then(|| Exact {
            min_ns: self.min_ns,
            p50_ns: quantile(0.5),
            p90_ns: quantile(0.9),
            p99_ns: quantile(0.99),
            max_ns: self.max_ns,
        })
    }
}

fn decade(ns: u64) -> usize {
    let power = ns.checked_ilog10().unwrap_or(0);
    let cell = usize::try_from(power.saturating_sub(FIRST_DECADE)).unwrap_or(DECADES);
    cell.min(DECADES - 1)
}
