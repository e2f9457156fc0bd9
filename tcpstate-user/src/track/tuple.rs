//! Which of two views of a tuple to believe.
//!
//! It knows no sockets and no time, only what the kernel has not filled in yet
//! when an event fires, and what it has already cleared.

use tcpstate_common::{record::Tuple, state::TcpState};

const UNSPECIFIED: [u8; 16] = [0; 16];
const UNSPECIFIED_V4: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0];

fn is_specified(addr: &[u8; 16]) -> bool {
    *addr != UNSPECIFIED && *addr != UNSPECIFIED_V4
}

/// Whether nothing is missing that a socket in `state` has.
pub(super) fn is_complete(tuple: &Tuple, state: TcpState) -> bool {
    if state == TcpState::Listen {
        return tuple.lport != 0;
    }
    tuple.lport != 0 && tuple.rport != 0 && is_specified(&tuple.laddr) && is_specified(&tuple.raddr)
}

/// Whether `seen` cannot be the connection that has `known`, so that both
/// belong to different sockets that had the same kernel address.
///
/// What either does not know yet says nothing. While the remote port is not
/// known, `known` is the listener's tuple, and with `IP_TRANSPARENT` even the
/// local port of a child is another. The local address may change in
/// `SYN_SENT` (`ip_dynaddr`).
pub(super) fn contradicts(known: &Tuple, seen: &Tuple) -> bool {
    if known.rport == 0 || seen.rport == 0 {
        return false;
    }
    let remote = known.rport != seen.rport
        || (known.raddr != seen.raddr && is_specified(&known.raddr) && is_specified(&seen.raddr));
    let local = known.lport != 0 && seen.lport != 0 && known.lport != seen.lport;
    remote || local
}

/// Takes from `seen` what is better than `known`. A known value is never
/// replaced by a cleared one: `tcp_disconnect` clears the remote end around
/// `-> CLOSE`.
pub(super) fn improve(known: &mut Tuple, seen: &Tuple, state: TcpState) {
    if known == seen {
        return;
    }
    if is_complete(seen, state) {
        *known = *seen;
        return;
    }
    if known.lport == 0 {
        known.lport = seen.lport;
    }
    if known.rport == 0 {
        known.rport = seen.rport;
    }
    if !is_specified(&known.laddr) && is_specified(&seen.laddr) {
        known.laddr = seen.laddr;
    }
    if !is_specified(&known.raddr) && is_specified(&seen.raddr) {
        known.raddr = seen.raddr;
    }
}

#[cfg(test)]
mod tests {
    use tcpstate_common::{record::Tuple, state::TcpState};

    use super::{contradicts, improve, is_complete};

    fn v4(last: u8) -> [u8; 16] {
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, last]
    }

    const NO_ADDR: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0];

    fn tuple(laddr: [u8; 16], lport: u16, raddr: [u8; 16], rport: u16) -> Tuple {
        Tuple {
            laddr,
            raddr,
            lport,
            rport,
        }
    }

    #[test]
    fn a_connection_needs_both_ends_and_a_listener_only_its_port() {
        let whole = tuple(v4(1), 4000, v4(2), 80);
        let table = [
            (whole, TcpState::Established, true),
            (Tuple { lport: 0, ..whole }, TcpState::SynSent, false),
            (Tuple { rport: 0, ..whole }, TcpState::SynRecv, false),
            (
                Tuple {
                    raddr: NO_ADDR,
                    ..whole
                },
                TcpState::SynRecv,
                false,
            ),
            (
                Tuple {
                    laddr: [0; 16],
                    ..whole
                },
                TcpState::SynSent,
                false,
            ),
            (tuple(NO_ADDR, 80, NO_ADDR, 0), TcpState::Listen, true),
            (tuple(NO_ADDR, 0, NO_ADDR, 0), TcpState::Listen, false),
        ];
        for (tuple, state, complete) in table {
            assert_eq!(is_complete(&tuple, state), complete, "{tuple:?} {state:?}");
        }
    }

    #[test]
    fn only_two_known_values_contradict_each_other() {
        let whole = tuple(v4(1), 4000, v4(2), 80);
        let opening = Tuple { lport: 0, ..whole };
        let listener = tuple(NO_ADDR, 4000, NO_ADDR, 0);
        let redirected = Tuple { lport: 1, ..whole };
        let table = [
            (whole, whole, false),
            (whole, opening, false),
            (opening, whole, false),
            (listener, redirected, false),
            (whole, listener, false),
            (whole, redirected, true),
            (whole, Tuple { rport: 81, ..whole }, true),
            (
                opening,
                Tuple {
                    raddr: v4(3),
                    ..whole
                },
                true,
            ),
            (
                whole,
                Tuple {
                    laddr: v4(3),
                    ..whole
                },
                false,
            ),
        ];
        for (known, seen, expected) in table {
            assert_eq!(contradicts(&known, &seen), expected, "{known:?} {seen:?}");
        }
    }

    #[test]
    fn a_known_value_is_not_replaced_by_a_cleared_one() {
        let whole = tuple(v4(1), 4000, v4(2), 80);
        let mut known = whole;
        improve(&mut known, &tuple(NO_ADDR, 0, NO_ADDR, 0), TcpState::Close);
        assert_eq!(known, whole);
    }

    #[test]
    fn a_child_takes_its_own_tuple_for_the_listeners() {
        let mut known = tuple(NO_ADDR, 50_080, NO_ADDR, 0);
        let own = tuple(v4(1), 80, v4(2), 4000);
        improve(&mut known, &own, TcpState::Established);
        assert_eq!(known, own);
    }
}
