// SPDX-License-Identifier: GPL-2.0-only
//! The bar on a terminal; the only place that names indicatif.

use std::fmt::Write;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle, TermLike};

use crate::build::progress::history::History;
use crate::build::progress::screen::Progress;
use crate::host::paint;
use crate::host::terminal::NoControlEcho;
use crate::host::terminal::{self, Stream};

/// The width of the bar itself in columns, if there is room for it and the end is known.
const BAR_WIDTH: usize = 20;
/// From this width of the terminal on, in columns, there is room.
const ROOMY: usize = 72;

/// If no step has ended for this long, klpbuild looks which one is running.
const SILENCE: Duration = Duration::from_millis(500);
/// The shortest time between two drawings.
const PAUSE: Duration = Duration::from_millis(100);

/// One line that is drawn at most ten times a second. Text is printed above it.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
    begin: Instant,
    last: History,
    steps: u64,
    step: String,
    /// Whether the bar itself is in the line now.
    has_bar: bool,
    /// The text that indicatif prints beside the bar.
    line: Arc<Mutex<String>>,
    /// Lines to print above the bar when it is drawn next.
    text: Vec<String>,
    drawn: Option<Instant>,
    /// The time of the last step.
    heard: Instant,
    _echo: NoControlEcho,
}

impl Bar {
    /// A bar on standard error, which is a terminal. `last` gives its end, as soon as the run is like an earlier one.
    pub fn new(last: History) -> Bar {
        let mut bar = Bar {
            bar: ProgressBar::with_draw_target(
                None,
                ProgressDrawTarget::term_like(Box::new(Screen::default())),
            ),
            begin: Instant::now(),
            last,
            steps: 0,
            step: "starting make".to_owned(),
            has_bar: false,
            line: Arc::default(),
            text: Vec::new(),
            drawn: None,
            heard: Instant::now(),
            _echo: NoControlEcho::begin(),
        };
        bar.set_style();
        bar.draw();
        bar
    }

    fn set_style(&self) {
        let template =
            if self.has_bar { format!("[{{bar:{BAR_WIDTH}}}] {{line}}") } else { "{line}".to_owned() };
        let line = Arc::clone(&self.line);
        let key = move |_: &ProgressState, out: &mut dyn Write| {
            if let Ok(line) = line.lock() {
                let _ = out.write_str(&line);
            }
        };
        if let Ok(style) = ProgressStyle::with_template(&template) {
            self.bar.set_style(style.progress_chars("=> ").with_key("line", key));
        }
    }

    /// Draws what has come since the last drawing, if that was long enough ago.
    fn draw(&mut self) {
        if self.drawn.is_none_or(|drawn| drawn.elapsed() >= PAUSE) {
            self.draw_now();
        }
    }

    fn draw_now(&mut self) {
        self.drawn = Some(Instant::now());
        let columns = terminal::columns();
        let elapsed = self.begin.elapsed();
        let last = self.last.like(self.steps, elapsed);
        let total = last.map(|run| run.steps);
        let has_bar = total.is_some() && columns >= ROOMY;
        if has_bar != self.has_bar {
            self.has_bar = has_bar;
            self.set_style();
        }
        let left = last.and_then(|run| run.left(self.steps, elapsed));
        // The last column stays free: some terminals wrap the line when it is written.
        let room = columns.saturating_sub(1 + if has_bar { BAR_WIDTH + 3 } else { 0 });
        let now = line(room, self.steps, total, elapsed, left, &self.step);
        let changed =
            self.line.lock().is_ok_and(|mut line| std::mem::replace(&mut *line, now.clone()) != now);
        if !changed && self.text.is_empty() {
            return;
        }
        if !self.text.is_empty() {
            self.bar.println(std::mem::take(&mut self.text).join("\n"));
        }
        self.bar.update(|state| {
            state.set_len(total.unwrap_or(0));
            state.set_pos(self.steps);
        });
    }
}

impl Progress for Bar {
    fn step(&mut self, tag: &str, path: &str, _line: &[u8]) {
        self.steps += 1;
        self.heard = Instant::now();
        self.step = format!("{tag} {path}");
        self.draw();
    }

    fn text(&mut self, line: &[u8]) {
        // Text above the bar must not contain characters that move the cursor.
        let text = String::from_utf8_lossy(line).replace('\t', "        ");
        let is_coloured = terminal::has_colours(Stream::Error);
        self.text.extend(terminal::fitted(&text).lines().map(|line| paint::foreign(line, is_coloured)));
        self.draw();
    }

