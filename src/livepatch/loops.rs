//! New functions that come back to themselves: a call of the function that is replaced is led to the new one (R15).

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use crate::elf::image::{Home, Image, Offset, Relocation, Section, Symbol};
use crate::elf::{Kind, Machine};
use crate::kernel::sources::Sources;
use crate::livepatch::code;
use crate::livepatch::code::Use;
use crate::livepatch::names::KlpSymbol;
use crate::livepatch::patch::Patch;
use crate::livepatch::targets;
use crate::livepatch::usage;
use crate::livepatch::usage::Usage;

/// A new function that comes to the one it replaces.
#[derive(Debug)]
pub struct Loop {
    /// The klp_func.
    pub place: String,
    /// The functions of the livepatch that the new one calls on the way there, in that order.
    pub through: Vec<String>,
    /// The call of the old function.
    pub call: Usage,
}

/// The new functions that call the old one, or call functions of the livepatch that do: the shortest way of each. Calls
/// through pointers are not followed.
pub fn of(image: &Image, patch: &Patch, sources: &Sources) -> Vec<Loop> {
    let mut found = Vec::new();
    let mut graph = None;
    for object in &patch.objects {
        let names: HashSet<&[u8]> = object.functions.iter().map(|f| f.old_name.as_slice()).collect();
        let symbols: BTreeMap<usize, (Vec<u8>, u64)> = (image.symbols.iter().enumerate())
            .filter_map(|(index, symbol)| Some((index, referred(symbol, &object.name, sources)?)))
            .filter(|(_, (name, _))| names.contains(name.as_slice()))
            .collect();
        if symbols.is_empty() {
            continue;
        }
        let graph = graph.get_or_insert_with(|| Calls::read(image));
        let mut by_function: BTreeMap<(&[u8], u64), BTreeMap<Offset, Usage>> = BTreeMap::new();
        for (index, usages) in usage::usages(image, |symbol| symbols.contains_key(&symbol)) {
            let Some((name, sympos)) = symbols.get(&index) else { continue };
            let is_call = |usage: &&Usage| usage.what == Use::Called && is_to_its_beginning(image, usage);
            for call in usages.iter().filter(is_call) {
                let at = Offset { section: call.section, offset: call.relocation.offset };
                if let Some(caller) = graph.function_at(at) {
                    let calls = by_function.entry((name.as_slice(), (*sympos).max(1))).or_default();
                    calls.entry(caller).or_insert(*call);
                }
            }
        }
        for function in &object.functions {
            let calls = by_function.get(&(function.old_name.as_slice(), function.old_sympos.max(1)));
            let way =
                calls.and_then(|calls| Some((calls, graph.way(function.new, |at| calls.contains_key(&at))?)));
            if let Some((calls, way)) = way
                && let Some(call) = way.last().and_then(|last| calls.get(last))
            {
                let through = way.iter().skip(1).map(|at| graph.name(image, *at)).collect();
                found.push(Loop { place: targets::shown(&object.name, function), through, call: *call });
            }
        }
    }
    found
}

/// Which functions of a livepatch call which others of it.
#[derive(Default)]
struct Calls {
    /// Where functions begin, with their ends and symbols.
    functions: BTreeMap<Offset, (u64, usize)>,
    /// Calls, from function to function.
    from: BTreeMap<Offset, BTreeSet<Offset>>,
}

impl Calls {
    fn read(image: &Image) -> Calls {
        let mut calls = Calls::default();
        for (index, symbol) in image.symbols.iter().enumerate() {
            if let (Home::Section(section), Kind::Function) = (symbol.home, symbol.kind()) {
                let end = symbol.value().saturating_add(symbol.size());
                calls.functions.entry(Offset { section, offset: symbol.value() }).or_insert((end, index));
            }
        }
        let is_code = |section: usize| image.sections.get(section).is_some_and(Section::is_code);
        let own = |symbol: usize| match image.symbols.get(symbol).map(|symbol| symbol.home) {
            Some(Home::Section(section)) => is_code(section),
            _ => false,
        };
        let mut found: Vec<(Offset, Offset)> = Vec::new();
        for usage in usage::usages(image, own).into_values().flatten() {
            let relocation = Relocation {
                addend: usage.relocation.addend.saturating_sub(addend_of_calls(image.machine())),
                ..usage.relocation
            };
            if let (Use::Called, Some(to)) = (usage.what, image.target(&relocation)) {
                found.push((Offset { section: usage.section, offset: relocation.offset }, to));
            }
        }
        calls.within_sections(image, &mut found);
        for (from, to) in found {
            if let (Some(from), Some(to)) = (calls.function_at(from), calls.function_at(to)) {
                calls.from.entry(from).or_default().insert(to);
            }
        }
        calls
    }

