use std::{ffi::OsStr, time::Duration};

use clap::error::ErrorKind;
use tcpstate_common::state::TcpState;

use super::{
    Color, Command, Dwell, Filter, FilterSpec, Netns, Record, Trace, complaint, parse_from,
};
use crate::{
    connection::Told,
    decode::Family,
    dwell::By,
    sink::{Format, ReportFormat},
};

fn parse(line: &str) -> Result<Command, clap::Error> {
    parse_from(std::iter::once("tcpstate").chain(line.split_whitespace()))
}

fn trace(options: &str) -> Trace {
    match parse(&format!("trace {options}")) {
        Ok(Command::Trace(trace)) => trace,
        other => panic!("{options}: {other:?}"),
    }
}

fn record(options: &str) -> Record {
    match parse(&format!("record {options}")) {
        Ok(Command::Record(record)) => record,
        other => panic!("{options}: {other:?}"),
    }
}

fn dwell(options: &str) -> Dwell {
    match parse(&format!("dwell {options}")) {
        Ok(Command::Dwell(dwell)) => dwell,
        other => panic!("{options}: {other:?}"),
    }
}

fn filter(options: &str) -> Filter {
    trace(options).watch.filter
}

/// Of a replay: its processes need not exist.
fn spec(options: &str) -> FilterSpec {
    trace(&format!("--replay f {options}")).resolve().unwrap()
}

/// The one line that is printed for a usage error.
fn refused(line: &str) -> String {
    let error = parse(line).expect_err(line);
    assert_eq!(error.exit_code(), 2, "{line}");
    let text = complaint(&error).expect(line);
    assert!(text.starts_with("error: "), "{text}");
    assert!(!text.contains('\n') && !text.contains("Usage"), "{text}");
    text
}

#[test]
fn the_command_line_itself_is_consistent() {
    <super::Cli as clap::CommandFactory>::command().debug_assert();
}

#[test]
fn a_plain_trace_shows_everything_until_it_is_stopped() {
    let plain = trace("");
    assert_eq!(plain.output, Format::Table);
    assert_eq!(plain.watch.color, Color::Auto);
    assert_eq!(plain.watch.live.duration, None);
    let live = &plain.watch.live;
    assert_eq!((live.ring_size, live.max_sockets), (None, None));
    assert!(!plain.watch.live.verbose && !plain.watch.live.no_accept_syscalls);
    assert_eq!(plain.resolve().unwrap(), FilterSpec::default());
    assert_eq!(
        FilterSpec::default().kernel_filter(),
        tcpstate_common::settings::Filter::default()
    );
}

#[test]
fn lists_are_given_by_comma_and_by_repetition() {
    let spec = spec("-L 80,443 -L 8080 -D 5432 -p 12,13 -p 14 --comm nginx --comm curl");
    assert_eq!(spec.lports, [80, 443, 8080]);
    assert_eq!(spec.rports, [5432]);
    assert_eq!(spec.pids, [12, 13, 14]);
    assert_eq!(spec.comms, [b"nginx".to_vec(), b"curl".to_vec()]);
}

#[test]
fn a_long_name_is_cut_where_the_kernel_cuts_it() {
    let spec = spec("--comm systemd-journald-of-mine");
    assert_eq!(spec.comms, [b"systemd-journal".to_vec()]);
}

#[test]
fn states_are_understood_as_ss_and_tcpstates_spell_them() {
    let ss = "established,syn-sent,syn-recv,fin-wait-1,fin-wait-2,time-wait,closed,close-wait,last-ack,listening,closing";
    let tcpstates = "ESTABLISHED,SYN_SENT,SYN_RECV,FIN_WAIT1,FIN_WAIT2,TIME_WAIT,CLOSE,CLOSE_WAIT,LAST_ACK,LISTEN,CLOSING";
    let short = "ESTAB,syn_sent,Syn-Recv,fin_wait_1,TCP_FIN_WAIT2,timewait,UNCONN,CLOSE-WAIT,lastack,listen,Closing";
    for list in [ss, tcpstates, short] {
        assert_eq!(spec(&format!("--state {list}")).states, TcpState::ALL);
    }
    let text = refused("trace --state closewhat");
    assert!(text.contains("CLOSE_WAIT"), "{text}");
}

