//! `BPF_PROG_LOAD` with the verifier's log, which is wanted also where it accepts. Called by
//! [`crate::verifier`] only.

use std::{ffi::CStr, io};

use aya_obj::generated::{bpf_attr, bpf_insn};

/// `BPF_LOG_LEVEL1`: what goes wrong. `BPF_LOG_STATS`: what it took.
const REASONS: u32 = 1;
const STATISTICS: u32 = 4;
/// Room for the statistics alone, and for everything.
const LOG: usize = 1 << 16;
const WHOLE_LOG: usize = 16 << 20;

const BPF_PROG_LOAD: libc::c_long = 5;

/// Loads a program and lets it go again. The log ends with the statistics; it is complete only where
/// the program is refused.
pub(super) fn load(
    kind: u32,
    hook: u32,
    instructions: &[bpf_insn],
    license: &CStr,
) -> (io::Result<()>, String) {
    let (result, log) = call((kind, hook, STATISTICS), LOG, instructions, license);
    if result.is_ok() {
        return (result, log);
    }
    call((kind, hook, REASONS | STATISTICS), WHOLE_LOG, instructions, license)
}

fn call(
    (kind, hook, log_level): (u32, u32, u32),
    room: usize,
    instructions: &[bpf_insn],
    license: &CStr,
) -> (io::Result<()>, String) {
    let mut log = vec![0_u8; room];
    // SAFETY: all zeros is what the kernel takes for "not given".
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    // SAFETY: a union of plain numbers, of which this member is the one that the command reads.
    let load = unsafe { &mut attr.__bindgen_anon_3 };
    load.prog_type = kind;
    load.expected_attach_type = hook;
    load.insns = instructions.as_ptr().expose_provenance() as u64;
    load.insn_cnt = u32::try_from(instructions.len()).unwrap_or(u32::MAX);
    load.license = license.as_ptr().expose_provenance() as u64;
    load.log_buf = log.as_mut_ptr().expose_provenance() as u64;
    load.log_size = u32::try_from(room).unwrap_or(u32::MAX);
    load.log_level = log_level;
    // SAFETY: every address in `attr` is that of memory which outlives the call and is as long as
    // `attr` says.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw mut attr, size_of::<bpf_attr>())
    };
    let result = match i32::try_from(result) {
        Ok(fd) if fd >= 0 => {
            // SAFETY: a descriptor that the kernel has just made, and that nobody else knows.
            drop(unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fd) });
            Ok(())
        }
        _ => Err(io::Error::last_os_error()),
    };
    let length = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
    (result, String::from_utf8_lossy(&log[..length]).into_owned())
}
