//! Where functions of the running kernel are, from `/proc/kallsyms`.

use std::{
    fs::File,
    io::{self, Read},
};

use tcpstate_common::{
    record::caller,
    settings::{AddressRange, Callers},
};

/// The kernel's list of its symbols: `ffffffff820089f0 t tw_timer_handler`, and
/// for a module's `\t[module]` behind. The kernel's own are sorted by address.
const KALLSYMS: &str = "/proc/kallsyms";

/// Whose timers are those of minisockets.
const TIMER_HANDLER: &str = "tw_timer_handler";
/// Whose timers are those of requests.
const REQUEST_TIMER_HANDLER: &str = "reqsk_timer_handler";

/// Functions that end minisockets or requests, and what that means.
const CALLERS: [(u8, &str); 13] = [
    (caller::STATE_PROCESS, "tcp_timewait_state_process"),
    (caller::RECEIVE, "tcp_v4_rcv"),
    (caller::RECEIVE, "tcp_v6_rcv"),
    (caller::HASH_CONNECT, "__inet_hash_connect"),
    (caller::CHECK_ESTABLISHED, "__inet_check_established"),
    (caller::CHECK_ESTABLISHED, "__inet6_check_established"),
    (caller::ABORT, "tcp_abort"),
    (caller::PURGE, "inet_twsk_purge"),
    (caller::PURGE, "tcp_twsk_purge"),
    (caller::HASHDANCE, "inet_csk_complete_hashdance"),
    (caller::CHECK_REQUEST, "tcp_check_req"),
    (caller::ICMP, "tcp_req_err"),
    (caller::TIMERS, "__run_timers"),
];

/// Which of them end requests.
const OF_REQUESTS: [u8; 6] = [
    caller::HASHDANCE,
    caller::CHECK_REQUEST,
    caller::ICMP,
    caller::ABORT,
    caller::RECEIVE,
    caller::TIMERS,
];

/// What the list said.
pub(super) struct Symbols {
    /// Zero where a function was not found.
    pub(super) callers: Callers,
    /// Why nothing was found.
    unreadable: Option<String>,
}

impl Symbols {
    /// Reads the list once, as far as necessary: it takes the kernel 27 ms to
    /// print 122,000 lines (measured), and there are up to 250,000.
    pub(super) fn read() -> Self {
        match File::open(KALLSYMS).and_then(find) {
            Ok(callers) => Self {
                callers,
                unreadable: None,
            },
            Err(error) => Self {
                callers: Callers::default(),
                unreadable: Some(format!("cannot read {KALLSYMS}: {error}")),
            },
        }
    }

    /// Why the timers of minisockets cannot be told from others.
    pub(super) fn without_timer_handler(&self) -> Option<String> {
        (self.callers.tw_timer_handler == 0).then(|| self.without(TIMER_HANDLER))
    }

    /// Why the timers of requests cannot be told from others.
    pub(super) fn without_request_timer_handler(&self) -> Option<String> {
        let missing = self.callers.reqsk_timer_handler == 0;
        missing.then(|| self.without(REQUEST_TIMER_HANDLER))
    }

    /// Why some of those who end minisockets cannot be told by their address.
    pub(super) fn without_callers(&self) -> Option<String> {
        self.without_some(|by| by <= caller::PURGE)
    }

    /// Why some of those who end requests cannot be told by their address.
    pub(super) fn without_callers_of_requests(&self) -> Option<String> {
        self.without_some(|by| OF_REQUESTS.contains(&by))
    }

    fn without_some(&self, wanted: impl Fn(u8) -> bool) -> Option<String> {
        let known = |by: u8| self.callers.functions[usize::from(by)][0].start != 0;
        let mut wanted = CALLERS.iter().filter(|(by, _)| wanted(*by));
        let (_, missing) = wanted.find(|(by, _)| !known(*by))?;
        Some(self.without(missing))
    }

