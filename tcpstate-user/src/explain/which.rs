//! Which connections are asked for: by their name in a trace, or by an end.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use tcpstate_common::record::Tuple;

use crate::track::ConnId;

/// A connection by its name, or all that have an end there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// `conn` on the lines of a trace.
    Conn {
        /// When it was first seen.
        birth: u64,
        /// What is printed of its address.
        address: u64,
    },
    /// Either end.
    End(SocketAddr),
}

/// It is neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WhichError;

impl fmt::Display for WhichError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "expected a connection as a trace names it (12dc1a0b8f61-045c2a), or an address \
             and port such as 192.0.2.1:443 or [2001:db8::1]:443",
        )
    }
}

impl std::error::Error for WhichError {}

impl FromStr for Which {
    type Err = WhichError;

    fn from_str(text: &str) -> Result<Self, WhichError> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return match address.port() {
                0 => Err(WhichError),
                _ => Ok(Self::End(address)),
            };
        }
        let (birth, address) = text.split_once('-').ok_or(WhichError)?;
        match (hex(birth), hex(address)) {
            (Some(birth), Some(address)) if text.len() <= 23 => Ok(Self::Conn { birth, address }),
            _ => Err(WhichError),
        }
    }
}

/// As it may be given.
impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conn { birth, address } => write!(f, "{birth:x}-{address:06x}"),
            Self::End(end) => write!(f, "{end}"),
        }
    }
}

/// `from_str_radix` by itself takes a sign.
fn hex(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

impl Which {
    /// Whether it is this connection.
    #[must_use]
    pub fn is(&self, conn: ConnId, tuple: &Tuple) -> bool {
        match *self {
            Self::Conn { birth, address } => {
                // As `ConnId` is displayed.
                (conn.birth.0, (conn.sk.0 >> 6) & 0xff_ffff) == (birth, address)
            }
            Self::End(end) => {
                let wanted = (octets(end.ip()), end.port());
                wanted == (tuple.laddr, tuple.lport) || wanted == (tuple.raddr, tuple.rport)
            }
        }
    }
}

/// As in a tuple: IPv4 is written v4-mapped.
fn octets(addr: IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V4(addr) => addr.to_ipv6_mapped().octets(),
        IpAddr::V6(addr) => addr.octets(),
    }
}

#[cfg(test)]
mod tests {
    use tcpstate_common::record::Tuple;

    use super::{Which, WhichError};
    use crate::{
        decode::{KtimeNs, SockAddr64},
        track::ConnId,
    };

    fn tuple(local: &str, remote: &str) -> Tuple {
        let octets = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
        Tuple {
            laddr: octets(local),
            lport: 40_000,
            raddr: octets(remote),
            rport: 443,
        }
    }

    #[test]
    fn a_connection_is_found_by_the_name_that_it_is_printed_with() {
        let conn = ConnId {
            birth: KtimeNs(81_000_000_000),
            sk: SockAddr64(0xffff_8880_0123_4540),
        };
        let which: Which = conn.to_string().parse().unwrap();
        let any = tuple("::1", "::1");
        assert!(which.is(conn, &any));
        let other = ConnId {
            birth: KtimeNs(81_000_000_001),
            ..conn
        };
        assert!(!which.is(other, &any));
    }

    #[test]
    fn either_end_is_found_and_ipv4_also_where_it_is_mapped() {
        let conn = ConnId {
            birth: KtimeNs(1),
            sk: SockAddr64(0),
        };
        let four = tuple("::ffff:192.0.2.1", "::ffff:192.0.2.2");
        for (text, found) in [
            ("192.0.2.1:40000", true),
            ("192.0.2.2:443", true),
            ("[::ffff:192.0.2.2]:443", true),
            ("192.0.2.2:40000", false),
            ("[2001:db8::1]:443", false),
        ] {
            let which: Which = text.parse().unwrap();
            assert_eq!(which.is(conn, &four), found, "{text}");
        }
    }

    #[test]
    fn what_is_neither_is_refused() {
        for text in [
            "",
            "-",
            "443",
            "192.0.2.1",
            "192.0.2.1:0",
            "192.0.2.1:65536",
            "2001:db8::1:443",
            "12-",
            "-12",
            "+1-+2",
            "xyz-012345",
            "11111111111111111-012345",
        ] {
            assert_eq!(text.parse::<Which>(), Err(WhichError), "{text}");
        }
    }
}
