// SPDX-License-Identifier: GPL-2.0-only
//! JSON documents for programs, each with the same head. docs/json.md describes all of them.

use anyhow::Result;
use serde::Serialize;

use crate::host::terminal;

/// The version of the form of all documents. It changes when programs that read them would have to change: when a
/// field is removed, or gets another meaning or type; not when a field is added.
pub const SCHEMA: u32 = 1;

/// A document: the head, then the fields of the verb.
#[derive(Debug, Serialize)]
struct Document<'a, T> {
    schema: u32,
    klpbuild: &'static str,
    command: &'a str,
    #[serde(flatten)]
    content: &'a T,
}

/// The document of the verb `command`, as text.
///
/// # Errors
/// The content cannot be written as JSON.
pub fn text(command: &str, content: &impl Serialize) -> Result<String> {
    terminal::to_json(&Document { schema: SCHEMA, klpbuild: env!("KLPBUILD_VERSION"), command, content })
}

/// Prints the document of the verb `command`.
///
/// # Errors
/// The content cannot be written as JSON.
pub fn print(command: &str, content: &impl Serialize) -> Result<()> {
    terminal::out(text(command, content)?);
    Ok(())
}

/// A 64-bit number in a document: a string, because programs that read numbers as floating point would round it.
pub fn hexadecimal(number: u64) -> String {
    format!("{number:#x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_comes_first() {
        #[derive(Serialize)]
        struct Content {
            address: String,
        }
        let text = text("lookup", &Content { address: hexadecimal(0xffff_ffff_8100_0000) }).unwrap();
        let version = env!("KLPBUILD_VERSION");
        assert_eq!(
            text,
            format!(
                "{{\n  \"schema\": 1,\n  \"klpbuild\": \"{version}\",\n  \"command\": \"lookup\",\n  \"address\": \
                 \"0xffffffff81000000\"\n}}\n"
            )
        );
    }
}
