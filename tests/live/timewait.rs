//! What follows when Linux replaces the socket by a timewait minisocket: what
//! the lines of its connection must say, in every family of hooks.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fs,
};

use crate::{
    clock::{Interval, MS, in_vm, wait_for},
    expect::{First, Step, check, connected, step, within},
    facts::tell,
    families::Runs,
    lines::{Start, Transition},
    net::{Conn, Listener, Side},
    tables::{self, wait_state},
    trace::Finished,
};

pub(crate) const SECOND: u64 = 1_000 * MS;

/// The timer wheel rounds 60 s up, by at most one slot of its level: 5.1 s at
/// HZ=100, which is the coarsest.
pub(crate) const SLOT: u64 = 5_200 * MS;

/// As [`SLOT`], for a timer of a second: 8 ticks, which are 80 ms at most; the
/// rest is for an emulated machine, whose timers are late.
pub(crate) const SHORT_SLOT: u64 = 650 * MS;

/// When a timer runs out that was started at some moment of `started`.
pub(crate) fn after(started: Interval, ns: u64, slot: u64) -> Interval {
    Interval {
        from: started.from + ns,
        to: started.to + ns + slot,
    }
}

/// One end of a connection, and what its lines must say.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// What is shown by it: the key of a fact.
    pub cause: &'static str,
    /// Which end.
    pub side: Side,
    /// What is known before the first line.
    pub first: First,
    /// Its lines.
    pub steps: Vec<Step>,
    /// `kind` of the last line.
    pub kind: &'static str,
    /// `rearmed` of the last line, if that is a minisocket's.
    pub rearmed: u32,
}

/// Why kprobes may have missed a part, as they say themselves.
const KEPT_AWAY: &str = "programs kept each other from running, and it was counted";

/// Why a family cannot say when the FIN came.
const CHANGE: &str = "when FIN_WAIT2 of a minisocket becomes TIME_WAIT is known by its end";

impl Case {
    /// A connection that began when the tool was running.
    pub(crate) fn of(cause: &'static str, side: Side, steps: Vec<Step>) -> Self {
        Self {
            cause,
            side,
            first: First::Born,
            steps,
            kind: "minisocket",
            rearmed: 0,
        }
    }

    /// The next line.
    pub(crate) fn then(
        mut self,
        (old, new): (&'static str, &'static str),
        cause: &'static str,
        at: Interval,
    ) -> Self {
        self.steps.push(step(old, new, cause, at));
        self
    }

    /// The state that it is in.
    pub(crate) fn state(&self) -> &'static str {
        self.steps.last().unwrap().new
    }

    /// What the lines say wrong; a limit of the family that they keep within.
    fn judge(&self, start: &Start, lines: &[&Transition]) -> Result<Option<&'static str>, String> {
        let strict = check(lines, self.first, &self.steps).and_then(|()| self.end(lines));
        match strict {
            Ok(()) => Ok(None),
            Err(wrong) if start.hooks["minisocket_change"].is_some() => Err(wrong),
            Err(wrong) => self
                .without_change(lines)
                .map(|()| Some(CHANGE))
                .map_err(|too| format!("{wrong}; even with its limit: {too}")),
        }
    }

    /// After a loss lines may be missing, and what they say be unknown or a lower
    /// bound; what they call exact must be so all the same.
    fn nothing_false(&self, lines: &[&Transition]) -> Result<(), String> {
        for line in lines.iter().filter(|line| line.dwell == "exact") {
            let place = |state| self.steps.iter().position(|step| step.new == state);
            let (Some(entered), Some(left)) = (place(&line.old), place(&line.new)) else {
                return Err(format!("no such step: {line:?}"));
            };
            let (entered, left) = (self.steps[entered].at, self.steps[left].at);
            let dwell = line.dwell_ns.unwrap_or(0);
            within("time", line.mono_ns, left.from, left.to)?;
            let least = left.from.saturating_sub(entered.to);
            within("dwell", dwell, least, left.to - entered.from)?;
        }
        Ok(())
    }

    /// The last line is a minisocket's, or not, as it must be. On the emulated
    /// machine a peer may repeat its FIN because the answer is late.
    fn end(&self, lines: &[&Transition]) -> Result<(), String> {
        let last = lines.last().ok_or("no line")?;
        let rearmed = (self.kind == "minisocket").then_some(self.rearmed);
        let repeated = in_vm() && last.rearmed > rearmed && rearmed.is_some();
        let found = (last.kind.as_str(), last.rearmed);
        (found == (self.kind, rearmed) || (repeated && found.0 == self.kind))
            .then_some(())
            .ok_or_else(|| format!("{found:?} instead of {:?}", (self.kind, rearmed)))
    }

    /// Where only timers tell of a minisocket, nothing does when one is started
    /// again within its slot of the wheel: the instant of the FIN is bounded,
    /// the time in `TIME_WAIT` a lower bound, and starts may be missing.
    fn without_change(&self, lines: &[&Transition]) -> Result<(), String> {
        let story: Vec<_> = lines
            .iter()
            .map(|line| (line.old.as_str(), line.new.as_str(), line.cause.as_deref()))
            .collect();
        let expected: Vec<_> = self.steps.iter().map(Step::story).collect();
        if story != expected {
            return Err(format!("{story:?} instead of {expected:?}"));
        }
        let change = lines
            .iter()
            .position(|line| line.kind == "minisocket" && line.new == "TIME_WAIT");
        let seen = change.unwrap_or(lines.len() - 1);
        check(&lines[..seen], self.first, &self.steps[..seen])?;
        let (last, left) = (lines[lines.len() - 1], &self.steps[lines.len() - 1]);
        within("time", last.mono_ns, left.at.from, left.at.to)?;
        let most = self.rearmed + u32::from(in_vm());
        let rearmed = last.rearmed.is_some_and(|rearmed| rearmed <= most);
        let entered = self.steps[lines.len() - 2].at;
        let bound = match last.dwell.as_str() {
            "unknown" => Ok(()),
            _ => within(
                "dwell",
                last.dwell_ns.unwrap_or(0),
                0,
                left.at.to - entered.from,
            ),
        };
        bound.and_then(|()| rearmed.then_some(()).ok_or("rearmed too often".to_owned()))
    }
}

