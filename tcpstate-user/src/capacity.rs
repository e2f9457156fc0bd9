//! How much this program may take by default, decided from what the machine is.
//!
//! Pure: it neither looks at the machine (`run::machine` does) nor enforces the
//! limits (the ring buffer and `track` do).
//!
//! The kernel's own limits say nothing here. The size of its table of established
//! sockets (`tcp_ehash_entries`) bounds no number of sockets, as the chains grow
//! beyond it; `tcp_max_tw_buckets` holds for one network namespace of any number,
//! and both `fs.file-max` and it can be changed while we run. Memory cannot: an
//! open socket costs the kernel some 3 KB.

/// Records per second that one CPU can produce. Measured: a transition of the
/// cheapest kind (`listen` and `shutdown`), which is one record, takes 850 ns of
/// CPU when it is traced, 550 ns when it is not. The ring's size does not matter:
/// 857 ns with 16 MiB, 847 ns with 128 MiB (medians of six runs).
const RECORDS_PER_CPU: u64 = 1_200_000;

/// Records per second that all CPUs together can put into one ring buffer,
/// however many they are: its lock allows for 4.1 to 5.2 million, measured with
/// two CPUs that do nothing else.
const RECORDS_AT_MOST: u64 = 5_200_000;

/// What such a record takes in the ring: `record::TransitionInTask` and the
/// ring's own 8 bytes.
const RECORD_BYTES: u64 = 88 + 8;

/// How long the reader may be away while CPUs produce as much as they can: twice
/// what a report on a million sockets takes, or a CPU quota that is used up (of
/// 100 ms, the usual period).
const AWAY_MS: u64 = 250;

/// Of memory, for the ring: a 128th. It is the kernel's, taken at once and never
/// swapped out.
const RING_SHARE: u64 = 128;

/// Of memory, for what is remembered of sockets, at the most: a 32nd.
const SOCKETS_SHARE: u64 = 32;

/// A slot of a table of sockets: key, entry and the table's own byte. That of
/// `track::by_address` takes less, as only its index grows: 160 bytes for a socket
/// at the most.
const SLOT_BYTES: u64 = 8 + 120 + 1;

/// Where a machine is very small, or its memory is not told.
const LEAST_RING: u64 = 1 << 20;
/// As [`LEAST_RING`].
const LEAST_SLOTS: u64 = 1 << 13;

/// What the defaults depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// CPUs that can produce records: those that are online.
    pub cpus: u64,
    /// Memory that this process may use: of the machine, or of its control
    /// group where that is less.
    pub memory_bytes: u64,
}

/// What this program may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Size of the ring buffer, a power of two.
    pub ring_bytes: u32,
    /// Sockets and minisockets known at the same time.
    pub max_sockets: usize,
}

impl Machine {
    /// The limits where none are asked for.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            ring_bytes: u32::try_from(self.ring_bytes()).unwrap_or(1 << 31),
            max_sockets: usize::try_from(self.max_sockets()).unwrap_or(usize::MAX),
        }
    }

    /// What the CPUs can produce in [`AWAY_MS`], rounded up, within the share of
    /// memory, rounded down: 32 MiB for one CPU (29 MB), 64 MiB for two (58 MB),
    /// 128 MiB for more (125 MB at the most), if there are 4, 8 and 16 GiB.
    fn ring_bytes(&self) -> u64 {
        let rate = RECORDS_PER_CPU.saturating_mul(self.cpus.max(1));
        let away = rate.min(RECORDS_AT_MOST) * RECORD_BYTES * AWAY_MS / 1000;
        let share = power_below(self.memory_bytes / RING_SHARE);
        away.next_power_of_two().min(share).max(LEAST_RING)
    }

    /// What fills a table that fits into the share even if all of it grew, with the
    /// old one of half its size beside it. The table has a power of two of slots
    /// and uses seven eighths of them, so that one socket more would double it:
    /// 114,688 sockets for 1 GiB (26 MB), 917,504 for 8 GiB (203 MB).
    fn max_sockets(&self) -> u64 {
        let slots = self.memory_bytes / SOCKETS_SHARE / (SLOT_BYTES + SLOT_BYTES / 2);
        power_below(slots).max(LEAST_SLOTS) / 8 * 7
    }
}

/// The largest power of two that is not greater; 0 of 0.
const fn power_below(number: u64) -> u64 {
    match number.checked_ilog2() {
        Some(bits) => 1 << bits,
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::{LEAST_RING, Limits, Machine};

    fn limits(cpus: u64, memory_mib: u64) -> Limits {
        let memory_bytes = memory_mib << 20;
        Machine { cpus, memory_bytes }.limits()
    }

    #[test]
    fn a_ring_holds_what_the_cpus_produce_in_a_quarter_of_a_second() {
        let mib = |cpus| limits(cpus, 64 << 10).ring_bytes >> 20;
        assert_eq!(
            [1, 2, 3, 4, 64, u64::MAX].map(mib),
            [32, 64, 128, 128, 128, 128]
        );
        assert_eq!(mib(0), 32, "there is one at least");
    }

    #[test]
    fn a_ring_takes_no_more_than_its_share_of_memory() {
        let of_memory = |memory_mib| limits(2, memory_mib).ring_bytes >> 20;
        assert_eq!(
            [512, 1 << 10, 3 << 10, 8 << 10, 24 << 10].map(of_memory),
            [4, 8, 16, 64, 64]
        );
    }

    #[test]
    fn as_many_sockets_are_known_as_fill_a_table_that_fits_its_share_of_memory() {
        let of_memory = |memory_mib| limits(2, memory_mib).max_sockets;
        let million = (1 << 20) / 8 * 7;
        assert_eq!(
            [1 << 10, 8 << 10, 24 << 10].map(of_memory),
            [million / 8, million, million * 2]
        );
        for memory_mib in [300, 1 << 10, 5000, 1 << 20] {
            let slots = of_memory(memory_mib) as u64 / 7 * 8;
            let while_growing = slots * 129 / 2 * 3;
            assert!(while_growing <= (memory_mib << 20) / 32, "{memory_mib}");
        }
    }

    #[test]
    fn a_machine_that_tells_no_memory_gets_the_least() {
        let least = limits(64, 0);
        assert_eq!(
            (u64::from(least.ring_bytes), least.max_sockets),
            (LEAST_RING, 7168)
        );
    }

    #[test]
    fn every_ring_is_one_that_the_kernel_takes() {
        for cpus in [1, 2, 7, 1000] {
            for memory_mib in [0, 1, 129, 1000, 1 << 20, u64::MAX >> 20] {
                let bytes = limits(cpus, memory_mib).ring_bytes;
                assert!(bytes.is_power_of_two() && bytes >= 1 << 16, "{bytes}");
            }
        }
    }
}
