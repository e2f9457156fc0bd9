//! A trial of one hook: load its program, attach it, or say why not.

use std::io;

use aya::{
    Btf as AyaBtf, BtfError, Ebpf,
    programs::{
        FEntry, FExit, Iter, KProbe, Program, ProgramError, RawTracePoint, RawTracePointRunOptions,
        TestRun as _, TracePoint, kprobe::KProbeError, trace_point::TracePointError,
    },
};

use super::{
    btf::{Btf, BtfError as OwnBtfError},
    hooks::Attach,
};
use crate::seed;

/// Attached as long as it lives.
pub(super) type Link = Box<dyn Send>;

/// The running kernel's types, as the loader wants them and as we read them.
pub(super) struct KernelTypes<'a> {
    pub(super) aya: &'a AyaBtf,
    pub(super) own: &'a Btf<'a>,
}

/// Loads the program and attaches it. After a refusal nothing is left loaded.
pub(super) fn attach(
    ebpf: &mut Ebpf,
    types: &KernelTypes<'_>,
    how: &Attach,
) -> Result<Vec<Link>, String> {
    match how {
        Attach::Together(all) => return attach_all(ebpf, types, all),
        Attach::SockDiag => {
            let answer = seed::probe().map_err(|error| error.to_string());
            return answer.map(|()| Vec::new());
        }
        _ => {}
    }
    confirm(types, how).map_err(|error| error.to_string())?;
    let name = program_name(types, how)?;
    let attached = load_and_attach(ebpf, types, how, name);
    if attached.is_err()
        && let Some(program) = ebpf.program_mut(name)
    {
        unload(program);
    }
    attached.map_err(|error| reason(&error, how))
}

/// All or, when one is refused, none.
fn attach_all(
    ebpf: &mut Ebpf,
    types: &KernelTypes<'_>,
    all: &[Attach],
) -> Result<Vec<Link>, String> {
    let mut links = Vec::new();
    for (index, how) in all.iter().enumerate() {
        match attach(ebpf, types, how) {
            Ok(its_links) => links.extend(its_links),
            Err(reason) => {
                drop(links);
                for done in &all[..index] {
                    withdraw(ebpf, types, done);
                }
                // Of a program and its copy, what both are for is said already.
                let alike = all.iter().all(|other| other.target() == how.target());
                return Err(match how.target() {
                    Some(target) if !alike => format!("{target}: {reason}"),
                    _ => reason,
                });
            }
        }
    }
    Ok(links)
}

/// Unloads what was loaded for a hook; its links are gone already.
pub(super) fn withdraw(ebpf: &mut Ebpf, types: &KernelTypes<'_>, how: &Attach) {
    if let Attach::Together(all) = how {
        all.iter().for_each(|one| withdraw(ebpf, types, one));
    } else if let Ok(name) = program_name(types, how)
        && let Some(program) = ebpf.program_mut(name)
    {
        unload(program);
    }
}

/// Whether the hook gives what its program takes.
fn confirm(types: &KernelTypes<'_>, how: &Attach) -> Result<(), OwnBtfError> {
    match *how {
        Attach::RawTracepoint { event, takes, .. } => types.own.tracepoint_takes(event, takes),
        Attach::Fentry {
            function, takes, ..
        }
        | Attach::Kprobe {
            function, takes, ..
        } => types.own.function_takes(function, takes),
        _ => Ok(()),
    }
}

fn unload(program: &mut Program) {
    // It fails when nothing was loaded, which is what we want.
    let _not_loaded = match program {
        Program::RawTracePoint(program) => program.unload(),
        Program::TracePoint(program) => program.unload(),
        Program::FEntry(program) => program.unload(),
        Program::FExit(program) => program.unload(),
        Program::KProbe(program) => program.unload(),
        Program::Iter(program) => program.unload(),
        _ => Ok(()),
    };
}

