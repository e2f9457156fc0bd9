//! Minisockets that nothing ends but their timer, whose minute passes for all of
//! them at once: beside what `ss` says meanwhile, what a capture has seen, what
//! the kernel has counted, and what was there before the tool.

use std::{collections::HashMap, net::SocketAddr};

use crate::{
    capture::Capture,
    clock::{Interval, MS, Noise, in_vm, now, timed, wait_for},
    expect::{First, step},
    facts::tell,
    families::{Families, Family},
    net::{Conn, Listener, Side},
    ns::Netns,
    process::output,
    segment::{ACK, FIN, Segment},
    tables::wait_state,
    timewait::{
        Case, SECOND, SLOT, Story, after, assert_counted, client_in_time_wait, counters, judge,
        minisockets, since, small_orphan,
    },
    trace::{Finished, is_of},
};

const MINUTE: u64 = 60 * SECOND;

/// How many connections of the plainest kind.
const COUNT: usize = 20;

/// Two ticks at HZ=100: the kernel counts timers in ticks, `ss` too.
const TICKS: u64 = 20 * MS;

/// By how much a line and the capture may differ on when a segment came.
fn precision() -> u64 {
    if in_vm() { 50 * MS } else { MS }
}

/// The line of the end of `TIME_WAIT`, a minute after `started`.
fn expired(story: Story, cause: &'static str, started: Interval) -> Case {
    let ended = after(started, MINUTE, SLOT);
    story
        .case(cause)
        .then(("TIME_WAIT", "CLOSE"), "expired", ended)
}

fn plain(listener: &Listener) -> Case {
    let story = client_in_time_wait(listener.pair());
    let entered = story.entered;
    expired(story, "expired", entered)
}

/// The peer's FIN comes to an orphan, which is a minisocket by then.
fn changed(story: Story, server: Conn, cause: &'static str) -> Case {
    let fin = server.close().until(wait_state(&story.side, "TIME_WAIT"));
    let mut story = story;
    story
        .steps
        .push(step("FIN_WAIT2", "TIME_WAIT", "peer_fin", fin));
    expired(story, cause, fin)
}

/// What was there before the tool.
struct Before {
    waiting: Story,
    orphan: Story,
    /// Its peer is still there.
    changing: (Story, Conn),
}

impl Before {
    fn new(listener: &Listener) -> Self {
        let waiting = client_in_time_wait(listener.pair());
        let (orphan, server) = small_orphan(listener, |_| {});
        server.vanish();
        Self {
            waiting,
            orphan,
            changing: small_orphan(listener, |_| {}),
        }
    }

    /// Their lines: `known` since the tool has said that it had begun.
    fn cases(self, known: u64) -> [Case; 3] {
        let seeded = |mut story: Story, finish: &dyn Fn(Story) -> Case| {
            let entered = story.entered;
            story.steps.clear();
            Case {
                first: First::Existed { entered, known },
                ..finish(story)
            }
        };
        let started = [self.waiting.entered, self.orphan.entered];
        let (changing, server) = self.changing;
        let server = std::cell::Cell::new(Some(server));
        [
            seeded(self.waiting, &|story| expired(story, "seeded", started[0])),
            seeded(self.orphan, &|story| {
                let ended = after(started[1], MINUTE, SLOT);
                story.case("seeded_fin_wait2").then(
                    ("FIN_WAIT2", "CLOSE"),
                    "fin_wait2_timeout",
                    ended,
                )
            }),
            seeded(changing, &|story| {
                changed(story, server.take().unwrap(), "seeded_fin_wait2")
            }),
        ]
    }
}

/// Segments of a peer that is gone: old ones that are answered or just heard,
/// and start the minute again. All but the first wait for `pauses`.
fn rearmed(capture: &mut Capture, story: Story, segments: &[Old], pauses: u64) -> Case {
    let fin = fin_of(capture, &story.side);
    let mut last = story.entered;
    for old in segments {
        // Longer than a slot of the wheel, or the timer's tracepoints say nothing.
        wait_for("some seconds", || (now() > last.to + pauses).then_some(()));
        let segment = match old {
            Old::Ack => Segment {
                seq: fin.0.seq.wrapping_add(fin.1 + 1),
                flags: ACK,
                ..fin.0
            },
            Old::Fin => fin.0,
        };
        last = segment.send();
        capture.find("it", |packet| {
            packet.segment.flags == segment.flags
                && packet.segment.to == segment.to
                && packet.at >= last.from
        });
        last.to = now();
    }
    Case {
        rearmed: u32::try_from(segments.len()).unwrap(),
        ..expired(story, "rearmed", last)
    }
}

