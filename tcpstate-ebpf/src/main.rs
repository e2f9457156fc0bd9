//! Kernel side of tcpstate: a witness. Each program reads fields of one
//! socket, stamps the time, filters and submits one record.
//!
//! There is no state machine here and no arithmetic on time: what a record
//! means is for user space to say. `Sock` reads through offsets that the
//! loader took from the running kernel's BTF.
#![no_std]
#![no_main]
#![cfg_attr(
    target_arch = "bpf",
    expect(unstable_features, reason = "the next line needs it"),
    feature(asm_experimental_arch)
)]

mod close;
mod destroy;
mod emit;
mod filter;
mod head;
mod last_look;
mod maps;
mod origin;
mod request;
mod reset;
mod snapshot;
mod sock;
mod stack;
mod task;
mod threads;
mod timewait;
mod transition;
mod twice;
mod window;

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The kernel lets only programs under a GPL-compatible licence call tracing helpers.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
