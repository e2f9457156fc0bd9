//! One block for each group of suspects, in 100 columns.

use std::fmt::Write as _;

use super::{
    Told, by_process,
    json::addr,
    printable,
    words::{doing, human, place, plural, shortened, way},
};
use crate::{
    leak::{Group, Verdict, message, remedy},
    survey::NamedStack,
    symbolize::{Frame, sight},
    track::Opened,
    unwind::End,
};

/// The width that a line must not exceed, where what it says can be cut.
const WIDTH: usize = 100;
/// Where the text of a block begins.
const LEFT: usize = 15;
/// At most so many frames of libraries before the application's first are shown.
const LIBRARIES: usize = 4;
/// At most so many frames of a stack are shown.
const FRAMES: usize = 12;
/// A rate per minute says nothing after a few seconds.
const GROWTH_NS: u64 = 30_000_000_000;
/// At most so many kinds of waiting threads are shown.
const KINDS: usize = 6;
/// At most so many descriptors of a process are shown.
const FDS: usize = 8;

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const RESET: &str = "\x1b[0m";

/// The report for people; `at` is its time of day.
#[must_use]
pub fn table(told: &Told<'_>, at: &str, color: bool) -> Vec<u8> {
    let mut page = Page {
        out: String::new(),
        color,
    };
    page.head(told, at);
    for (n, group) in told.survey.report.groups.iter().enumerate() {
        page.group(told, n + 1, group);
    }
    page.foot(told);
    page.out.into_bytes()
}

struct Page {
    out: String,
    color: bool,
}

impl Page {
    fn head(&mut self, told: &Told<'_>, at: &str) {
        let report = &told.survey.report;
        let suspects: usize = told.count(Verdict::Suspect);
        let notices: usize = told.count(Verdict::Notice);
        let mut line = format!("{at}  ");
        match (suspects, notices) {
            (0, 0) => line.push_str("no suspects"),
            (0, _) => plural(&mut line, notices, "socket", " worth a look"),
            (_, _) => plural(&mut line, suspects, "suspect", ""),
        }
        let of_suspects = report.groups.iter();
        let groups = of_suspects
            .filter(|it| it.verdict == Verdict::Suspect)
            .count();
        if groups > 1 {
            let _infallible = write!(line, " in {groups} groups");
        }
        if suspects > 0 && notices > 0 {
            line.push_str(", ");
            plural(&mut line, notices, "socket", " worth a look");
        }
        if report.too_early > 0 {
            let _infallible = write!(line, ", {} too early to say", report.too_early);
        }
        self.paint(BOLD, &line);
        self.out.push('\n');
    }

    fn group(&mut self, told: &Told<'_>, number: usize, group: &Group) {
        self.out.push('\n');
        let ages = &group.ages;
        let growth = match group.growth_per_min {
            rate if rate >= 0.05 && told.traced_ns >= GROWTH_NS => format!("   +{rate:.1}/min"),
            _ => String::new(),
        };
        let bound = if ages.oldest_exact { "" } else { ">=" };
        let first = format!(
            "{number:>2}  {:<14}  {} {}{growth}   oldest {bound}{}   median {}",
            group.class.name(),
            group.count,
            group.state.name(),
            human(ages.oldest),
            human(ages.median),
        );
        let color = match group.verdict {
            Verdict::Suspect => RED,
            Verdict::Notice | Verdict::TooEarly => YELLOW,
        };
        self.paint(color, &first);
        self.out.push('\n');
        self.wrapped("", &message(group, &told.who(group)));
        self.process(told, group);
        self.stacks(told, group);
        self.holders(told, group);
        self.listener(group);
        self.peers(group);
        self.threads(told, group);
        self.wrapped("do", remedy(group.class));
    }

    fn process(&mut self, told: &Told<'_>, group: &Group) {
        let facts = group
            .owner
            .pid()
            .and_then(|pid| told.survey.processes.get(&pid));
        let Some(facts) = facts else {
            return;
        };
        let mut text = printable(&facts.cmdline);
        if let Some(unit) = &facts.unit {
            let unit = printable(unit.as_bytes());
            text = format!("{unit}: {text}");
        }
        self.cut("runs", &text);
    }

