//! A measurement as a value, and rounds of them: what was run beside each other,
//! and how much of one is so much of another.

use serde::Serialize;

use crate::{
    kernel::Runs,
    load::{Done, ratio},
};

/// The arm in which no tool runs.
pub(crate) const UNTRACED: &str = "untraced";

/// One run of the load, with at most one tool beside it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Sample {
    /// The tool and how it was started, by a short name.
    pub(crate) arm: String,
    /// What the load says of itself.
    pub(crate) load: Done,
    /// The tool's part; none is [`UNTRACED`].
    pub(crate) tool: Option<Tool>,
    /// Transitions during the load by the independent count, where it ran.
    pub(crate) happened: Option<u64>,
    /// As `happened`, from before the tool's start to after its end: what it
    /// delivers lies between the two.
    pub(crate) happened_around: Option<u64>,
    /// What programs did during the load, where the kernel measured them.
    pub(crate) programs: Vec<Runs>,
    /// CPU time of neither the load nor the tool, during the load.
    pub(crate) others_ns: u64,
}

/// What one tool did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Tool {
    /// CPU time from the load's begin until there was nothing more to do.
    pub(crate) cpu_ns: u64,
    /// CPU time from its start to its end.
    pub(crate) whole_cpu_ns: u64,
    /// The most that was resident.
    pub(crate) most_resident: u64,
    /// Transitions in its output; none where its output has no single ones.
    pub(crate) delivered: Option<u64>,
    /// Events that it says it has lost, if it says how many.
    pub(crate) lost: Option<u64>,
}

/// Samples taken one after the other.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Round {
    pub(crate) part: String,
    /// What this round was run with, such as a rate.
    pub(crate) setting: String,
    pub(crate) samples: Vec<Sample>,
}

impl Sample {
    /// Nanoseconds of CPU for a transition, of load and tool together.
    pub(crate) fn together(&self) -> f64 {
        let tool = self.tool.as_ref().map_or(0, |tool| tool.cpu_ns);
        ratio(self.load.cpu_ns + tool, self.load.transitions)
    }

    /// Seconds of the tool's CPU for a million transitions.
    pub(crate) fn tool_cpu(&self) -> Option<f64> {
        let tool = self.tool.as_ref()?;
        Some(ratio(tool.cpu_ns, self.load.transitions) / 1e3)
    }

    /// Transitions delivered for each that happened. The tool may have seen some
    /// that happened just before or after the load.
    pub(crate) fn delivered(&self) -> Option<f64> {
        let delivered = self.tool.as_ref()?.delivered?;
        let during = self.happened.unwrap_or(self.load.transitions);
        let around = self.happened_around.unwrap_or(during);
        Some(ratio(delivered, during.max(around.min(delivered))))
    }

    /// Transitions that happened, were not delivered, and were not said to be lost.
    /// What a tool says of its losses may be about other records too: at least so
    /// many.
    pub(crate) fn silent(&self) -> Option<u64> {
        let tool = self.tool.as_ref()?;
        Some(self.happened?.saturating_sub(tool.delivered? + tool.lost?))
    }

    /// Transitions delivered that did not happen.
    pub(crate) fn invented(&self) -> Option<u64> {
        let tool = self.tool.as_ref()?;
        Some(tool.delivered?.saturating_sub(self.happened_around?))
    }

    /// Nanoseconds for each transition in programs that `which` chooses.
    pub(crate) fn in_programs(&self, which: impl Fn(&Runs) -> bool) -> f64 {
        let chosen = self.programs.iter().filter(|runs| which(runs));
        ratio(chosen.map(|runs| runs.ns).sum(), self.load.transitions)
    }
}

impl Round {
    /// For each sample of an arm, this of it over the mean of the untraced samples
    /// beside it.
    pub(crate) fn over_untraced(&self, arm: &str, of: impl Fn(&Sample) -> f64) -> Vec<f64> {
        let mut ratios = Vec::new();
        for (at, sample) in self.samples.iter().enumerate() {
            if sample.arm != arm {
                continue;
            }
            let is_untraced = |other: &&Sample| other.arm == UNTRACED;
            let before = self.samples[..at].iter().rev().find(is_untraced);
            let after = self.samples[at + 1..].iter().find(is_untraced);
            let beside: Vec<f64> = before.into_iter().chain(after).map(&of).collect();
            if !beside.is_empty() {
                #[expect(clippy::cast_precision_loss, reason = "one or two")]
                let mean = beside.iter().sum::<f64>() / beside.len() as f64;
                ratios.push(of(sample) / mean);
            }
        }
        ratios
    }

    /// This of an arm's sample over this of another's in the same round.
    pub(crate) fn over(
        &self,
        arm: &str,
        other: &str,
        of: impl Fn(&Sample) -> Option<f64>,
    ) -> Option<f64> {
        Some(of(self.of(arm)?)? / of(self.of(other)?)?)
    }

    pub(crate) fn of(&self, arm: &str) -> Option<&Sample> {
        self.samples.iter().find(|sample| sample.arm == arm)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A sample of 1000 transitions.
    pub(crate) fn sample(arm: &str, load_ns: u64, tool_ns: Option<u64>) -> Sample {
        Sample {
            arm: arm.to_owned(),
            load: Done {
                connections: 100,
                transitions: 1_000,
                wall_ns: load_ns,
                cpu_ns: load_ns,
            },
            tool: tool_ns.map(|cpu_ns| Tool {
                cpu_ns,
                delivered: Some(1_000),
                lost: Some(0),
                ..Tool::default()
            }),
            ..Sample::default()
        }
    }

    pub(crate) fn round(part: &str, samples: Vec<Sample>) -> Round {
        Round {
            part: part.to_owned(),
            setting: String::new(),
            samples,
        }
    }

    #[test]
    fn a_ratio_is_to_the_untraced_runs_beside_it_and_to_no_other() {
        let round = round(
            "",
            vec![
                sample(UNTRACED, 100, None),
                sample("ours", 300, Some(100)),
                sample(UNTRACED, 300, None),
                sample("peer", 300, Some(300)),
            ],
        );
        assert_eq!(round.over_untraced("ours", Sample::together), [2.0]);
        assert_eq!(round.over_untraced("peer", Sample::together), [2.0]);
        let over = round.over("ours", "peer", Sample::tool_cpu).unwrap();
        assert!((over - 1.0 / 3.0).abs() < 1e-9, "{over}");
        assert!(round.over_untraced("nobody", Sample::together).is_empty());
    }

    #[test]
    fn events_around_the_load_may_be_delivered_and_none_that_did_not_happen() {
        let mut sample = sample("ours", 1, Some(1));
        (sample.happened, sample.happened_around) = (Some(990), Some(1_005));
        assert_eq!(sample.delivered(), Some(1.0));
        sample.happened_around = Some(999);
        assert!(sample.delivered() > Some(1.0));
        sample.happened = Some(2_000);
        assert_eq!(sample.delivered(), Some(0.5));
    }

    #[test]
    fn what_is_neither_delivered_nor_said_to_be_lost_is_silent() {
        let mut sample = sample("ours", 1, Some(1));
        assert_eq!(sample.silent(), None);
        sample.happened = Some(1_010);
        assert_eq!(sample.silent(), Some(10));
        sample.tool.as_mut().unwrap().lost = Some(50);
        assert_eq!(sample.silent(), Some(0));
        assert_eq!(sample.invented(), None);
        sample.happened_around = Some(998);
        assert_eq!(sample.invented(), Some(2));
    }
}
