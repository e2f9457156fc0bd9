//! Declares the condition by which the eBPF build says which machine it is for.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(bpf_target_arch, values(\"x86_64\"))");
}