#[test]
fn durations_have_units() {
    let lasting = |text: &str| trace(&format!("--for {text}")).watch.live.duration;
    assert_eq!(lasting("500ms"), Some(Duration::from_millis(500)));
    assert_eq!(lasting("30s"), Some(Duration::from_secs(30)));
    assert_eq!(lasting("5m"), Some(Duration::from_secs(300)));
    assert_eq!(lasting("1h30m"), Some(Duration::from_secs(5400)));
    assert_eq!(spec("--min-dwell 1.5s").min_dwell_ns, Some(1_500_000_000));
    assert_eq!(spec("--min-dwell 0s").min_dwell_ns, Some(0));
    assert!(refused("trace --for 30").contains("such as 30s"));
    for wrong in ["0s", "-5s", "soon", "5", ""] {
        refused(&format!("trace --for={wrong}"));
    }
}

#[test]
fn networks_are_cidr_or_one_address() {
    let spec = spec("--laddr 10.1.2.3/8,192.0.2.7 --raddr 0.0.0.0/0");
    let text: Vec<_> = spec.lnets.iter().map(ToString::to_string).collect();
    assert_eq!(text, ["10.0.0.0/8", "192.0.2.7/32"]);
    for wrong in ["10.0.0.0/33", "fd00::/129", "localhost", "10.0.0", "/8"] {
        refused(&format!("trace --laddr {wrong}"));
    }
}

#[test]
fn the_kernel_gets_what_one_event_can_decide() {
    let spec =
        spec("-6 -L 80 -D 1,2 --laddr 10.0.0.0/8 --raddr 2001:db8::/32,::/0 --netns 77 -p 1");
    let kernel = spec.kernel_filter();
    assert_eq!((kernel.family, kernel.netns), (10, 77));
    assert_eq!((kernel.lport_count, kernel.lports[0]), (1, 80));
    assert_eq!(
        (kernel.rport_count, &kernel.rports[..3]),
        (2, &[1, 2, 0][..])
    );
    assert_eq!((kernel.lnet_count, kernel.rnet_count), (1, 2));
    let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 0];
    assert_eq!(kernel.lnets[0].addr, mapped);
    assert_eq!(kernel.lnets[0].mask[12..], [255, 0, 0, 0]);
    assert_eq!(kernel.lnets[0].mask[..12], [255; 12]);
    assert_eq!(kernel.rnets[0].mask[..5], [255, 255, 255, 255, 0]);
    assert_eq!(kernel.rnets[1], tcpstate_common::settings::Net::default());
    assert_eq!(filter("-4").connections.family(), Some(Family::Inet));
}

#[test]
fn a_filter_that_nothing_can_pass_is_refused_with_what_to_do() {
    let cases = [
        ("trace -4 -6", "cannot be used with"),
        ("trace -4 --laddr fd00::/8", "drop one"),
        ("trace --laddr 10.0.0.0/8 --raddr fd00::/8", "agree"),
        ("record -o f --raddr 10.0.0.1 --laddr fd00::1", "agree"),
        ("trace -L 0", "1 to 65535"),
        ("trace -L 65536", "1 to 65535"),
        ("trace -L 80,,443", "1 to 65535"),
        ("trace -p 0", "process id"),
        ("trace --netns 0", "inode number"),
        (
            "trace -L 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17",
            "at most 16",
        ),
        ("trace --ring-size 100K", "power of two"),
        ("trace --ring-size 1K", "power of two"),
        ("trace --ring-size 4G", "power of two"),
        ("trace -o yaml", "possible values: table, wide, json, csv"),
        ("trace --replay f --for 3s", "cannot be used with"),
        ("trace --nonsense", "unexpected argument"),
        (
            "trace --ring-siz 64K",
            "; tip: a similar argument exists: '--ring-size'",
        ),
        ("record", "--output"),
        ("record -o f --comm x", "unexpected argument"),
        ("tracer", "unrecognized subcommand"),
    ];
    for (line, hint) in cases {
        let text = refused(line);
        assert!(text.contains(hint), "{line}: {text}");
    }
    refused("trace --comm=");
}

