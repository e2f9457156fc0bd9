//! Filters: what they let through, complete and with the same times as without.

use std::collections::BTreeSet;

use crate::{
    clock::MS,
    closing::{Story, half_close},
    expect::{Step, assert_lines, check_left, connected, listening, step},
    lines::Transition,
    net::{Conn, Listener, Side},
    ns::Netns,
    process::{fork, own_pid, rename},
    trace::{Finished, Trace},
};

/// What three listeners and their connections should have printed.
fn play() -> Vec<Story> {
    let mut stories = Vec::new();
    for address in ["127.0.0.1:0", "127.0.0.2:0", "[::1]:0"] {
        let listener = Listener::on(address);
        stories.extend(half_close(&listener));
        let side = listener.side;
        let mut steps = listening(&listener);
        steps.push(step("LISTEN", "CLOSE", "close", listener.close()));
        stories.push((side, steps));
    }
    stories
}

/// A filter, and which ends of the scene must pass it: all of their lines.
type Case<'a> = (Vec<String>, Box<dyn Fn(&Side) -> bool + 'a>);

#[test]
fn a_filter_lets_whole_connections_through_with_unchanged_times_and_nothing_else() {
    // Nobody else's socket has the same ports there.
    Netns::new().enter(filter_by_socket);
}

fn filter_by_socket() {
    // The ports must be known before the traces start.
    let reserve = || crate::net::bound("127.0.0.1:0".parse().unwrap());
    let (lport, rport) = (reserve(), reserve());
    let flag = |flag: &str, value: &dyn ToString| vec![flag.to_owned(), value.to_string()];
    let (at, to) = (lport.1, rport.1);
    let cases: Vec<Case<'_>> = vec![
        (
            flag("-L", &at.port()),
            Box::new(|side| side.local.port() == at.port()),
        ),
        (
            flag("-D", &to.port()),
            Box::new(|side| side.remote.port() == to.port()),
        ),
        (
            flag("--raddr", &"127.0.0.2/32"),
            Box::new(|side| side.remote.ip().to_string() == "127.0.0.2"),
        ),
        (
            flag("--laddr", &"127.0.0.2"),
            Box::new(|side| side.local.ip().to_string() == "127.0.0.2"),
        ),
        (vec!["-4".into()], Box::new(|side| side.local.is_ipv4())),
        (vec!["-6".into()], Box::new(|side| side.local.is_ipv6())),
    ];
    let traces: Vec<_> = cases.iter().map(|(flags, _)| trace(flags)).collect();
    let mut stories = play();
    for (fd, address) in [lport, rport] {
        stories.extend(half_close(&Listener::from_bound(fd, address)));
    }
    for (trace, (flags, passes)) in traces.into_iter().zip(&cases) {
        let run = trace.stop();
        run.assert_sound();
        let passing = stories.iter().filter(|(side, _)| passes(side)).count();
        assert!(passing > 0 && passing < stories.len(), "{flags:?}");
        for (side, steps) in &stories {
            if passes(side) {
                assert_lines(&run, side, steps);
            } else {
                let lines = run.of(side);
                assert!(lines.is_empty(), "{flags:?}: {lines:#?}");
            }
        }
    }
}

fn trace(flags: &[String]) -> Trace {
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    Trace::start(&flags)
}

/// The steps of which lines are left, per end, all of them judged.
fn left<'a>(run: &Finished, stories: &'a [Story]) -> Vec<&'a Step> {
    run.assert_sound();
    let mut left = Vec::new();
    for (side, steps) in stories {
        let lines = run.of(side);
        let found = check_left(&lines, steps).unwrap_or_else(|wrong| panic!("{side:?}: {wrong}"));
        left.extend(found.into_iter().map(|at| &steps[at]));
    }
    left
}

#[test]
fn a_state_filter_leaves_the_lines_that_enter_or_leave_it_with_their_times() {
    let trace = Trace::start(&["--state", "close-wait,TIME_WAIT"]);
    let stories = play();
    let run = trace.stop();
    let wanted = |step: &&Step| {
        let states = ["CLOSE_WAIT", "TIME_WAIT"];
        states.contains(&step.old) || states.contains(&step.new)
    };
    let left = left(&run, &stories);
    let expected: Vec<_> = stories
        .iter()
        .flat_map(|story| &story.1)
        .filter(wanted)
        .collect();
    assert_eq!(expected.len(), 9);
    assert_eq!(format!("{left:?}"), format!("{expected:?}"));
    let foreign = run.select(|line| line.old != "CLOSE_WAIT" && line.new != "CLOSE_WAIT");
    assert!(
        foreign
            .iter()
            .all(|line| line.old == "TIME_WAIT" || line.new == "TIME_WAIT")
    );
}

