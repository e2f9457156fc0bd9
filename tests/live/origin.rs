//! Whose connection it is: the process that connected, listened or accepted.

use std::{collections::BTreeSet, io};

use rustix::{
    io::{read, write},
    net::{SocketFlags, accept_with},
};

use crate::{
    closing::half_close,
    lines::Transition,
    net::{Conn, Listener, Side, bound},
    process::{Running, fork, own_comm, own_pid},
    trace::{Finished, Trace},
};

fn processes(run: &Finished, side: &Side) -> Vec<(Option<u32>, Option<String>)> {
    let process = |line: &&Transition| (line.pid, line.comm.clone());
    run.of(side).iter().map(process).collect()
}

/// Whether this session can know who accepted: without a hook it says so, and
/// the process of an accepted socket is null.
fn knows_accept(run: &Finished) -> bool {
    let hook = run.start.hooks.get("accepted");
    let hook = hook.expect("the start line names the signal `accepted`");
    let said = run
        .start
        .not_measured
        .iter()
        .any(|missing| missing["signal"] == "accepted");
    assert_eq!(hook.is_none(), said, "{:?}", run.start);
    hook.is_some()
}

#[test]
fn a_client_and_a_listener_are_named_from_their_first_line() {
    let trace = Trace::start(&[]);
    let listener = Listener::on("127.0.0.1:0");
    let [(client, _), _] = half_close(&listener);
    let side = listener.side;
    listener.close();
    let run = trace.stop();
    run.assert_sound();
    let me = (Some(own_pid()), Some(own_comm()));
    assert_eq!(processes(&run, &client), vec![me.clone(); 5]);
    assert_eq!(processes(&run, &side), vec![me; 2]);
}

#[test]
fn an_accepted_socket_belongs_to_the_process_that_accepted_not_to_the_child_that_serves() {
    let trace = Trace::start(&[]);
    let listener = Listener::on("127.0.0.1:0");
    let (client, server) = listener.pair();
    let far = server.side;
    // Its exit closes the last descriptor of the server's end.
    let child = fork(|| {
        let _ = read(&server, &mut [0_u8; 1][..]);
    });
    let served = child.pid();
    server.close();
    client.shutdown();
    client.end_of_file();
    child.wait();
    let run = trace.stop();
    run.assert_sound();
    let lines = run.of(&far);
    let states: Vec<_> = lines.iter().map(|line| line.new.as_str()).collect();
    let all = ["SYN_RECV", "ESTABLISHED", "CLOSE_WAIT", "LAST_ACK", "CLOSE"];
    assert_eq!(states, all);
    let accepted = if knows_accept(&run) {
        (Some(own_pid()), Some(own_comm()))
    } else {
        (None, None)
    };
    // Before accept() the socket is nobody's.
    assert_eq!(processes(&run, &far)[2..], vec![accepted; 3]);
    assert!(run.seen.iter().all(|seen| seen.line.pid != Some(served)));
}

#[test]
fn a_child_that_accepts_on_an_inherited_listener_is_the_one_named() {
    let trace = Trace::start(&[]);
    let listener = Listener::on("127.0.0.1:0");
    let (told, tell) = io::pipe().unwrap();
    let child = fork(|| {
        let Ok(conn) = accept_with(&listener, SocketFlags::CLOEXEC) else {
            return;
        };
        let _ = write(&tell, b"!");
        let _ = read(&conn, &mut [0_u8; 1][..]);
        drop(conn);
    });
    let client = Conn::to(listener.side.local);
    read(&told, &mut [0_u8; 1][..]).unwrap();
    let far = client.side.peer();
    client.shutdown();
    let served = child.pid();
    child.wait();
    let run = trace.stop();
    run.assert_sound();
    let accepted = knows_accept(&run).then_some(served);
    let pids: Vec<_> = run.of(&far).iter().map(|line| line.pid).collect();
    assert_eq!(pids.len(), 5);
    assert_eq!(pids[2..], [accepted; 3]);
    assert!(
        pids[..2]
            .iter()
            .all(|pid| pid.is_none() || *pid == accepted)
    );
}

#[test]
fn a_busy_process_that_packets_interrupt_is_never_named() {
    let busy = [Running::busy(), Running::busy()];
    let strangers: BTreeSet<u32> = busy.iter().map(Running::pid).collect();
    let trace = Trace::start(&[]);
    let listener = Listener::on("127.0.0.1:0");
    let mut sides = Vec::new();
    for _ in 0..300 {
        let (client, server) = listener.pair();
        sides.extend([client.side, server.side]);
        client.shutdown();
        server.end_of_file();
        server.close();
        client.end_of_file();
    }
    // Handshakes that complete without a process of their own, too: the SYN
    // is answered and the child made while the client is in poll().
    let run = trace.stop();
    run.assert_sound();
    for line in run.select(|_| true) {
        assert!(
            line.pid.is_none_or(|pid| !strangers.contains(&pid)),
            "{line:?}"
        );
    }
    for side in sides {
        let lines = run.of(&side);
        assert_eq!(lines.len(), 5, "{lines:#?}");
        assert!(
            lines
                .iter()
                .all(|line| line.pid.is_none_or(|pid| pid == own_pid())),
            "{lines:#?}"
        );
    }
}

#[test]
fn a_name_is_that_of_the_connecting_thread_at_that_moment() {
    let trace = Trace::start(&[]);
    let (fd, own) = bound("127.0.0.1:0".parse().unwrap());
    crate::process::rename(b"first-name");
    let both = Conn::with(fd, own);
    crate::process::rename(b"second-name");
    let side = both.side;
    both.close();
    let run = trace.stop();
    run.assert_sound();
    let expected = (Some(own_pid()), Some("first-name".to_owned()));
    assert_eq!(processes(&run, &side), vec![expected; 6]);
}
