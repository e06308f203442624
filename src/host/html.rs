// SPDX-License-Identifier: GPL-2.0-only
//! Pages for a browser: one file each, without scripts and without references to other files, light or dark by the
//! reader's choice, narrow or wide.

use crate::host::words::printable;

/// The styles of all pages.
const STYLE: &str = "\
:root { color-scheme: light dark; --text: #1c2024; --faint: #5c6670; --page: #ffffff; --card: #f5f7f9; --line: #d8dee4; \
--link: #0b5cad; --good: #16703a; --bad: #b42318; --warn: #8a5a00; --added: #dcf5e3; --gone: #fbe2df; --bar: #5b8def; }
@media (prefers-color-scheme: dark) { :root { --text: #e3e7eb; --faint: #9aa5b1; --page: #14171a; --card: #1d2226; \
--line: #343c44; --link: #79b4f7; --good: #5fcf8a; --bad: #ff8f85; --warn: #e5b454; --added: #163a26; --gone: #4a2220; \
--bar: #4a79d8; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 84rem; padding: 1.25rem clamp(0.75rem, 3vw, 2.5rem) 3rem; color: var(--text); \
background: var(--page); font: 0.95rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { margin: 0 0 0.25rem; font-size: 1.6rem; line-height: 1.25; }
h2 { margin: 2.25rem 0 0.75rem; padding-bottom: 0.3rem; font-size: 1.2rem; border-bottom: 1px solid var(--line); }
h3 { margin: 0 0 0.5rem; font-size: 1.05rem; }
h4 { margin: 1rem 0 0.4rem; font-size: 0.8rem; color: var(--faint); text-transform: uppercase; letter-spacing: 0.05em; }
p { margin: 0.35rem 0; }
code, pre { font: 0.86em/1.5 ui-monospace, 'DejaVu Sans Mono', monospace; }
pre { margin: 0; overflow-x: auto; tab-size: 8; }
ul { margin: 0; padding: 0; list-style: none; }
.faint { color: var(--faint); }
.good { color: var(--good); } .bad { color: var(--bad); } .warn { color: var(--warn); }
.badge { display: inline-block; padding: 0 0.55em; border: 1px solid currentColor; border-radius: 1em; font-size: 0.8rem; \
font-weight: 600; white-space: nowrap; }
.card { margin: 0.75rem 0; padding: 0.9rem 1rem; border: 1px solid var(--line); border-radius: 8px; background: var(--card); }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: 0.15rem 1rem; margin: 0.5rem 0; }
.facts dt { color: var(--faint); } .facts dd { margin: 0; min-width: 0; }
@media (max-width: 34rem) { .facts { grid-template-columns: 1fr; gap: 0; } .facts dd { margin-bottom: 0.45rem; } }
footer { margin-top: 3rem; color: var(--faint); font-size: 0.8rem; }
";

/// Text from a file as part of a page: markup in it has no effect, and invisible characters are spelled out.
pub fn escaped(text: &str) -> String {
    let mut safe = String::new();
    for letter in printable(text).chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            _ => safe.push(letter),
        }
    }
    safe
}

/// A line of source as part of a page, with its tabs.
pub fn escaped_line(text: &str) -> String {
    text.split('\t').map(escaped).collect::<Vec<_>>().join("\t")
}

/// A page: `title` is text, `style` and `body` are markup.
pub fn page(title: &str, style: &str, body: &str) -> String {
    let title = escaped(title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'\">\n<meta name=\"referrer\" \
         content=\"no-referrer\">\n<title>{title}</title>\n<style>\n{STYLE}{style}</style>\n</head>\n<body>\n{body}</body>\n\
         </html>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_is_markup() {
        assert_eq!(
            escaped("<a href='x'>&\"\x1b\u{202e}"),
            "&lt;a href=&#39;x&#39;&gt;&amp;&quot;\\u{1b}\\u{202e}"
        );
        assert_eq!(escaped_line("\tif (a < b)\r"), "\tif (a &lt; b)\\r");
        assert!(page("<t>", "", "").contains("<title>&lt;t&gt;</title>"));
    }
}
