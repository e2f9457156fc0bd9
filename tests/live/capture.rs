//! Segments as the kernel received them, and when: an `AF_PACKET` socket.

use std::{
    io,
    mem::{MaybeUninit, size_of},
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    ptr,
};

use crate::{
    clock::{now, timed, wait_for, wall},
    process::own_files,
    segment::Segment,
};

/// A TCP segment without options.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet {
    /// When it was received: `CLOCK_MONOTONIC`, nanoseconds.
    pub at: u64,
    /// What it says.
    pub segment: Segment,
    /// Bytes of data.
    pub len: u32,
}

/// What arrives on a loopback device.
pub(crate) struct Capture {
    fd: OwnedFd,
    packets: Vec<Packet>,
}

impl Capture {
    /// Begins, on the loopback of the calling thread's network namespace.
    pub(crate) fn on_loopback() -> Self {
        own_files();
        let kind = libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        let protocol = u16::try_from(libc::ETH_P_IP).unwrap().to_be();
        // SAFETY: the call takes no pointers.
        let fd = unsafe { libc::socket(libc::AF_PACKET, kind, i32::from(protocol)) };
        assert!(fd >= 0, "AF_PACKET: {}", io::Error::last_os_error());
        // SAFETY: it was just opened and nobody else has it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        set(&fd, libc::SO_TIMESTAMPNS, 1);
        set(&fd, libc::SO_RCVBUFFORCE, 1 << 26);
        let mut capture = Self {
            fd,
            packets: Vec::new(),
        };
        capture.wait_for_clock();
        capture
    }

    /// The kernel begins to stamp what it receives some time after it was asked
    /// to (`net_enable_timestamp`); until then a packet's time is that of its
    /// being read.
    fn wait_for_clock(&mut self) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let target = socket.local_addr().unwrap();
        wait_for("a packet stamped on arrival", || {
            let (_, sent) = timed(|| socket.send_to(b"?", target).unwrap());
            std::thread::sleep(std::time::Duration::from_millis(2));
            let stamps: Vec<u64> = std::iter::from_fn(|| self.receive())
                .map(|(at, _)| at)
                .collect();
            let on_arrival = |at: &&u64| (sent.from..=sent.to + 1_000_000).contains(*at);
            stamps.last().filter(on_arrival).map(|_| ())
        });
    }

    /// Everything that has arrived so far.
    pub(crate) fn packets(&mut self) -> &[Packet] {
        while let Some((at, bytes)) = self.receive() {
            self.packets.extend(parse(at, &bytes));
        }
        &self.packets
    }

    /// The last packet that is `wanted`, once there is one.
    pub(crate) fn find(&mut self, what: &str, wanted: impl Fn(&Packet) -> bool) -> Packet {
        wait_for(what, || {
            let mut packets = self.packets().iter().rev();
            packets.find(|packet| wanted(packet)).copied()
        })
        .0
    }

    /// The next packet: when it arrived, and from its IP header on.
    fn receive(&self) -> Option<(u64, Vec<u8>)> {
        loop {
            let mut bytes = vec![0_u8; 128];
            let mut from = MaybeUninit::<libc::sockaddr_ll>::zeroed();
            let mut control = [0_u64; 16];
            let mut piece = libc::iovec {
                iov_base: bytes.as_mut_ptr().cast(),
                iov_len: bytes.len(),
            };
            // SAFETY: a message header may be all zeros.
            let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
            message.msg_name = from.as_mut_ptr().cast();
            message.msg_namelen = u32::try_from(size_of::<libc::sockaddr_ll>()).unwrap();
            message.msg_iov = &raw mut piece;
            message.msg_iovlen = 1;
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = size_of_val(&control);
            // SAFETY: every pointer in it is to memory that lives for the call,
            // with its length beside it.
            let got = unsafe { libc::recvmsg(self.fd.as_raw_fd(), &raw mut message, 0) };
            let Ok(got) = usize::try_from(got) else {
                let error = io::Error::last_os_error();
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}");
                return None;
            };
            // SAFETY: the kernel has written it, and zeros are an address too.
            let from = unsafe { from.assume_init() };
            bytes.truncate(got);
            // What is sent on loopback is seen again when it arrives.
            if from.sll_pkttype != libc::PACKET_OUTGOING {
                return Some((monotonic(stamp(&message)), bytes));
            }
        }
    }
}

