//! glue until symbols are there
use crate::{
    sink::leaks::{Frame, Stack},
    stack::CallStack,
    unwind::Place,
};

#[derive(Debug, Default)]
pub(super) struct Symbolizer;

impl Symbolizer {
    pub(super) fn name(&mut self, stack: &CallStack) -> Stack {
        let frames = stack.places.iter().map(|place| match place {
            Place::Module(module, at) => Frame {
                module: Some(module.path().display().to_string()),
                offset: *at,
                build_id: module.build_id(),
                ..Frame::default()
            },
            Place::Memory { address, .. } => Frame {
                offset: *address,
                ..Frame::default()
            },
        });
        Stack {
            frames: frames.collect(),
            end: stack.end.name().to_owned(),
        }
    }
}
