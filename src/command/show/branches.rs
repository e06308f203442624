// SPDX-License-Identifier: GPL-2.0-only
//! Draws a tree: with lines to its branches, and with text broken to fit the terminal.

use crate::host::words::printable;

/// The least width that text is broken to, in columns.
const NARROWEST: usize = 24;

/// A node of a tree, with its branches.
#[derive(Debug, Default)]
pub(super) struct Branch {
    /// Its lines: all but the first are indented.
    lines: Vec<String>,
    branches: Vec<Branch>,
}

impl Branch {
    /// A node with one line of text.
    pub(super) fn new(text: impl AsRef<str>) -> Branch {
        Branch { lines: vec![printable(text.as_ref())], branches: Vec::new() }
    }

    /// Adds a line below the first.
    pub(super) fn line(&mut self, text: impl AsRef<str>) {
        self.lines.push(printable(text.as_ref()));
    }

    /// Adds a branch.
    pub(super) fn grow(&mut self, branch: Branch) {
        self.branches.push(branch);
    }

    /// Draws the tree, with lines of at most `width` characters, if there is a width.
    pub(super) fn drawn(&self, width: Option<usize>) -> String {
        let mut text = String::new();
        self.draw("", "", width, &mut text);
        text
    }

    fn draw(&self, first: &str, rest: &str, width: Option<usize>, text: &mut String) {
        let stem = if self.branches.is_empty() { "  " } else { "│ " };
        let mut lead = first.to_owned();
        for (number, line) in self.lines.iter().enumerate() {
            let further = format!("{rest}{stem}");
            if number > 0 {
                lead.clone_from(&further);
            }
            let hanging = format!("{further}  ");
            for (number, part) in
                broken(line, width, lead.chars().count(), hanging.chars().count()).iter().enumerate()
            {
                text.push_str(if number == 0 { &lead } else { &hanging });
                text.push_str(part);
                text.truncate(text.trim_end().len());
                text.push('\n');
            }
        }
        for (number, branch) in self.branches.iter().enumerate() {
            let is_last = number + 1 == self.branches.len();
            let (first, further) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            branch.draw(&format!("{rest}{first}"), &format!("{rest}{further}"), width, text);
        }
    }
}

/// A line, broken into parts that fit behind `lead` and `hanging` columns. A word stays whole: a path that is cut
/// cannot be copied.
fn broken(line: &str, width: Option<usize>, lead: usize, hanging: usize) -> Vec<String> {
    let Some(width) = width else { return vec![line.to_owned()] };
    let room = |before: usize| width.saturating_sub(before + 1).max(NARROWEST);
    let mut parts: Vec<String> = vec![String::new()];
    for word in line.split(' ') {
        let number = parts.len();
        let Some(last) = parts.last_mut() else { break };
        let room = room(if number == 1 { lead } else { hanging });
        if last.is_empty() {
            last.push_str(word);
        } else if last.chars().count() + 1 + word.chars().count() <= room {
            last.push(' ');
            last.push_str(word);
        } else {
            parts.push(word.to_owned());
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_hang_where_they_belong() {
        let mut root = Branch::new("root");
        root.line("more of it");
        let mut one = Branch::new("one two three four five six seven");
        one.grow(Branch::new("leaf"));
        root.grow(one);
        let mut last = Branch::new("last");
        last.line("its words");
        root.grow(last);
        let expected = "\
root
│ more of it
├─ one two three four five
│  │   six seven
│  └─ leaf
└─ last
     its words
";
        assert_eq!(root.drawn(Some(20)), expected);
        assert!(root.drawn(None).contains("├─ one two three four five six seven\n"));
    }
}
