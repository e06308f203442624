// SPDX-License-Identifier: GPL-2.0-only
//! Which lines of the kernel's log are alarms: they say that something is wrong with the kernel.
//!
//! A word is not enough: a driver may print it, and a command may write it to /dev/kmsg. So the line has to be the
//! kernel's own, of level "warning" or worse (include/linux/kern_levels.h), and has to begin like a report.

/// How reports begin: `__warn` and `oops_exit` (kernel/panic.c), lib/bug.c, lockdep, lib/ubsan.c, KASAN and the like
/// (mm/), watchdogs for tasks (kernel/hung_task.c) and work (kernel/workqueue.c), kernel/cfi.c and
/// arch/x86/kernel/cet.c.
const REPORTS: [&str; 14] = [
    "WARNING: ",
    "BUG: ",
    "kernel BUG at ",
    "Oops: ",
    "UBSAN: ",
    "KASAN: ",
    "INFO: task ",
    "INFO: possible ",
    "INFO: suspicious ",
    "INFO: inconsistent ",
    "INFO: trying to register non-static key",
    "general protection fault",
    "CFI failure ",
    "Missing ENDBR: ",
];
/// Prefixes that some of them have (`pr_fmt`).
const SPEAKERS: [&str; 5] = ["rcu: ", "watchdog: ", "NMI watchdog: ", "traps: ", "[ "];
/// The worst level that is no alarm: "notice".
const NOTICE: u32 = 5;

/// Whether a line of the log is an alarm; `priority` is its priority, if that is known.
pub fn is_alarm(priority: Option<u32>, line: &str) -> bool {
    // The facility is above the three bits of the level: facility 0 is the kernel.
    if priority.is_some_and(|priority| priority >= NOTICE) {
        return false;
    }
    let mut text = message(line);
    while let Some(rest) = SPEAKERS.iter().find_map(|speaker| text.strip_prefix(speaker)) {
        text = rest;
    }
    let is_stall = text.starts_with("INFO: rcu") && text.contains("stall");
    let is_lockup = text.contains("detected hard LOCKUP");
    is_stall || is_lockup || has_counter(text) || REPORTS.iter().any(|report| text.starts_with(report))
}

/// The line without its time and caller, as in `[    1.0][    T1]`.
fn message(line: &str) -> &str {
    let mut text = line.trim_start();
    while let Some((inner, rest)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let inner = inner.trim_start();
        let number = inner.strip_prefix(['T', 'C']).unwrap_or(inner);
        if number.is_empty()
            || !number.chars().all(|character| character.is_ascii_digit() || character == '.')
        {
            break;
        }
        text = rest.strip_prefix(' ').unwrap_or(rest);
    }
    text
}

/// Whether there is a counter of oopses (`die_counter`), as in `invalid opcode: 0000 [#1] PREEMPT SMP`.
fn has_counter(text: &str) -> bool {
    let counter = text.split_once(" [#").and_then(|(_, rest)| rest.split_once(']'));
    counter.is_some_and(|(digits, _)| digits.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_of_the_kernel_are_alarms() {
        for line in [
            "<4>[    1.0] WARNING: CPU: 0 PID: 1 at kernel/livepatch/core.c:5 f+0x1/0x2 [lp]",
            "<4>[    1.0][    T1] WARNING: possible circular locking dependency detected",
            "<4>WARNING: kernel/livepatch/core.c:5 at f+0x1/0x2, CPU#0: insmod/1",
            "<1>[    1.0] BUG: kernel NULL pointer dereference, address: 0",
            "<3>[    1.0] BUG: KASAN: slab-out-of-bounds in f+0x1/0x2",
            "<1>[    1.0] KASAN: null-ptr-deref in range [0x0-0x7]",
            "<3>[    1.0] UBSAN: shift-out-of-bounds in lp.c:1:2",
            "<4>[    1.0] Oops: 0002 [#1] PREEMPT SMP",
            "<4>[    1.0] invalid opcode: 0000 [#12] SMP",
            "<3>[   21.0] rcu: INFO: rcu_preempt self-detected stall on CPU",
            "<3>[   21.0] rcu: INFO: rcu_sched detected expedited stalls on CPUs/tasks: { 1-... }",
            "<3>[   21.0] INFO: rcu_tasks detected stalls on tasks:",
            "<0>[   22.0] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [sh:1]",
            "<0>[   22.0] NMI watchdog: Watchdog detected hard LOCKUP on cpu 0",
            "<0>[   22.0] watchdog: CPU0: Watchdog detected hard LOCKUP on cpu 0",
            "<0>[   22.0] BUG: workqueue lockup - pool cpus=0 node=0",
            "<3>[  120.0] INFO: task sh:1 blocked for more than 120 seconds.",
            "<4>[    1.0] [ INFO: possible recursive locking detected ]",
            "<3>[    1.0] traps: Missing ENDBR: nr_processes+0x0/0x40",
            "<2>[    1.0] CFI failure at lp_show+0x1/0x2 [lp] (target: nr_processes+0x0/0x40)",
        ] {
            let (priority, text) = line[1..].split_once('>').unwrap();
            assert!(is_alarm(priority.parse().ok(), text), "{line}");
            assert!(is_alarm(None, text), "{line}");
        }
    }

    #[test]
    fn words_are_none() {
        for (priority, line) in [
            (6, "[    1.0] WARNING: CPU: 0 PID: 1 says a driver at level info"),
            (5, "[    1.0] BUG: at level notice"),
            (12, "[    1.0] WARNING: a command has written this to /dev/kmsg"),
            (4, "[    1.0] lp: this is no WARNING: at all"),
            (4, "[    1.0] livepatch: enabling patch 'BUG: '"),
            (4, "[    1.0] foo: [#x] of "),
            (3, "[    1.0] rcu: INFO: rcu_sched is well"),
            (4, "[    1.0] [WARNING: of someone else]"),
        ] {
            assert!(!is_alarm(Some(priority), line), "{line}");
        }
    }
}