#[test]
fn families_that_can_meet_are_not_refused() {
    trace("-6 --laddr 10.0.0.0/8");
    trace("--laddr 10.0.0.0/8 --raddr ::/0");
    trace("--laddr ::ffff:10.0.0.1 --raddr 10.0.0.2");
    trace("--laddr 10.0.0.0/8,fd00::/8 --raddr fd00::/8");
}

#[test]
fn ring_sizes_are_powers_of_two_in_bytes() {
    for (text, bytes) in [
        ("64K", 1 << 16),
        ("64KiB", 1 << 16),
        ("65536", 1 << 16),
        ("2G", 1 << 31),
    ] {
        assert_eq!(
            trace(&format!("--ring-size {text}")).watch.live.ring_size,
            Some(bytes)
        );
    }
}

#[test]
fn numbers_of_sockets_are_counted_in_tens() {
    for (text, sockets) in [("5000", 5_000), ("20k", 20_000), ("1M", 1_000_000)] {
        let live = trace(&format!("--replay f --max-sockets {text}"))
            .watch
            .live;
        assert_eq!(live.max_sockets, Some(sockets));
    }
    for wrong in ["0", "0M", "-1", "64KiB", "1.5M", "", "99999999999999999999"] {
        let text = refused(&format!("trace --max-sockets={wrong}"));
        assert!(text.contains("such as 5000, 20K or 1M"), "{text}");
    }
}

#[test]
fn record_and_doctor_take_their_own_options() {
    let record = record("-o web.tcpstate --for 1m -L 80 --ring-size 64K -v");
    assert_eq!(record.output.as_os_str(), "web.tcpstate");
    assert_eq!(record.resolve().unwrap().lports, [80]);
    assert!(record.live.verbose);
    match parse("doctor -o json") {
        Ok(Command::Doctor(doctor)) => assert_eq!(doctor.output, ReportFormat::Json),
        other => panic!("{other:?}"),
    }
}

#[test]
fn dwell_takes_every_filter_but_what_would_falsify_its_numbers() {
    let plain = dwell("");
    assert_eq!(plain.interval, Duration::from_secs(5));
    assert_eq!(plain.output, ReportFormat::Table);
    assert_eq!((plain.by, plain.states), (vec![], vec![]));
    let full = dwell("-L 443 -6 --comm nginx -i 1s --for 1m --hooks tracepoint -o json");
    assert_eq!(full.watch.resolve().unwrap().lports, [443]);
    assert_eq!(full.watch.live.duration, Some(Duration::from_secs(60)));
    assert_eq!(full.interval, Duration::from_secs(1));
    let grouped = dwell("--by lport,process --by state --state close-wait,TIME_WAIT --replay f");
    assert_eq!(grouped.by, [By::Lport, By::Process, By::State]);
    assert_eq!(grouped.states, [TcpState::CloseWait, TcpState::TimeWait]);
    for (line, hint) in [
        ("dwell --min-dwell 1s", "unexpected argument"),
        ("dwell --state closed", "nothing stays in CLOSE"),
        ("dwell -i 10ms", "at least 100ms"),
        ("dwell -i 5", "such as 5s"),
        ("dwell -i 5s --replay f", "cannot be used with"),
        (
            "dwell --by pid",
            "possible values: state, lport, rport, process, peer, netns",
        ),
        ("dwell -o csv", "possible values: table, json"),
        ("dwell -4 --raddr fd00::/8", "drop one"),
    ] {
        let text = refused(line);
        assert!(text.contains(hint), "{line}: {text}");
    }
}

