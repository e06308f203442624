// SPDX-License-Identifier: GPL-2.0-only
//! What the guest prints: the lines of its console are those of `init.sh`, which begin with a token that no other
//! program knows, and those of the kernel.

use std::fmt;

/// Turns lines into events.
#[derive(Debug)]
pub struct Protocol {
    token: String,
    mark: String,
}

/// An event in the guest, from a line of its console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A line that is not from `init.sh`: the kernel's own, or QEMU's.
    Console(String),
    /// The ELF notes of the running kernel.
    Notes(Vec<u8>),
    /// The guest is up; the release of its kernel.
    Hello(String),
    /// A stage begins.
    Begin(Stage),
    /// A line that a program has printed.
    Output(String),
    /// A new line of the kernel's log, with its priority (`<4>` in front of it, if the guest's dmesg prints that).
    Kernel(Option<u32>, String),
    /// Whether an object that a livepatch names is loaded and patched: the livepatch, the object.
    Object(String, String, bool),
    /// The stage has ended.
    End(StageVerdict, String),
    /// The guest has nothing more to print.
    Done,
}

/// How a stage ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StageVerdict {
    /// It went well.
    Ok,
    /// It failed: no other stage follows.
    Failed,
    /// It could not be tried.
    Skipped,
}

/// A part of the trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// The kernel boots.
    Boot,
    /// A module, or a livepatch, is loaded; the file's name.
    Load(String),
    /// All tasks switch to the new code; the livepatch's name.
    Transition(String),
    /// The command is run.
    Command(CommandMoment),
    /// A patched module is unloaded and loaded again; the file's name.
    Reload(String),
    /// A livepatch is disabled; its name.
    Disable(String),
    /// A module, or a livepatch, is unloaded; the file's name.
    Unload(String),
    /// The guest ends.
    End,
}

/// When the command is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandMoment {
    /// Before the livepatches are loaded.
    Before,
    /// While they are enabled.
    Enabled,
    /// After the patched modules were reloaded, with the livepatches still enabled.
    Reloaded,
    /// After the livepatches are disabled.
    After,
}

impl Protocol {
    /// The protocol of one run, with a new token.
    pub fn new() -> Protocol {
        use std::hash::{BuildHasher as _, RandomState};
        let random = || RandomState::new().hash_one(std::process::id());
        Protocol {
            token: format!("@klpbuild-{:016x}{:016x}", random(), random()),
            mark: format!("@end-{:016x}", random()),
        }
    }

    /// The text with which the output of the command ends. It is no secret: a command that prints it only ends its
    /// own output.
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// The text with which each line of `init.sh` begins.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The events in one line of the console. Text without a line break that came before a line of `init.sh` stands
    /// in front of that line.
    pub fn events(&self, line: &[u8]) -> Vec<Event> {
        let line = printable(line);
        let mut parts = line.split(self.token.as_str());
        let console = parts.next().map(str::trim_end).filter(|text| !text.is_empty());
        let console = console.map(|text| Event::Console(text.to_owned()));
        let told = parts.map(|part| message(part).unwrap_or_else(|| Event::Console(part.trim().to_owned())));
        console.into_iter().chain(told).collect()
    }
}

impl Default for Protocol {
    fn default() -> Protocol {
        Protocol::new()
    }
}

fn message(part: &str) -> Option<Event> {
    let part = part.strip_prefix(' ')?;
    let (word, rest) = part.split_once(' ').unwrap_or((part, ""));
    Some(match word {
        "notes" => Event::Notes(bytes(rest)?),
        "hello" => Event::Hello(rest.to_owned()),
        "begin" => Event::Begin(stage(rest)?),
        "output" => Event::Output(rest.to_owned()),
        "kernel" => {
            let (priority, line) = prioritized(rest);
            Event::Kernel(priority, line.to_owned())
        }
        "object" => match rest.split(' ').collect::<Vec<_>>()[..] {
            [livepatch, object, state] => {
                Event::Object(livepatch.to_owned(), object.to_owned(), state == "1")
            }
            _ => return None,
        },
        "end" => {
            let (verdict, why) = rest.split_once(' ').unwrap_or((rest, ""));
            let verdict = match verdict {
                "ok" => StageVerdict::Ok,
                "failed" => StageVerdict::Failed,
                "skipped" => StageVerdict::Skipped,
                _ => return None,
            };
            Event::End(verdict, why.to_owned())
        }
        "done" => Event::Done,
        _ => return None,
    })
}

fn stage(text: &str) -> Option<Stage> {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let name = rest.to_owned();
    Some(match word {
        "load" => Stage::Load(name),
        "transition" => Stage::Transition(name),
        "command" => Stage::Command(match rest {
            "before" => CommandMoment::Before,
            "enabled" => CommandMoment::Enabled,
            "reloaded" => CommandMoment::Reloaded,
            "after" => CommandMoment::After,
            _ => return None,
        }),
        "reload" => Stage::Reload(name),
        "disable" => Stage::Disable(name),
        "unload" => Stage::Unload(name),
        "end" => Stage::End,
        _ => return None,
    })
}

