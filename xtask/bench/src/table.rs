//! The result as text: a line for each row, under its part and what it measures.

use std::fmt;

use crate::{
    row::{Row, Target, Unit, Value, Verdict},
    run::Report,
};

/// Of a line.
const WHAT: usize = 34;
const VALUE: usize = 34;
const TARGET: usize = 12;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machine = &self.machine;
        writeln!(
            f,
            "{} x {}, {:.0} GB, Linux {}",
            machine.cpus,
            machine.cpu,
            crate::load::ratio(machine.memory_bytes, 1_000_000_000),
            machine.kernel
        )?;
        writeln!(
            f,
            "median (least to greatest) of up to {} rounds; ratios are within a round",
            self.rounds_of_each
        )?;
        writeln!(f, "{}", self.unrest())?;
        let is_measured = |row: &&Row| matches!(row.value, Value::Measured(_));
        let measured: Vec<_> = self.rows.iter().filter(is_measured).collect();
        let mut part = "";
        for together in grouped(&measured) {
            if together[0].part != part {
                part = &together[0].part;
                writeln!(f, "\n{part}")?;
            }
            writeln!(f, "  {}{}", together[0].what, unit(together[0].unit))?;
            for row in together {
                writeln!(f, "{}", line(row).trim_end())?;
            }
        }
        absent(&self.rows, f)?;
        write!(f, "\n{}", self.verdicts())
    }
}

/// Rows of one thing together, in the order in which things first came.
fn grouped<'a>(rows: &[&'a Row]) -> Vec<Vec<&'a Row>> {
    let mut groups: Vec<Vec<&Row>> = Vec::new();
    for row in rows {
        let same = |group: &&mut Vec<&Row>| group[0].part == row.part && group[0].what == row.what;
        match groups.iter_mut().find(same) {
            Some(group) => group.push(row),
            None => groups.push(vec![row]),
        }
    }
    groups
}

fn line(row: &Row) -> String {
    let value = match &row.value {
        Value::Measured(spread) if spread.count == 1 => number(row.unit, spread.median),
        Value::Measured(spread) => format!(
            "{} ({} to {})",
            number(row.unit, spread.median),
            number(row.unit, spread.min),
            number(row.unit, spread.max)
        ),
        Value::NotMeasured(why) => why.clone(),
    };
    let target = row.target.map_or_else(String::new, |target| match target {
        Target::AtMost(most) | Target::Never(most) => format!("<= {}", number(row.unit, most)),
        Target::AtLeast(least) => format!(">= {}", number(row.unit, least)),
    });
    let verdict = match row.verdict() {
        Some(Verdict::Pass) => "pass",
        Some(Verdict::Short) => "SHORT",
        None => "",
    };
    format!(
        "    {:WHAT$} {value:VALUE$} {target:TARGET$} {verdict}",
        row.who
    )
}

/// What could not be measured, each reason once with all that it keeps from us.
fn absent(rows: &[Row], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut said = false;
    for row in rows {
        if let Value::NotMeasured(why) = &row.value {
            if !said {
                writeln!(f, "\nnot measured")?;
                said = true;
            }
            writeln!(f, "  {}: {}, {}: {why}", row.part, row.what, row.who)?;
        }
    }
    Ok(())
}

/// Behind the name of what is measured.
const fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Ratio => "",
        Unit::Percent => ", %",
        Unit::Count => ", events",
        Unit::Nanoseconds => ", ns",
        Unit::Milliseconds => ", ms",
        Unit::SecondsPerMillion => ", s for a million transitions",
        Unit::MillionPerSecond => ", millions a second",
        Unit::Bytes => ", bytes",
        Unit::Megabytes => ", MB",
        Unit::PerSecond => "",
    }
}

/// Three digits that matter, but no more decimals than the unit deserves.
fn number(unit: Unit, value: f64) -> String {
    let decimals = match (unit, value.abs()) {
        (Unit::Count | Unit::Bytes, _) => 0,
        (_, 100.0..) => 0,
        (_, 10.0..) => 1,
        (_, 1.0..) => 2,
        (_, 0.1..) => 3,
        (_, 0.0) => 0,
        _ => 4,
    };
    // A percentage that is not all is not 100.
    if unit == Unit::Percent && (99.95..100.0).contains(&value) {
        return format!("{value:.4}");
    }
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;

    fn report(rows: Vec<Row>) -> Report {
        Report {
            machine: Machine::default(),
            rounds_of_each: 3,
            rows,
            rounds: Vec::new(),
            seconds: 1.0,
        }
    }

    #[test]
    fn a_line_has_the_value_its_range_its_target_and_the_verdict() {
        let rows = vec![
            Row::new("cost", "CPU", "trace", Unit::Ratio, [1.0, 1.2, 1.4])
                .should(Target::AtMost(1.25)),
            Row::new("cost", "CPU", "dwell", Unit::Ratio, [1.2]).should(Target::AtMost(1.1)),
            Row::not_measured("cost", "all", "bcc", "no headers"),
            Row::new("cost", "speed", "trace", Unit::Ratio, [0.9]),
            Row::new("cost", "CPU", "record", Unit::Ratio, [1.1]),
        ];
        let text = report(rows).to_string();
        let lines: Vec<_> = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        for line in [
            "CPU",
            "trace 1.20 (1.00 to 1.40) <= 1.25 pass",
            "dwell 1.20 <= 1.10 SHORT",
            "cost: all, bcc: no headers",
            "1 of 2 targets met; 0 of them not measured",
        ] {
            assert!(lines.iter().any(|it| it == line), "{line}: {text}");
        }
        let at = |line: &str| lines.iter().position(|it| it == line);
        assert!(at("record 1.10") < at("speed"), "{text}");
    }

    #[test]
    fn numbers_have_the_digits_that_matter_and_never_hide_a_loss() {
        assert_eq!(number(Unit::Ratio, 0.0123), "0.0123");
        assert_eq!(number(Unit::Nanoseconds, 1_234.5), "1234");
        assert_eq!(number(Unit::Percent, 99.9999), "99.9999");
        assert_eq!(number(Unit::Percent, 100.0), "100");
        assert_eq!(number(Unit::Percent, 0.0), "0");
    }
}
