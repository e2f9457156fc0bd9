//! What the lines of one end of a connection must say, and within which bounds.

use crate::{
    clock::{Interval, MS},
    lines::Transition,
    net::{Conn, Listener, Side},
    trace::Finished,
};

/// By how much a printed time may lie outside the bounds the test measured.
const TOLERANCE: u64 = MS;

/// One expected line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    /// State left.
    pub old: &'static str,
    /// State entered.
    pub new: &'static str,
    cause: Option<&'static str>,
    /// When.
    pub at: Interval,
}

impl Step {
    /// The states left and entered, and what ended the former.
    pub(crate) const fn story(&self) -> (&str, &str, Option<&str>) {
        (self.old, self.new, self.cause)
    }
}

/// An expected line: the state left, the state entered, what ended the former,
/// and when that happened.
pub(crate) fn step(
    old: &'static str,
    new: &'static str,
    cause: impl Into<Option<&'static str>>,
    at: Interval,
) -> Step {
    let cause = cause.into();
    Step {
        old,
        new,
        cause,
        at,
    }
}

/// How a client's lines begin.
pub(crate) fn connected(client: &Conn) -> Vec<Step> {
    vec![
        step("CLOSE", "SYN_SENT", None, client.opened),
        step("SYN_SENT", "ESTABLISHED", None, client.opened),
    ]
}

/// How the lines of an accepted socket begin.
pub(crate) fn accepted(server: &Conn) -> Vec<Step> {
    vec![
        step("LISTEN", "SYN_RECV", None, server.opened),
        step("SYN_RECV", "ESTABLISHED", None, server.opened),
    ]
}

/// The only line of a listener that has not been closed.
pub(crate) fn listening(listener: &Listener) -> Vec<Step> {
    vec![step("CLOSE", "LISTEN", None, listener.listened)]
}

/// What is known of the first line's dwell.
#[derive(Clone, Copy, Debug)]
pub(crate) enum First {
    /// A birth: what was before is no state of this connection.
    Born,
    /// The socket has carried another connection, which ended then.
    Again(Interval),
    /// The socket was in its first `old` since `entered`, and the tool has
    /// known it since `known` at the latest.
    Existed {
        /// When the socket entered the state.
        entered: Interval,
        /// When the tool said that it had begun.
        known: u64,
    },
}

/// Panics unless the lines of `side` are exactly `steps`.
pub(crate) fn assert_lines(run: &Finished, side: &Side, steps: &[Step]) {
    assert_lines_after(run, side, First::Born, steps);
}

/// As [`assert_lines`], of a connection that may be older than the trace.
pub(crate) fn assert_lines_after(run: &Finished, side: &Side, first: First, steps: &[Step]) {
    let lines = run.of(side);
    if let Err(wrong) = check(&lines, first, steps) {
        panic!("{side:?}: {wrong}\nlines: {lines:#?}\nexpected: {steps:#?}");
    }
}

/// Compares lines with steps; the error names the first difference.
pub(crate) fn check(lines: &[&Transition], first: First, steps: &[Step]) -> Result<(), String> {
    for at in 0..steps.len() {
        let line = lines.get(at).ok_or_else(|| format!("no line {at}"))?;
        agrees(line, first, steps, at)
            .and_then(|()| same_connection(lines[0], line))
            .map_err(|wrong| format!("line {at}: {wrong}"))?;
    }
    match lines.get(steps.len()) {
        Some(line) => Err(format!("one line too many: {line:?}")),
        None => Ok(()),
    }
}

/// Compares the lines that a filter has left with the steps they must be;
/// gives which steps are there.
pub(crate) fn check_left(lines: &[&Transition], steps: &[Step]) -> Result<Vec<usize>, String> {
    let mut found = Vec::new();
    for line in lines {
        let is = |step: &Step| step.old == line.old && step.new == line.new;
        let at = steps.iter().position(is);
        let at = at.ok_or_else(|| format!("no such step: {line:?}"))?;
        agrees(line, First::Born, steps, at)?;
        same_connection(lines[0], line)?;
        found.push(at);
    }
    Ok(found)
}

/// Whether a line is the step with a number.
fn agrees(line: &Transition, first: First, steps: &[Step], at: usize) -> Result<(), String> {
    let step = &steps[at];
    story(line, step)?;
    let before = at.checked_sub(1).map(|before| &steps[before]);
    match (before, first) {
        (None, First::Born) => match (line.dwell.as_str(), line.dwell_ns) {
            ("unknown", None) => Ok(()),
            other => Err(format!("dwell {other:?} before the birth")),
        },
        (None, First::Again(ended)) => dwell(line, "exact", bounds(ended, step.at)),
        (None, First::Existed { entered, known }) => {
            let (_, longest) = bounds(entered, step.at);
            let shortest = step.at.from.saturating_sub(known);
            dwell(line, "at_least", (shortest, longest))
        }
        (Some(before), _) => dwell(line, "exact", bounds(before.at, step.at)),
    }
}

/// The shortest and the longest time between two moments that are known to
/// lie in intervals.
pub(crate) fn bounds(entered: Interval, left: Interval) -> (u64, u64) {
    let shortest = left.from.saturating_sub(entered.to);
    (shortest, left.to.saturating_sub(entered.from))
}

fn dwell(line: &Transition, kind: &str, (shortest, longest): (u64, u64)) -> Result<(), String> {
    if line.dwell != kind {
        return Err(format!("dwell {} instead of {kind}", line.dwell));
    }
    let printed = line.dwell_ns.ok_or("no dwell_ns")?;
    within("dwell", printed, shortest, longest)
}

