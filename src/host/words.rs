// SPDX-License-Identifier: GPL-2.0-only
//! Numbers, times and bytes as messages show them; text broken to fit a width; and patterns.

use std::fmt::Write as _;
use std::time::Duration;

use regex::Regex;

/// A pattern from the source code: a test compiles each.
pub(crate) fn pattern(text: &str) -> Regex {
    #[expect(clippy::unwrap_used, reason = "each is a constant, which a test compiles")]
    Regex::new(text).unwrap()
}

/// A number with its noun: `1 module`, `2 modules`.
pub fn count(number: usize, noun: &str) -> String {
    match (number, noun) {
        (1, _) => format!("1 {noun}"),
        (_, "livepatch") => format!("{number} livepatches"),
        _ => format!("{number} {noun}s"),
    }
}

/// A time in seconds for programs, to the millisecond.
pub fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

/// A time as people read it: `7.5 s`, `12 min 30 s`.
pub fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 60 {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        format!("{} min {} s", seconds / 60, seconds % 60)
    }
}

/// Bytes as hexadecimal digits, two for each.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// How many columns of a terminal a text takes: colours take none.
pub fn columns(text: &str) -> usize {
    let mut pieces = text.split('\u{1b}');
    let first = pieces.next().map_or(0, |piece| piece.chars().count());
    let behind = |piece: &str| piece.split_once('m').map_or(piece, |(_, rest)| rest).chars().count();
    first + pieces.map(behind).sum::<usize>()
}

/// Text in lines of at most `width` characters, broken at blanks.
pub fn wrapped(text: &str, width: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if columns(line) + 1 + columns(word) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

/// Text that is broken at blanks to fit `room`, its further lines indented by `indent`; unchanged without a limit. A
/// word that does not fit, such as a path, stays whole.
pub fn hanging(text: &str, room: Option<usize>, indent: usize) -> String {
    match room {
        Some(room) => wrapped(text, room.max(20)).replace('\n', &format!("\n{:indent$}", "")),
        None => text.to_owned(),
    }
}

/// A line, broken into several that fit `room` if it is longer, of which all but the first are indented; unchanged
/// without a limit.
pub fn fitting(line: &str, room: Option<usize>) -> String {
    const INDENT: usize = 2;
    let room = room.filter(|room| columns(line) > *room);
    hanging(line, room.map(|room| room.saturating_sub(INDENT)), INDENT)
}

/// Text from a file, made safe for a terminal or a page: characters that would move the cursor, or turn the direction
/// of writing, are spelled out.
pub fn printable(text: &str) -> String {
    let is_turning = |letter: char| matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    let mut shown = String::new();
    for letter in text.chars() {
        if letter.is_control() || is_turning(letter) {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_take_no_room() {
        assert_eq!(columns("plain \u{1b}[1m\u{1b}[31mred\u{1b}[0m é"), 11);
        let text = "\u{1b}[31mone\u{1b}[0m two";
        assert_eq!((wrapped(text, 7).as_str(), wrapped(text, 6)), (text, text.replace(' ', "\n")));
    }

    #[test]
    fn further_lines_hang() {
        let text = "a line that is longer than the room there is";
        assert_eq!(hanging(text, Some(24), 4), "a line that is longer\n    than the room there is");
        assert_eq!(hanging(text, None, 4), text);
        assert_eq!(fitting(text, Some(26)), "a line that is longer\n  than the room there is");
        assert_eq!(
            (fitting(text, Some(text.len())), fitting(text, None)),
            (text.to_owned(), text.to_owned())
        );
    }

    #[test]
    fn what_would_move_the_cursor_is_spelled_out() {
        assert_eq!(printable("a\x1b[2Jb\n\u{202e}c é"), "a\\u{1b}[2Jb\\n\\u{202e}c é");
    }

    #[test]
    fn text_is_broken_at_blanks() {
        assert_eq!(wrapped("one two  three\nfour", 8), "one two\nthree\nfour");
        assert_eq!(wrapped("unbreakable a", 4), "unbreakable\na");
        assert_eq!(wrapped("", 8), "");
    }
}
