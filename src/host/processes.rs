// SPDX-License-Identifier: GPL-2.0-only
//! The processes below this one: what make runs, and what a stopped make leaves behind.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{
    Pid, Signal, WaitOptions, geteuid, getpgrp, getpid, getppid, kill_process, set_child_subreaper,
    set_parent_process_death_signal, wait,
};

/// The user this process acts as, by number.
pub fn user() -> u32 {
    geteuid().as_raw()
}

/// Makes this process the new parent of descendants whose parents end, so that none escapes.
pub fn adopt_orphans() {
    let _ = set_child_subreaper(Some(getpid()));
}

/// Replaces this process by `command`, a program with its arguments, which the system ends when `parent` ends for
/// whatever reason (PR_SET_PDEATHSIG: it survives an exec but not a fork, so `parent` cannot set it for its child).
/// Returns only with an error.
///
/// # Errors
/// The parent is gone already, or there is no such program.
pub fn become_tied(parent: u32, command: &[OsString]) -> Result<()> {
    let Some((program, arguments)) = command.split_first() else { bail!("no program is named") };
    set_parent_process_death_signal(Some(Signal::KILL)).context("cannot tie a program to klpbuild")?;
    // The parent may have ended before that.
    let is_there = getppid().is_some_and(|pid| u32::try_from(pid.as_raw_nonzero().get()) == Ok(parent));
    if !is_there {
        bail!("the klpbuild that started this is gone");
    }
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("cannot run {}", program.to_string_lossy()))
}

/// Ends all descendants that still run after make has ended: with SIGTERM, and a second later with SIGKILL.
pub fn end_descendants() {
    for (signal, patience) in [(Signal::TERM, Duration::from_secs(1)), (Signal::KILL, Duration::from_secs(1))]
    {
        let deadline = Instant::now() + patience;
        loop {
            let left = descendants();
            for &pid in &left {
                let _ = kill_process(pid, signal);
            }
            if left.is_empty() {
                return;
            }
            if Instant::now() > deadline {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Reaps the descendants that have ended. Call it only when make's own status is known: it would be reaped as well.
pub fn reap() {
    while matches!(wait(WaitOptions::NOHANG), Ok(Some(_))) {}
}

/// The command lines of all processes below this one, the newest first: each argument ends with a byte 0 (proc(5),
/// /proc/PID/cmdline).
pub fn command_lines() -> impl Iterator<Item = Vec<u8>> {
    let pids = descendants().into_iter().rev();
    pids.filter_map(|pid| fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).ok())
}

/// A process below this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descendant {
    /// Its number.
    pub pid: u32,
    /// Its start time ([`start_of`]); together with the number, it identifies the process.
    pub start: u64,
    /// How long it has been running, to a clock tick.
    pub age: Duration,
    /// Its command line: each argument ends with a byte 0.
    pub command: Vec<u8>,
    /// The number of the process that started it.
    pub parent: u32,
}

/// All processes below this one, except for forks (fork(2)) that have not started another program yet.
pub fn running() -> Vec<Descendant> {
    // proc(5): a tick is a hundredth of a second on every machine that Linux has programs for.
    const TICK_MILLISECONDS: u64 = 10;
    let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let uptime: f64 = uptime.split(' ').next().and_then(|seconds| seconds.parse().ok()).unwrap_or_default();
    let uptime = Duration::try_from_secs_f64(uptime).unwrap_or_default();
    let one = |pid: Pid| {
        let pid = u32::try_from(pid.as_raw_nonzero().get()).ok()?;
        let Stat { parent, start, .. } = stat_of(pid)?;
        let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let age = uptime.saturating_sub(Duration::from_millis(start.saturating_mul(TICK_MILLISECONDS)));
        Some(Descendant { pid, start, age, command, parent })
    };
    let all: Vec<Descendant> = descendants().into_iter().filter_map(one).collect();
    let commands: HashMap<u32, &[u8]> = all.iter().map(|one| (one.pid, one.command.as_slice())).collect();
    let is_copy = |one: &&Descendant| commands.get(&one.parent) == Some(&one.command.as_slice());
    all.iter().filter(|one| !is_copy(one)).cloned().collect()
}

/// When a process was started, in clock ticks since the system start (proc(5), `starttime`); none if there is no such
/// process, or it has ended.
pub fn start_of(pid: u32) -> Option<u64> {
    Some(stat_of(pid)?.start)
}

/// The process group of this process, to which everything that it starts belongs.
pub fn group() -> u32 {
    u32::try_from(getpgrp().as_raw_nonzero().get()).unwrap_or_default()
}

/// The processes of a group that were started at `start` or later, and have not ended. Servers leave the group of
/// their starter (setsid(2)).
pub fn of_group(group: u32, start: u64) -> Vec<u32> {
    let is_meant = |stat: &Stat| stat.group == group && stat.start >= start;
    pids().filter(|&pid| stat_of(pid).as_ref().is_some_and(is_meant)).collect()
}

/// The path in a variable of another process's environment, as that process would find it. None if there is no such
/// variable, or it may not be read.
pub fn path_in_environment(pid: u32, name: &str) -> Option<PathBuf> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mut entries = environment.split(|&byte| byte == 0);
    let value = entries.find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
    let directory = fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
    Some(directory.join(OsString::from_vec(value.to_vec())))
}

/// The state of a process (proc(5), /proc/PID/stat).
struct Stat {
    parent: u32,
    group: u32,
    start: u64,
}

/// The state of the process `pid`; none if there is no such process, or it has ended.
fn stat_of(pid: u32) -> Option<Stat> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name may contain anything; no parenthesis follows its last one.
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    // The state is the third field, the start the 22nd.
    let start = fields.nth(16)?.parse().ok()?;
    (state != "Z" && state != "X").then_some(Stat { parent, group, start })
}

fn pids() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// All processes below this one that have not ended.
fn descendants() -> Vec<Pid> {
    let parents: Vec<(u32, u32)> = pids().filter_map(|pid| Some((pid, stat_of(pid)?.parent))).collect();
    let mut found = vec![std::process::id()];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(parents.iter().filter(|&&(_, of)| of == parent).map(|&(pid, _)| pid));
        next += 1;
    }
    found.into_iter().skip(1).filter_map(|pid| Pid::from_raw(i32::try_from(pid).ok()?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shell's subshell has its command line until it runs another program.
    #[test]
    fn copies_of_a_process_do_not_count() {
        let script = "exec 3<&0; (read -r _ <&3; :) & echo; wait; : a-shell-and-its-copy";
        let mut shell = Command::new("sh")
            .args(["-c", script])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = shell.stdout.take().unwrap();
        std::io::Read::read_exact(&mut out, &mut [0]).unwrap();
        let is_it = |command: &[u8]| memchr::memmem::find(command, b"a-shell-and-its-copy").is_some();
        let all = command_lines().filter(|command| is_it(command)).count();
        let counted = running().into_iter().filter(|one| is_it(&one.command)).count();
        drop(shell.stdin.take());
        shell.wait().unwrap();
        assert_eq!((all, counted), (2, 1));
    }
}
