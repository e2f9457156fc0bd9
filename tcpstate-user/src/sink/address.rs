//! Addresses and ports as text.

use std::{io::Write, net::Ipv6Addr};

use super::digits;
use crate::decode::Family;

/// What stands before the last four bytes of a v4-mapped address (RFC 4291
/// section 2.5.5.2).
const MAPPED: u128 = 0xffff;

/// Whether the tracker knows it: nothing has an unspecified address and no port.
pub(super) fn is_known(addr: &[u8; 16], port: u16) -> bool {
    let bits = u128::from_be_bytes(*addr);
    port != 0 || (bits != 0 && bits != MAPPED << 32)
}

/// The address alone: dotted for an IPv4 socket, `::ffff:192.0.2.1` for a
/// v4-mapped one.
pub(super) fn write(addr: &[u8; 16], family: Family, out: &mut Vec<u8>) {
    let bits = u128::from_be_bytes(*addr);
    match family {
        Family::Inet if bits >> 32 == MAPPED || bits == 0 => {
            let [.., a, b, c, d] = *addr;
            dotted([a, b, c, d], out);
        }
        _ => {
            // Writing into a Vec does not fail.
            let _infallible = write!(out, "{}", Ipv6Addr::from(*addr));
        }
    }
}

/// Each octet with the dot behind it, and the length of both.
static OCTETS: [([u8; 4], usize); 256] = {
    let mut octets = [([b'.'; 4], 0); 256];
    let mut octet = 0_u16;
    while octet < 256 {
        let text = &mut octets[octet as usize];
        let [a, b, c] = [octet / 100, octet / 10 % 10, octet % 10];
        *text = match octet {
            0..10 => ([digit(c), b'.', b'.', b'.'], 2),
            10..100 => ([digit(b), digit(c), b'.', b'.'], 3),
            _ => ([digit(a), digit(b), digit(c), b'.'], 4),
        };
        octet += 1;
    }
    octets
};

#[expect(clippy::cast_possible_truncation, reason = "below ten")]
const fn digit(number: u16) -> u8 {
    b'0' + number as u8
}

/// `192.0.2.1`, put together before it is appended.
fn dotted(octets: [u8; 4], out: &mut Vec<u8>) {
    let mut text = [0; 16];
    let mut at = 0;
    for octet in octets {
        let (digits, length) = OCTETS[usize::from(octet)];
        text[at..at + 4].copy_from_slice(&digits);
        at += length;
    }
    out.extend_from_slice(&text[..at - 1]);
}

/// `192.0.2.1:80`, `[2001:db8::1]:80`, `*` for a port that is not known, `-`
/// when nothing is. ASCII, so its length is its width.
pub(crate) fn endpoint(addr: &[u8; 16], port: u16, family: Family, out: &mut Vec<u8>) {
    if !is_known(addr, port) {
        out.push(b'-');
        return;
    }
    if family == Family::Inet6 {
        out.push(b'[');
    }
    write(addr, family, out);
    if family == Family::Inet6 {
        out.push(b']');
    }
    out.push(b':');
    match port {
        0 => out.push(b'*'),
        port => digits::decimal(u64::from(port), out),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::{endpoint, write};
    use crate::decode::Family;

    fn text(addr: &str, port: u16, family: Family) -> String {
        let mut out = Vec::new();
        endpoint(&octets(addr), port, family, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn octets(addr: &str) -> [u8; 16] {
        addr.parse::<Ipv6Addr>().unwrap().octets()
    }

    #[test]
    fn an_ipv4_socket_is_dotted_and_a_v4_mapped_one_says_so() {
        let (four, six) = (Family::Inet, Family::Inet6);
        assert_eq!(text("::ffff:192.0.2.10", 80, four), "192.0.2.10:80");
        assert_eq!(text("::ffff:192.0.2.10", 80, six), "[::ffff:192.0.2.10]:80");
        assert_eq!(text("2001:db8::1", 443, six), "[2001:db8::1]:443");
        assert_eq!(text("::", 443, six), "[::]:443");
        assert_eq!(text("::", 443, four), "0.0.0.0:443");
        assert_eq!(text("::ffff:0.0.0.0", 443, four), "0.0.0.0:443");
    }

    #[test]
    fn what_is_not_known_is_not_a_zero() {
        assert_eq!(text("::ffff:192.0.2.10", 0, Family::Inet), "192.0.2.10:*");
        assert_eq!(text("::ffff:0.0.0.0", 0, Family::Inet), "-");
        assert_eq!(text("::", 0, Family::Inet6), "-");
    }

    #[test]
    fn a_full_length_ipv6_address_is_not_cut() {
        let long = "2001:db8:1111:2222:3333:4444:5555:6666";
        let mut out = Vec::new();
        write(&octets(long), Family::Inet6, &mut out);
        assert_eq!(out, long.as_bytes());
    }
}