#[test]
fn a_least_dwell_leaves_the_slow_lines_with_their_times() {
    let trace = Trace::start(&["--min-dwell", "200ms"]);
    let stories = play();
    let run = trace.stop();
    let short = run.select(|line| line.dwell_ns.is_none_or(|dwell| dwell < 200 * MS));
    assert!(short.is_empty(), "{short:#?}");
    // Whatever the scheduler has slowed down as well is judged, not demanded.
    let left = left(&run, &stories);
    let count = |state| left.iter().filter(|step| step.old == state).count();
    assert_eq!((count("FIN_WAIT2"), count("CLOSE_WAIT")), (3, 3));
}

#[test]
fn a_network_namespace_filter_leaves_its_connections_only() {
    let inside = Netns::new();
    let trace = Trace::start(&["--netns", &inside.inode.to_string()]);
    let outside = half_close(&Listener::on("127.0.0.1:0"));
    let stories = inside.enter(|| half_close(&Listener::on("127.0.0.1:0")));
    let run = trace.stop();
    run.assert_sound();
    for (side, steps) in &stories {
        assert_lines(&run, side, steps);
    }
    assert_eq!(run.of(&outside[0].0).len(), 0);
    assert!(run.seen.iter().all(|seen| seen.line.netns == inside.inode));
}

fn client_ports(run: &Finished, server: u16) -> BTreeSet<Option<u16>> {
    let clients = run.select(|line| line.rport == Some(server));
    clients.iter().map(|line| line.lport).collect()
}

#[test]
fn a_process_filter_leaves_the_connections_of_that_process_only() {
    let listener = Listener::on("127.0.0.1:0");
    let remote = listener.side.local;
    // The child connects when it is told to: its number must be known before.
    let (told, mut tell) = std::io::pipe().unwrap();
    let fd = crate::net::socket(remote);
    let child = fork(|| {
        let _ = rustix::io::read(&told, &mut [0_u8; 1][..]);
        let _ = rustix::net::connect(&fd, &remote);
        let _ = rustix::net::shutdown(&fd, rustix::net::Shutdown::Write);
    });
    let by_pid = Trace::start(&["-p", &child.pid().to_string()]);
    let ours = Conn::to(remote);
    std::io::Write::write_all(&mut tell, b"!").unwrap();
    let pid = child.pid();
    child.wait();
    let run = by_pid.stop();
    run.assert_sound();
    let lines: Vec<&Transition> = run.select(|_| true);
    assert!(lines.iter().all(|line| line.pid == Some(pid)), "{lines:#?}");
    let states: Vec<_> = lines.iter().map(|line| line.new.as_str()).collect();
    assert_eq!(states[..3], ["SYN_SENT", "ESTABLISHED", "FIN_WAIT1"]);
    let ports = client_ports(&run, remote.port());
    assert_eq!(ports.len(), 1);
    assert!(!ports.contains(&Some(ours.side.local.port())));
}

#[test]
fn a_name_filter_leaves_the_connections_of_threads_so_named_only() {
    let listener = Listener::on("127.0.0.1:0");
    let trace = Trace::start(&["--comm", "so-named"]);
    rename(b"not-so-named");
    let other = listener.pair();
    rename(b"so-named");
    let wanted = Conn::to(listener.side.local);
    rename(b"not-so-named");
    let run = trace.stop();
    run.assert_sound();
    assert_lines(&run, &wanted.side, &connected(&wanted));
    assert_eq!(run.of(&other.0.side).len(), 0);
    assert!(
        run.seen
            .iter()
            .all(|seen| seen.line.comm.as_deref() == Some("so-named"))
    );
    assert!(run.seen.iter().all(|seen| seen.line.pid == Some(own_pid())));
}

#[test]
fn filters_on_both_sides_join_with_and() {
    let (fd, address) = crate::net::bound("127.0.0.1:0".parse().unwrap());
    let trace = Trace::start(&["-L", &address.port().to_string(), "--raddr", "127.0.0.3"]);
    let listener = Listener::from_bound(fd, address);
    let stories = half_close(&listener);
    let from = crate::net::bound("127.0.0.3:0".parse().unwrap()).0;
    let client = Conn::with(from, address);
    let server = listener.accept(&client);
    let run = trace.stop();
    run.assert_sound();
    assert_lines(&run, &server.side, &crate::expect::accepted(&server));
    for (side, _) in &stories {
        assert_eq!(run.of(side).len(), 0);
    }
    assert_eq!(run.of(&client.side).len(), 0);
    assert_eq!(run.of(&listener.side).len(), 0);
}