/// An old segment of a peer.
enum Old {
    /// A bare acknowledgement, sent again by the network.
    Ack,
    /// The FIN, sent again by the peer.
    Fin,
}

/// The first FIN that came to `side`, with the length of its data.
fn fin_of(capture: &mut Capture, side: &Side) -> (Segment, u32) {
    let mut packets = capture.packets().iter();
    let fin = packets.find(|packet| {
        SocketAddr::V4(packet.segment.to) == side.local && packet.segment.flags & FIN != 0
    });
    let fin = fin.unwrap_or_else(|| panic!("no FIN for {side:?}"));
    (fin.segment, fin.len)
}

/// When the FINs came, by the end they came to.
fn fins(capture: &mut Capture) -> HashMap<SocketAddr, u64> {
    let fins = capture.packets().iter().rev();
    let fins = fins.filter(|packet| packet.segment.flags & FIN != 0);
    // In reverse, so that the first one stays.
    fins.map(|fin| (fin.segment.to.into(), fin.at)).collect()
}

/// What `ss` shows of a timer: milliseconds, and to how many it is rounded down.
fn remaining(text: &str) -> Option<(u64, u64)> {
    if let Some(rest) = text.strip_suffix("ms") {
        let (seconds, ms) = rest.split_once('.').unwrap_or(("0", rest));
        return Some((
            seconds.parse::<u64>().ok()? * 1_000 + ms.parse::<u64>().ok()?,
            1,
        ));
    }
    if let Some(minutes) = text.strip_suffix("min") {
        return Some((minutes.parse::<u64>().ok()? * 60_000, 1_000));
    }
    Some((
        text.strip_suffix("sec")?.parse::<u64>().ok()? * 1_000,
        1_000,
    ))
}

/// Local end to what `ss -tano` says is left of its minisocket's timer.
fn timers(listing: &str) -> HashMap<SocketAddr, (u64, u64)> {
    let timer = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let shown = words
            .iter()
            .find_map(|word| word.strip_prefix("timer:(timewait,"))?;
        let (left, _) = shown.split_once(',')?;
        Some((words.get(3)?.parse().ok()?, remaining(left)?))
    };
    listing.lines().filter_map(timer).collect()
}

/// `ss` shows what follows from the lines: a minute after the begin of
/// `TIME_WAIT`, the timer runs out. It is asked when it shows milliseconds.
fn assert_timers(families: &mut Families, cases: &[Case]) {
    let begun = cases.iter().map(|case| case.steps[case.steps.len() - 2].at);
    let last = begun.map(|at| at.to).max().unwrap();
    wait_for("the last seconds of the minute", || {
        (now() > last + MINUTE - 8 * SECOND).then_some(())
    });
    let (listing, asked) = timed(|| output("ss", "iproute2", &["-4tanoH"]));
    let timers = timers(&listing);
    for case in cases {
        let begins = families.find("the begin of TIME_WAIT", |seen| {
            let mut lines = seen.iter().map(|seen| &seen.line);
            let line = lines.find(|line| is_of(line, &case.side) && line.new == "TIME_WAIT");
            line.map(|line| line.mono_ns)
        });
        let (shown, unit) = timers[&case.side.local];
        for (family, begin) in begins {
            let left = |at: u64| begin + MINUTE - at;
            let (shortest, longest) = (left(asked.to), left(asked.from));
            let shown = [shown * MS, (shown + unit) * MS];
            assert!(
                shown[0] <= longest + TICKS && shown[1] + TICKS >= shortest,
                "{family}: {shown:?} not within {shortest} to {longest}: {listing}"
            );
        }
    }
}

