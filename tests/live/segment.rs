//! TCP segments by hand, for what no real peer can be made to send.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::OwnedFd,
};

use rustix::net::{
    AddressFamily, SendFlags, SocketFlags, SocketType, ipproto, sendto, socket_with,
};

use crate::{
    clock::{Interval, timed},
    process::own_files,
};

/// `FIN` (RFC 9293 section 3.1).
pub(crate) const FIN: u8 = 1;
/// `RST`
pub(crate) const RST: u8 = 4;
/// `ACK`
pub(crate) const ACK: u8 = 16;

/// A segment without data and options.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    /// Who claims to send it.
    pub from: SocketAddrV4,
    /// Who gets it.
    pub to: SocketAddrV4,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Flags.
    pub flags: u8,
}

impl Segment {
    /// Sends it, in the calling thread's network namespace. On loopback it has
    /// been received when this returns, unless the machine is busy.
    pub(crate) fn send(&self) -> Interval {
        own_files();
        let raw: OwnedFd = socket_with(
            AddressFamily::INET,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(ipproto::RAW),
        )
        .unwrap();
        let packet = self.packet();
        let to = SocketAddrV4::new(*self.to.ip(), 0);
        let (sent, when) = timed(|| sendto(&raw, &packet, SendFlags::empty(), &to).unwrap());
        assert_eq!(sent, packet.len());
        when
    }

    /// The kernel fills in the IP header's length, identification and checksum
    /// (`IP_HDRINCL`, raw(7)).
    fn packet(&self) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0];
        packet.extend(self.from.ip().octets());
        packet.extend(self.to.ip().octets());
        packet.extend(self.header());
        packet
    }

    fn header(&self) -> [u8; 20] {
        let mut header = [0; 20];
        header[0..2].copy_from_slice(&self.from.port().to_be_bytes());
        header[2..4].copy_from_slice(&self.to.port().to_be_bytes());
        header[4..8].copy_from_slice(&self.seq.to_be_bytes());
        header[8..12].copy_from_slice(&self.ack.to_be_bytes());
        // Five words of header.
        header[12] = 5 << 4;
        header[13] = self.flags;
        header[14..16].copy_from_slice(&0xffff_u16.to_be_bytes());
        let sum = checksum(*self.from.ip(), *self.to.ip(), &header);
        header[16..18].copy_from_slice(&sum.to_be_bytes());
        header
    }
}

/// Of an IPv4 pseudo-header and a TCP header (RFC 9293 section 3.1).
fn checksum(from: Ipv4Addr, to: Ipv4Addr, header: &[u8; 20]) -> u16 {
    let pseudo = [from.octets(), to.octets(), [0, 6, 0, 20]].concat();
    let words = pseudo.chunks(2).chain(header.chunks(2));
    let word = |pair: &[u8]| u32::from(u16::from_be_bytes([pair[0], pair[1]]));
    let sum: u32 = words.map(word).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    !u16::try_from(folded).unwrap()
}

#[test]
fn a_header_with_its_checksum_sums_up_to_nothing() {
    let segment = Segment {
        from: "127.0.0.1:80".parse().unwrap(),
        to: "127.0.0.2:40000".parse().unwrap(),
        seq: 0xfedc_ba98,
        ack: 0x0123_4567,
        flags: RST,
    };
    let header = segment.header();
    assert_eq!(&header[4..8], [0xfe, 0xdc, 0xba, 0x98]);
    assert_eq!(header[13], 4);
    assert_eq!(checksum(*segment.from.ip(), *segment.to.ip(), &header), 0);
}
