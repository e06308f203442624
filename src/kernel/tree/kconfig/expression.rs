// SPDX-License-Identifier: GPL-2.0-only
//! Conditions of Kconfig: `A && (B || !C)`, `A = "text"`.

use std::fmt;

use crate::kernel::tree::config::Config;

/// A condition. An option that is a module counts as on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// An option.
    Symbol(String),
    /// The negation of a condition.
    Not(Box<Expression>),
    /// All of these.
    And(Vec<Expression>),
    /// One of these.
    Or(Vec<Expression>),
    /// A comparison or a macro, which is not evaluated here. It counts as met.
    Unknown,
}

impl Expression {
    /// Reads a condition; what cannot be read is [`Expression::Unknown`].
    pub fn parse(text: &str) -> Expression {
        let text = text.split('#').next().unwrap_or_default();
        // A macro may have anything in it.
        if text.contains("$(") {
            return Expression::Unknown;
        }
        let mut tokens = tokens(text);
        tokens.reverse();
        let read = or(&mut tokens, 0);
        if tokens.is_empty() { read.unwrap_or(Expression::Unknown) } else { Expression::Unknown }
    }

    /// Whether it holds with `config`.
    pub fn holds(&self, config: &Config) -> bool {
        match self {
            Expression::Symbol(name) => {
                name == "y" || config.has(name) || config.string(name).as_deref() == Some("m")
            }
            Expression::Not(inner) => **inner == Expression::Unknown || !inner.holds(config),
            Expression::And(all) => all.iter().all(|one| one.holds(config)),
            Expression::Or(any) => any.iter().any(|one| one.holds(config)),
            Expression::Unknown => true,
        }
    }

    /// The parts that would all have to hold, and do not hold.
    pub fn unmet(&self, config: &Config) -> Vec<&Expression> {
        match self {
            Expression::And(all) => all.iter().flat_map(|one| one.unmet(config)).collect(),
            one if one.holds(config) => Vec::new(),
            one => vec![one],
        }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, all: &[Expression], between: &str| {
            let shown: Vec<String> = all
                .iter()
                .map(|one| match one {
                    Expression::And(_) | Expression::Or(_) => format!("({one})"),
                    one => one.to_string(),
                })
                .collect();
            f.write_str(&shown.join(between))
        };
        match self {
            Expression::Symbol(name) => f.write_str(name),
            Expression::Not(inner) => write!(f, "!{inner}"),
            Expression::And(all) => list(f, all, " && "),
            Expression::Or(any) => list(f, any, " || "),
            Expression::Unknown => f.write_str("..."),
        }
    }
}

fn tokens(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '&' | '|' => 2,
            '!' if rest.starts_with("!=") => 2,
            '"' | '\'' => rest.get(1..).and_then(|text| text.find(first)).map_or(rest.len(), |end| end + 2),
            c if c.is_ascii_alphanumeric() || c == '_' => {
                rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len())
            }
            c => c.len_utf8(),
        };
        let (token, later) = rest.split_at_checked(length).unwrap_or((rest, ""));
        found.push(token);
        rest = later.trim_start();
    }
    found
}

/// How deep conditions may be nested: no kernel's conditions come near it.
const DEPTH: usize = 50;

fn or(tokens: &mut Vec<&str>, depth: usize) -> Option<Expression> {
    let mut all = vec![and(tokens, depth)?];
    while tokens.pop_if(|token| *token == "||").is_some() {
        all.push(and(tokens, depth)?);
    }
    if all.len() == 1 { all.pop() } else { Some(Expression::Or(all)) }
}

fn and(tokens: &mut Vec<&str>, depth: usize) -> Option<Expression> {
    let mut all = vec![one(tokens, depth)?];
    while tokens.pop_if(|token| *token == "&&").is_some() {
        all.push(one(tokens, depth)?);
    }
    if all.len() == 1 { all.pop() } else { Some(Expression::And(all)) }
}

fn one(tokens: &mut Vec<&str>, depth: usize) -> Option<Expression> {
    if depth > DEPTH {
        return None;
    }
    let read = match tokens.pop()? {
        "!" => Expression::Not(Box::new(one(tokens, depth + 1)?)),
        "(" => {
            let inner = or(tokens, depth + 1)?;
            tokens.pop_if(|token| *token == ")")?;
            inner
        }
        name => Expression::Symbol(name.to_owned()),
    };
    if tokens.pop_if(|token| ["=", "!=", "<", ">"].contains(token)).is_some() {
        // `<=` is two of them.
        tokens.pop_if(|token| *token == "=");
        tokens.pop()?;
        return Some(Expression::Unknown);
    }
    Some(read)
}