    fn stacks(&mut self, told: &Told<'_>, group: &Group) {
        let opened = match group.opened {
            Opened::Connect => "connected at",
            Opened::Accept => "accepted at",
            Opened::Unknown => "opened",
        };
        match told.stack(group.origin_stack) {
            Some(stack) => {
                self.stack(opened, stack);
                if group.origin_seen < group.count {
                    let seen = format!("captured of {} of them", group.origin_seen);
                    self.aside(&mut "", &seen);
                }
            }
            None if group.opened == Opened::Unknown => {
                self.wrapped(
                    opened,
                    "before the trace began: where is not known; it will be of new ones",
                );
            }
            None => {}
        }
        if let Some(stack) = told.stack(group.eof_stack) {
            self.stack("EOF read at", stack);
        }
        if let Some(advice) = told.advice(group) {
            self.wrapped("stacks", advice);
        }
    }

    /// The C library's innermost frames are left out, and of a long way through
    /// libraries to the application all but the begin. The application's first
    /// frame is marked; what is the system's is dimmed.
    fn stack(&mut self, name: &str, stack: &NamedStack) {
        let sight = sight(&stack.frames);
        // What leads to main and to a thread's function is the same everywhere.
        let behind = stack.frames.iter().rev().take_while(|it| it.system);
        let all = match stack.frames.len() - behind.count() {
            0 => stack.frames.len(),
            all => all,
        };
        let begin = if sight.folded.end < all {
            sight.folded.end
        } else {
            0
        };
        let application = sight.application.unwrap_or(begin);
        let through = if application - begin > LIBRARIES {
            LIBRARIES
        } else {
            application - begin
        };
        let mut label = name;
        for n in begin..begin + through {
            self.frame(&mut label, &stack.frames[n..=n], false);
        }
        if begin + through < application {
            let mut left = String::new();
            plural(
                &mut left,
                application - begin - through,
                "frame",
                " of libraries",
            );
            self.aside(&mut label, &left);
        }
        let end = all.min(application + FRAMES);
        let shown = &stack.frames[application..end];
        let nameless = |a: &Frame, b: &Frame| a.is_nameless_jit() && b.is_nameless_jit();
        for (n, alike) in shown.chunk_by(nameless).enumerate() {
            self.frame(&mut label, alike, n == 0 && sight.application.is_some());
        }
        if end < all {
            let mut left = String::new();
            plural(&mut left, all - end, "more frame", "");
            self.aside(&mut label, &left);
        }
        if stack.end != End::Root {
            let why = format!("the stack is not known further: {}", stack.end.name());
            self.aside(&mut label, &why);
        }
    }

    /// One frame, or several of which the same is known.
    fn frame(&mut self, label: &mut &str, alike: &[Frame], marked: bool) {
        let [frame, ..] = alike else {
            return;
        };
        self.label(std::mem::take(label));
        let mark = if marked { "> " } else { "  " };
        let mut text = format!("{mark}{}", place(frame));
        if alike.len() > 1 {
            text = format!("{mark}{} × {}", alike.len(), place(frame));
        }
        let text = shortened(&text, WIDTH - LEFT);
        match (marked, frame.system) {
            (true, _) => self.paint(BOLD, &text),
            (false, true) => self.paint(DIM, &text),
            (false, false) => self.out.push_str(&text),
        }
        self.out.push('\n');
    }

    fn aside(&mut self, label: &mut &str, text: &str) {
        self.label(std::mem::take(label));
        self.paint(DIM, &format!("  ({text})"));
        self.out.push('\n');
    }