/// Panics unless every run has told every case, and nothing false besides;
/// tells the facts.
pub(crate) fn judge(runs: &Runs, cases: &[Case]) {
    let mut wrong = Vec::new();
    let mut facts = BTreeMap::new();
    for (family, run) in runs.all() {
        let lost = run.end.lost() > 0;
        if !lost {
            assert_no_false_close(run);
        }
        let mut sides = run.by_side();
        for case in cases {
            let lines = next(&mut sides, &case.side);
            let judged = match case.judge(&run.start, &lines) {
                Err(wrong) if lost => case
                    .nothing_false(&lines)
                    .map(|()| Some(KEPT_AWAY))
                    .map_err(|too| format!("{wrong}; even after a loss: {too}")),
                judged => judged,
            };
            match judged {
                Ok(limit) => {
                    let known: &mut Option<_> = facts.entry((case.cause, family)).or_default();
                    *known = known.or(limit);
                }
                Err(why) => {
                    let others = sides.get(&case.side).into_iter().flatten();
                    let others: Vec<_> = others.map(|lines| told(lines)).collect();
                    wrong.push(format!(
                        "{family}: {} of {:?}: {why}:\n{}others of it:\n{}",
                        case.cause,
                        case.side,
                        told(&lines),
                        others.join("\n")
                    ));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong: {}",
        wrong.len(),
        wrong.join("\n")
    );
    for ((cause, family), limit) in facts {
        let value = limit.map_or("ok".to_owned(), |why| format!("limit: {why}"));
        tell("cause", &format!("{cause}/{family}"), value);
    }
}

/// Lines as one reads them best.
fn told(lines: &[&Transition]) -> String {
    let tell = |line: &&Transition| {
        format!(
            "  {} {} -> {} {} {:?} ({}) {:?} rearmed {:?}\n",
            line.mono_ns,
            line.old,
            line.new,
            line.dwell,
            line.dwell_ns,
            line.kind,
            line.cause,
            line.rearmed
        )
    };
    lines.iter().map(tell).collect()
}

/// The lines of one connection of each end.
type Sides<'a> = HashMap<Side, VecDeque<Vec<&'a Transition>>>;

/// The next connection of an end, in the order in which they began.
fn next<'a>(sides: &mut Sides<'a>, side: &Side) -> Vec<&'a Transition> {
    let connections = sides.get_mut(side);
    connections
        .and_then(VecDeque::pop_front)
        .unwrap_or_default()
}

/// `FIN_WAIT2 -> CLOSE` of a full socket is an end only where no minisocket
/// took over.
fn assert_no_false_close(run: &Finished) {
    let closed =
        |line: &Transition| (line.old.as_str(), line.new.as_str()) == ("FIN_WAIT2", "CLOSE");
    let full = |line: &Transition| line.kind == "socket" && closed(line);
    for line in run.select(full) {
        let cause = line.cause.as_deref().unwrap_or("none");
        let ends = ["evicted_limit", "reset_sent", "reset_received"];
        assert!(ends.contains(&cause), "{line:#?}");
    }
}

/// `TcpExt` counters of a network namespace.
pub(crate) type Counters = BTreeMap<String, u64>;

/// Those of the thread's.
pub(crate) fn counters() -> Counters {
    let text = fs::read_to_string("/proc/thread-self/net/netstat").unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let names = lines.next().unwrap().split_whitespace().skip(1);
    let values = lines.next().unwrap().split_whitespace().skip(1);
    names
        .zip(values)
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

/// Minisockets that the kernel has counted; up to Linux 5.10 it counts those
/// whose timer ran out, later those that began.
pub(crate) fn minisockets(counters: &Counters) -> u64 {
    counters["TW"] + counters["TWKilled"]
}

/// What has been counted between two readings.
pub(crate) fn since(later: &Counters, earlier: &Counters) -> Counters {
    let grown = |(name, count): (&String, &u64)| (name.clone(), count - earlier[name]);
    later.iter().map(grown).collect()
}

/// Panics unless the lines of every run add up to what the kernel has counted.
/// `at_begin`: whether it counts minisockets when they begin.
pub(crate) fn assert_counted(runs: &Runs, counted: &Counters, at_begin: bool) {
    for (family, run) in &runs.whole {
        let count = |wanted: &dyn Fn(&Transition) -> bool| run.select(wanted).len() as u64;
        let by = |cause: &str| count(&|line| line.cause.as_deref() == Some(cause));
        // A minisocket begins in TIME_WAIT, or in FIN_WAIT2 and leaves that; of
        // one that was there before, that is a lower bound.
        let begun = count(&|line| match (line.kind.as_str(), line.old.as_str()) {
            ("socket", _) => line.new == "TIME_WAIT",
            (_, old) => old == "FIN_WAIT2" && line.dwell != "at_least",
        });
        let run_out = by("expired") + by("fin_wait2_timeout");
        let lines = if at_begin { begun } else { run_out };
        assert_eq!(lines, minisockets(counted), "{family}: {counted:#?}");
        assert_eq!(by("reused_by_connect"), counted["TWRecycled"], "{family}");
        assert_eq!(
            by("evicted_limit"),
            counted["TCPTimeWaitOverflow"],
            "{family}"
        );
    }
}

/// What is known of a connection on its way to its end.
pub(crate) struct Story {
    /// Which end.
    pub side: Side,
    /// Its lines so far.
    pub steps: Vec<Step>,
    /// When it entered its state.
    pub entered: Interval,
}

impl Story {
    /// The lines of its end.
    pub(crate) fn case(self, cause: &'static str) -> Case {
        Case::of(cause, self.side, self.steps)
    }
}

/// Closes both ends, the first one of them first: it is in `TIME_WAIT` then,
/// and the other one gone.
pub(crate) fn time_wait(first: Conn, second: Conn, mut steps: Vec<Step>) -> Story {
    let (side, peer) = (first.side, second.side);
    let shut = first.shutdown();
    second.end_of_file();
    let answered = second.close();
    let entered = answered.until(first.end_of_file());
    first.close();
    tables::wait_gone(&peer);
    steps.extend([
        step("ESTABLISHED", "FIN_WAIT1", "shutdown", shut),
        step("FIN_WAIT1", "FIN_WAIT2", "fin_acked", shut.until(entered)),
        step("FIN_WAIT2", "TIME_WAIT", "peer_fin", entered),
    ]);
    Story {
        side,
        steps,
        entered,
    }
}

/// As [`time_wait`], the client first.
pub(crate) fn client_in_time_wait((client, server): (Conn, Conn)) -> Story {
    let steps = connected(&client);
    time_wait(client, server, steps)
}

/// Closes a client, which is an orphan in `FIN_WAIT2` then, and gives the server.
pub(crate) fn orphan(listener: &Listener, prepare: impl Fn(&Conn)) -> (Story, Conn) {
    let (client, server) = listener.pair();
    prepare(&client);
    let (side, mut steps) = (client.side, connected(&client));
    let closed = client.close();
    server.end_of_file();
    let entered = closed.until(wait_state(&side, "FIN_WAIT2"));
    steps.extend([
        step("ESTABLISHED", "FIN_WAIT1", "close", closed),
        step("FIN_WAIT1", "FIN_WAIT2", "fin_acked", entered),
    ]);
    let story = Story {
        side,
        steps,
        entered,
    };
    (story, server)
}

/// As [`orphan`], one that is a minisocket. An ACK that comes when `close()` has
/// looked at the state, and still has the socket, makes none (seen on a busy
/// emulated machine): `tcp_rcv_state_process` in
/// <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp_input.c>.
pub(crate) fn small_orphan(listener: &Listener, prepare: impl Fn(&Conn)) -> (Story, Conn) {
    wait_for("an orphan that is a minisocket", || {
        let (story, server) = orphan(listener, &prepare);
        let row = tables::find(&story.side)?;
        row.minisocket.then_some((story, server))
    })
    .0
}
