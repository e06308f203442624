// SPDX-License-Identifier: GPL-2.0-only
//! The virtual machine that runs the guest.

use std::fmt;
use std::io::{PipeWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fs_err::File;

use crate::cli::AccelKind;
use crate::command::trial::initramfs::INIT;
use crate::host::exit::Exit;
use crate::host::program::{Program, QEMU, Running, lines_of};

/// The kernel's command line. Panics and oopses end the guest. The early console shows how far a kernel that hangs
/// has come. No timer is checked: `timer_irq_works` (arch/x86/kernel/apic/io_apic.c) panics if a busy host delays its
/// ticks. Process 1 is a program and not a script, which would need CONFIG_BINFMT_SCRIPT.
const APPEND: &str = "ro console=ttyS0,115200 earlyprintk=ttyS0,115200 panic=-1 oops=panic no_timer_check \
                      rdinit=/bin/busybox";
/// The longest command line that the kernel accepts, in bytes (COMMAND_LINE_SIZE, arch/x86/include/asm/setup.h),
/// without the zero byte at the end.
const ROOM: usize = 2047;
/// The option for the guest's clock without KVM: it counts the instructions that the guest has run, for all timers
/// alike, and keeps as near to real time as possible. With the host's clock, a guest that gets too little time on a
/// busy host calibrates its timers wrong: its own clock runs many times too fast, and its watchdogs report stalls and
/// lockups that do not exist.
const CLOCK: [&str; 2] = ["-icount", "shift=auto"];
/// How long QEMU may take to end after it has closed its output.
const LEAVE: Duration = Duration::from_secs(5);
/// How long a line may take to arrive after QEMU has ended.
const LAST_LINES: Duration = Duration::from_secs(1);

/// What executes the guest's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accel {
    /// The processor, through KVM.
    Kvm,
    /// QEMU itself.
    Tcg,
}

impl Accel {
    /// The accelerators to try, in turn.
    pub fn choices(kind: AccelKind) -> &'static [Accel] {
        match kind {
            AccelKind::Kvm => &[Accel::Kvm],
            AccelKind::Auto if has_kvm() => &[Accel::Kvm, Accel::Tcg],
            AccelKind::Auto | AccelKind::Tcg => &[Accel::Tcg],
        }
    }
}

impl fmt::Display for Accel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Accel::Kvm => "KVM",
            Accel::Tcg => "TCG",
        })
    }
}

/// Whether KVM for x86-64 exists and this user may use it. Whether it works, only a try can show.
fn has_kvm() -> bool {
    let open = || std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm");
    cfg!(target_arch = "x86_64") && open().is_ok()
}

/// The kernel's command line: `more` comes after klpbuild's own words, so that it wins if both set the same
/// parameter.
///
/// # Errors
/// The kernel would not read all of it, or would read it in another way than it is meant.
pub fn command_line(more: Option<&str>) -> Result<String> {
    let more = more.unwrap_or_default().trim();
    ensure!(
        !more.contains(['\n', '\0']) && !more.split(' ').any(|word| word == "--"),
        "--append {more:?}: what comes after -- or a line break does not reach the kernel: leave it out"
    );
    let own = if more.is_empty() { APPEND.to_owned() } else { format!("{APPEND} {more}") };
    let line = format!("{own} -- sh {INIT}");
    ensure!(
        line.len() <= ROOM,
        "--append has {} characters, and the kernel has room for {}",
        more.len(),
        more.len().saturating_sub(line.len() - ROOM)
    );
    Ok(line)
}

/// The kernel to boot.
#[derive(Debug)]
pub struct GuestKernel {
    /// The kernel's image.
    pub kernel: PathBuf,
    /// The kernel's command line ([`command_line`]).
    pub command_line: String,
    /// Its memory, in MiB.
    pub memory: u64,
}