    /// Calls that the assembler has resolved: no relocation shows them.
    fn within_sections(&self, image: &Image, found: &mut Vec<(Offset, Offset)>) {
        let relocated: HashSet<Offset> = (image.relocated())
            .flat_map(|(_, entries, section)| entries.relocations.iter().map(move |r| (section, r.offset)))
            .map(|(section, offset)| Offset { section, offset })
            .collect();
        for (start, (end, _)) in &self.functions {
            let range = usize::try_from(start.offset).ok().zip(usize::try_from(*end).ok());
            let section = image.sections.get(start.section).filter(|section| section.is_code());
            let code = section.zip(range).and_then(|(section, (from, to))| section.data.get(from..to));
            for (offset, target) in code::branches(
                image.machine(),
                image.is_little_endian(),
                code.unwrap_or_default(),
                start.offset,
            ) {
                let at = |offset: u64| Offset { offset, ..*start };
                if !relocated.contains(&at(offset)) {
                    found.push((at(offset), at(target)));
                }
            }
        }
    }

    /// The function that has something in it.
    fn function_at(&self, place: Offset) -> Option<Offset> {
        let (start, (end, _)) = self.functions.range(..=place).next_back()?;
        (start.section == place.section && (place.offset < *end || place == *start)).then_some(*start)
    }

    /// The shortest way from a function to one that `is_there`, both included.
    fn way(&self, from: Offset, is_there: impl Fn(Offset) -> bool) -> Option<Vec<Offset>> {
        let mut callers: BTreeMap<Offset, Option<Offset>> = BTreeMap::from([(from, None)]);
        let mut queue = VecDeque::from([from]);
        while let Some(function) = queue.pop_front() {
            if is_there(function) {
                let mut way = vec![function];
                while let Some(Some(caller)) = way.last().and_then(|last| callers.get(last)) {
                    way.push(*caller);
                }
                way.reverse();
                return Some(way);
            }
            for &to in self.from.get(&function).into_iter().flatten() {
                callers.entry(to).or_insert_with(|| {
                    queue.push_back(to);
                    Some(function)
                });
            }
        }
        None
    }

    fn name(&self, image: &Image, function: Offset) -> String {
        let symbol = self.functions.get(&function).and_then(|(_, symbol)| image.symbols.get(*symbol));
        symbol.map(Symbol::shown).unwrap_or_default()
    }
}

/// What a symbol refers to in `object`, with its position: as a livepatch symbol, or as an export.
fn referred(symbol: &Symbol, object: &str, sources: &Sources) -> Option<(Vec<u8>, u64)> {
    match symbol.home {
        Home::Livepatch => {
            let symbol = KlpSymbol::parse(&symbol.name).filter(|symbol| symbol.object == object)?;
            Some((symbol.name, symbol.sympos))
        }
        Home::Undefined => (sources.exporter(&symbol.name) == Some(object)).then(|| (symbol.name.clone(), 0)),
        _ => None,
    }
}

/// Whether a call goes to the beginning of its symbol: behind ftrace's place, it comes to the old function itself.
fn is_to_its_beginning(image: &Image, usage: &Usage) -> bool {
    usage.relocation.addend == addend_of_calls(image.machine())
}

/// The addend of a call to the beginning of a symbol: the machine counts from the end of the field on x86-64, from the
/// instruction on s390x.
fn addend_of_calls(machine: Machine) -> i64 {
    match machine {
        Machine::X86_64 => -4,
        Machine::S390 => 2,
        _ => 0,
    }
}
