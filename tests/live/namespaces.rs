//! Two network namespaces joined by a cable, and the tool outside of both.

use std::{collections::BTreeSet, thread};

use crate::{
    closing::PARKED,
    expect::{accepted, assert_lines, connected, step},
    net::{Conn, Listener},
    ns::Cable,
    trace::Trace,
};

#[test]
fn both_ends_of_a_cable_are_traced_with_their_own_namespace() {
    let cable = Cable::new();
    let trace = Trace::start(&[]);
    let listener = cable.right.enter(|| Listener::on("10.99.0.2:0"));
    let client = cable.left.enter(|| Conn::to(listener.side.local));
    let server = listener.accept(&client);
    let (near, far) = (client.side, server.side);
    assert_eq!(
        (near.netns, far.netns),
        (cable.left.inode, cable.right.inode)
    );
    let (mut ours, mut theirs) = (connected(&client), accepted(&server));
    let shut = client.shutdown();
    let fin = shut.until(server.end_of_file());
    let acked = shut.until(
        cable
            .left
            .enter(|| crate::tables::wait_state(&near, "FIN_WAIT2")),
    );
    thread::sleep(PARKED);
    let closed = server.close();
    let ended = closed.until(client.end_of_file());
    let gone = closed.until(cable.right.enter(|| crate::tables::wait_gone(&far)));
    let run = trace.stop();
    run.assert_sound();
    ours.extend([
        step("ESTABLISHED", "FIN_WAIT1", "shutdown", shut),
        step("FIN_WAIT1", "FIN_WAIT2", "fin_acked", acked),
        step("FIN_WAIT2", "TIME_WAIT", "peer_fin", ended),
    ]);
    theirs.extend([
        step("ESTABLISHED", "CLOSE_WAIT", "peer_fin", fin),
        step("CLOSE_WAIT", "LAST_ACK", "close", closed),
        step("LAST_ACK", "CLOSE", "fin_acked", gone),
    ]);
    assert_lines(&run, &near, &ours);
    assert_lines(&run, &far, &theirs);
}

#[test]
fn the_same_tuple_in_two_namespaces_is_two_connections() {
    let cable = Cable::new();
    let trace = Trace::start(&[]);
    let tuple = |inside: &crate::ns::Netns| {
        inside.enter(|| {
            let listener = Listener::on("127.0.0.1:4321");
            let (fd, _) = crate::net::bound("127.0.0.1:4322".parse().unwrap());
            let client = Conn::with(fd, listener.side.local);
            let server = listener.accept(&client);
            (client, server)
        })
    };
    let pairs = [tuple(&cable.left), tuple(&cable.right)];
    let run = trace.stop();
    run.assert_sound();
    let mut names = BTreeSet::new();
    for (client, server) in &pairs {
        assert_lines(&run, &client.side, &connected(client));
        assert_lines(&run, &server.side, &accepted(server));
        for side in [&client.side, &server.side] {
            names.insert(run.of(side)[0].conn.clone());
        }
    }
    assert_eq!(names.len(), 4);
}
