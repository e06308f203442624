// SPDX-License-Identifier: GPL-2.0-only
//! The numbers of sections and of symbols as types of their own, which cannot be confused, and their tables.

use std::marker::PhantomData;

/// A number of an entry in one kind of table.
pub trait TableIndex: Copy {
    /// The index of the `number`th entry, from 0 on.
    fn new(number: usize) -> Self;

    /// Which entry it is, from 0 on.
    fn number(self) -> usize;
}

/// The number of a section, as in `sh_link`, `sh_info` and `st_shndx`; the null section has number 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SectionIndex(usize);

/// The number of a symbol, as in relocations; the null symbol has number 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SymbolIndex(usize);

impl TableIndex for SectionIndex {
    fn new(number: usize) -> SectionIndex {
        SectionIndex(number)
    }

    fn number(self) -> usize {
        self.0
    }
}

impl TableIndex for SymbolIndex {
    fn new(number: usize) -> SymbolIndex {
        SymbolIndex(number)
    }

    fn number(self) -> usize {
        self.0
    }
}

/// A table of sections or symbols, with a kind of number of its own.
#[derive(Debug, Clone)]
pub struct Table<I, T> {
    entries: Vec<T>,
    index: PhantomData<I>,
}

impl<I: TableIndex, T> Table<I, T> {
    /// A table of these entries.
    pub(in crate::elf) fn new(entries: Vec<T>) -> Table<I, T> {
        Table { entries, index: PhantomData }
    }

    /// The entry with this number, if there is one: numbers that come from another object need not fit.
    pub fn get(&self, index: I) -> Option<&T> {
        self.entries.get(index.number())
    }

    /// The entry with this number, to be changed.
    pub fn get_mut(&mut self, index: I) -> Option<&mut T> {
        self.entries.get_mut(index.number())
    }

    /// How many entries there are, with the null entry.
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// All entries, the null entry first.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.entries.iter()
    }

    /// All entries, to be changed.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, T> {
        self.entries.iter_mut()
    }

    /// The entries with their numbers, without the null entry.
    pub fn enumerate(&self) -> impl DoubleEndedIterator<Item = (I, &T)> {
        self.entries.iter().enumerate().skip(1).map(|(number, entry)| (I::new(number), entry))
    }

    /// The entries with their numbers, without the null entry, to be changed.
    pub fn enumerate_mut(&mut self) -> impl Iterator<Item = (I, &mut T)> {
        self.entries.iter_mut().enumerate().skip(1).map(|(number, entry)| (I::new(number), entry))
    }

    /// Adds an entry at the end.
    pub(in crate::elf) fn push(&mut self, entry: T) {
        self.entries.push(entry);
    }

    /// Removes the entries for which `is_kept` is false; the numbers of later entries change.
    pub(in crate::elf) fn retain(&mut self, mut is_kept: impl FnMut(I) -> bool) {
        let mut number = 0;
        self.entries.retain(|_| {
            number += 1;
            is_kept(I::new(number - 1))
        });
    }
}
