//! The second program's counts: every state change, counted in the kernel
//! without anything of the tracer.

use std::{
    ffi::OsString,
    fs,
    os::fd::{AsFd, AsRawFd},
    path::Path,
};

use aya::{Ebpf, EbpfLoader, maps::PerCpuArray, programs::TracePoint};

use crate::process::own_files;

/// `sock:inet_sock_set_state` counted by pair of states, of one port.
pub(crate) struct Witness {
    object: Ebpf,
}

/// Names of the counted numbers, as the tool prints them.
pub(crate) const STATES: [&str; 12] = [
    "?",
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT1",
    "FIN_WAIT2",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "CLOSING",
];

impl Witness {
    /// Counts from now on what happens to sockets with `port` at either end.
    pub(crate) fn of_port(port: u16) -> Self {
        own_files();
        let format = format_of("sock", "inet_sock_set_state");
        let at = |field, size| offset(&format, field, size).unwrap();
        let object = object();
        let mut object = EbpfLoader::new()
            .override_global("OLDSTATE_AT", &at("oldstate", 4), true)
            .override_global("NEWSTATE_AT", &at("newstate", 4), true)
            .override_global("SPORT_AT", &at("sport", 2), true)
            .override_global("DPORT_AT", &at("dport", 2), true)
            .override_global("PROTOCOL_AT", &at("protocol", 2), true)
            .override_global("PORT", &u32::from(port), true)
            .load_file(&object)
            .unwrap_or_else(|error| panic!("{}: {error:?}", object.display()));
        let program: &mut TracePoint = object.program_mut("witness").unwrap().try_into().unwrap();
        program.load().unwrap();
        program.attach("sock", "inet_sock_set_state").unwrap();
        Self { object }
    }

    /// How often `old -> new` happened.
    pub(crate) fn count(&self, old: &str, new: &str) -> u64 {
        let number = |name| STATES.iter().position(|&state| state == name).unwrap();
        self.cell(number(old) * 16 + number(new))
    }

    /// How often anything happened.
    pub(crate) fn total(&self) -> u64 {
        (0..256).map(|cell| self.cell(cell)).sum()
    }

    fn cell(&self, cell: usize) -> u64 {
        let counts = PerCpuArray::<_, u64>::try_from(self.object.map("COUNTS").unwrap()).unwrap();
        let values = counts.get(&u32::try_from(cell).unwrap(), 0).unwrap();
        values.iter().sum()
    }

    /// How often the kernel did not run the program because it ran already on
    /// that CPU; `None` before Linux 5.12, which does not count this.
    pub(crate) fn missed(&self) -> Option<u64> {
        let program: &TracePoint = self.object.program("witness").unwrap().try_into().unwrap();
        let fd = program.fd().unwrap().as_fd().as_raw_fd();
        let info = fs::read_to_string(format!("/proc/thread-self/fdinfo/{fd}")).unwrap();
        let line = info
            .lines()
            .find(|line| line.starts_with("recursion_misses"))?;
        Some(line.split_whitespace().nth(1)?.parse().unwrap())
    }
}

pub(crate) fn object() -> std::path::PathBuf {
    let path = std::env::var_os("TCPSTATE_WITNESS")
        .or_else(|| option_env!("TCPSTATE_WITNESS").map(OsString::from));
    path.expect("TCPSTATE_WITNESS: the object file of the witness; cargo xtask test builds it")
        .into()
}

/// The documented description of a tracepoint; mounts tracefs where nobody has.
pub(crate) fn format_of(group: &str, event: &str) -> String {
    let path = format!("/sys/kernel/tracing/events/{group}/{event}/format");
    if !Path::new(&path).exists() {
        // SAFETY: all three strings are NUL-terminated and live for the call.
        let done = unsafe {
            libc::mount(
                c"tracefs".as_ptr(),
                c"/sys/kernel/tracing".as_ptr(),
                c"tracefs".as_ptr(),
                0,
                std::ptr::null(),
            )
        };
        let error = std::io::Error::last_os_error();
        // Another test may have been faster.
        assert!(
            done == 0 || Path::new(&path).exists(),
            "mount tracefs: {error}"
        );
    }
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Position of a field in the record, if it has the size it should have.
fn offset(format: &str, field: &str, size: u32) -> Result<u32, String> {
    let line = format
        .lines()
        .find(|line| {
            let declaration = line.trim().strip_prefix("field:");
            let name = declaration.and_then(|line| line.split(';').next()?.split(' ').next_back());
            name == Some(field)
        })
        .ok_or_else(|| format!("no field {field}"))?;
    let number = |key: &str| {
        let (_, rest) = line.split_once(key)?;
        rest.split(';').next()?.parse().ok()
    };
    match (number("offset:"), number("size:")) {
        (Some(offset), Some(found)) if found == size => Ok(offset),
        other => Err(format!("{field}: {other:?} in {line}")),
    }
}

#[test]
fn positions_come_from_the_format_file_and_a_field_of_another_size_is_refused() {
    let format = "name: inet_sock_set_state\nformat:\n\
        \tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\
        \tfield:int oldstate;\toffset:16;\tsize:4;\tsigned:1;\n\
        \tfield:__u16 sport;\toffset:24;\tsize:2;\tsigned:0;\n";
    assert_eq!(offset(format, "oldstate", 4), Ok(16));
    assert_eq!(offset(format, "sport", 2), Ok(24));
    assert!(offset(format, "sport", 4).is_err());
    assert!(offset(format, "dport", 2).is_err());
}
