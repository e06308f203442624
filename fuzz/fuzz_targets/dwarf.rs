// SPDX-License-Identifier: GPL-2.0-only
//! Debugging information: the input is an object with it.
#![no_main]

use klpbuild::debuginfo::dwarf;
use klpbuild::elf::image::Image;
use klpbuild::elf::debugging;
use klpbuild::elf::debugging::DebugQuery;
use klpbuild_fuzz::{names, with_file};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let image = Image::parse(data).ok();
    if let Some(image) = &image {
        if let Some(lines) = image.lines() {
            for (index, _) in image.enumerate() {
                let _ = (lines.at(index, 0), lines.at(index, 9));
            }
        }
        let declared = image.declared(&|_| true);
        for (one, other) in declared.iter().zip(declared.iter().skip(1)).take(50) {
            let _ = one.declaration.agrees_with(&other.declaration);
        }
        let names = image.symbols.iter().filter(|symbol| !symbol.name.is_empty()).take(6);
        let targets = names.map(|symbol| DebugQuery {
            name: symbol.name.clone(),
            section: Some(".text".to_owned()),
            value: symbol.value(),
            with_copies: true,
        });
        let targets: Vec<DebugQuery> = targets.collect();
        let told = image.debug_facts(&targets).len();
        assert!(told == 0 || told == targets.len());
        let section = |name: &str| Some(image.section_named(name.as_bytes())?.1.data.clone());
        let little = image.is_little_endian();
        for symbol in image.symbols.iter().filter(|symbol| !symbol.name.is_empty()).take(6) {
            let _ = dwarf::fates(&section, little, &[&symbol.name]);
            if let Ok(Some(prototype)) = dwarf::prototype(&section, little, &symbol.name, symbol.value()) {
                let _ = (prototype.declaration("f"), prototype.tags());
            }
        }
        return;
    }
    with_file("object", data, |path| {
        for name in names(data).filter(|name| name.len() > 3).take(6) {
            let _ = debugging::fates(path, &[name]);
            let _ = debugging::prototype(path, name, 0x1000);
        }
    });
});