/// The begin of `TIME_WAIT` is when the peer's FIN came.
fn assert_captured(
    runs: &[(Family, Finished)],
    cases: &[Case],
    fins: &HashMap<SocketAddr, u64>,
    late: u64,
) {
    for (family, run) in runs {
        let mut errors = Vec::new();
        for case in cases {
            let lines = run.select(|line| is_of(line, &case.side) && line.new == "TIME_WAIT");
            let exact = lines.iter().filter(|line| line.dwell != "unknown");
            errors.extend(exact.map(|line| line.mono_ns.abs_diff(fins[&case.side.local])));
        }
        errors.sort_unstable();
        let (median, worst) = (errors[errors.len() / 2], errors[errors.len() - 1]);
        assert!(
            median <= precision() && worst <= precision() + late,
            "{family}: {errors:?}, the scheduler up to {late} ns late"
        );
        tell("capture", &format!("median error, ns/{family}"), median);
        tell("capture", &format!("worst error, ns/{family}"), worst);
    }
}

/// The time in `TIME_WAIT` before the tool is reckoned from the timer: the lower
/// bound is nearly all of it.
fn assert_reckoned(runs: &[(Family, Finished)], seeded: &Case) {
    for (family, run) in runs {
        let last = run.of(&seeded.side).pop().unwrap();
        let dwell = last.dwell_ns.unwrap();
        assert!(dwell + TICKS >= MINUTE, "{family}: {last:?}");
    }
}

#[test]
fn a_minute_in_time_wait_is_exact_by_ss_by_a_capture_and_by_the_kernels_counters() {
    let inside = Netns::new();
    let listener = inside.enter(|| Listener::on("127.0.0.1:0"));
    // The answer to an old FIN meets nobody but the listener, whose RST would
    // be the end.
    inside.set("tcp_rfc1337", "1");
    let before = inside.enter(|| Before::new(&listener));
    let earlier = inside.enter(counters);
    let mut families = Families::start(&["--netns", &inside.inode.to_string()]);
    let known = families.started;
    let (cases, fins, late, counted) = inside.enter(|| {
        let mut capture = Capture::on_loopback();
        let noise = Noise::start();
        let mut cases: Vec<_> = (0..COUNT).map(|_| plain(&listener)).collect();
        let (story, server) = small_orphan(&listener, |_| {});
        cases.push(changed(story, server, "changed"));
        let late = noise.stop();
        cases.extend(before.cases(known));
        let stories = [(); 2].map(|()| client_in_time_wait(listener.pair()));
        let [one, two] = stories;
        cases.push(rearmed(&mut capture, one, &[Old::Ack], 6 * SECOND));
        cases.push(rearmed(
            &mut capture,
            two,
            &[Old::Fin, Old::Ack],
            6 * SECOND,
        ));
        let fins = fins(&mut capture);
        assert_timers(&mut families, &cases[..COUNT]);
        for case in &cases {
            families.until_leaves(&case.side, case.steps.last().unwrap().old);
        }
        (cases, fins, late, counters())
    });
    let runs = families.stop();
    judge(&runs, &cases);
    assert_captured(&runs.whole, &cases[..=COUNT], &fins, late);
    assert_reckoned(&runs.whole, &cases[COUNT + 1]);
    // What was there before has been counted before, or will be at its end.
    let at_begin = minisockets(&earlier) > 0;
    assert_counted(&runs, &since(&counted, &earlier), at_begin);
}

#[test]
fn what_ss_shows_of_a_timer_is_read() {
    assert_eq!(remaining("1min"), Some((60_000, 1_000)));
    assert_eq!(remaining("59sec"), Some((59_000, 1_000)));
    assert_eq!(remaining("8.560ms"), Some((8_560, 1)));
    assert_eq!(remaining("012ms"), Some((12, 1)));
    assert_eq!(remaining("?"), None);
    let listing = "TIME-WAIT 0 0 127.0.0.1:40000 127.0.0.1:80 timer:(timewait,7.008ms,0)\n\
        LISTEN 0 4096 127.0.0.1:80 0.0.0.0:*\n";
    let timers = timers(listing);
    assert_eq!(timers.len(), 1);
    assert_eq!(timers[&"127.0.0.1:40000".parse().unwrap()], (7_008, 1));
}
