// SPDX-License-Identifier: GPL-2.0-only
//! Texts: the first byte says which one the rest is to be.
#![no_main]

use klpbuild::build::kbuild;
use klpbuild::build::progress::history::History;
use klpbuild::command::trial::protocol::Protocol;
use klpbuild::host::make::makeflags::Inherited;
use klpbuild::host::make::variable::Variable;
use klpbuild::host::{program, terminal};
use klpbuild::kernel::installed::places;
use klpbuild::kernel::kallsyms::filter::Filter;
use klpbuild::kernel::kallsyms::{Spelling, SystemMap};
use klpbuild::kernel::suggestions;
use klpbuild::kernel::symbols::exports::Exports;
use klpbuild::kernel::symbols::list;
use klpbuild::kernel::symbols::list::NameQuery;
use klpbuild::kernel::symbols::modules;
use klpbuild::kernel::symbols::modules::ListKind;
use klpbuild::kernel::tree::config::Config;
use klpbuild::livepatch::names::{AnnotatedName, KlpSymbol, parse_section_name};
use klpbuild_fuzz::{Files, told, with_file};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&kind, rest)) = data.split_first() else { return };
    match kind.wrapping_sub(b'0') % 10 {
        0 => {
            let wanted = || ["twin", "unique", "setting"].into_iter().map(|name| name.as_bytes().to_vec());
            let _ = with_file("list", rest, |path| {
                told(list::search(path, &NameQuery::names(wanted()), Spelling::UpToLlvm))
            });
        }
        1 => drop(with_file("symvers", rest, |path| told(Exports::read(path)))),
        2 => drop(in_directory("modules.order", rest, |directory| {
            let modules = told(modules::list(directory, ListKind::ModulesOrder)).unwrap_or_default();
            modules.iter().for_each(|module| assert!(!module.name().contains('/')));
            let _ = told(modules::list_external(directory, ListKind::ModulesOrder, directory));
        })),
        3 => drop(in_directory("modules.dep", rest, |directory| told(places::modules_below(directory)))),
        4 => {
            if let Ok(text) = std::str::from_utf8(rest) {
                let context = told(terminal::from_json::<klpbuild::kernel::external::context::Context>(text));
                if let Some(context) = context {
                    let text = terminal::to_json(&context).expect("what was read can be written");
                    assert_eq!(told(terminal::from_json(&text)), Some(context));
                }
            }
        }
        5 => {
            if let Ok(text) = std::str::from_utf8(rest) {
                let inherited = Inherited::parse(text, |_| true);
                let again = Inherited::parse(inherited.without_jobserver(), |_| true);
                assert_eq!(inherited.variables, again.variables);
                for word in text.split_whitespace() {
                    let _ =
                        (program::quoted(word), Variable::parse(word).map(|variable| variable.value().len()));
                }
            }
        }
        6 => rest.split(|&byte| byte == b'\n').for_each(|line| drop(kbuild::classify(line))),
        7 => drop(with_file("config", rest, |path| {
            (
                told(Config::read(path)),
                History::read(path),
                told(SystemMap::read(path, |_| true, &Filter::common())),
            )
        })),
        8 => {
            for name in rest.split(|&byte| byte == b'\n') {
                if let Some(symbol) = KlpSymbol::parse(name) {
                    assert_eq!(KlpSymbol::parse(&symbol.to_name()), Some(symbol));
                }
                let _ = (AnnotatedName::parse(name), parse_section_name(name));
                let _ = suggestions::parts(name);
            }
        }
        _ => {
            let protocol = Protocol::new();
            let token = protocol.token().as_bytes();
            for line in rest.split(|&byte| byte == b'\n') {
                let _ = protocol.events(&[token, b" ", line].concat());
                let _ = protocol.events(line);
            }
        }
    }
});

fn in_directory<T>(name: &str, content: &[u8], read: impl FnOnce(&std::path::Path) -> T) -> T {
    thread_local! {
        static FILES: Files = Files::new();
    }
    FILES.with(|files| {
        files.write("a.ko", b"");
        let path = files.write(name, content);
        let result = read(files.path());
        std::fs::remove_file(path).expect("the input is gone");
        result
    })
}
