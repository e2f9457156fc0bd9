//! The choice of a hook for each signal: the best one that works.

use aya::Ebpf;

use super::{
    AttachError, Request,
    hooks::{Candidate, Family, Signal},
    kallsyms::Symbols,
    offsets,
    report::{HookReport, Refusal, SignalReport},
    trial::{self, KernelTypes, Link},
};

/// How many of a signal's candidates are tried.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tried {
    UntilOneWorks,
    All,
}

/// The choices so far, and what they depend on.
pub(super) struct Choice<'a> {
    ebpf: &'a mut Ebpf,
    types: &'a KernelTypes<'a>,
    symbols: &'a Symbols,
    request: &'a Request,
    tried: Tried,
    report: HookReport,
    links: Vec<Link>,
    /// A signal about minisockets that comes from tracepoints.
    by_tracepoint: Option<Signal>,
}

impl<'a> Choice<'a> {
    pub(super) fn new(
        ebpf: &'a mut Ebpf,
        types: &'a KernelTypes<'a>,
        symbols: &'a Symbols,
        request: &'a Request,
        tried: Tried,
    ) -> Self {
        Self {
            ebpf,
            types,
            symbols,
            request,
            tried,
            report: HookReport::default(),
            links: Vec::new(),
            by_tracepoint: None,
        }
    }

    /// What was chosen, and what holds it.
    pub(super) fn made(self) -> (HookReport, Vec<Link>) {
        (self.report, self.links)
    }

    /// Tries the signal's candidates.
    pub(super) fn choose(&mut self, signal: Signal) -> Result<(), AttachError> {
        let mut report = SignalReport {
            signal,
            chosen: None,
            refused: Vec::new(),
        };
        for candidate in signal.candidates() {
            if report.chosen.is_some() && self.tried == Tried::UntilOneWorks {
                break;
            }
            match self.attach(signal, candidate) {
                Ok(links) => {
                    self.links.extend(links);
                    if report.chosen.is_none() {
                        report.chosen = Some(candidate.hook);
                        report.refused.extend(self.chosen(signal, candidate));
                    }
                }
                Err(reason) => report.refused.push(Refusal {
                    hook: candidate.hook,
                    reason,
                }),
            }
        }
        if signal == Signal::StateTransition && report.chosen.is_none() {
            return Err(AttachError::NoTracepoint(report.reason()));
        }
        self.report.signals.push(report);
        Ok(())
    }

    /// As [`Self::choose`], unless there is a reason why no candidate can work.
    pub(super) fn choose_if(
        &mut self,
        signal: Signal,
        possible: &Result<(), String>,
    ) -> Result<(), AttachError> {
        let Err(reason) = possible else {
            return self.choose(signal);
        };
        let refuse = |candidate: &Candidate| Refusal {
            hook: candidate.hook,
            reason: reason.clone(),
        };
        self.report.signals.push(SignalReport {
            signal,
            chosen: None,
            refused: signal.candidates().iter().map(refuse).collect(),
        });
        Ok(())
    }

    fn attach(&mut self, signal: Signal, candidate: &Candidate) -> Result<Vec<Link>, String> {
        self.allowed(signal, candidate)?;
        let links = trial::attach(self.ebpf, self.types, &candidate.attach)?;
        let refusal = self.mixed(signal, candidate.attach.family());
        if let Some(reason) = refusal {
            drop(links);
            trial::withdraw(self.ebpf, self.types, &candidate.attach);
            return Err(reason);
        }
        Ok(links)
    }

    /// What needs no trial.
    fn allowed(&self, signal: Signal, candidate: &Candidate) -> Result<(), String> {
        let hook = &candidate.attach;
        if let Some(asked) = self.request.hooks
            && hook.family() != Some(asked)
            && signal.has(asked)
        {
            return Err("not of the kind asked for (--hooks)".to_owned());
        }
        if hook.slows_system_calls() && !self.request.accept_by_syscall {
            return Err(
                "not asked for, because it slows every system call by 10 to 15 %".to_owned(),
            );
        }
        if hook.needs_timer_handler()
            && let Some(reason) = self.without_timer_handler(signal)
        {
            return Err(reason);
        }
        if signal == Signal::RequestEnd
            && let Some(reason) = offsets::without_requests(self.types.own)
        {
            return Err(reason);
        }
        Ok(())
    }

    fn without_timer_handler(&self, signal: Signal) -> Option<String> {
        match signal {
            Signal::RequestEnd => self.symbols.without_request_timer_handler(),
            _ => self.symbols.without_timer_handler(),
        }
    }

    /// Tracepoints tell of a minisocket's timer whatever starts and stops it,
    /// functions of what is done with the minisocket. A stop by the tracepoint
    /// can be told from an end only by the start that follows, and a start by
    /// the tracepoint would be another re-arm beside that of the function. So
    /// once one of these signals comes from tracepoints, the others do.
    fn mixed(&self, signal: Signal, family: Option<Family>) -> Option<String> {
        let other = self.by_tracepoint?;
        (signal.is_minisockets() && family != Some(Family::Tracepoint))
            .then(|| format!("does not go with {} from tracepoints", other.name()))
    }

    /// Keeps in mind what the next signals depend on; what the chosen hook
    /// cannot tell is a refusal too.
    fn chosen(&mut self, signal: Signal, candidate: &Candidate) -> Option<Refusal> {
        if signal == Signal::RequestEnd {
            return self.symbols.without_callers_of_requests().map(no_callers);
        }
        if !signal.is_minisockets() {
            return None;
        }
        if candidate.attach.family() == Some(Family::Tracepoint) {
            self.by_tracepoint.get_or_insert(signal);
            return None;
        }
        let reason = self.symbols.without_callers()?;
        (signal == Signal::MinisocketEnd).then(|| no_callers(reason))
    }
}

/// Whoever calls the hooked function cannot be told.
fn no_callers(reason: String) -> Refusal {
    Refusal {
        hook: "return address",
        reason,
    }
}
