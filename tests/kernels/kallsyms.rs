// SPDX-License-Identifier: GPL-2.0-only
//! The positions that klpbuild counts, against the kernel's own table of symbols, which lies in vmlinux: that is what a
//! livepatch is resolved with.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use klpbuild::kernel::origin::Origin;
use klpbuild::kernel::sources::Sources;
use klpbuild::kernel::symbols::VMLINUX;
use klpbuild::kernel::symbols::list::NameQuery;
use klpbuild::kernel::symbols::objects::Objects;
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

/// The table of a little-endian kernel (`kallsyms_expand_symbol` and `kallsyms_sym_address` in kernel/kallsyms.c).
struct Table<'a> {
    file: object::File<'a>,
    /// Per-CPU symbols have their own value, and not an offset (KALLSYMS_ABSOLUTE_PERCPU).
    absolute_percpu: bool,
}

impl<'a> Table<'a> {
    /// The bytes from a symbol on.
    fn at(&self, name: &str) -> Option<&'a [u8]> {
        let address = self.file.symbol_by_name(name)?.address();
        let section = self
            .file
            .sections()
            .find(|section| (section.address()..section.address() + section.size()).contains(&address))?;
        section.data().ok()?.get((address - section.address()) as usize..)
    }

    fn tokens(&self) -> Vec<&'a [u8]> {
        let (table, index) =
            (self.at("kallsyms_token_table").unwrap(), self.at("kallsyms_token_index").unwrap());
        let token = |index: &[u8]| {
            let token = &table[usize::from(u16::from_le_bytes(index.try_into().unwrap()))..];
            &token[..token.iter().position(|&byte| byte == 0).unwrap()]
        };
        index.chunks_exact(2).take(256).map(token).collect()
    }

    /// Each symbol's address, in the table's order.
    fn addresses(&self) -> Box<dyn Iterator<Item = u64> + '_> {
        let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
        if let Some(addresses) = self.at("kallsyms_addresses") {
            return Box::new(addresses.chunks_exact(8).map(word));
        }
        let base = self.at("kallsyms_relative_base").map(|bytes| word(&bytes[..8])).unwrap();
        let offsets = self.at("kallsyms_offsets").unwrap().chunks_exact(4);
        Box::new(offsets.map(move |bytes| {
            let offset = i32::from_le_bytes(bytes.try_into().unwrap());
            match self.absolute_percpu {
                false => base + u64::from(offset as u32),
                true if offset >= 0 => offset as u64,
                true => base.wrapping_sub(1).wrapping_sub(i64::from(offset) as u64),
            }
        }))
    }

    /// The addresses of each name, in the order in which the kernel counts them.
    fn symbols(&self) -> BTreeMap<Vec<u8>, Vec<u64>> {
        let tokens = self.tokens();
        let count = self.at("kallsyms_num_syms").unwrap();
        let count = u32::from_le_bytes(count[..4].try_into().unwrap()) as usize;
        let mut rest = self.at("kallsyms_names").unwrap();
        let mut symbols: BTreeMap<Vec<u8>, Vec<u64>> = BTreeMap::new();
        let mut addresses = self.addresses();
        for _ in 0..count {
            let mut length = usize::from(rest[0]);
            let mut begin = 1;
            // From 6.1 on, long ones have their length in two bytes.
            if length & 0x80 != 0 {
                length = (length & 0x7f) | usize::from(rest[1]) << 7;
                begin = 2;
            }
            let packed = &rest[begin..begin + length];
            rest = &rest[begin + length..];
            let name: Vec<u8> =
                packed.iter().flat_map(|&token| tokens[usize::from(token)]).copied().collect();
            // The first byte is the type.
            symbols.entry(name[1..].to_vec()).or_default().push(addresses.next().unwrap());
        }
        symbols
    }
}

/// Compares each name of vmlinux: which definitions count, how many, and in which order.
pub(crate) fn check(mut kernel: Origin) {
    let vmlinux = kernel.objects.vmlinux.clone().unwrap();
    let data = fs::read(vmlinux.image().unwrap()).unwrap();
    let absolute_percpu = kernel.config().unwrap().has("KALLSYMS_ABSOLUTE_PERCPU");
    let table = Table { file: object::File::parse(&*data).unwrap(), absolute_percpu };
    let symbols = table.symbols();
    assert!(symbols.len() > 10_000 && symbols.contains_key(&b"saved_command_line"[..]), "{}", symbols.len());
    // Modules have no part in this.
    kernel.objects = Objects::default();
    kernel.objects.vmlinux = Some(vmlinux);
    kernel.list = None;
    let all = NameQuery::Patterns(vec![regex::bytes::Regex::new("").unwrap()]);
    let found = Sources::open(&kernel, None).unwrap().find(&all).unwrap();
    let mut dropped = Vec::new();
    for (name, known) in &found.names {
        let shown = String::from_utf8_lossy(name);
        assert!(known.iter().all(|known| known.object == VMLINUX));
        let mut counted: Vec<(u64, u64)> = known
            .iter()
            .filter_map(|known| Some((known.position?, known.definition.as_ref()?.value)))
            .collect();
        counted.sort_unstable();
        let positions = counted.iter().map(|(position, _)| *position);
        assert!(positions.eq(1..=counted.len() as u64), "{shown}: {counted:?}");
        let addresses: Vec<u64> = counted.iter().map(|(_, address)| *address).collect();
        assert_eq!(&addresses, symbols.get(name).unwrap_or(&Vec::new()), "{shown}");
        if addresses.is_empty() {
            dropped.push(shown);
        }
    }
    for name in symbols.keys() {
        assert!(found.names.contains_key(name), "{}", String::from_utf8_lossy(name));
    }
    assert!(dropped.iter().any(|name| name == "phys_startup_64"), "{dropped:?}");
}

/// That of the kernel in an object tree.
pub(crate) fn check_tree(objtree: &Path) {
    check(Origin::of_tree(objtree).unwrap());
}
