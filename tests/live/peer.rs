//! A peer that is played by hand: single segments, written and read at the far
//! end of a TUN device.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    os::fd::{AsFd, AsRawFd},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{
    clock::{Interval, timed},
    net::wait_readable,
    ns::Netns,
    process::own_files,
};

/// Flags of a segment (RFC 9293 section 3.1).
pub(crate) const SYN: u8 = 2;
/// As [`SYN`].
pub(crate) const RST: u8 = 4;
/// As [`SYN`].
pub(crate) const ACK: u8 = 16;

/// The address of the host's end of the device.
pub(crate) const HOST: &str = "10.7.0.1";
const PEER: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 2);

/// Lengths of the headers that are written: no options.
const IP: usize = 20;
const TCP: usize = 20;

/// The far end of the device, where there is no kernel.
pub(crate) struct Peer {
    device: File,
}

/// One attempt of the peer to connect.
pub(crate) struct Attempt {
    device: File,
    /// The peer's end.
    pub remote: SocketAddr,
    to: SocketAddrV4,
    /// Sequence number of the SYN-ACK.
    theirs: u32,
    /// From the first SYN to its SYN-ACK.
    pub begun: Interval,
}

impl Peer {
    /// Makes the device in a namespace, which has [`HOST`] on it.
    pub(crate) fn beside(inside: &Netns) -> Self {
        own_files();
        let device = inside.enter(|| {
            let mut how = OpenOptions::new();
            let device = how.read(true).write(true).open("/dev/net/tun").unwrap();
            attach(&device);
            device
        });
        inside.ip(&format!("addr add {HOST}/24 dev peer"));
        inside.ip("link set peer up");
        Self { device }
    }

    /// Sends a SYN from a port and waits for the SYN-ACK.
    pub(crate) fn syn(&self, from: u16, to: SocketAddr) -> Attempt {
        let SocketAddr::V4(to) = to else {
            panic!("the device has no IPv6 address");
        };
        let mut attempt = Attempt {
            device: self.device.try_clone().unwrap(),
            remote: (PEER, from).into(),
            to,
            theirs: 0,
            begun: Interval { from: 0, to: 0 },
        };
        let ((), sent) = timed(|| attempt.send(SYN));
        attempt.begun = sent.until(attempt.answered());
        attempt
    }
}

impl Attempt {
    /// The initial sequence number; what follows the SYN has the next one.
    const OURS: u32 = 1_000;

    /// Sends a segment without data that is in sequence.
    pub(crate) fn send(&self, flags: u8) {
        self.send_at(Self::OURS + u32::from(flags & SYN == 0), flags, b"");
    }

    /// Sends an even number of bytes.
    pub(crate) fn send_data(&self, data: &[u8]) {
        self.send_at(Self::OURS + 1, ACK, data);
    }

    /// Sends a SYN that is in the window, where none may be (RFC 9293 section
    /// 3.10.7.4).
    pub(crate) fn send_late_syn(&self) {
        self.send_at(Self::OURS + 1, SYN | ACK, b"");
    }

    fn send_at(&self, sequence: u32, flags: u8, data: &[u8]) {
        let length = u16::try_from(TCP + data.len()).unwrap();
        let acknowledges = if flags & ACK == 0 {
            0
        } else {
            self.theirs.wrapping_add(1)
        };
        let mut tcp = Vec::with_capacity(TCP);
        tcp.extend(self.remote.port().to_be_bytes());
        tcp.extend(self.to.port().to_be_bytes());
        tcp.extend(sequence.to_be_bytes());
        tcp.extend(acknowledges.to_be_bytes());
        tcp.extend([5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
        tcp.extend(data);
        let pseudo = [
            &PEER.octets()[..],
            &self.to.ip().octets(),
            &[0, 6],
            &length.to_be_bytes(),
            &tcp,
        ];
        let sum = checksum(&pseudo.concat());
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        let [high, low] = (length + 20).to_be_bytes();
        let mut packet = vec![0x45, 0, high, low, 0, 0, 0, 0, 64, 6, 0, 0];
        packet.extend(PEER.octets());
        packet.extend(self.to.ip().octets());
        let sum = checksum(&packet);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend(tcp);
        let written = (&self.device).write(&packet).unwrap();
        assert_eq!(written, packet.len());
    }

    /// Waits for the next SYN-ACK for this attempt.
    pub(crate) fn answered(&mut self) -> Interval {
        let ((), when) = timed(|| while !self.reads_syn_ack() {});
        when
    }

    /// Whether there is a SYN-ACK for this attempt already.
    pub(crate) fn is_answered(&mut self) -> bool {
        let mut wanted = [PollFd::new(&self.device, PollFlags::IN)];
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut wanted, Some(&at_once)).unwrap() == 1 && self.reads_syn_ack()
    }

    fn reads_syn_ack(&mut self) -> bool {
        let mut packet = [0; 2048];
        wait_readable(self.device.as_fd());
        let length = (&self.device).read(&mut packet).unwrap();
        let packet = &packet[..length];
        if length < IP + TCP || packet[0] != 0x45 || packet[9] != 6 {
            return false;
        }
        let tcp = &packet[IP..];
        let port = u16::from_be_bytes([tcp[2], tcp[3]]);
        if port != self.remote.port() || tcp[13] != SYN | ACK {
            return false;
        }
        self.theirs = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
        true
    }
}

/// Makes `device` the network device "peer" of the calling thread's namespace.
fn attach(device: &File) {
    let mut request = [0_u8; size_of::<libc::ifreq>()];
    request[..4].copy_from_slice(b"peer");
    let flags = i16::try_from(libc::IFF_TUN | libc::IFF_NO_PI).unwrap();
    request[libc::IFNAMSIZ..libc::IFNAMSIZ + 2].copy_from_slice(&flags.to_ne_bytes());
    // SAFETY: the kernel reads and writes one `struct ifreq`, which is what
    // the buffer holds: a name and flags.
    let done = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, request.as_mut_ptr()) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

/// RFC 1071; the length is even.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}
