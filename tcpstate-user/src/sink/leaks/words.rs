//! Single facts of a report, in words for people.

use std::fmt::Write as _;

use super::{name, printable};
use crate::{
    leak::Group,
    sink::{address, duration},
    survey::{NamedStack, Waiting},
    symbolize::{Frame, sight},
    unwind::End,
};

/// `function  file:line`, or what there is instead: without a name the place in
/// the module and that module's build, by which its symbols can be found.
pub(super) fn place(frame: &Frame) -> String {
    let mut out = printable(name(frame).as_bytes());
    let file_name = |path: &str| {
        let name = path.rsplit('/').next().unwrap_or(path);
        printable(name.as_bytes())
    };
    match (&frame.file, frame.line, &frame.module) {
        (Some(file), Some(line), _) => {
            let _infallible = write!(out, "  {}:{line}", file_name(file));
        }
        (_, _, Some(module)) if frame.function.is_some() => {
            let _infallible = write!(out, "  {}", file_name(module));
        }
        _ => {
            if let (None, Some(build)) = (&frame.function, &frame.build_id) {
                let _infallible = write!(out, "  {}", printable(build.as_bytes()));
            }
        }
    }
    if let Some(reason) = &frame.reason {
        let _infallible = write!(out, "  ({})", printable(reason.as_bytes()));
    }
    out
}

pub(super) fn doing(it: &Waiting, group: &Group) -> String {
    let mut text = format!("{:>4} {}", it.count, printable(&it.comm));
    if it.various {
        text.push('*');
    }
    match &it.wait_channel {
        Some(channel) => {
            text.push_str(" in ");
            text.push_str(&printable(channel.as_bytes()));
        }
        None if it.running => text.push_str(" running"),
        // And the kernel does not tell where.
        None => text.push_str(" asleep"),
    }
    if let Some(tuple) = &it.connection
        && tuple.rport == 0
    {
        let _infallible = write!(text, ", port {}", tuple.lport);
    } else if let Some(tuple) = &it.connection {
        let mut peer = Vec::new();
        address::endpoint(&tuple.raddr, tuple.rport, group.family, &mut peer);
        text.push_str(", connected with ");
        text.push_str(&String::from_utf8_lossy(&peer));
    }
    text
}

/// Where threads are: the application's innermost functions and the one that they
/// called, in lines of at most `width` columns. None for a thread that runs.
pub(super) fn way(stack: &NamedStack, width: usize) -> Vec<String> {
    /// So many frames say what a thread is about.
    const FRAMES: usize = 8;
    let sight = sight(&stack.frames);
    let behind = stack.frames.iter().rev().take_while(|it| it.system);
    let end = match stack.frames.len() - behind.count() {
        0 => stack.frames.len(),
        end => end,
    };
    let begin = sight.application.unwrap_or(sight.folded.end.min(end));
    let begin = begin.saturating_sub(1);
    let all = &stack.frames[begin..end];
    let shown = all.iter().take(FRAMES);
    let mut words: Vec<_> = shown.map(|it| printable(name(it).as_bytes())).collect();
    if all.len() > FRAMES {
        words.push(format!("{} more", all.len() - FRAMES));
    }
    match stack.end {
        End::Running => return Vec::new(),
        End::Root => {}
        end => words.push(format!("({})", end.name())),
    }
    let mut lines = Vec::new();
    let mut line = String::new();
    for (n, word) in words.iter().enumerate() {
        let joint = if n == 0 { "at " } else { " <- " };
        if n > 0 && line.chars().count() + joint.len() + word.chars().count() > width {
            lines.push(std::mem::take(&mut line));
        }
        line.push_str(joint);
        line.push_str(word);
    }
    lines.push(line);
    lines.iter().map(|line| shortened(line, width)).collect()
}

pub(super) fn human(ns: u64) -> String {
    let mut out = Vec::new();
    duration::human(ns, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

pub(super) fn plural(line: &mut String, count: usize, what: &str, behind: &str) {
    let s = if count == 1 { "" } else { "s" };
    let _infallible = write!(line, "{count} {what}{s}{behind}");
}

/// At most `most` characters; what is cut off is marked.
pub(super) fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most - 1).collect();
    kept + "…"
}
