//! What a live session knows of itself and its host.

use std::fs;

use tcpstate_common::record::SCHEMA;

use super::begin::Begun;
use crate::{
    capacity::Limits,
    session::{NotMeasured, SessionInfo},
    source::clock::clock_offset,
};

/// Describes a session whose hooks are attached.
pub(super) fn session_info(begun: &Begun, limits: Limits) -> SessionInfo {
    let session = &begun.session;
    let host = rustix::system::uname();
    let mut not_measured = begun.not_measured();
    not_measured.extend(
        session
            .not_looked_at()
            .iter()
            .map(|(fact, field)| NotMeasured {
                signal: (*fact).to_owned(),
                reason: format!("the kernel has no {field}"),
            }),
    );
    SessionInfo {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host: host.nodename().to_string_lossy().into_owned(),
        kernel: host.release().to_string_lossy().into_owned(),
        boot_id: boot_id(),
        clock_offset_ns: clock_offset(),
        hooks: session.report().hooks(),
        not_measured,
        reset_reasons: session.reset_reasons().clone(),
        ring_bytes: Some(limits.ring_bytes.into()),
        max_sockets: Some(limits.max_sockets as u64),
    }
}

/// Empty where /proc is not mounted: monotonic times then compare with nothing.
fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}
