//! The tuple spaces of a report: who is short of ports, the worst first.

use std::{borrow::Cow, cmp::Reverse};

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::{
    Account, Counts, Known, Outlook, Rest, Row, Space, TIME_WAIT_NS, Verdict, Waits,
    advice::{advice, verdict},
    census::{Census, Still},
    makers::{Held, Who, ranked},
    pace::{Now, outlook},
};
use crate::decode::KtimeNs;

/// Connects that failed within this time have failed just now.
const LATELY: u64 = 10_000_000_000;

pub(super) fn rows(census: &Census<'_>, now: KtimeNs) -> (Vec<Row>, Rest) {
    let mut makers = by_space(census);
    let asked = &census.ports.asked;
    let shown = |space: &Space| {
        asked.family.is_none_or(|family| family == space.family())
            && (!asked.is_of_processes()
                || makers.get(space).is_some_and(|all| {
                    all.iter().any(
                        |(who, _)| matches!(who, Who::Process(process) if asked.wants(process)),
                    )
                }))
    };
    let failing = census.ports.accounts.iter();
    let failing = failing
        .filter(|(space, account)| account.failed > 0 && !census.spaces.contains_key(*space));
    let none = failing.map(|(space, _)| (*space, Still::default()));
    let all = census.spaces.iter().map(|(space, still)| (*space, *still));
    let mut all: Vec<_> = all.chain(none).filter(|(space, _)| shown(space)).collect();
    let rank = |(space, still): &(Space, Still)| {
        let account = census.ports.accounts.get(space);
        let failed = account.is_some_and(|account| account.lately(now));
        (
            Reverse(failed),
            Reverse(share(census, space, still)),
            *space,
        )
    };
    all.sort_unstable_by_key(rank);
    let beyond = all.split_off(asked.top.min(all.len()));
    let rest = rest(census, &beyond);
    let rows = all.into_iter().map(|(space, still)| {
        let makers = makers.remove(&space).unwrap_or_default();
        row(census, space, &still, &makers, now)
    });
    let mut rows: Vec<_> = rows.collect();
    rows.sort_by_key(|row| row.verdict.min(Verdict::TooEarly));
    (rows, rest)
}

/// How much of its ports a space uses, in millionths; of the default range
/// where that is not known.
fn share(census: &Census<'_>, space: &Space, still: &Still) -> u64 {
    let usable = census
        .room(space.netns)
        .map_or(28_232, |room| room.counts.usable);
    let ports = if usable == 0 { 1 } else { u64::from(usable) };
    still.used.saturating_mul(1_000_000) / ports
}

fn by_space(census: &Census<'_>) -> HashMap<Space, Vec<(Who, Held)>, RandomState> {
    let mut all: HashMap<(Space, Who), Held, RandomState> = census.makers.clone();
    for (key, failed) in &census.ports.failed {
        all.entry(*key).or_default().failed = *failed;
    }
    let mut makers: HashMap<Space, Vec<(Who, Held)>, RandomState> = HashMap::default();
    for ((space, who), held) in all {
        makers.entry(space).or_default().push((who, held));
    }
    makers
}

fn rest(census: &Census<'_>, beyond: &[(Space, Still)]) -> Rest {
    let failed = |(space, _): &(Space, Still)| {
        let account = census.ports.accounts.get(space);
        account.map_or(0, |account| account.failed)
    };
    let failed = beyond.iter().map(failed).sum();
    let sum = |sum: Still, (_, still): &(Space, Still)| sum.and(still);
    let still = beyond.iter().fold(census.beyond, sum);
    Rest {
        count: beyond.len() as u64,
        at_least: census.beyond.sockets > 0,
        states: still.states,
        sockets: still.sockets,
        failed,
    }
}

fn row(
    census: &Census<'_>,
    space: Space,
    still: &Still,
    makers: &[(Who, Held)],
    now: KtimeNs,
) -> Row {
    let account = account(census, &space);
    let room = room(census, space.netns);
    let left = left(census, &room, still);
    let limits = census.limits(space.netns);
    let reuse_after_ns = limits.and_then(|limits| limits.reuse_after(space.is_loopback()));
    let time_wait = account.time_wait();
    let hold_ns = reuse_after_ns.map_or(time_wait.ns, |after| after.min(time_wait.ns));
    let rates = account.pace.rates(now);
    let state = |&left: &u64| Now {
        left,
        waiting: still.waiting,
        hold_ns,
        reused: reuse_after_ns.is_some(),
    };
    let outlook = left.as_ref().map_or(Outlook::Unknown, |left| {
        outlook(&state(left), rates.as_ref())
    });
    let bound = census.ports.bound.iter();
    let mut row = Row {
        space,
        states: still.states,
        sockets: still.sockets,
        fin_wait2: still.fin_wait2,
        used: still.used,
        reusable: still.reusable,
        sustainable: sustainable(&room, hold_ns),
        room,
        left,
        reuse_after_ns,
        time_wait,
        rates,
        outlook,
        makers: ranked(makers),
        opened: account.pace.totals.opened,
        ended: account
            .ended
            .iter()
            .map(|(cause, count)| (cause.name(), *count))
            .collect(),
        failed: account.failed,
        failed_lately: account.lately(now),
        bound_before: bound
            .filter(|((netns, _), _)| *netns == space.netns)
            .count() as u64,
        verdict: Verdict::TooEarly,
        advice: Vec::new(),
    };
    row.verdict = verdict(&row);
    row.advice = advice(&row);
    row
}

fn account<'a>(census: &'a Census<'_>, space: &Space) -> Cow<'a, Account> {
    if let Some(account) = census.ports.accounts.get(space) {
        return Cow::Borrowed(account);
    }
    // Nothing has happened there since the beginning.
    let mut nothing = Account::default();
    if let Some(first) = census.ports.reported {
        nothing.pace.mark(first);
    }
    Cow::Owned(nothing)
}

/// By the kernel's rule, where all that holds a port is known.
fn left(census: &Census<'_>, room: &Known<Counts>, still: &Still) -> Known<u64> {
    let usable = u64::from(room.as_ref().map_err(Clone::clone)?.usable);
    let follows = census.ports.follows;
    if !(follows.begins && follows.ends) {
        return Err("no hook tells of TIME_WAIT here".into());
    }
    Ok(usable.saturating_sub(still.used.saturating_sub(still.reusable)))
}

fn room(census: &Census<'_>, netns: u32) -> Known<Counts> {
    match census.places.get(&netns) {
        Some(place) => place
            .room
            .as_ref()
            .map(|room| room.counts)
            .map_err(Clone::clone),
        None => Err(census
            .reading
            .map_or_else(|| "no limits were read".into(), |it| it.missing.clone())),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate, of a few digits")]
fn sustainable(room: &Known<Counts>, hold_ns: u64) -> Option<f64> {
    let usable = f64::from(room.as_ref().ok()?.usable);
    (hold_ns > 0).then(|| usable * 1e9 / hold_ns as f64)
}

impl Account {
    fn lately(&self, now: KtimeNs) -> bool {
        self.failed_at.is_some_and(|at| now.since(at) <= LATELY)
    }

    fn time_wait(&self) -> Waits {
        Waits {
            ns: self
                .expired_ns
                .checked_div(self.expired)
                .unwrap_or(TIME_WAIT_NS),
            measured: self.expired,
        }
    }
}