    fn without(&self, symbol: &str) -> String {
        let nothing = self.callers == Callers::default();
        match &self.unreadable {
            Some(why) => why.clone(),
            None if nothing => format!(
                "{KALLSYMS} shows no addresses: it takes CAP_SYSLOG and \
                 kernel.kptr_restrict below 2"
            ),
            None => format!("{KALLSYMS} has no {symbol}"),
        }
    }
}

/// Reads until everything is found, or to the end.
fn find(mut list: impl Read) -> io::Result<Callers> {
    let mut search = Search::default();
    // The kernel gives no more than a page at a time.
    let mut buffer = vec![0_u8; 1 << 16];
    let mut filled = 0;
    while !search.is_complete() {
        let count = list.read(&mut buffer[filled..])?;
        if count == 0 {
            break;
        }
        filled += count;
        let end = buffer[..filled]
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |last| last + 1);
        search.lines(&buffer[..end]);
        if end == 0 && filled == buffer.len() {
            return Err(io::Error::other("a line without an end"));
        }
        buffer.copy_within(end..filled, 0);
        filled -= end;
    }
    Ok(search.finish())
}

/// Where the wanted functions are, as far as the list has been read.
#[derive(Default)]
struct Search {
    timer_handler: u64,
    request_timer_handler: u64,
    found: [AddressRange; CALLERS.len()],
    /// The function whose end is the next greater address.
    open: Option<usize>,
}

impl Search {
    fn lines(&mut self, lines: &[u8]) {
        for line in lines.split(|&byte| byte == b'\n') {
            // An address of 16 digits, a space, a letter, a space.
            if let (Some(address), Some(rest)) = (line.get(..16), line.get(19..)) {
                self.line(address, rest);
            }
        }
    }

    fn line(&mut self, address: &[u8], rest: &[u8]) {
        if self.open.is_some() {
            self.close(hexadecimal(address));
        }
        // Nearly all lines end here.
        const BEGINNINGS: [&[u8]; 6] =
            [b"t", b"__inet", b"inet_tw", b"inet_csk", b"reqsk", b"__run"];
        if !BEGINNINGS.iter().any(|known| rest.starts_with(known)) {
            return;
        }
        let name = function(rest);
        if name == TIMER_HANDLER.as_bytes() && self.timer_handler == 0 {
            self.timer_handler = hexadecimal(address);
        }
        if name == REQUEST_TIMER_HANDLER.as_bytes() && self.request_timer_handler == 0 {
            self.request_timer_handler = hexadecimal(address);
        }
        let wanted = CALLERS
            .iter()
            .position(|(_, wanted)| wanted.as_bytes() == name);
        if let Some(index) = wanted
            && self.found[index].start == 0
        {
            self.found[index].start = hexadecimal(address);
            self.open = Some(index);
        }
    }

    /// Ends the open function at the first address behind its first one; other
    /// names of the function have the same address.
    fn close(&mut self, address: u64) {
        if let Some(range) = self.open.map(|index| &mut self.found[index])
            && address > range.start
        {
            range.end = address;
            self.open = None;
        }
    }

    fn is_complete(&self) -> bool {
        let handlers = [self.timer_handler, self.request_timer_handler];
        !handlers.contains(&0) && self.found.iter().all(|range| range.end != 0)
    }

    fn finish(self) -> Callers {
        let mut callers = Callers {
            tw_timer_handler: self.timer_handler,
            reqsk_timer_handler: self.request_timer_handler,
            ..Callers::default()
        };
        let known = CALLERS.iter().zip(self.found);
        for ((by, _), range) in known.filter(|(_, range)| range.end != 0) {
            let slots = &mut callers.functions[usize::from(*by)];
            let free = slots.iter_mut().find(|slot| slot.start == 0);
            if let Some(slot) = free {
                *slot = range;
            }
        }
        callers
    }
}