/// The priority of a raw line of the kernel's log, and the line.
fn prioritized(line: &str) -> (Option<u32>, &str) {
    let parts = line.strip_prefix('<').and_then(|rest| rest.split_once('>'));
    match parts.and_then(|(digits, rest)| Some((digits.parse().ok()?, rest))) {
        Some((priority, rest)) => (Some(priority), rest),
        None => (None, line),
    }
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = hex.chars().map(|digit| digit.to_digit(16)).collect();
    let pairs = digits?;
    let pairs = pairs.chunks(2).map(|pair| match pair {
        [high, low] => u8::try_from(high * 16 + low).ok(),
        _ => None,
    });
    pairs.collect()
}

/// Text without characters that move the cursor, whatever the guest has printed.
fn printable(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line).replace('\t', "        ");
    text.chars().filter(|character| !character.is_control()).collect()
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stage::Boot => f.write_str("boot"),
            Stage::Load(name) => write!(f, "load {name}"),
            Stage::Transition(name) => write!(f, "transition to {name}"),
            Stage::Command(CommandMoment::Before) => f.write_str("command before"),
            Stage::Command(CommandMoment::Enabled) => f.write_str("command while enabled"),
            Stage::Command(CommandMoment::Reloaded) => f.write_str("command after the reload"),
            Stage::Command(CommandMoment::After) => f.write_str("command after"),
            Stage::Reload(name) => write!(f, "reload {name}"),
            Stage::Disable(name) => write!(f, "disable {name}"),
            Stage::Unload(name) => write!(f, "unload {name}"),
            Stage::End => f.write_str("shut down"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(text: &str) -> Vec<Event> {
        let protocol = Protocol { token: "@T".to_owned(), mark: String::new() };
        text.split('\n').flat_map(|line| protocol.events(line.as_bytes())).collect()
    }

    #[test]
    fn each_word_has_its_event() {
        let text = "@T notes 00fF\n@T hello 6.12.1\n@T begin load a-b.ko\n@T kernel <12>[    1.0] a:  b\n@T kernel <b>\n@T object lp vmlinux 1\n@T object lp a_b 0\n\
                    @T output   two  blanks\n@T output \n@T end ok\n@T begin command enabled\n\
                    @T end failed status 1\n@T begin end\n@T end skipped why not\n@T done";
        let expected = [
            Event::Notes(vec![0, 255]),
            Event::Hello("6.12.1".to_owned()),
            Event::Begin(Stage::Load("a-b.ko".to_owned())),
            Event::Kernel(Some(12), "[    1.0] a:  b".to_owned()),
            Event::Kernel(None, "<b>".to_owned()),
            Event::Object("lp".to_owned(), "vmlinux".to_owned(), true),
            Event::Object("lp".to_owned(), "a_b".to_owned(), false),
            Event::Output("  two  blanks".to_owned()),
            Event::Output(String::new()),
            Event::End(StageVerdict::Ok, String::new()),
            Event::Begin(Stage::Command(CommandMoment::Enabled)),
            Event::End(StageVerdict::Failed, "status 1".to_owned()),
            Event::Begin(Stage::End),
            Event::End(StageVerdict::Skipped, "why not".to_owned()),
            Event::Done,
        ];
        assert_eq!(events(text), expected);
    }

    #[test]
    fn what_the_kernel_prints_in_between_is_told_apart() {
        let text = "[    2.0] Kernel panic@T output x@T end ok\nend ok\n@T what is this\n@T begin nothing\n\
                    @T notes 0g\n\u{1b}[2J\u{0}\u{fffd}\n";
        let console = |text: &str| Event::Console(text.to_owned());
        let expected = [
            console("[    2.0] Kernel panic"),
            Event::Output("x".to_owned()),
            Event::End(StageVerdict::Ok, String::new()),
            console("end ok"),
            console("what is this"),
            console("begin nothing"),
            console("notes 0g"),
            console("[2J\u{fffd}"),
        ];
        assert_eq!(events(text), expected);
    }

    #[test]
    fn each_run_has_a_token_of_its_own() {
        assert_ne!(Protocol::new().token(), Protocol::new().token());
        let protocol = Protocol::new();
        assert_eq!(protocol.events(format!("{} done", protocol.token()).as_bytes()), [Event::Done]);
        assert_eq!(protocol.events(b"@klpbuild-0 done"), [Event::Console("@klpbuild-0 done".to_owned())]);
        assert!(protocol.events(&[0xff; 3]).len() == 1 && protocol.events(b"").is_empty());
    }
}