    fn tick(&mut self, running: &mut dyn FnMut() -> Option<(String, String)>) {
        if self.heard.elapsed() >= SILENCE {
            self.heard = Instant::now();
            if let Some((tag, path)) = running() {
                self.step = format!("{tag} {path}");
            }
        }
        self.draw();
    }

    fn close(&mut self) {
        if !self.text.is_empty() {
            self.draw_now();
        }
        self.bar.finish_and_clear();
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.close();
    }
}

/// The terminal for indicatif. indicatif fills each line up with blanks, so that following text begins on the next
/// line. A terminal that is made narrower would break such a line in two, and the bar would stay behind. Therefore
/// the blanks are left out here, and a line break is printed when text follows.
#[derive(Debug, Default)]
struct Screen {
    /// Whether a line was written, so that the next bytes only fill it up.
    filling: AtomicBool,
    /// Whether a line is complete, so that the next text belongs on a new one.
    complete: AtomicBool,
}

impl Screen {
    fn put(text: &str) -> io::Result<()> {
        terminal::err(text);
        Ok(())
    }

    /// Moves the cursor by `count`, if that is not 0, in the direction that the letter of an escape sequence names.
    fn go(&self, count: usize, letter: char) -> io::Result<()> {
        self.complete.store(false, Ordering::Relaxed);
        if count == 0 { Ok(()) } else { Screen::put(&format!("\u{1b}[{count}{letter}")) }
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        u16::try_from(terminal::columns()).unwrap_or(u16::MAX)
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.go(n, 'A')
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.go(n, 'B')
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.go(n, 'C')
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.go(n, 'D')
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        Screen::put(&format!("{text}\r\n"))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        if self.filling.fetch_xor(true, Ordering::Relaxed) {
            self.complete.store(true, Ordering::Relaxed);
            return Ok(());
        }
        let next = if self.complete.swap(false, Ordering::Relaxed) { "\r\n" } else { "" };
        Screen::put(&format!("{next}{text}"))
    }

    fn clear_line(&self) -> io::Result<()> {
        self.filling.store(false, Ordering::Relaxed);
        self.complete.store(false, Ordering::Relaxed);
        Screen::put("\r\u{1b}[2K")
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

/// The text beside the bar, in at most `room` columns: steps done and their total, time passed and left, and the
/// step, with the middle of its path left out if necessary.
fn line(
    room: usize,
    steps: u64,
    total: Option<u64>,
    elapsed: Duration,
    left: Option<Duration>,
    step: &str,
) -> String {
    let mut text = match total {
        Some(total) => format!("{steps}/{total}  {}", clock(elapsed)),
        None => format!("{steps} steps  {}", clock(elapsed)),
    };
    if let Some(left) = left {
        text += &format!("  eta {}", clock(left));
    }
    let rest = room.saturating_sub(text.chars().count() + 2);
    if rest >= 8 {
        text += &format!("  {}", elide(step, rest));
    }
    text.chars().take(room).collect()
}

/// `m:ss`, or `h:mm:ss` from an hour on.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// `text` in at most `room` columns: the middle is left out if it is too long.
fn elide(text: &str, room: usize) -> String {
    let length = text.chars().count();
    if length <= room {
        return text.to_owned();
    }
    let tail = (room - 3) * 2 / 3;
    let head = room - 3 - tail;
    let (head, tail): (String, String) =
        (text.chars().take(head).collect(), text.chars().skip(length - tail).collect());
    format!("{head}...{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(room: usize, total: Option<u64>) -> String {
        let left = total.map(|_| Duration::from_secs(75));
        line(
            room,
            512,
            total,
            Duration::from_secs(4000),
            left,
            "CC [M] drivers/net/ethernet/intel/e1000e/netdev.o",
        )
    }

    #[test]
    fn fits_every_width() {
        insta::assert_snapshot!(at(100, Some(1331)), @"512/1331  1:06:40  eta 1:15  CC [M] drivers/net/ethernet/intel/e1000e/netdev.o");
        insta::assert_snapshot!(at(60, Some(1331)), @"512/1331  1:06:40  eta 1:15  CC [M] dri...el/e1000e/netdev.o");
        insta::assert_snapshot!(at(40, Some(1331)), @"512/1331  1:06:40  eta 1:15  CC ...dev.o");
        insta::assert_snapshot!(at(40, None), @"512 steps  1:06:40  CC [M]...0e/netdev.o");
        for room in 0..120 {
            assert!(at(room, Some(1331)).chars().count() <= room);
        }
    }

    #[test]
    fn no_total_no_percentage() {
        assert_eq!(at(22, None), "512 steps  1:06:40");
        assert_eq!(clock(Duration::from_secs(59)), "0:59");
    }
}
