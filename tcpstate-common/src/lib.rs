//! The contract between the kernel side and the user side of tcpstate.
//!
//! It knows no sockets, no BPF and no operating system: only the bytes that
//! cross the ring buffer ([`record`]), the numbers of TCP states ([`state`])
//! and what the loader tells the programs before they start ([`settings`]).
#![no_std]

pub mod record;
pub mod settings;
pub mod state;
