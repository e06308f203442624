// SPDX-License-Identifier: GPL-2.0-only
//! How klpbuild ends: the exit statuses that `--help` and the reference (docs/reference.md) document.

use std::process::ExitStatus;

/// How a run of klpbuild ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: everything asked for is done.
    Done,
    /// 1: klpbuild itself found a problem. Its message was printed already, or is the error that accompanies this.
    Problem,
    /// 2: the command line makes no sense.
    Usage,
    /// 2: `klpbuild verify` or `klpbuild show` could not check something, or `klpbuild try` could not try something.
    Unchecked,
    /// make failed; klpbuild ends with make's own status (2 for an ordinary build error).
    Make(u8),
    /// A signal of this number arrived: klpbuild ends by the same signal, so that a shell sees the same as with make.
    Signal(i32),
}

impl Exit {
    /// The exit code a process reports for this ending. A signal is reported as shells write it, 128 plus
    /// its number, for the case that raising it did not end the process.
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Problem => 1,
            Exit::Usage | Exit::Unchecked => 2,
            Exit::Make(code) => code,
            Exit::Signal(signal) => u8::try_from(128 + signal).unwrap_or(255),
        }
    }
}

/// How make's own end counts. A make that was ended by a signal counts as that signal.
impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        use std::os::unix::process::ExitStatusExt;
        match (status.code(), status.signal()) {
            (Some(0), _) => Exit::Done,
            (Some(code), _) => Exit::Make(u8::try_from(code).unwrap_or(255)),
            (None, Some(signal)) => Exit::Signal(signal),
            (None, None) => Exit::Problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn makes_status_is_passed_on() {
        assert_eq!(Exit::from(ExitStatus::from_raw(0)), Exit::Done);
        assert_eq!(Exit::from(ExitStatus::from_raw(2 << 8)), Exit::Make(2));
        assert_eq!(Exit::from(ExitStatus::from_raw(15)), Exit::Signal(15));
        assert_eq!(Exit::Signal(2).code(), 130);
    }
}
