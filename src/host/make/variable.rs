// SPDX-License-Identifier: GPL-2.0-only
//! `NAME=VALUE`, as make takes it on its command line.

/// A variable for make. `NAME:=VALUE` and `NAME+=VALUE` count as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    word: String,
    /// The offset of the `=`.
    equals: usize,
}

impl Variable {
    /// Reads a word of a command line; none if it is no assignment.
    pub fn parse(word: &str) -> Option<Variable> {
        Some(Variable { word: word.to_owned(), equals: word.find('=')? })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        let name = self.word.get(..self.equals).unwrap_or_default();
        name.trim_end_matches([':', '+', '?', '!'])
    }

    /// Its value.
    pub fn value(&self) -> &str {
        self.word.get(self.equals + 1..).unwrap_or_default()
    }

    /// The word, as make takes it.
    pub fn word(&self) -> &str {
        &self.word
    }
}

/// Splits `words` into variables and other words.
pub fn sort_out(words: &[String]) -> (Vec<Variable>, Vec<String>) {
    let (mut variables, mut others) = (Vec::new(), Vec::new());
    for word in words {
        match Variable::parse(word) {
            Some(variable) => variables.push(variable),
            None => others.push(word.clone()),
        }
    }
    (variables, others)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values() {
        let read = |word: &str| Variable::parse(word).map(|v| (v.name().to_owned(), v.value().to_owned()));
        let pair = |name: &str, value: &str| Some((name.to_owned(), value.to_owned()));
        assert_eq!(read("O=/obj"), pair("O", "/obj"));
        assert_eq!(read("CFLAGS+=-g -DX=1"), pair("CFLAGS", "-g -DX=1"));
        assert_eq!(read("A:="), pair("A", ""));
        assert_eq!(read("bzImage"), None);
    }
}
