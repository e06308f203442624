// SPDX-License-Identifier: GPL-2.0-only
//! The map of symbols, and what else is read of linked objects and modules.
#![no_main]

use klpbuild::elf::image::Image;
use klpbuild::elf::{definitions, memory};
use klpbuild::kernel::symbols::map::{Inputs, Map};
use klpbuild::kernel::symbols::modules::Module;
use klpbuild::kernel::symbols::objects::Vmlinux;
use klpbuild::kernel::trace::FtraceSites;
use klpbuild_fuzz::{told, with_file};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| with_file("object", data, |path| {
    let module = Module { stem: "a/b-c".to_owned() };
    let inputs = Inputs {
        vmlinux: Some(Vmlinux::Image { file: path.to_path_buf(), system_map: None }),
        modules: vec![(module, path.to_path_buf())],
        ..Inputs::default()
    };
    if let Some(map) = told(Map::make(&inputs)) {
        assert_eq!(map.parts.len(), 2 + map.modules);
    }
    let found = told(definitions::find(path, |_| true));
    let _ = told(FtraceSites::of_vmlinux(path));
    for definition in found.iter().flat_map(|found| &found.definitions).take(4) {
        let _ = told(memory::read(path, definition.value, definition.size.unwrap_or(16)));
    }
    let _ = told(memory::section(path, ".modinfo"));
    let _ = Image::parse(data).ok().as_ref().and_then(FtraceSites::of_module);
}));
