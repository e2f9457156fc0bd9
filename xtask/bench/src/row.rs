//! A line of the result: what was measured, of whom, how it spreads, and what it
//! should be.

use serde::Serialize;

use crate::spread::Spread;

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Row {
    /// The part of the benchmark.
    pub(crate) part: String,
    /// What is measured.
    pub(crate) what: String,
    /// Of whom: the arm, and what it was run with.
    pub(crate) who: String,
    pub(crate) unit: Unit,
    pub(crate) value: Value,
    pub(crate) target: Option<Target>,
}

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    /// One thing over another.
    Ratio,
    Percent,
    /// Of events.
    Count,
    Nanoseconds,
    Milliseconds,
    /// For a million transitions.
    SecondsPerMillion,
    /// Transitions or records in a second, in millions.
    MillionPerSecond,
    Bytes,
    Megabytes,
    PerSecond,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Value {
    Measured(Spread),
    /// And why.
    NotMeasured(String),
}

/// What a value should be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// The median is at most this.
    AtMost(f64),
    /// The median is at least this.
    AtLeast(f64),
    /// Every single value is at most this.
    Never(f64),
}

/// Whether a value is what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pass,
    Short,
}

impl Row {
    /// Of the values of several rounds; without any it is not measured.
    pub(crate) fn new(
        part: &str,
        what: &str,
        who: &str,
        unit: Unit,
        values: impl IntoIterator<Item = f64>,
    ) -> Self {
        let value = match Spread::of(values) {
            Some(spread) => Value::Measured(spread),
            None => Value::NotMeasured("no run came to an end".to_owned()),
        };
        Self {
            part: part.to_owned(),
            what: what.to_owned(),
            who: who.to_owned(),
            unit,
            value,
            target: None,
        }
    }

    /// Of something that cannot be measured here.
    pub(crate) fn not_measured(part: &str, what: &str, who: &str, why: &str) -> Self {
        Self {
            value: Value::NotMeasured(why.to_owned()),
            ..Self::new(part, what, who, Unit::Ratio, [])
        }
    }

    pub(crate) fn should(mut self, target: impl Into<Option<Target>>) -> Self {
        self.target = target.into();
        self
    }

    /// None without a target or a value.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        let (Value::Measured(spread), Some(target)) = (&self.value, self.target) else {
            return None;
        };
        let is_met = match target {
            Target::AtMost(most) => spread.median <= most,
            Target::AtLeast(least) => spread.median >= least,
            Target::Never(most) => spread.max <= most,
        };
        Some(if is_met {
            Verdict::Pass
        } else {
            Verdict::Short
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(target: Target) -> Verdict {
        let row = Row::new("", "", "", Unit::Ratio, [1.0, 2.0, 9.0]);
        row.should(target).verdict().unwrap()
    }

    #[test]
    fn a_median_is_judged_by_itself_and_what_must_never_be_by_the_worst() {
        assert_eq!(verdict(Target::AtMost(2.0)), Verdict::Pass);
        assert_eq!(verdict(Target::AtMost(1.9)), Verdict::Short);
        assert_eq!(verdict(Target::AtLeast(2.0)), Verdict::Pass);
        assert_eq!(verdict(Target::AtLeast(2.1)), Verdict::Short);
        assert_eq!(verdict(Target::Never(8.0)), Verdict::Short);
        assert_eq!(verdict(Target::Never(9.0)), Verdict::Pass);
    }

    #[test]
    fn what_was_not_measured_is_neither_met_nor_missed() {
        let row = Row::not_measured("", "", "", "no such kernel").should(Target::AtMost(1.0));
        assert_eq!(row.verdict(), None);
        let row = Row::new("", "", "", Unit::Ratio, []).should(Target::AtMost(1.0));
        assert_eq!(row.verdict(), None);
    }
}
