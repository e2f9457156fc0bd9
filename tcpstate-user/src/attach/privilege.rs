//! What this process may do, before anything is tried.

use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{CapabilitySet, capabilities},
};

/// Whether the kernel lets this process load tracing programs: with
/// `CAP_SYS_ADMIN`, or with `CAP_BPF` and `CAP_PERFMON`. Unknown counts as yes:
/// then loading will tell.
pub(super) fn may_load_programs() -> bool {
    let Ok(sets) = capabilities(None) else {
        return true;
    };
    let has = |set| sets.effective.contains(set);
    has(CapabilitySet::SYS_ADMIN) || has(CapabilitySet::BPF) && has(CapabilitySet::PERFMON)
}

/// Before Linux 5.11 maps count as locked memory. Where raising the limit is
/// refused it is either not needed, or creating a map will say so.
pub(super) fn raise_locked_memory_limit() {
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    if getrlimit(Resource::Memlock) != unlimited {
        let _refused = setrlimit(Resource::Memlock, unlimited);
    }
}