    fn holders(&mut self, told: &Told<'_>, group: &Group) {
        let mut label = "held by";
        for (pid, fds) in by_process(group).iter().take(FDS) {
            let mut text = told.named(*pid);
            text.push_str(if fds.len() == 1 { " fd" } else { " fds" });
            for fd in fds.iter().take(FDS) {
                let _infallible = write!(text, " {fd}");
            }
            if fds.len() > FDS {
                let _infallible = write!(text, " and {} more", fds.len() - FDS);
            }
            self.cut(label, &text);
            label = "";
        }
    }

    fn listener(&mut self, group: &Group) {
        let Some(it) = &group.listener else {
            return;
        };
        let mut text = addr(&it.addr, group.family);
        let _infallible = write!(text, " port {}", it.port);
        if it.queue > 0 {
            let _infallible = write!(
                text,
                ", {} of at most {} wait for accept",
                it.queue, it.limit
            );
        }
        self.cut("listener", &text);
    }

    fn peers(&mut self, group: &Group) {
        let mut text = String::new();
        for (tuple, count) in group.peers.iter().take(4) {
            if !text.is_empty() {
                text.push_str(", ");
            }
            text.push_str(&addr(&tuple.raddr, group.family));
            if tuple.rport != 0 {
                let _infallible = write!(text, " port {}", tuple.rport);
            }
            if group.count > 1 {
                let _infallible = write!(text, " ({count})");
            }
        }
        if !text.is_empty() {
            self.cut("peers", &text);
        }
    }

    fn threads(&mut self, told: &Told<'_>, group: &Group) {
        let pid = group.owner.pid();
        let Some(all) = pid.and_then(|pid| told.survey.threads.get(&pid)) else {
            return;
        };
        let mut label = "threads";
        for it in all.kinds.iter().take(KINDS) {
            self.cut(std::mem::take(&mut label), &doing(it, group));
            for line in it.stack.iter().flat_map(|it| way(it, WIDTH - LEFT - 5)) {
                self.cut("", &format!("     {line}"));
            }
        }
        let rest = all.kinds.iter().skip(KINDS).map(|it| it.count);
        let more = rest.sum::<usize>() + all.not_told;
        if more > 0 {
            let mut text = String::new();
            plural(&mut text, more, "more thread", "");
            self.aside(&mut label, &text);
        }
        if all.without_stack > 0 {
            let mut text = "stacks not looked at: ".to_owned();
            plural(&mut text, all.without_stack, "thread", "");
            self.aside(&mut label, &text);
        }
    }

    fn foot(&mut self, told: &Told<'_>) {
        let survey = told.survey;
        if survey.denied > 0 {
            let mut text = String::from("the descriptors of ");
            plural(
                &mut text,
                survey.denied,
                "process",
                " could not be looked at",
            );
            self.wrapped("note", &text.replace("processs", "processes"));
        }
        if let Some(failed) = &survey.failed {
            let failed = printable(failed.as_bytes());
            self.wrapped("note", &format!("holders are not known: {failed}"));
        }
    }

    fn label(&mut self, label: &str) {
        let _infallible = write!(self.out, "{:>width$}  ", label, width = LEFT - 2);
    }

    /// A line of which a part may be missing at the end.
    fn cut(&mut self, label: &str, text: &str) {
        self.label(label);
        self.out.push_str(&shortened(text, WIDTH - LEFT));
        self.out.push('\n');
    }

    /// Lines of which nothing may be missing.
    fn wrapped(&mut self, label: &str, text: &str) {
        self.label(label);
        let mut column = LEFT;
        for word in text.split(' ') {
            let width = word.chars().count();
            if column > LEFT && column + 1 + width > WIDTH {
                self.out.push('\n');
                self.label("");
                column = LEFT;
            }
            if column > LEFT {
                self.out.push(' ');
                column += 1;
            }
            self.out.push_str(word);
            column += width;
        }
        self.out.push('\n');
    }

    fn paint(&mut self, color: &str, text: &str) {
        if self.color {
            self.out.push_str(color);
        }
        self.out.push_str(text);
        if self.color {
            self.out.push_str(RESET);
        }
    }
}
