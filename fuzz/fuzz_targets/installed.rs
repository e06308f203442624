// SPDX-License-Identifier: GPL-2.0-only
//! What is read of a kernel that someone else built: packed files, notes, banner, lists of symbols.
#![no_main]

use klpbuild::command::trial::module::ModuleFile;
use klpbuild::elf::notes;
use klpbuild::host::compressed;
use klpbuild::kernel::installed::places;
use klpbuild::kernel::kallsyms;
use klpbuild::kernel::kallsyms::SystemMap;
use klpbuild::kernel::kallsyms::filter::Filter;
use klpbuild::kernel::tree;
use klpbuild_fuzz::{told, with_file};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = notes::build_id_in_notes(data);
    with_file("m-m.ko", data, |path| {
        let unpacked = told(compressed::read(path));
        assert!(unpacked.is_none_or(|bytes| bytes.len() <= 1 << 30));
        let _ = told(notes::build_id(path));
        let _ = told(notes::banner(path));
        let _ = told(notes::has_code_and_symbols(path));
        let _ = told(notes::is_static_x86_64(path));
        let _ = told(ModuleFile::read(path));
        let _ = places::is_full_map(path);
        let filter = Filter::common();
        let system_map = told(SystemMap::read(path, |_| true, &filter)).flatten();
        let definitions = told(kallsyms::definitions_in(path, |_| true)).unwrap_or_default();
        let counted = kallsyms::counted(&definitions, system_map.as_ref(), &filter);
        assert!(counted.len() <= definitions.len());
        let _ = told(tree::config::Config::read(path));
    });
});
