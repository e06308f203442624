// SPDX-License-Identifier: GPL-2.0-only
//! From an address to its source line: the line programs of `.debug_line`, run and sorted.

use std::collections::HashMap;

use anyhow::Result;
use gimli::{LineInstruction, LineRow};

use super::{Sections, Unit, Units};

/// The most bytes that all paths together may take; further ones are left out.
const PATHS: usize = 16 << 20;

/// File and line of a source file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceLine {
    /// The path: relative to the directory that the compiler ran in, unless it lies elsewhere.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
}

/// From addresses to source lines, for one object.
#[derive(Debug, Default)]
pub struct DwarfLines {
    files: Vec<String>,
    /// Sorted by where they start.
    sequences: Vec<Sequence>,
}

/// The rows of a range of code without gaps.
#[derive(Debug)]
struct Sequence {
    start: u64,
    end: u64,
    /// Sorted by address, each address once.
    rows: Vec<Row>,
}

/// The line of the code from an address up to the next row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    address: u64,
    file: u32,
    /// 0 if the code belongs to no line.
    line: u32,
}

/// Numbers the paths.
#[derive(Default)]
struct Files {
    numbers: HashMap<String, u32>,
    bytes: usize,
}

impl DwarfLines {
    /// Reads the line programs of an object; none if it has no debug information of its own.
    ///
    /// `section` gives the bytes of a section, decompressed and with relocations applied. The sections of a
    /// relocatable object need address ranges that do not overlap and do not start at 0, which stands for code that
    /// the linker has removed. `little` is the byte order.
    ///
    /// # Errors
    /// No unit of `.debug_info` can be read.
    pub fn read(section: &dyn Fn(&str) -> Option<Vec<u8>>, little: bool) -> Result<Option<DwarfLines>> {
        let Some(sections) = Sections::load(section, little) else { return Ok(None) };
        let units = sections.units()?;
        let mut files = Files::default();
        let mut sequences = Vec::new();
        let mut seen = vec![false; units.programs.len()];
        for unit in &units.list {
            let index = unit.program.and_then(|program| units.programs.binary_search(&program).ok());
            if let Some(seen) = index.and_then(|index| seen.get_mut(index))
                && !std::mem::replace(seen, true)
            {
                run(&units, unit, &mut files, &mut sequences);
            }
        }
        sequences.sort_by_key(|sequence| sequence.start);
        Ok(Some(DwarfLines { files: files.list(), sequences }))
    }

    /// The source line of the code at `address`; none if there is no code, or it belongs to no line.
    pub fn at(&self, address: u64) -> Option<SourceLine> {
        let after = self.sequences.partition_point(|sequence| sequence.start <= address);
        let sequence = self.sequences.get(after.checked_sub(1)?)?;
        if address >= sequence.end {
            return None;
        }
        let after = sequence.rows.partition_point(|row| row.address <= address);
        let row = sequence.rows.get(after.checked_sub(1)?)?;
        let file = self.files.get(row.file as usize)?;
        (row.line != 0).then(|| SourceLine { file: file.clone(), line: row.line.into() })
    }
}

impl Files {
    /// The number of a path; if there is no path, or there are too many, a number that no path has.
    fn number(&mut self, path: Option<String>) -> u32 {
        let next = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
        let Some(path) = path else { return u32::MAX };
        if let Some(&number) = self.numbers.get(&path) {
            return number;
        }
        if self.bytes + path.len() > PATHS {
            return u32::MAX;
        }
        self.bytes += path.len();
        self.numbers.insert(path, next);
        next
    }

    /// The paths in the order of their numbers.
    fn list(self) -> Vec<String> {
        let mut list: Vec<(String, u32)> = self.numbers.into_iter().collect();
        list.sort_unstable_by_key(|&(_, number)| number);
        list.into_iter().map(|(path, _)| path).collect()
    }
}

/// Runs the line program of `unit` up to its end or to the first part that cannot be read.
fn run<'a>(units: &Units<'a>, unit: &Unit<'a>, files: &mut Files, sequences: &mut Vec<Sequence>) {
    let Some(mut program) = units.program(unit) else { return };
    let mut instructions = program.header().instructions();
    let mut registers = LineRow::new(program.header());
    let mut numbers: HashMap<u64, u32> = HashMap::new();
    let mut rows: Vec<Row> = Vec::new();
    let mut removed = false;
    while let Ok(Some(instruction)) = instructions.next_instruction(program.header()) {
        match instruction {
            // As in gimli: addresses of a sequence never go down, and the highest ones mark code that the linker has
            // removed. Other linkers mark it with 0.
            LineInstruction::SetAddress(address) => {
                removed = address < registers.address() || unit.header.is_tombstone_address(address);
            }
            // This would overflow in gimli.
            LineInstruction::AdvanceLine(i64::MIN) => return,
            _ => {}
        }
        match registers.execute(instruction, &mut program) {
            Ok(true) => {}
            Ok(false) => continue,
            Err(_) => return,
        }
        let address = registers.address();
        if registers.end_sequence() {
            let rows = std::mem::take(&mut rows);
            if let Some(first) = rows.first().filter(|row| !removed && row.address != 0) {
                sequences.push(Sequence { start: first.address, end: address, rows });
            }
            removed = false;
        } else if !removed {
            let index = registers.file_index();
            let file = *numbers
                .entry(index)
                .or_insert_with(|| files.number(units.path(unit, program.header(), index)));
            let line = registers.line().map_or(0, |line| u32::try_from(line.get()).unwrap_or(0));
            // Of rows with the same address the last one counts (bfd's `add_line_info`).
            while rows.last().is_some_and(|last| last.address == address) {
                rows.pop();
            }
            if rows.last().is_none_or(|last| (last.file, last.line) != (file, line)) {
                rows.push(Row { address, file, line });
            }
        }
        registers.reset(program.header());
    }
}
