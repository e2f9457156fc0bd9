//! One sample: a tool is started, the load does what it is ordered, both are
//! accounted for.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    arm::{Arm, Files},
    kernel::{self, Attached, Programs, Reference, Runs},
    load::{Done, Load, Order},
    machine,
    process::{Process, wait_for},
    sample::{Sample, Tool, UNTRACED},
};

/// What all samples have in common.
pub(crate) struct Bench {
    /// This program, which also is the load.
    own: PathBuf,
    files: Files,
    /// Goes with its files.
    _directory: tempfile::TempDir,
}

/// The load as a process.
pub(crate) struct Loading {
    process: Process,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// A tool that is attached and quiet.
pub(crate) struct Running<'a> {
    arm: &'a Arm,
    files: &'a Files,
    pub(crate) process: Process,
}

/// What is measured besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Also {
    /// Transitions, by the independent count.
    pub(crate) count: bool,
    /// Programs, by the kernel's statistics.
    pub(crate) programs: bool,
}

impl Bench {
    pub(crate) fn new() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        Ok(Self {
            own: std::env::current_exe()?,
            files: Files::within(directory.path()),
            _directory: directory,
        })
    }

    pub(crate) fn files(&self) -> &Files {
        &self.files
    }

    /// Starts a load; its listeners are there afterwards.
    pub(crate) fn load(&self, load: Load) -> Result<Loading> {
        Loading::start(&self.own, load)
    }

    /// Starts a tool and waits until it is attached and has nothing to do.
    pub(crate) fn start<'a>(&'a self, arm: &'a Arm) -> Result<Running<'a>> {
        let mut process = Process::start(&mut arm.command(&self.files)?)?;
        wait_for(&format!("the hooks of {}", arm.name), || {
            if process.has_ended()? {
                let why = std::fs::read_to_string(&self.files.errors).unwrap_or_default();
                bail!("{} ended: {}", arm.name, why.trim());
            }
            Ok(process.holds_hooks().then_some(()))
        })?;
        process.quiet(arm.name)?;
        Ok(Running {
            arm,
            files: &self.files,
            process,
        })
    }

    /// A load of its own, alone or beside a tool.
    pub(crate) fn sample(
        &self,
        arm: Option<&Arm>,
        load: Load,
        order: Order,
        also: Also,
    ) -> Result<Sample> {
        machine::settle()?;
        let counter = also.count.then(|| Reference::Count.attach()).transpose()?;
        let mut loading = self.load(load)?;
        let _statistics = also.programs.then(kernel::statistics).transpose()?;
        let around = read(counter.as_ref())?;
        let mut sample = match arm {
            None => alone(&mut loading, order, counter.as_ref())?,
            Some(arm) => {
                let running = self.start(arm)?;
                beside(running, &mut loading, order, counter.as_ref())?
            }
        };
        sample.happened_around = difference(around, read(counter.as_ref())?);
        loading.end()?;
        Ok(sample)
    }

    /// The same with one of our reference programs for a tool.
    pub(crate) fn reference(&self, program: Reference, load: Load, order: Order) -> Result<Sample> {
        machine::settle()?;
        let mut loading = self.load(load)?;
        let _statistics = kernel::statistics()?;
        let attached = program.attach()?;
        let before = attached.runs()?;
        let mut sample = alone(&mut loading, order, None)?;
        sample.arm = program.name().to_owned();
        sample.programs = vec![attached.runs()?.since(&before)];
        loading.end()?;
        Ok(sample)
    }
}

/// The load with nothing beside it.
pub(crate) fn alone(
    loading: &mut Loading,
    order: Order,
    counter: Option<&Attached>,
) -> Result<Sample> {
    let (before, busy) = (read(counter)?, machine::busy_ns()?);
    let load = loading.order(order)?;
    Ok(Sample {
        arm: UNTRACED.to_owned(),
        load,
        happened: difference(before, read(counter)?),
        others_ns: (machine::busy_ns()? - busy).saturating_sub(load.cpu_ns),
        ..Sample::default()
    })
}

/// The load with a tool beside it, which is ended afterwards.
pub(crate) fn beside(
    running: Running<'_>,
    loading: &mut Loading,
    order: Order,
    counter: Option<&Attached>,
) -> Result<Sample> {
    let programs = Programs::of(running.process.pid())?;
    let (runs, cpu) = (programs.runs()?, running.process.cpu_ns()?);
    let mut sample = alone(loading, order, counter)?;
    running.process.quiet(running.arm.name)?;
    let used = running.process.cpu_ns()? - cpu;
    sample.programs = since(&programs.runs()?, &runs);
    // Its programs may not outlive it.
    drop(programs);
    sample.arm = running.arm.name.to_owned();
    sample.others_ns = sample.others_ns.saturating_sub(used);
    let (name, account, files) = (running.arm.name, running.arm.account, running.files);
    let usage = running.process.stop()?;
    let counts = account.read(files);
    let counts = counts.with_context(|| format!("what {name} has delivered"))?;
    sample.tool = Some(Tool {
        cpu_ns: used,
        whole_cpu_ns: usage.cpu_ns,
        most_resident: usage.most_resident,
        delivered: counts.delivered,
        lost: counts.lost,
    });
    Ok(sample)
}

fn since(after: &[Runs], before: &[Runs]) -> Vec<Runs> {
    let pairs = after.iter().zip(before);
    let mut runs: Vec<_> = pairs.map(|(after, before)| after.since(before)).collect();
    runs.retain(|runs| runs.count > 0);
    runs
}

fn read(counter: Option<&Attached>) -> Result<Option<u64>> {
    counter.map(Attached::count).transpose()
}

fn difference(before: Option<u64>, after: Option<u64>) -> Option<u64> {
    Some(after? - before?)
}

impl Loading {
    fn start(own: &Path, load: Load) -> Result<Self> {
        let mut command = Command::new(own);
        let mode = clap::ValueEnum::to_possible_value(&load.mode).context("a mode")?;
        command.args(["load", "--mode", mode.get_name()]);
        command.arg(format!("--threads={}", load.threads));
        command.arg(format!("--hold={}", load.hold));
        let mut process = Process::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let child = process.child();
        let (orders, answers) = (child.stdin.take(), child.stdout.take());
        let answers = answers.context("the load's answers")?;
        let mut loading = Self {
            process,
            orders,
            answers: BufReader::new(answers),
        };
        match loading.answer()?.as_str() {
            "ready" => Ok(loading),
            other => bail!("the load is not ready: {other:?}"),
        }
    }

    /// Has something done, and waits until it is.
    pub(crate) fn order(&mut self, order: Order) -> Result<Done> {
        self.begin(order)?;
        self.done()
    }

    /// Has something done meanwhile.
    pub(crate) fn begin(&mut self, order: Order) -> Result<()> {
        let orders = self.orders.as_mut().context("the load's orders")?;
        writeln!(orders, "{}", serde_json::to_string(&order)?)?;
        Ok(())
    }

    /// Waits until what was begun is done.
    pub(crate) fn done(&mut self) -> Result<Done> {
        let answer = self.answer()?;
        serde_json::from_str(&answer).with_context(|| format!("the load says {answer:?}"))
    }

    fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    /// Lets it end, and its sockets with it.
    pub(crate) fn end(mut self) -> Result<()> {
        drop(self.orders.take());
        let usage = self.process.wait()?;
        if usage.status != 0 {
            bail!("the load ended with {:#x}", usage.status);
        }
        Ok(())
    }
}
