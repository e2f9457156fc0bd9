//! The tool three times over, once for each family of hooks that this kernel
//! has: the same scenario must have the same answers.
//!
//! It knows no kernel versions: `tcpstate doctor` has asked.

use std::{fmt, sync::OnceLock};

use serde::Deserialize;

use crate::{
    clock::in_vm,
    facts::tell,
    net::Side,
    tool::{run, tcpstate},
    trace::{Finished, Seen, Trace, is_of},
};

/// A kind of hook, as `--hooks` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    /// Entry and exit of kernel functions, by BPF trampolines.
    Fentry,
    /// Entry and return of kernel functions, by kprobes.
    Kprobe,
    /// Tracepoints only.
    Tracepoint,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Family {
    const ALL: [Self; 3] = [Self::Fentry, Self::Kprobe, Self::Tracepoint];

    const fn name(self) -> &'static str {
        match self {
            Self::Fentry => "fentry",
            Self::Kprobe => "kprobe",
            Self::Tracepoint => "tracepoint",
        }
    }

    /// How the names of its hooks begin.
    const fn hooks(self) -> &'static str {
        match self {
            Self::Fentry => "fentry ",
            Self::Kprobe => "kprobe ",
            Self::Tracepoint => "raw_tp ",
        }
    }
}

/// Of `tcpstate doctor -o json`, what is asked for here.
#[derive(Deserialize)]
struct Doctor {
    signals: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    signal: String,
    refused: Vec<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    hook: String,
}

/// The families by which minisockets can be followed to their end here.
fn here() -> &'static [Family] {
    static HERE: OnceLock<Vec<Family>> = OnceLock::new();
    HERE.get_or_init(|| {
        let done = run(&mut tcpstate(&["doctor", "-o", "json"]));
        allowed(&done.stdout).unwrap_or_else(|error| panic!("{error}: {done:?}"))
    })
}

/// Each family has one candidate for a minisocket's end, and `doctor` tries all.
fn allowed(report: &str) -> Result<Vec<Family>, String> {
    let doctor: Doctor = serde_json::from_str(report).map_err(|error| error.to_string())?;
    let mut rows = doctor.signals.iter();
    let row = rows.find(|row| row.signal == "minisocket_end");
    let row = row.ok_or("no row minisocket_end")?;
    let refused = |family: &Family| {
        let mut refusals = row.refused.iter();
        refusals.any(|refusal| refusal.hook.starts_with(family.hooks()))
    };
    Ok(Family::ALL
        .into_iter()
        .filter(|family| !refused(family))
        .collect())
}

/// A running instance of each family.
pub(crate) struct Families {
    running: Vec<(Family, Trace)>,
    /// When the last one knew what existed.
    pub started: u64,
}

impl Families {
    /// Starts `tcpstate trace -o json` with more arguments, once per family.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let launch = |family: &Family| {
            let own = ["trace", "-o", "json", "--hooks", family.name()];
            let command = &mut tcpstate(&[&own, arguments].concat());
            (*family, Trace::launch(command))
        };
        let mut running: Vec<_> = here().iter().map(launch).collect();
        assert!(!running.is_empty(), "no hooks for minisockets");
        for (family, trace) in &mut running {
            trace.wait_started();
            for signal in ["minisocket_begin", "minisocket_end", "minisocket_change"] {
                let hook = trace.start.hooks[signal].as_deref();
                let own = hook.is_none_or(|hook| hook.starts_with(family.hooks()));
                assert!(own, "{family}: {signal} by {hook:?}");
            }
        }
        let started = running.iter().map(|(_, trace)| trace.started).max();
        Self {
            running,
            started: started.unwrap_or(0),
        }
    }

    /// Waits until the transitions of each so far satisfy `condition`.
    pub(crate) fn until(&mut self, what: &str, condition: impl Fn(&[Seen]) -> bool) {
        self.find(what, |seen| condition(seen).then_some(()));
    }

    /// Waits until each has what is wanted in its transitions.
    pub(crate) fn find<T>(
        &mut self,
        what: &str,
        wanted: impl Fn(&[Seen]) -> Option<T>,
    ) -> Vec<(Family, T)> {
        let find = |(family, trace): &mut (Family, Trace)| {
            let what = format!("{family}: {what}");
            (*family, trace.until(&what, &wanted))
        };
        self.running.iter_mut().map(find).collect()
    }

    /// Waits until `side` has left `state` by the word of each.
    pub(crate) fn until_leaves(&mut self, side: &Side, state: &str) {
        self.until(&format!("{side:?} leaves {state}"), |seen| {
            let mut lines = seen.iter().map(|seen| &seen.line);
            lines.any(|line| line.old == state && is_of(line, side))
        });
    }

    /// Process ids.
    pub(crate) fn pids(&self) -> Vec<(Family, u32)> {
        let running = self.running.iter();
        running
            .map(|(family, trace)| (*family, trace.tool.pid()))
            .collect()
    }

    /// Ctrl-C, and what each has said; panics if one was not sound.
    pub(crate) fn stop(self) -> Runs {
        let mut runs = Runs {
            whole: Vec::new(),
            kept_away: Vec::new(),
        };
        for (family, trace) in self.running {
            let run = trace.stop();
            let lost = run.end.lost();
            let may = family == Family::Kprobe || in_vm();
            if may && lost > 0 && run.end.lost_by("recursion") == lost {
                let test = std::thread::current();
                let test = test.name().unwrap_or_default();
                tell("kept away", &format!("{test}, {family}"), lost);
                runs.kept_away.push((family, run));
                continue;
            }
            assert_eq!(lost, 0, "--hooks {family}: {:?}", run.end);
            run.assert_sound();
            runs.whole.push((family, run));
        }
        let mut whole = runs.whole.iter();
        let any = whole.any(|(family, _)| *family != Family::Kprobe);
        assert!(any, "nothing to compare");
        runs
    }
}

/// What each family has said.
pub(crate) struct Runs {
    /// By those that have lost nothing.
    pub whole: Vec<(Family, Finished)>,
    /// Those of which the kernel has kept some events away, because an interrupt,
    /// or where it can preempt a task inside a program another task, has stopped
    /// one (README): what they missed by that, and by nothing else, is counted.
    /// Kprobes anywhere, because no copy can help them; the others in the emulated
    /// machine, whose CPUs stand still for milliseconds, inside programs too.
    pub kept_away: Vec<(Family, Finished)>,
}

impl Runs {
    /// Every run, with its family.
    pub(crate) fn all(&self) -> impl Iterator<Item = (Family, &Finished)> {
        let whole = self.whole.iter().map(|(family, run)| (*family, run));
        let kept_away = self.kept_away.iter().map(|(family, run)| (*family, run));
        whole.chain(kept_away)
    }
}

#[test]
fn a_family_is_here_unless_doctor_says_that_its_hook_was_refused() {
    let report = |hooks: &[&str]| {
        let refusal = |hook: &&str| format!(r#"{{"hook":"{hook} f","reason":"no"}}"#);
        let refused: Vec<_> = hooks.iter().map(refusal).collect();
        let refused = refused.join(",");
        format!(r#"{{"signals":[{{"signal":"minisocket_end","refused":[{refused}]}}]}}"#)
    };
    assert_eq!(allowed(&report(&[])).unwrap(), Family::ALL);
    assert_eq!(
        allowed(&report(&["kprobe", "fentry"])).unwrap(),
        [Family::Tracepoint]
    );
    assert!(allowed(r#"{"signals":[]}"#).is_err());
}