/// The command of the QEMU that boots `guest` with an initramfs.
pub fn command(guest: &GuestKernel, accel: Accel, initramfs: &Path) -> Program {
    let mut qemu = Program::new(QEMU, Path::new("/"), "is QEMU installed?");
    qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-monitor", "none"]);
    qemu.args(["-serial", "stdio", "-no-reboot"]);
    match accel {
        Accel::Kvm => qemu.args(["-accel", "kvm", "-cpu", "host"]),
        Accel::Tcg => qemu.args(["-accel", "tcg", "-cpu", "max"]).args(CLOCK),
    };
    qemu.args(["-smp", "2", "-m"]).arg(guest.memory.to_string());
    qemu.arg("-kernel").arg(guest.kernel.display().to_string());
    qemu.arg("-initrd").arg(initramfs.display().to_string());
    qemu.arg("-append").arg(&guest.command_line);
    qemu.tie();
    qemu
}

/// A running guest. It ends when this is dropped.
#[derive(Debug)]
pub struct RunningGuest {
    running: Running,
    lines: Receiver<Vec<u8>>,
    input: PipeWriter,
    log: Option<File>,
    /// When it was started.
    pub begin: Instant,
}

/// What came from a machine.
#[derive(Debug, PartialEq, Eq)]
pub enum Word {
    /// A line of the console, or of QEMU itself.
    Line(Vec<u8>),
    /// Nothing so far.
    Nothing,
    /// Its end, with this outcome: nothing more will come.
    Ended(Exit),
}

impl RunningGuest {
    /// Starts QEMU. Its output goes to `log` as well.
    ///
    /// # Errors
    /// It cannot be started, or the log cannot be made.
    pub fn start(qemu: &Program, log: Option<&Path>) -> Result<RunningGuest> {
        let log = log.map(File::create).transpose();
        let log = log.context("cannot make the log: name another place with --log FILE")?;
        let begin = Instant::now();
        let (running, pipe, input) = qemu.start_with_input()?;
        Ok(RunningGuest { running, lines: lines_of(pipe), input, log, begin })
    }

    /// Waits up to `patience` for the machine.
    ///
    /// # Errors
    /// The system cannot tell whether QEMU has ended.
    pub fn listen(&mut self, patience: Duration) -> Result<Word> {
        Ok(match self.lines.recv_timeout(patience) {
            Ok(line) => self.logged(line),
            Err(RecvTimeoutError::Disconnected) => Word::Ended(self.last_moment()?),
            Err(RecvTimeoutError::Timeout) => match self.running.try_wait()? {
                None => Word::Nothing,
                // Its last lines may be on their way. Another process may hold the pipe for ever.
                Some(exit) => match self.lines.recv_timeout(LAST_LINES) {
                    Ok(line) => self.logged(line),
                    Err(_) => Word::Ended(exit),
                },
            },
        })
    }

    fn logged(&mut self, line: Vec<u8>) -> Word {
        // If the disk is full, the log ends, and the trial goes on.
        if let Some(log) = &mut self.log
            && log.write_all(&[&line, &b"\n"[..]].concat()).is_err()
        {
            self.log = None;
        }
        Word::Line(line)
    }

    /// QEMU's exit, after it has closed its output.
    fn last_moment(&self) -> Result<Exit> {
        let since = Instant::now();
        while since.elapsed() < LEAVE {
            if let Some(exit) = self.running.try_wait()? {
                return Ok(exit);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.running.kill();
        self.running.wait()
    }

    /// Sends a line to the guest's console. If the guest is gone, nothing happens.
    pub fn send_line(&mut self, words: &str) {
        let _ = writeln!(self.input, "{words}");
    }
}

impl Drop for RunningGuest {
    fn drop(&mut self) {
        // A QEMU that hangs in KVM reacts to no other signal.
        self.running.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_come_after_the_end_are_heard() {
        let mut shell = Program::new("sh", Path::new("/"), "");
        shell.args(["-c", "(sleep 0.4; echo last) & exit 3"]);
        let mut machine = RunningGuest::start(&shell, None).unwrap();
        let mut words = Vec::new();
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(20) {
            match machine.listen(Duration::from_millis(20)).unwrap() {
                Word::Nothing => continue,
                word => words.push(word),
            }
            if matches!(words.last(), Some(Word::Ended(_))) {
                break;
            }
        }
        let [line, Word::Ended(exit)] = words.as_slice() else { panic!("{words:?}") };
        assert_eq!((line, exit.code()), (&Word::Line(b"last".to_vec()), 3));
    }
}