fn program_name(types: &KernelTypes<'_>, how: &Attach) -> Result<&'static str, String> {
    match *how {
        Attach::RawTracepoint { program, .. }
        | Attach::Tracepoints { program, .. }
        | Attach::Fentry { program, .. }
        | Attach::Kprobe { program, .. }
        | Attach::Kretprobe { program, .. }
        | Attach::Iterator { program, .. }
        | Attach::Run { program } => Ok(program),
        Attach::SockDiag => Err("no program".to_owned()),
        Attach::Together(_) => Err("several programs".to_owned()),
        Attach::Fexit { programs, function } => {
            let count = types
                .own
                .parameters(function)
                .map_err(|error| error.to_string())?;
            let program = programs.iter().find(|(parameters, _)| *parameters == count);
            program.map(|(_, program)| *program).ok_or_else(|| {
                format!("{function} has {count} parameters, which this version does not know")
            })
        }
    }
}

fn load_and_attach(
    ebpf: &mut Ebpf,
    types: &KernelTypes<'_>,
    how: &Attach,
    name: &'static str,
) -> Result<Vec<Link>, ProgramError> {
    let program = ebpf
        .program_mut(name)
        .ok_or_else(|| io::Error::other(format!("the object has no program {name}")))?;
    let link: Link = match *how {
        Attach::RawTracepoint { event, .. } => attach_raw(program.try_into()?, event)?,
        Attach::Tracepoints {
            category, events, ..
        } => return attach_tracepoints(program.try_into()?, category, events),
        Attach::Fentry { function, .. } => {
            let program: &mut FEntry = program.try_into()?;
            program.load(function, types.aya)?;
            let id = program.attach()?;
            Box::new(program.take_link(id)?)
        }
        Attach::Fexit { function, .. } => {
            let program: &mut FExit = program.try_into()?;
            program.load(function, types.aya)?;
            let id = program.attach()?;
            Box::new(program.take_link(id)?)
        }
        Attach::Kprobe { function, .. } | Attach::Kretprobe { function, .. } => {
            let program: &mut KProbe = program.try_into()?;
            program.load()?;
            let id = program.attach(function, 0)?;
            Box::new(program.take_link(id)?)
        }
        Attach::Iterator { target, .. } => {
            let program: &mut Iter = program.try_into()?;
            program.load(target, types.aya)?;
            // Each walk has a link of its own; this one shows that it works.
            let id = program.attach()?;
            drop(
                program
                    .take_link(id)?
                    .into_file()
                    .map_err(io::Error::other)?,
            );
            return Ok(Vec::new());
        }
        Attach::Run { .. } => {
            let program: &mut RawTracePoint = program.try_into()?;
            program.load()?;
            // All arguments zero: the program sends nothing about no socket.
            program.test_run(RawTracePointRunOptions::new())?;
            return Ok(Vec::new());
        }
        // Each of them is attached by itself, or needs no program.
        Attach::Together(_) | Attach::SockDiag => return Ok(Vec::new()),
    };
    Ok(vec![link])
}

fn attach_raw(program: &mut RawTracePoint, event: &str) -> Result<Link, ProgramError> {
    program.load()?;
    let id = program.attach(event)?;
    Ok(Box::new(program.take_link(id)?))
}

fn attach_tracepoints(
    program: &mut TracePoint,
    category: &str,
    events: &[&str],
) -> Result<Vec<Link>, ProgramError> {
    program.load()?;
    let mut links: Vec<Link> = Vec::new();
    for event in events {
        let id = program.attach(category, event)?;
        links.push(Box::new(program.take_link(id)?));
    }
    Ok(links)
}

/// The refusal in words for a person. What an error number means depends on
/// what was asked for.
fn reason(error: &ProgramError, how: &Attach) -> String {
    match error {
        ProgramError::Btf(BtfError::UnknownBtfTypeName { type_name }) => {
            return format!("the kernel has no {type_name}");
        }
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => {
            let log = verifier_log.to_string();
            if let Some(complaint) = complaint(&log) {
                return format!("the kernel's verifier says: {complaint} ({io_error})");
            }
        }
        ProgramError::KProbeError(KProbeError::FileError { filename, .. }) => {
            return format!("the kernel has no kprobes (no {})", filename.display());
        }
        ProgramError::TracePointError(TracePointError::FileError { .. }) => {
            return "the kernel has no such tracepoint, or no CONFIG_FTRACE_SYSCALLS".to_owned();
        }
        ProgramError::IOError(error) if error.to_string() == "tracefs not found" => {
            return "tracefs is not mounted (mount -t tracefs tracefs /sys/kernel/tracing)"
                .to_owned();
        }
        _ => {}
    }
    match (errno(error), how) {
        (Some(libc::EPERM), Attach::Fentry { .. } | Attach::Fexit { .. }) => {
            "operation not permitted (kernel lockdown or no BPF trampoline)".to_owned()
        }
        (Some(libc::ENOENT), Attach::RawTracepoint { .. }) => {
            "the kernel has no such tracepoint".to_owned()
        }
        (Some(libc::ENOENT), Attach::Kprobe { .. } | Attach::Kretprobe { .. }) => {
            "the kernel has no such function".to_owned()
        }
        // The kernel's own ENOTSUPP, which is no errno of the C library.
        (Some(libc::EOPNOTSUPP | 524), _) => "not supported by this kernel".to_owned(),
        (Some(number), _) => describe(number),
        (None, _) => error.to_string(),
    }
}

/// `operation not permitted`, without Rust's `(os error 1)`.
fn describe(number: i32) -> String {
    let text = io::Error::from_raw_os_error(number).to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(letters).collect()
    })
}

/// The number of the first operating system error behind `error`.
pub(super) fn errno(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>()
            && let Some(number) = error.raw_os_error()
        {
            return Some(number);
        }
        next = error.source();
    }
    None
}

/// The verifier's last word before its statistics.
fn complaint(log: &str) -> Option<&str> {
    let says = |line: &&str| {
        !line.is_empty()
            && !line.starts_with("processed ")
            && !line.starts_with("verification time")
            && !line.starts_with("stack depth")
    };
    log.lines().map(str::trim).rfind(says)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_number_becomes_lower_case_words() {
        assert_eq!(describe(libc::EPERM), "operation not permitted");
    }

    #[test]
    fn the_verifier_is_quoted_without_its_statistics() {
        let log = "0: (79) r6 = *(u64 *)(r1 +0)\nR1 invalid mem access 'scalar'\n\
                   verification time 12 usec\nstack depth 8+0\nprocessed 3 insns (limit 1000000)\n";
        assert_eq!(complaint(log), Some("R1 invalid mem access 'scalar'"));
        assert_eq!(complaint(""), None);
    }
}
