//! The machine that runs the guest.

use std::fmt;
use std::io::Write as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use fs_err::File;

use crate::cli::AccelKind;
use crate::program::{Program, Running, lines_of};
use crate::trial::initramfs::INIT;
use crate::trial::request::Request;

/// The program.
pub const NAME: &str = "qemu-system-x86_64";

/// Panics and oopses end the guest. The early console shows what a kernel that hangs has come to.
/// Process 1 is a program, not a script: that would need CONFIG_BINFMT_SCRIPT.
const APPEND: &str =
    "ro console=ttyS0,115200 earlyprintk=ttyS0,115200 panic=-1 oops=panic rdinit=/bin/busybox";

/// What runs the guest's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accel {
    /// The processor.
    Kvm,
    /// QEMU itself.
    Tcg,
}

impl Accel {
    /// Those to be tried in turn.
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

/// Whether KVM for x86-64 is there, and this user may use it. That it works has to be seen.
fn has_kvm() -> bool {
    let open = || std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm");
    cfg!(target_arch = "x86_64") && open().is_ok()
}

/// The QEMU for a request.
pub fn command(request: &Request, accel: Accel, initramfs: &Path) -> Program {
    let mut qemu = Program::new(NAME, Path::new("/"), "is QEMU installed?");
    qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-monitor", "none"]);
    qemu.args(["-serial", "stdio", "-no-reboot"]);
    qemu.args(match accel {
        Accel::Kvm => ["-accel", "kvm", "-cpu", "host"],
        Accel::Tcg => ["-accel", "tcg", "-cpu", "max"],
    });
    qemu.args(["-smp", "2", "-m"]).arg(request.memory.to_string());
    qemu.arg("-kernel").arg(request.kernel.display().to_string());
    qemu.arg("-initrd").arg(initramfs.display().to_string());
    qemu.arg("-append").arg(format!("{APPEND} -- sh {INIT}"));
    qemu
}

/// A guest at work. Dropped, it is ended.
#[derive(Debug)]
pub struct Machine {
    running: Running,
    lines: Receiver<Vec<u8>>,
    log: Option<File>,
    /// When it was started.
    pub begin: Instant,
}

/// What a machine has to say.
#[derive(Debug, PartialEq, Eq)]
pub enum Word {
    /// A line of the console, or of QEMU itself.
    Line(Vec<u8>),
    /// Nothing now.
    Nothing,
    /// Nothing any more: it has ended.
    Ended,
}

impl Machine {
    /// Starts QEMU. What it prints goes to `log` as well.
    ///
    /// # Errors
    /// It cannot be started, or the log cannot be made.
    pub fn start(qemu: &Program, log: Option<&Path>) -> Result<Machine> {
        let log = log.map(File::create).transpose();
        let log = log.context("cannot make the log: name another place with --log FILE")?;
        let begin = Instant::now();
        let (running, pipe) = qemu.start()?;
        Ok(Machine { running, lines: lines_of(pipe), log, begin })
    }

    /// Waits up to `patience` for a word.
    ///
    /// # Errors
    /// The system cannot tell whether QEMU has ended.
    pub fn listen(&mut self, patience: Duration) -> Result<Word> {
        Ok(match self.lines.recv_timeout(patience) {
            Ok(line) => {
                // A full disk costs the log, not the trial.
                if let Some(log) = &mut self.log
                    && log.write_all(&[&line, &b"\n"[..]].concat()).is_err()
                {
                    self.log = None;
                }
                Word::Line(line)
            }
            Err(RecvTimeoutError::Disconnected) => Word::Ended,
            // Something may hold the pipe that QEMU has left.
            Err(RecvTimeoutError::Timeout) => match self.running.try_wait()? {
                Some(_) => Word::Ended,
                None => Word::Nothing,
            },
        })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // A QEMU that hangs in KVM heeds nothing else.
        self.running.kill();
    }
}
