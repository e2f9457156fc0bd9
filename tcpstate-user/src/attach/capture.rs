//! How stacks are captured, and whether this kernel lets us.

use tcpstate_common::settings::{self, ABSENT, Bucket, MAX_SLICE, Offsets};

use super::btf::Btf;

/// How stacks are captured, and how many at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capture {
    /// Bytes of stack to copy, at most 28 KiB. Measured: 16 KiB hold everything
    /// but the stacks of node (21 KiB) and of servlet containers (17 KiB).
    pub slice_bytes: u32,
    /// For each process and reason.
    pub per_process: Rate,
    /// For all together.
    pub overall: Rate,
}

/// A limit: so many at once, and then so many each second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// At once; 0 is none at all.
    pub burst: u32,
    /// Then, each second.
    pub per_second: u32,
}

/// One capture takes 0.8 to 1 us in the kernel where the end of the thread's stack
/// is known (measured with 2.8 KiB), 3 us where it is not (13 KiB), and 1 to 20 us
/// here (8 to 50 frames): 500 each second are 0.1 to 1.2 %
/// of one CPU, and a leak of up to 20 sockets each second has a stack for every
/// one.
impl Default for Capture {
    fn default() -> Self {
        Self {
            slice_bytes: 16 << 10,
            per_process: Rate {
                burst: 64,
                per_second: 20,
            },
            overall: Rate {
                burst: 500,
                per_second: 500,
            },
        }
    }
}

impl Capture {
    /// As the programs want it.
    pub(super) fn settings(&self, btf: &Btf<'_>) -> settings::Capture {
        settings::Capture {
            // The loader knows the ring.
            wake_bytes: 0,
            slice_bytes: u64::from(self.slice_bytes & !7).min(MAX_SLICE),
            task_pt_regs: u64::from(has_task_pt_regs(btf)),
            process: self.per_process.bucket(),
            overall: self.overall.bucket(),
        }
    }
}

impl Rate {
    fn bucket(self) -> Bucket {
        const SECOND: u64 = 1_000_000_000;
        let interval_ns = SECOND / u64::from(self.per_second.max(1));
        Bucket {
            interval_ns,
            full_ns: interval_ns * u64::from(self.burst),
        }
    }
}

/// Whether the programs can find a task's user registers here; or why not.
pub(super) fn possible(btf: &Btf<'_>, offsets: &Offsets) -> Result<(), String> {
    if !cfg!(target_arch = "x86_64") {
        return Err("stacks are captured on x86-64 only".to_owned());
    }
    let fields = [
        ("task_struct.flags", offsets.task_struct_flags),
        ("task_struct.mm", offsets.task_struct_mm),
        ("task_struct.group_leader", offsets.task_struct_group_leader),
        (
            "task_struct.start_boottime",
            offsets.task_struct_start_boottime,
        ),
    ];
    let without_helper = [
        ("task_struct.stack", offsets.task_struct_stack),
        (
            "task_struct.stack_vm_area (CONFIG_VMAP_STACK)",
            offsets.task_struct_stack_vm_area,
        ),
        ("vm_struct.nr_pages", offsets.vm_struct_nr_pages),
    ];
    let wanted = if has_task_pt_regs(btf) {
        &[]
    } else {
        &without_helper[..]
    };
    all_there(fields.iter().chain(wanted))
}

/// Whether a program can copy the stacks of other tasks, and tell whether those
/// slept meanwhile; or why not.
pub(super) fn of_others_possible(btf: &Btf<'_>, offsets: &Offsets) -> Result<(), String> {
    possible(btf, offsets)?;
    // Linux 5.15 and 5.18.
    for helper in ["task_pt_regs", "copy_from_user_task"] {
        if !has_helper(btf, helper) {
            return Err(format!("the kernel has no helper bpf_{helper}"));
        }
    }
    let fields = [
        ("task_struct.tgid", offsets.task_struct_tgid),
        ("task_struct.pid", offsets.task_struct_pid),
        ("task_struct.__state", offsets.task_struct_state),
        ("task_struct.nvcsw", offsets.task_struct_nvcsw),
        ("task_struct.nivcsw", offsets.task_struct_nivcsw),
    ];
    all_there(fields.iter())
}

fn all_there<'a>(mut fields: impl Iterator<Item = &'a (&'a str, u32)>) -> Result<(), String> {
    match fields.find(|(_, offset)| *offset == ABSENT) {
        Some((name, _)) => Err(format!("the kernel has no {name}")),
        None => Ok(()),
    }
}

fn has_task_pt_regs(btf: &Btf<'_>) -> bool {
    has_helper(btf, "task_pt_regs")
}

/// The kernel lists its helpers in an enumeration.
fn has_helper(btf: &Btf<'_>, helper: &str) -> bool {
    const PREFIX: &str = "BPF_FUNC_";
    let helpers = btf.enumerators("bpf_func_id").unwrap_or_default();
    helpers
        .iter()
        .any(|(_, name)| name.strip_prefix(PREFIX) == Some(helper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_bucket_of_times() {
        let bucket = Capture::default().per_process.bucket();
        assert_eq!(bucket.interval_ns, 50_000_000);
        assert_eq!(bucket.full_ns, 64 * 50_000_000);
        let never = Rate {
            burst: 0,
            per_second: 0,
        };
        assert_eq!(never.bucket().full_ns, 0);
    }

    #[test]
    fn a_slice_is_cut_to_what_the_programs_can_hold() {
        let bytes = std::fs::read(crate::attach::btf::VMLINUX).unwrap();
        let btf = Btf::parse(&bytes).unwrap();
        let of = |slice_bytes| {
            Capture {
                slice_bytes,
                ..Capture::default()
            }
            .settings(&btf)
        };
        assert_eq!(of(u32::MAX).slice_bytes, MAX_SLICE);
        assert_eq!(of(4097).slice_bytes, 4096);
    }
}
