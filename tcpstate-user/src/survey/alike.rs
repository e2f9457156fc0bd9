//! Stacks between which nobody could tell a difference.
//!
//! A runtime compiles a function again and again, each time to another address:
//! one place in a program is in many stacks. (Seen of Tomcat's acceptor: three
//! in its first 300 connections.)

use std::collections::HashMap;

use crate::{stack::StackId, symbolize::Frame, unwind::ProcessKey};

/// A stack with code in the memory of a process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mixed<'a> {
    pub(super) id: StackId,
    pub(super) process: ProcessKey,
    pub(super) frames: &'a [Frame],
}

/// For each stack the first that tells the same.
pub(super) fn first_of_each(stacks: &mut [Mixed<'_>]) -> HashMap<StackId, StackId> {
    stacks.sort_unstable_by_key(|it| it.id);
    let mut firsts = HashMap::new();
    let stacks = stacks.iter();
    stacks
        .map(|it| {
            let told = (it.process, told(it.frames));
            (it.id, *firsts.entry(told).or_insert(it.id))
        })
        .collect()
}

type Told<'a> = (Option<&'a str>, Option<&'a str>, Option<u64>);

/// What there is to tell: nothing beyond the first code that was made at run
/// time and has no name, since that is where a stack can go astray.
fn told(frames: &[Frame]) -> Vec<Told<'_>> {
    let behind = frames.iter().position(Frame::is_nameless_jit);
    let known = &frames[..behind.map_or(frames.len(), |at| at + 1)];
    let told = known.iter().map(|frame| {
        let offset = frame.offset.filter(|_| !frame.jit);
        (frame.function.as_deref(), frame.module.as_deref(), offset)
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn native(function: &str, offset: u64) -> Frame {
        Frame {
            function: Some(function.to_owned()),
            offset: Some(offset),
            ..Frame::default()
        }
    }

    fn made(function: Option<&str>, offset: u64) -> Frame {
        Frame {
            function: function.map(str::to_owned),
            jit: true,
            ..native("", offset)
        }
    }

    /// The first for each of these, of a process each when `apart`.
    fn firsts(stacks: &[Vec<Frame>], apart: bool) -> Vec<u32> {
        let mut mixed: Vec<_> = (0..)
            .zip(stacks)
            .map(|(id, frames)| Mixed {
                id: StackId(id),
                process: ProcessKey {
                    pid: if apart { id } else { 0 },
                    start_boottime: 0,
                    mm: 0,
                },
                frames,
            })
            .collect();
        let firsts = first_of_each(&mut mixed);
        mixed.iter().map(|it| firsts[&it.id].0).collect()
    }

    #[test]
    fn nameless_code_at_another_address_is_no_other_place() {
        let stacks = [
            vec![
                native("accept", 1),
                made(None, 10),
                made(None, 11),
                native("run", 2),
            ],
            vec![native("accept", 1), made(None, 20)],
            vec![native("connect", 1), made(None, 20)],
        ];
        assert_eq!(firsts(&stacks, false), [0, 0, 2]);
        assert_eq!(firsts(&stacks, true), [0, 1, 2]);
    }

    #[test]
    fn names_tell_places_apart() {
        let stacks = [
            vec![native("accept", 1), made(Some("take"), 10), made(None, 11)],
            vec![native("accept", 1), made(Some("take"), 20), made(None, 21)],
            vec![native("accept", 1), made(Some("other"), 20)],
        ];
        assert_eq!(firsts(&stacks, false), [0, 0, 2]);
    }
}
