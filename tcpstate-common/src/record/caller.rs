//! Who ended a minisocket or a request, from the return addresses.
//!
//! Values of [`Minisocket::by`] with [`minisocket::ENDED`], [`minisocket::STOPPED`]
//! and [`minisocket::DESTROYED`], and of [`Request::by`]; indexes of
//! [`crate::settings::Callers`].
//!
//! [`Minisocket::by`]: super::Minisocket::by
//! [`minisocket::ENDED`]: super::minisocket::ENDED
//! [`minisocket::STOPPED`]: super::minisocket::STOPPED
//! [`minisocket::DESTROYED`]: super::minisocket::DESTROYED
//! [`Request::by`]: super::Request::by

/// None of the others.
pub const UNKNOWN: u8 = 0;
/// `tcp_timewait_state_process`: a RST ended it. It also starts the timer
/// again, and stops it before.
pub const STATE_PROCESS: u8 = 1;
/// `tcp_v4_rcv` or `tcp_v6_rcv`: a new SYN was accepted, or a segment was
/// answered by a RST (then `tcp_send_reset` came just before).
pub const RECEIVE: u8 = 2;
/// `__inet_hash_connect`: the kernel chose its port for a new connection.
pub const HASH_CONNECT: u8 = 3;
/// `__inet_check_established`, `__inet6_check_established`: a connection
/// from a port that the application bound.
pub const CHECK_ESTABLISHED: u8 = 4;
/// `tcp_abort`: `ss -K`.
pub const ABORT: u8 = 5;
/// `inet_twsk_purge`, `tcp_twsk_purge`: the network namespace went.
pub const PURGE: u8 = 6;
/// `inet_csk_complete_hashdance`: a child takes over from the request.
pub const HASHDANCE: u8 = 7;
/// `tcp_check_req`: the request ends by a reset, or is started again after
/// the SYN has come again.
pub const CHECK_REQUEST: u8 = 8;
/// `tcp_req_err`: ICMP says that the peer cannot be reached.
pub const ICMP: u8 = 9;
/// `__run_timers`: its timer has run out.
pub const TIMERS: u8 = 10;
/// How many there are.
pub const COUNT: usize = 11;
