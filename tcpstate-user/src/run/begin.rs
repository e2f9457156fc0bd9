//! A session at its begin: hooks attached, and what existed before already seen,
//! so that the first line can say what was not.

use super::exit::complain;
use crate::{
    attach::{AttachError, Request, Session, Signal, ThreadWalker},
    seed::{self, SweepReport},
    session::NotMeasured,
};

/// So many network namespaces that could not be read are told by name.
const NAMED: usize = 3;

/// A session, and its first walk over the socket tables.
pub(super) struct Begun {
    pub(super) session: Session,
    /// The walk's records, but for its end.
    pub(super) seeds: Vec<u8>,
    pub(super) walk: SweepReport,
}

impl Begun {
    /// Attaches everything, then walks.
    pub(super) fn open(request: &Request) -> Result<Self, AttachError> {
        let session = Session::open(request)?;
        let mut seeds = Vec::new();
        let walk = seed::sweep(session.filter(), &mut seeds);
        Ok(Self {
            session,
            seeds,
            walk,
        })
    }

    /// As [`Session::take_thread_walker`].
    pub(super) const fn take_thread_walker(&mut self) -> Option<ThreadWalker> {
        self.session.take_thread_walker()
    }

    /// The signals that nothing gives, and the sockets that the walk could not
    /// see.
    pub(super) fn not_measured(&self) -> Vec<NotMeasured> {
        let mut all = self.session.report().not_measured();
        let known = self.session.report().chosen(Signal::ExistingSockets);
        let missed = unread(&self.walk).filter(|_| known.is_some());
        all.extend(missed.map(|reason| NotMeasured {
            signal: Signal::ExistingSockets.name().to_owned(),
            reason,
        }));
        all
    }
}

/// Says that a walk was not complete, if it was not.
pub(super) fn complain_of(walk: &SweepReport) {
    if let Some(reason) = unread(walk) {
        complain(&format!("what a loss left in doubt stays so: {reason}"));
    }
}

/// The network namespaces that a walk has not read, and why.
fn unread(walk: &SweepReport) -> Option<String> {
    let named = walk.failed.iter().take(NAMED).map(|(inode, reason)| {
        let which = match inode {
            0 => "some network namespace".to_owned(),
            inode => format!("network namespace {inode}"),
        };
        format!("{which} was not read: {reason}")
    });
    let mut all: Vec<String> = named.collect();
    let more = walk.failed.len().saturating_sub(NAMED);
    if more > 0 {
        all.push(format!("and {more} more"));
    }
    (!all.is_empty()).then(|| all.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_read_is_told_with_the_reason_and_the_rest_is_counted() {
        let walk = |failed: &[(u64, &str)]| SweepReport {
            failed: failed
                .iter()
                .map(|(inode, reason)| (*inode, (*reason).to_owned()))
                .collect(),
            ..SweepReport::default()
        };
        assert_eq!(unread(&walk(&[])), None);
        let told = unread(&walk(&[(0, "gone"), (7, "denied"), (8, "x"), (9, "y")]));
        assert_eq!(
            told.as_deref(),
            Some(
                "some network namespace was not read: gone; network namespace 7 was not \
                 read: denied; network namespace 8 was not read: x; and 1 more"
            )
        );
    }
}