/// The name of the function: without the module, and without what the compiler
/// appends when it makes a special version (`.isra.0`, `.constprop.0`, `.llvm.1`).
/// Of a function that it splits in two, the one that is rarely run (`.cold`) is
/// not the function.
fn function(rest: &[u8]) -> &[u8] {
    let end = rest.iter().position(|&byte| byte == b'\t');
    let symbol = &rest[..end.unwrap_or(rest.len())];
    let dot = symbol.iter().position(|&byte| byte == b'.');
    match dot {
        Some(dot) if !symbol[dot..].starts_with(b".cold") => &symbol[..dot],
        _ => symbol,
    }
}

/// 0, which is no address of a function, for what is no number.
fn hexadecimal(digits: &[u8]) -> u64 {
    let text = std::str::from_utf8(digits).unwrap_or_default();
    u64::from_str_radix(text, 16).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOME: &str = "\
0000000000000000 A fixed_percpu_data
ffffffff82005690 t __inet_check_established.cold
ffffffff820056b0 t __inet_check_established
ffffffff820056b0 t an_alias
ffffffff82005a20 T inet_unhash
ffffffff820089e0 t tw_timer_handler_not
ffffffff820089f0 t tw_timer_handler
ffffffff82008a20 T inet_twsk_deschedule_put
ffffffff8200dda0 T tcp_abort.isra.0
ffffffff8200df00 T tcp_free_fastopen_req
ffffffffc0a01000 t __inet6_check_established\t[ipv6]
ffffffffc0a01800 t inet6_hash\t[ipv6]
";

    const fn range(start: u64, end: u64) -> AddressRange {
        AddressRange { start, end }
    }

    #[test]
    fn a_function_ends_where_the_next_address_begins() {
        let callers = find(SOME.as_bytes()).unwrap();
        assert_eq!(callers.tw_timer_handler, 0xffff_ffff_8200_89f0);
        assert_eq!(
            callers.functions[usize::from(caller::CHECK_ESTABLISHED)],
            [
                range(0xffff_ffff_8200_56b0, 0xffff_ffff_8200_5a20),
                range(0xffff_ffff_c0a0_1000, 0xffff_ffff_c0a0_1800),
            ]
        );
        assert_eq!(
            callers.functions[usize::from(caller::ABORT)][0],
            range(0xffff_ffff_8200_dda0, 0xffff_ffff_8200_df00)
        );
        let unknown = callers.functions[usize::from(caller::UNKNOWN)];
        assert_eq!(unknown, [AddressRange::default(); 2]);
    }

    #[test]
    fn addresses_that_are_hidden_are_not_known() {
        let hidden: String = SOME
            .lines()
            .map(|line| format!("{:016x}{}\n", 0, &line[16..]))
            .collect();
        let symbols = Symbols {
            callers: find(hidden.as_bytes()).unwrap(),
            unreadable: None,
        };
        assert_eq!(symbols.callers, Callers::default());
        let reason = symbols.without_timer_handler().unwrap();
        assert!(reason.contains("kptr_restrict"), "{reason}");
    }

    #[test]
    fn a_function_that_is_not_in_the_list_is_named() {
        let symbols = Symbols {
            callers: find(SOME.as_bytes()).unwrap(),
            unreadable: None,
        };
        assert_eq!(symbols.without_timer_handler(), None);
        assert_eq!(
            symbols.without_callers().unwrap(),
            "/proc/kallsyms has no tcp_timewait_state_process"
        );
    }

    #[test]
    fn lines_are_whole_however_the_bytes_come() {
        struct Drip<'a>(&'a [u8]);
        impl Read for Drip<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let size = self.0.len().min(7);
                let (now, rest) = self.0.split_at(size);
                buffer[..size].copy_from_slice(now);
                self.0 = rest;
                Ok(size)
            }
        }
        let whole = find(SOME.as_bytes()).unwrap();
        assert_eq!(find(Drip(SOME.as_bytes())).unwrap(), whole);
    }
}
