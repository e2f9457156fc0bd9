//! What became of every signal's hooks, for the header of a report and for
//! `doctor`.

use std::{collections::BTreeMap, fmt};

use super::hooks::Signal;
use crate::session::NotMeasured;

/// What became of one signal's candidates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignalReport {
    /// Which signal.
    pub signal: Signal,
    /// The hook that gives it.
    pub chosen: Option<&'static str>,
    /// Better hooks than the chosen one, or all, and why each was refused.
    pub refused: Vec<Refusal>,
}

/// A hook that does not work here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its name.
    pub hook: &'static str,
    /// Why, in words for a person.
    pub reason: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.hook, self.reason)
    }
}

/// What became of every signal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HookReport {
    /// One for each of [`Signal::ALL`], in that order; without the stacks when
    /// they were not asked for.
    pub signals: Vec<SignalReport>,
}

impl HookReport {
    /// The hook that gives `signal`.
    #[must_use]
    pub fn chosen(&self, signal: Signal) -> Option<&'static str> {
        let report = self.signals.iter().find(|report| report.signal == signal);
        report?.chosen
    }

    /// Signal to hook, as [`crate::session::SessionInfo`] has it.
    #[must_use]
    pub fn hooks(&self) -> BTreeMap<String, Option<String>> {
        let entry = |report: &SignalReport| {
            let hook = report.chosen.map(str::to_owned);
            (report.signal.name().to_owned(), hook)
        };
        self.signals.iter().map(entry).collect()
    }

    /// Signals without a hook and why, as [`crate::session::SessionInfo`] has it.
    #[must_use]
    pub fn not_measured(&self) -> Vec<NotMeasured> {
        let without = self.signals.iter().filter(|report| report.chosen.is_none());
        without
            .map(|report| NotMeasured {
                signal: report.signal.name().to_owned(),
                reason: report.reason(),
            })
            .collect()
    }
}

impl SignalReport {
    /// Why there is no hook.
    pub(super) fn reason(&self) -> String {
        let refusals = self.refused.iter().map(ToString::to_string);
        let consequence = self.signal.without().map(str::to_owned);
        refusals.chain(consequence).collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(signal: Signal, chosen: Option<&'static str>, refused: &[&str]) -> SignalReport {
        let refusal = |reason: &&str| Refusal {
            hook: "fentry f",
            reason: (*reason).to_owned(),
        };
        SignalReport {
            signal,
            chosen,
            refused: refused.iter().map(refusal).collect(),
        }
    }

    #[test]
    fn a_signal_without_a_hook_says_which_were_tried_and_what_follows() {
        let report = HookReport {
            signals: vec![
                report(Signal::StateTransition, Some("raw_tp x"), &[]),
                report(Signal::CloseCalled, None, &["not permitted"]),
                report(Signal::SocketLookup, None, &[]),
            ],
        };
        assert_eq!(
            report.hooks()["state_transition"],
            Some("raw_tp x".to_owned())
        );
        assert_eq!(report.hooks()["close_called"], None);
        let reasons: Vec<_> = report
            .not_measured()
            .into_iter()
            .map(|signal| signal.reason)
            .collect();
        assert_eq!(
            reasons,
            [
                "fentry f: not permitted; close is recognised by the transition that it causes",
                "",
            ]
        );
    }
}
