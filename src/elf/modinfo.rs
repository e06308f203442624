// SPDX-License-Identifier: GPL-2.0-only
//! A module's information about itself: `.modinfo` (include/linux/moduleparam.h), and whether it is signed.

/// The text that kbuild appends to a signed module (`MODULE_SIG_STRING` in include/linux/module_signature.h).
pub const SIGNATURE: &[u8] = b"~Module signature appended~\n";

/// The contents of a `.modinfo` section: `tag=value` strings, each ending with a zero byte.
#[derive(Debug, Clone, Copy)]
pub struct Modinfo<'a>(&'a [u8]);

impl<'a> Modinfo<'a> {
    /// The strings in the contents of a section.
    pub fn of(data: &'a [u8]) -> Modinfo<'a> {
        Modinfo(data)
    }

    /// The strings.
    pub fn entries(self) -> impl Iterator<Item = &'a [u8]> {
        self.0.split(|&byte| byte == 0).filter(|entry| !entry.is_empty())
    }

    /// The values of all strings with a tag.
    fn values(self, tag: &str) -> impl Iterator<Item = &'a [u8]> {
        self.entries().filter_map(move |entry| value(entry, tag))
    }

    /// The value of the first string with a tag.
    pub fn value(self, tag: &str) -> Option<&'a [u8]> {
        self.values(tag).next()
    }

    /// The values of all strings with a tag, as text.
    pub fn texts(self, tag: &str) -> impl Iterator<Item = String> {
        self.values(tag).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// The value of the first string with a tag, as text.
    pub fn text(self, tag: &str) -> Option<String> {
        self.value(tag).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// The release of the kernel that it was built for: the first word of `vermagic` (include/linux/vermagic.h).
    pub fn release(self) -> Option<String> {
        self.text("vermagic").and_then(|magic| magic.split(' ').next().map(str::to_owned))
    }

    /// The modules that it depends on, by their run-time names: modpost writes them.
    pub fn depends(self) -> Vec<String> {
        let names = self.text("depends").unwrap_or_default();
        names.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
    }

    /// Whether it says that it is a livepatch (R6).
    pub fn is_livepatch(self) -> bool {
        self.value("livepatch") == Some(b"Y")
    }
}

/// The value of a string, if it has this tag.
fn value<'a>(entry: &'a [u8], tag: &str) -> Option<&'a [u8]> {
    entry.strip_prefix(tag.as_bytes())?.strip_prefix(b"=")
}

/// Gives each string with a tag the value that `shorter` makes of its own, with bytes 0 up to its old length: what
/// follows keeps its place.
pub fn shorten(data: &mut [u8], tag: &str, shorter: impl Fn(&[u8]) -> Vec<u8>) {
    for entry in data.split_mut(|&byte| byte == 0) {
        if let Some(old) = value(entry, tag) {
            let (new, start) = (shorter(old), entry.len() - old.len());
            let bytes = new.into_iter().chain(std::iter::repeat(0));
            entry.iter_mut().skip(start).zip(bytes).for_each(|(place, byte)| *place = byte);
        }
    }
}
