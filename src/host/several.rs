// SPDX-License-Identifier: GPL-2.0-only
//! Several errors that end a run together: each is printed as an error of its own.

use std::fmt;

use anyhow::{Error, Result};

/// The messages of errors that ended something together; there is at least one.
#[derive(Debug)]
pub struct Several(Vec<String>);

impl Several {
    /// Succeeds if `errors` is empty.
    ///
    /// # Errors
    /// There are some: all of them as one error.
    pub fn unless_empty(errors: Vec<String>) -> Result<()> {
        if errors.is_empty() { Ok(()) } else { Err(Error::new(Several(errors))) }
    }
}

impl fmt::Display for Several {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Several {}

/// The messages of an error: if it consists of several, each of them, with the context of all in front.
pub fn each(error: &Error) -> Vec<String> {
    let mut before = String::new();
    for cause in error.chain() {
        if let Some(Several(errors)) = cause.downcast_ref() {
            return errors.iter().map(|error| format!("{before}{error}")).collect();
        }
        before.push_str(&format!("{cause}: "));
    }
    vec![format!("{error:#}")]
}

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, anyhow};

    use super::*;

    #[test]
    fn each_error_is_told_with_what_stands_before_all() {
        assert!(Several::unless_empty(Vec::new()).is_ok());
        let several = || Several::unless_empty(vec!["one\n  more".to_owned(), "two".to_owned()]);
        assert_eq!(each(&several().unwrap_err()), ["one\n  more", "two"]);
        let error = several().context("in.ko").context("cannot convert").unwrap_err();
        assert_eq!(each(&error), ["cannot convert: in.ko: one\n  more", "cannot convert: in.ko: two"]);
        assert_eq!(format!("{error:#}"), "cannot convert: in.ko: one\n  more\ntwo");
        assert_eq!(each(&anyhow!("only").context("in.ko")), ["in.ko: only"]);
    }
}
