//! The table of the kernels: which, and where Debian has them.

/// One line of the table.
pub(crate) struct Kernel {
    pub(crate) version: &'static str,
    pub(super) suites: &'static [&'static str],
    /// Sets of package names; `*` stands for digits and dots, the same ones in
    /// each of a set. The highest that the archive has is taken: older ones
    /// disappear from it. A later set is for when a suite has gone on to newer
    /// kernels and another still has this one.
    pub(super) packages: &'static [&'static [&'static str]],
    /// Parts of the names of the live tests that `cargo xtask test` runs on it, a
    /// boot for each list; `cargo xtask vm` runs all. The others ask what no kernel
    /// decides: command line, formats, filters.
    pub(crate) every_run: &'static [&'static [&'static str]],
}

/// What the kernel does, and by which hooks it is seen: minisockets and what ends
/// them by every kind of hook, requests, ends of sockets.
const SIGNALS: &[&str] = &[
    "kernel::",
    "timewait",
    "requests::",
    "closing::",
    "aborting::",
];

/// Who ended a connection, and how: on the oldest kernel, which gives no reasons, and
/// on the newest, which gives most; two minutes each.
const CAUSES: &[&str] = &["connections::"];

/// The programs that leak, with their stacks: on the oldest kernel, one between,
/// and the newest.
const LEAKS: &[&str] = &["leaks::"];

/// Debian's releases, the long-term kernel after them, and the newest. From 7.x
/// on `linux-image-*` is an empty package: the kernel, its modules and the list
/// of those that are built in are in three others.
pub(crate) const KERNELS: &[Kernel] = &[
    Kernel {
        version: "5.10",
        suites: &["bullseye-security"],
        packages: &[&["linux-image-5.10.0-*-cloud-amd64"]],
        every_run: &[SIGNALS, CAUSES, LEAKS],
    },
    Kernel {
        version: "6.1",
        suites: &["bookworm", "bookworm-security"],
        packages: &[&["linux-image-6.1.0-*-cloud-amd64"]],
        every_run: &[SIGNALS],
    },
    Kernel {
        version: "6.12",
        suites: &["trixie", "trixie-security"],
        packages: &[&["linux-image-6.12.*+deb13-cloud-amd64"]],
        every_run: &[SIGNALS, LEAKS],
    },
    Kernel {
        version: "6.18",
        suites: &["trixie-backports"],
        packages: &[&["linux-image-6.18.*+deb13-cloud-amd64"]],
        every_run: &[SIGNALS],
    },
    Kernel {
        version: "7.2",
        suites: &["forky", "trixie-backports"],
        packages: &[
            &[
                "linux-binary-7.2.*+deb14-cloud-amd64",
                "linux-modules-7.2.*+deb14-cloud-amd64",
                "linux-base-7.2.*+deb14-cloud-amd64",
            ],
            &[
                "linux-binary-7.2.*+deb13-cloud-amd64",
                "linux-modules-7.2.*+deb13-cloud-amd64",
                "linux-base-7.2.*+deb13-cloud-amd64",
            ],
        ],
        every_run: &[SIGNALS],
    },
    Kernel {
        version: "7.3",
        suites: &["forky", "trixie-backports"],
        packages: &[
            &[
                "linux-binary-7.3.*+deb14-cloud-amd64",
                "linux-modules-7.3.*+deb14-cloud-amd64",
                "linux-base-7.3.*+deb14-cloud-amd64",
            ],
            &[
                "linux-binary-7.3.*+deb13-cloud-amd64",
                "linux-modules-7.3.*+deb13-cloud-amd64",
                "linux-base-7.3.*+deb13-cloud-amd64",
            ],
        ],
        every_run: &[SIGNALS, CAUSES, LEAKS],
    },
];
