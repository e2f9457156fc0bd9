//! Connects that come to nothing.

use std::{net::SocketAddr, os::fd::AsFd};

use rustix::{io::Errno, net::getsockname};

use super::{
    Connections,
    expected::{Expected, own},
};
use crate::{
    clock::timed,
    expect::step,
    net::{Listener, Side, begin_connect, bound, connect_error, netns, socket, wait_readable},
    ns::{Cable, Netns},
    tables::wait_gone,
};

#[test]
fn a_refused_connect_was_closed_by_nobody() {
    let inside = Netns::new();
    let watching = Connections::inside(&inside);
    let (nobody, refused) = inside.enter(|| {
        let (_reserved, nobody) = bound("127.0.0.1:0".parse().unwrap());
        let (error, refused) = connect_error(&socket(nobody), nobody);
        assert_eq!(error, Errno::CONNREFUSED);
        (nobody, refused)
    });
    let line = watching.until_one("the refused one", |it| it.rport == Some(nobody.port()));
    let local = SocketAddr::new(line.laddr.unwrap(), line.lport.unwrap());
    let side = Side {
        netns: inside.inode,
        local,
        remote: nobody,
    };
    let steps = vec![
        step("CLOSE", "SYN_SENT", None, refused),
        step("SYN_SENT", "CLOSE", None, refused),
    ];
    assert_ne!(local.port(), 0);
    watching.judge(&[Expected::of(side, "connect", steps).ended("none", "refused")]);
}

/// The only port of the range is in use towards the same destination.
#[test]
fn a_connect_without_a_free_port_never_had_one() {
    let inside = Netns::new();
    inside.set("ip_local_port_range", "40000\t40000");
    let watching = Connections::inside(&inside);
    let failed = inside.enter(|| {
        let listener = Listener::on("127.0.0.1:7000");
        let (client, server) = listener.pair();
        let (error, failed) = connect_error(&socket(listener.side.local), listener.side.local);
        assert_eq!(error, Errno::ADDRNOTAVAIL);
        drop((client, server));
        failed
    });
    let line = watching.until_one("the one without a port", |it| it.lport.is_none());
    watching.stop();
    let named = (line.raddr.map(|it| it.to_string()), line.rport);
    assert_eq!(named, (Some("127.0.0.1".to_owned()), Some(7000)));
    let owner = (line.pid, line.comm.clone());
    let own = own("connect");
    assert_eq!(owner, (own.pid, own.comm));
    let ended = (line.end.as_str(), line.role.as_str(), &line.closed_by);
    assert_eq!(ended, ("no_port", "none", &None), "{line:#?}");
    assert_eq!(line.reset_reason, None);
    let lasted = line.lifetime_ns.unwrap();
    crate::expect::within("lifetime", lasted, 0, failed.to - failed.from).unwrap();
}

#[test]
fn a_connect_that_nobody_answers_ends_by_timeout() {
    let cable = Cable::new();
    cable.left.set("tcp_syn_retries", "1");
    let watching = Connections::inside(&cable.left);
    cable.cut();
    let nobody: SocketAddr = "10.99.0.2:7777".parse().unwrap();
    let (side, began, ended) = cable.left.enter(|| {
        let (fd, began) = begin_connect(nobody);
        let side = Side {
            netns: netns(),
            local: SocketAddr::try_from(getsockname(&fd).unwrap()).unwrap(),
            remote: nobody,
        };
        wait_readable(fd.as_fd());
        // The error wakes before the state changes.
        let ended = began.until(wait_gone(&side));
        (side, began, ended)
    });
    let steps = vec![
        step("CLOSE", "SYN_SENT", None, began),
        step("SYN_SENT", "CLOSE", None, ended),
    ];
    let expected = Expected::of(side, "connect", steps)
        .ended("none", "timeout")
        .because("retransmissions")
        .retransmitted();
    watching.judge(&[expected]);
}

#[test]
fn a_connect_that_its_process_gives_up_is_closed_by_it() {
    let cable = Cable::new();
    let watching = Connections::inside(&cable.left);
    cable.cut();
    let nobody: SocketAddr = "10.99.0.2:7778".parse().unwrap();
    let expected = cable.left.enter(|| {
        let (fd, began) = begin_connect(nobody);
        let side = Side {
            netns: netns(),
            local: SocketAddr::try_from(getsockname(&fd).unwrap()).unwrap(),
            remote: nobody,
        };
        let ((), closed) = timed(|| drop(fd));
        let steps = vec![
            step("CLOSE", "SYN_SENT", None, began),
            step("SYN_SENT", "CLOSE", None, closed),
        ];
        Expected::of(side, "connect", steps)
            .broken("abandoned")
            .by(own("close"))
    });
    watching.judge(&[expected]);
}