fn story(line: &Transition, step: &Step) -> Result<(), String> {
    let printed = (line.old.as_str(), line.new.as_str(), line.cause.as_deref());
    if printed != (step.old, step.new, step.cause) {
        return Err(format!("{printed:?} instead of {step:?}"));
    }
    within("time", line.mono_ns, step.at.from, step.at.to)
}

fn same_connection(first: &Transition, line: &Transition) -> Result<(), String> {
    let identity = |line: &Transition| (line.conn.clone(), line.family.clone());
    if identity(first) != identity(line) {
        return Err(format!("another connection than {first:?}"));
    }
    Ok(())
}

/// Whether a time lies between bounds, give or take a millisecond.
pub(crate) fn within(what: &str, value: u64, from: u64, to: u64) -> Result<(), String> {
    let bounds = from.saturating_sub(TOLERANCE)..=to.saturating_add(TOLERANCE);
    if bounds.contains(&value) {
        Ok(())
    } else {
        Err(format!("{what} {value} ns is not within {bounds:?} ns"))
    }
}

#[cfg(test)]
mod tests {
    use super::{First, Step, check, step};
    use crate::{
        clock::{Interval, MS},
        lines::{Line, Transition, parse},
    };

    fn line(old: &str, new: &str, mono_ms: u64, dwell_ms: Option<u64>, dwell: &str) -> Transition {
        let dwell_ns = dwell_ms.map_or("null".to_owned(), |ms| (ms * MS).to_string());
        let mono_ns = mono_ms * MS;
        let text = format!(
            r#"{{"type":"transition","ts":"","mono_ns":{mono_ns},"conn":"1","netns":1,
            "family":"ipv4","laddr":"127.0.0.1","lport":1,"raddr":"127.0.0.1","rport":2,
            "old":"{old}","new":"{new}","dwell_ns":{dwell_ns},"dwell":"{dwell}",
            "kind":"socket","pid":1,"comm":"x","cause":null}}"#
        );
        match parse(&text).unwrap() {
            Line::Transition(line) => *line,
            other => panic!("{other:?}"),
        }
    }

    fn at(from_ms: u64, to_ms: u64) -> Interval {
        Interval {
            from: from_ms * MS,
            to: to_ms * MS,
        }
    }

    fn opening() -> ([Transition; 2], [Step; 2]) {
        (
            [
                line("CLOSE", "SYN_SENT", 100, None, "unknown"),
                line("SYN_SENT", "ESTABLISHED", 150, Some(50), "exact"),
            ],
            [
                step("CLOSE", "SYN_SENT", None, at(99, 101)),
                step("SYN_SENT", "ESTABLISHED", None, at(149, 152)),
            ],
        )
    }

    fn judge(lines: &[Transition], first: First, steps: &[Step]) -> Result<(), String> {
        check(&lines.iter().collect::<Vec<_>>(), first, steps)
    }

    #[test]
    fn lines_within_the_bounds_pass() {
        let (lines, steps) = opening();
        assert_eq!(judge(&lines, First::Born, &steps), Ok(()));
    }

    #[test]
    fn a_line_too_few_or_too_many_is_named() {
        let (lines, steps) = opening();
        assert!(
            judge(&lines[..1], First::Born, &steps)
                .unwrap_err()
                .contains("no line 1")
        );
        assert!(
            judge(&lines, First::Born, &steps[..1])
                .unwrap_err()
                .contains("too many")
        );
    }

    #[test]
    fn a_dwell_beyond_either_bound_is_wrong() {
        let (mut lines, steps) = opening();
        // 149-101 = 48 ms to 152-99 = 53 ms, and a millisecond on both sides.
        for (dwell, right) in [(46, false), (47, true), (54, true), (55, false)] {
            lines[1].dwell_ns = Some(dwell * MS);
            assert_eq!(judge(&lines, First::Born, &steps).is_ok(), right, "{dwell}");
        }
    }

    #[test]
    fn a_lower_bound_must_not_pass_for_an_exact_dwell_nor_the_reverse() {
        let (mut lines, steps) = opening();
        lines[1].dwell = "at_least".into();
        assert!(judge(&lines, First::Born, &steps).is_err());
        lines[1].dwell = "exact".into();
        lines[0].dwell_ns = Some(0);
        assert!(judge(&lines, First::Born, &steps).is_err());
    }

    #[test]
    fn a_socket_older_than_the_trace_has_a_lower_bound_since_the_start_line() {
        let steps = [step("ESTABLISHED", "CLOSE_WAIT", None, at(100, 101))];
        let first = First::Existed {
            entered: at(10, 11),
            known: 60 * MS,
        };
        // At least 100-60 = 40 ms, at most 101-10 = 91 ms.
        for (dwell, right) in [(38, false), (40, true), (91, true), (93, false)] {
            let seeded = [line(
                "ESTABLISHED",
                "CLOSE_WAIT",
                100,
                Some(dwell),
                "at_least",
            )];
            assert_eq!(judge(&seeded, first, &steps).is_ok(), right, "{dwell}");
        }
    }

    #[test]
    fn another_connection_in_between_is_wrong() {
        let (mut lines, steps) = opening();
        lines[1].conn = "2".into();
        assert!(
            judge(&lines, First::Born, &steps)
                .unwrap_err()
                .contains("another connection")
        );
    }
}