fn set(fd: &OwnedFd, option: i32, value: i32) {
    // SAFETY: the value lives for the call, and its length is that of an int.
    let done = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            ptr::from_ref(&value).cast(),
            u32::try_from(size_of::<i32>()).unwrap(),
        )
    };
    assert_eq!(done, 0, "{option}: {}", io::Error::last_os_error());
}

/// The arrival by `CLOCK_REALTIME`, in nanoseconds.
fn stamp(message: &libc::msghdr) -> u64 {
    // SAFETY: the kernel has filled in the control messages and their length.
    let first = unsafe { libc::CMSG_FIRSTHDR(message) };
    assert!(!first.is_null(), "a packet without a time");
    // SAFETY: as above; it is not null.
    let kind = unsafe { (*first).cmsg_type };
    assert_eq!(kind, libc::SCM_TIMESTAMPNS);
    // SAFETY: of this type the data is a timespec, anywhere in memory.
    let time: libc::timespec = unsafe { ptr::read_unaligned(libc::CMSG_DATA(first).cast()) };
    u64::try_from(time.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap()
}

/// The same instant by `CLOCK_MONOTONIC`: the two clocks are read in one go, as
/// often as it takes to be sure to a microsecond or so.
fn monotonic(wall_ns: u64) -> u64 {
    let readings = (0..8).map(|_| {
        let before = now();
        let wall = wall();
        (now() - before, wall - before)
    });
    let (_, ahead) = readings.min().unwrap();
    wall_ns - ahead
}

/// A TCP segment over IPv4 (RFC 791 section 3.1, RFC 9293 section 3.1).
fn parse(at: u64, bytes: &[u8]) -> Option<Packet> {
    let header = usize::from(bytes.first()? & 15) * 4;
    if *bytes.get(9)? != 6 {
        return None;
    }
    let tcp = bytes.get(header..header + 20)?;
    let two = |bytes: &[u8], at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let four = |bytes: &[u8], at: usize| {
        let word = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        u32::from_be_bytes(word)
    };
    let address = |at| Ipv4Addr::from_bits(four(bytes, at));
    let headers = header + usize::from(tcp[12] >> 4) * 4;
    Some(Packet {
        at,
        segment: Segment {
            from: SocketAddrV4::new(address(12), two(tcp, 0)),
            to: SocketAddrV4::new(address(16), two(tcp, 2)),
            seq: four(tcp, 4),
            ack: four(tcp, 8),
            flags: tcp[13],
        },
        len: u32::try_from(usize::from(two(bytes, 2)) - headers).unwrap(),
    })
}

#[test]
fn a_captured_segment_has_its_ends_its_numbers_and_the_length_of_its_data() {
    let mut bytes = vec![0x45, 0, 0, 43, 0, 0, 0, 0, 64, 6, 0, 0];
    bytes.extend([127, 0, 0, 1, 127, 0, 0, 2]);
    bytes.extend([0, 80, 0x9c, 0x40, 0, 0, 0, 7, 0, 0, 0, 9]);
    bytes.extend([5 << 4, 17, 0, 0, 0, 0, 0, 0, b'a', b'b', b'c']);
    let packet = parse(5, &bytes).unwrap();
    let segment = packet.segment;
    assert_eq!(segment.from, "127.0.0.1:80".parse().unwrap());
    assert_eq!(segment.to, "127.0.0.2:40000".parse().unwrap());
    assert_eq!((segment.seq, segment.ack, segment.flags), (7, 9, 17));
    assert_eq!((packet.at, packet.len), (5, 3));
    bytes[9] = 17;
    assert!(parse(5, &bytes).is_none());
}
