//! What is said of a group: one sentence that tells what is wrong, and one that
//! tells what to do.
//!
//! The sentences name processes by what the caller passes: names are somebody
//! else's bytes, and only a sink knows how to write them.

use super::{Class, Group};

/// What is wrong. `who` names the process that is to blame.
#[must_use]
pub fn message(group: &Group, who: &str) -> String {
    let sockets = number(group.count, "socket");
    match group.class {
        Class::NeverClosed => format!("{who} read end-of-file on {sockets} and never closed"),
        Class::EofNotRead => {
            format!("{who} has not looked at {sockets} since the peer closed")
        }
        Class::UnreadData => format!(
            "{who} has left {} of {sockets} unread since the peer closed; close would send a reset",
            number(usize::try_from(group.unread).unwrap_or(usize::MAX), "byte")
        ),
        Class::NeverAccepted => {
            let queue = group.listener.as_ref().map_or_else(String::new, |it| {
                format!(": {} of at most {} wait in its queue", it.queue, it.limit)
            });
            format!(
                "{who} has not accepted {} that the peer has closed already{queue}",
                number(group.count, "connection")
            )
        }
        Class::HeldElsewhere => match holders(group) {
            0 => format!(
                "{who} opened {sockets} that no process has any more: on the way between processes, \
                 or the kernel's own"
            ),
            others => format!(
                "{who} opened {sockets} that only {} now",
                match others {
                    1 => "another process has".to_owned(),
                    _ => format!("{others} other processes have"),
                }
            ),
        },
        Class::ResetButOpen => format!("the peer reset {sockets} that {who} still holds"),
        Class::HalfClosed => {
            format!("{who} shut down writing on {sockets} and waits for the peer without a timeout")
        }
        Class::IdlePool => format!(
            "{who} keeps {sockets} that the server has closed, and will notice at the next use"
        ),
    }
}

/// What to do about it.
#[must_use]
pub const fn remedy(class: Class) -> &'static str {
    match class {
        Class::NeverClosed => "close the descriptor when a read returns 0, on the error paths too",
        Class::EofNotRead => "find out what its threads wait for, and give every wait a timeout",
        Class::UnreadData => "read up to end-of-file, or close and accept the reset",
        Class::NeverAccepted => {
            "the accept loop is behind: unblock it or add workers; a longer queue only buys time"
        }
        Class::HeldElsewhere => {
            "open with SOCK_CLOEXEC, close after fork, close what was received over a Unix socket"
        }
        Class::ResetButOpen => "close the descriptor on ECONNRESET and EPIPE",
        Class::HalfClosed => {
            "set a receive timeout or close: no kernel timer ends FIN_WAIT2 while a descriptor is open"
        }
        Class::IdlePool => "set the pool's idle timeout below the server's",
    }
}

/// How many processes have any of them.
fn holders(group: &Group) -> usize {
    group.held.chunk_by(|a, b| a.pid == b.pid).count()
}

fn number(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}
