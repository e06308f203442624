// SPDX-License-Identifier: GPL-2.0-only
//! Modules that modprobe loads before a module although the module's symbols do not need them: the `pre:` part of its
//! soft dependencies (`MODULE_SOFTDEP` in include/linux/module.h). For example, ext4 cannot mount anything without a
//! module that has the alias crypto-crc32c.

use std::path::Path;

use crate::host::text;
use crate::kernel::symbols::objects::Objects;

/// The `pre:` words of a `softdep` string.
pub fn before(softdep: &str) -> impl Iterator<Item = &str> {
    softdep.split_whitespace().skip_while(|word| *word != "pre:").skip(1).take_while(|word| *word != "post:")
}

/// The kernel's modules, by run-time name, for the soft dependencies `soft` of the module in the file `module`. A
/// module that its aliases tie to a device or processor (`cpu:type:x86...`) is left out: a guest may lack that.
pub fn modules(module: &Path, soft: &[String], objects: &Objects) -> Vec<String> {
    if soft.is_empty() {
        return Vec::new();
    }
    let lists = module.ancestors().map(|directory| directory.join("modules.alias"));
    let aliases =
        lists.filter(|list| list.is_file()).take(1).map(|list| text::read(&list).unwrap_or_default());
    let aliases: String = aliases.collect();
    let mut found = Vec::new();
    for word in soft {
        let name = word.replace('-', "_");
        let named = if objects.file(&name).is_some() { vec![name] } else { of_alias(&aliases, word) };
        let usable = named.into_iter().find(|name| objects.file(name).is_some_and(|file| is_for_all(&file)));
        found.extend(usable.filter(|name| !found.contains(name)));
    }
    found
}

/// The modules that have an alias, in the order of modules.alias.
fn of_alias(aliases: &str, wanted: &str) -> Vec<String> {
    let lines = aliases.lines().filter_map(|line| line.strip_prefix("alias ")?.split_once(' '));
    lines.filter(|(alias, _)| *alias == wanted).map(|(_, module)| module.replace('-', "_")).collect()
}

fn is_for_all(file: &Path) -> bool {
    crate::elf::ObjectSymbols::read(file)
        .is_ok_and(|object| !object.modinfo().texts("alias").any(|alias| alias.contains(':')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_before_is_told_from_what_comes_behind() {
        let of = |softdep: &str| before(softdep).collect::<Vec<_>>().join(" ");
        assert_eq!(of("pre: crypto-crc32c"), "crypto-crc32c");
        assert_eq!(of("pre: a b post: c"), "a b");
        assert_eq!(of("post: c"), "");
    }

    #[test]
    fn an_alias_may_mean_several() {
        let aliases = "# Aliases\nalias crypto-x x_intel\nalias cpu:x x_intel\nalias crypto-x x-generic\n";
        assert_eq!(of_alias(aliases, "crypto-x"), ["x_intel", "x_generic"]);
        assert!(of_alias(aliases, "x").is_empty());
    }
}