#[test]
fn help_and_version_are_no_errors() {
    for (line, kind) in [
        ("--help", ErrorKind::DisplayHelp),
        ("trace --help", ErrorKind::DisplayHelp),
        ("--version", ErrorKind::DisplayVersion),
    ] {
        let text = parse(line).expect_err(line);
        assert_eq!((text.kind(), text.exit_code()), (kind, 0));
        assert_eq!(complaint(&text), None);
    }
}

#[test]
fn no_color_rules_unless_colour_is_asked_for() {
    let (set, empty) = (Some(OsStr::new("1")), Some(OsStr::new("")));
    assert!(Color::Auto.decide(true, None) && Color::Auto.decide(true, empty));
    assert!(!Color::Auto.decide(true, set) && !Color::Auto.decide(false, None));
    assert!(Color::Always.decide(false, set));
    assert!(!Color::Never.decide(true, None));
}

#[test]
fn a_namespace_is_a_number_a_name_a_path_or_our_own() {
    let netns = |text: &str| filter(&format!("--netns {text}")).connections.netns;
    assert_eq!(netns("4026531840"), Some(Netns::Inode(4_026_531_840)));
    assert_eq!(netns("net:[77]"), Some(Netns::Inode(77)));
    assert_eq!(netns("blue"), Some(Netns::Name("blue".to_owned())));
    assert_eq!(
        netns("/proc/1/ns/net"),
        Some(Netns::Path("/proc/1/ns/net".into()))
    );
    assert_eq!(netns("self"), Some(Netns::Own));
}

#[test]
fn our_own_namespace_has_the_number_that_the_kernel_shows() {
    let link = std::fs::read_link("/proc/self/ns/net").unwrap();
    let shown = link.to_str().unwrap();
    let inode = spec("--netns self").netns.unwrap();
    assert_eq!(format!("net:[{inode}]"), shown);
    assert_eq!(spec("--netns /proc/self/ns/net").netns, Some(inode));
}

#[test]
fn a_namespace_that_is_none_is_refused() {
    for (name, hint) in [
        (
            "no-such-namespace-here",
            "/run/netns/no-such-namespace-here",
        ),
        ("/proc/self/ns/mnt", "is no network namespace"),
        ("/dev/null", "is no network namespace"),
    ] {
        let error = filter(&format!("--netns {name}")).resolve().unwrap_err();
        assert!(error.to_string().contains(hint), "{error}");
    }
}

#[test]
fn a_process_must_exist_unless_a_recording_is_replayed() {
    let own = std::process::id();
    trace(&format!("-p {own}")).resolve().unwrap();
    // Larger than any pid: PID_MAX_LIMIT is 2^22.
    let error = trace("-p 4194305").resolve().unwrap_err();
    assert!(error.to_string().contains("no process 4194305"), "{error}");
    trace("-p 4194305 --replay f").resolve().unwrap();
}

#[test]
fn a_thread_is_not_taken_for_a_process() {
    let own = std::process::id();
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let (told, hear) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        told.send(rustix::thread::gettid().as_raw_nonzero().get())
            .unwrap();
        let _closed = wait.recv();
    });
    let error = trace(&format!("-p {}", hear.recv().unwrap()))
        .resolve()
        .unwrap_err();
    assert!(
        error.to_string().contains(&format!("use -p {own}")),
        "{error}"
    );
    drop(done);
    thread.join().unwrap();
}

#[test]
fn whole_connections_are_told_when_they_are_closed_unless_gone_is_asked_for() {
    assert_eq!(trace("").connections, None);
    assert_eq!(trace("--connections").connections, Some(Told::Closed));
    assert_eq!(trace("--connections=gone").connections, Some(Told::Gone));
    // The next word is an option's own only behind an equals sign.
    assert!(parse("trace --connections gone").is_err());
    assert!(refused("trace --connections=never").contains("closed, gone"));
}
