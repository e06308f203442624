// SPDX-License-Identifier: GPL-2.0-only
//! How long the guest may take for each stage, by the host's clock: the guest's own clock is not reliable.

use std::time::Duration;

use crate::command::trial::protocol::Stage;

/// After this long, a transition is stuck, unless the whole trial has less time. The kernel itself signals tasks that
/// delay it every 15 s (`SIGNALS_TIMEOUT` in kernel/livepatch/transition.c).
const TRANSITION: Duration = Duration::from_secs(60);
/// How long a module may stay in use after its users are gone.
const RELEASE: Duration = Duration::from_secs(10);
/// How long before the end of the whole trial the kernel is asked for a report.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Which messages about time the guest has to get, and which it has got.
#[derive(Debug)]
pub struct Patience {
    limit: Duration,
    told: Option<usize>,
    is_last_told: bool,
}

impl Patience {
    /// The time limits for a guest that may run for `limit`.
    pub fn new(limit: Duration) -> Patience {
        Patience { limit, told: None, is_last_told: false }
    }

    /// The message to a guest that has been in its `number`-th stage for `since`, and has run for `all`; none if
    /// there is none to send. init.sh knows these messages.
    pub fn words(&mut self, stage: &Stage, number: usize, since: Duration, all: Duration) -> Option<String> {
        let stage_limit = match stage {
            Stage::Transition(_) | Stage::Disable(_) => Some(TRANSITION.min(self.limit / 2)),
            Stage::Reload(_) | Stage::Unload(_) => Some(RELEASE),
            _ => None,
        };
        // If the whole trial has less time than that, there is no time for a report.
        let is_near = all + LAST_WORDS >= self.limit && self.limit > LAST_WORDS * 2;
        if stage_limit.is_some_and(|limit| since >= limit || is_near) && self.told != Some(number) {
            self.told = Some(number);
            return Some(format!("late {number} {}", since.as_secs()));
        }
        if is_near && !self.is_last_told {
            self.is_last_told = true;
            return Some("last".to_owned());
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn each_stage_is_told_once_that_it_is_late() {
        let mut patience = Patience::new(seconds(1000));
        let transition = Stage::Transition("lp".to_owned());
        assert_eq!(patience.words(&transition, 2, seconds(59), seconds(70)), None);
        assert_eq!(patience.words(&transition, 2, seconds(60), seconds(71)).unwrap(), "late 2 60");
        assert_eq!(patience.words(&transition, 2, seconds(61), seconds(72)), None);
        let unload = Stage::Unload("lp.ko".to_owned());
        assert_eq!(patience.words(&unload, 5, seconds(9), seconds(90)), None);
        assert_eq!(patience.words(&unload, 5, seconds(10), seconds(91)).unwrap(), "late 5 10");
        assert_eq!(patience.words(&Stage::Load("lp.ko".to_owned()), 6, seconds(900), seconds(991)), None);
        // At the end of all, who holds up a transition is asked for before the kernel is.
        assert_eq!(patience.words(&transition, 7, seconds(3), seconds(995)).unwrap(), "late 7 3");
        assert_eq!(patience.words(&transition, 7, seconds(3), seconds(995)).unwrap(), "last");
        assert_eq!(patience.words(&Stage::End, 7, seconds(0), seconds(996)), None);
    }

    #[test]
    fn little_time_for_all_is_little_for_a_transition() {
        let mut patience = Patience::new(seconds(10));
        let transition = Stage::Transition("lp".to_owned());
        assert_eq!(patience.words(&transition, 1, seconds(5), seconds(9)).unwrap(), "late 1 5");
        assert_eq!(patience.words(&transition, 1, seconds(6), seconds(10)), None, "no time for last words");
    }
}
