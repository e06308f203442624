// SPDX-License-Identifier: GPL-2.0-only
//! BTF, the kernel's own type information (Documentation/bpf/btf.rst); the only place that names btf_rs.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use btf_rs::{Btf, BtfType, FuncProto, Type as Kind};

use crate::debuginfo::prototype::{DEEPEST, Declaration, Prototype, Scalar, Type, depth_within};

/// The types of an object: its own, which may refer to those of vmlinux.
pub struct Types(Btf);

impl Types {
    /// Reads the BTF of vmlinux, of a module whose BTF refers to that of vmlinux, or of an object whose BTF stands
    /// alone: `base` is the BTF that it refers to.
    ///
    /// # Errors
    /// The BTF is damaged, or it needs a base and has none.
    pub fn read(own: &[u8], base: Option<&[u8]>) -> Result<Types> {
        if stands_alone(own) {
            return Ok(Types(Btf::from_bytes(own).context("cannot read the BTF")?));
        }
        let base = base.context("the BTF goes with one that is not there")?;
        let base = Btf::from_bytes(base).context("cannot read the BTF of vmlinux")?;
        Ok(Types(Btf::from_split_bytes(own, &base).context("cannot read the BTF of the module")?))
    }

    /// The declaration of what the object defines by this name; none if it defines nothing, or several things with
    /// different types.
    ///
    /// # Errors
    /// The BTF is damaged.
    pub fn defined(&self, name: &str) -> Result<Option<Declaration>> {
        self.declaration(name, Linkage::Own)
    }

    /// The object's declaration of a symbol of this name that another object defines; otherwise like
    /// [`Types::defined()`].
    ///
    /// # Errors
    /// The BTF is damaged.
    pub fn declared(&self, name: &str) -> Result<Option<Declaration>> {
        self.declaration(name, Linkage::Extern)
    }

    fn declaration(&self, name: &str, linkage: Linkage) -> Result<Option<Declaration>> {
        let is_elsewhere = linkage == Linkage::Extern;
        let own = self.0.split().unwrap_or_else(|| self.0.base());
        let mut found: Option<Declaration> = None;
        for kind in own.resolve_types_by_name(name).unwrap_or_default() {
            let declaration = match kind {
                Kind::Func(function) if function.is_extern() == is_elsewhere => {
                    let Kind::FuncProto(prototype) = self.0.resolve_chained_type(&function)? else {
                        continue;
                    };
                    Declaration::Function(read(&self.0, &prototype, 0)?)
                }
                Kind::Var(variable) if variable.is_extern() == is_elsewhere => {
                    Declaration::Variable(by_id(&self.0, variable.get_type_id().unwrap_or(0), 0)?)
                }
                _ => continue,
            };
            if found.as_ref().is_some_and(|found| *found != declaration) {
                return Ok(None);
            }
            found = Some(declaration);
        }
        Ok(found)
    }

    /// The size in bytes of `struct name`, the object's own or that of its base; none if it has none, or several with
    /// different sizes.
    pub fn size_of_struct(&self, name: &str) -> Option<u64> {
        let all = self.0.resolve_types_by_name(name).unwrap_or_default();
        let sizes = all.iter().filter_map(|kind| match kind {
            Kind::Struct(structure) => Some(structure.size() as u64),
            _ => None,
        });
        let sizes: BTreeSet<u64> = sizes.collect();
        sizes.first().copied().filter(|_| sizes.len() == 1)
    }
}

/// Whether BTF has no base. Then its strings begin with the empty string, which BTF with a base takes from there
/// (`btf_parse_str_sec` in kernel/bpf/btf.c).
pub fn stands_alone(bytes: &[u8]) -> bool {
    // include/uapi/linux/btf.h: hdr_len; str_off counts from the end of the header.
    let little = bytes.first() == Some(&0x9f);
    let word = |at: usize| {
        let word = <[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok()?;
        Some(if little { u32::from_le_bytes(word) } else { u32::from_be_bytes(word) } as usize)
    };
    let strings = word(4).zip(word(16)).and_then(|(header, strings)| header.checked_add(strings));
    strings.and_then(|strings| bytes.get(strings)).is_none_or(|&byte| byte == 0)
}

/// The prototype of the function `name` in the BTF of a module, or of vmlinux if there is no `module`. None if it has
/// no such function, or several with different types.
///
/// # Errors
/// The BTF is damaged.
pub fn prototype(vmlinux: &[u8], module: Option<&[u8]>, name: &str) -> Result<Option<Prototype>> {
    let types = match module {
        Some(module) => Types::read(module, Some(vmlinux))?,
        None => Types::read(vmlinux, None)?,
    };
    Ok(match types.defined(name)? {
        Some(Declaration::Function(prototype)) => Some(prototype),
        _ => None,
    })
}

/// The size in bytes of `struct name` in the BTF of vmlinux; none if it has none, or several with different sizes.
///
/// # Errors
/// The BTF is damaged.
pub fn size_of_struct(vmlinux: &[u8], name: &str) -> Result<Option<u64>> {
    Ok(Types::read(vmlinux, None)?.size_of_struct(name))
}

fn read(btf: &Btf, prototype: &FuncProto, depth: usize) -> Result<Prototype> {
    let depth =
        depth_within(depth, prototype.parameters.len()).context("a function has too many parameters")?;
    let mut parameters = Vec::new();
    let mut is_variadic = false;
    for parameter in &prototype.parameters {
        if parameter.is_variadic() {
            is_variadic = true;
            continue;
        }
        let name = btf.resolve_name(parameter).ok().filter(|name| !name.is_empty());
        parameters.push((by_id(btf, parameter.get_type_id().unwrap_or(0), depth)?, name));
    }
    Ok(Prototype { result: by_id(btf, prototype.return_type_id(), depth)?, parameters, is_variadic })
}

fn by_id(btf: &Btf, id: u32, depth: usize) -> Result<Type> {
    // A type that contains itself ends here, as a type without a name.
    if depth > DEEPEST {
        return Ok(Type::Aggregate("struct", None, None));
    }
    let kind = btf.resolve_type_by_id(id)?;
    let name = |kind: &dyn BtfType| btf.resolve_name(kind).ok().filter(|name| !name.is_empty());
    let target = |kind: &dyn BtfType| {
        Ok::<_, anyhow::Error>(Box::new(by_id(btf, kind.get_type_id().unwrap_or(0), depth + 1)?))
    };
    Ok(match &kind {
        Kind::Void => Type::Void,
        Kind::Int(int) => integer(name(int), int.size()),
        Kind::Float(real) => float(name(real), real.size()),
        Kind::Ptr(pointer) => Type::Pointer(target(pointer)?),
        Kind::Array(array) => Type::Array(target(array)?, u64::try_from(array.len()).ok()),
        Kind::Struct(structure) => Type::Aggregate("struct", name(structure), Some(structure.size() as u64)),
        Kind::Union(union) => Type::Aggregate("union", name(union), Some(union.size() as u64)),
        Kind::Fwd(forward) => {
            Type::Aggregate(if forward.is_struct() { "struct" } else { "union" }, name(forward), None)
        }
        Kind::Enum(values) => Type::Enum(name(values), values.is_signed()),
        Kind::Enum64(values) => Type::Enum(name(values), values.is_signed()),
        Kind::Typedef(typedef) => Type::Typedef(name(typedef).unwrap_or_default(), target(typedef)?),
        Kind::Volatile(qualified) => Type::Qualified("volatile", target(qualified)?),
        Kind::Const(qualified) => Type::Qualified("const", target(qualified)?),
        Kind::Restrict(qualified) => *target(qualified)?,
        Kind::TypeTag(tag) => *target(tag)?,
        Kind::FuncProto(prototype) => Type::Function(Box::new(read(btf, prototype, depth + 1)?)),
        _ => Type::Aggregate("struct", None, None),
    })
}

fn integer(name: Option<String>, size: usize) -> Type {
    let name = name.unwrap_or_else(|| "int".to_owned());
    Type::Base(Scalar { name, size: size as u64, is_float: false })
}

fn float(name: Option<String>, size: usize) -> Type {
    let name = name.unwrap_or_else(|| "double".to_owned());
    Type::Base(Scalar { name, size: size as u64, is_float: true })
}

/// Where a declared symbol is defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Linkage {
    Own,
    Extern,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// BTF (include/uapi/linux/btf.h) of a function `f`, whose result and parameters are of a type of functions with the
    /// same number of parameters, which are all of that type again.
    fn of_itself(parameters: u32) -> Vec<u8> {
        const FUNC: u32 = 12 << 24;
        const FUNC_PROTO: u32 = 13 << 24;
        let mut types = vec![0, FUNC_PROTO | parameters, 1];
        types.extend((0..parameters).flat_map(|_| [0, 1]));
        types.extend([1, FUNC, 1]);
        let length = 4 * types.len() as u32;
        let header = [0x0001_eb9f, 24, 0, length, length, 3];
        let words = header.iter().chain(&types).flat_map(|word| word.to_le_bytes());
        words.chain(*b"\0f\0").collect()
    }

    #[test]
    fn a_function_that_has_itself_as_parameters_has_an_end() {
        for parameters in [0, 1, 2, 3, 4, 16, 127] {
            let found = prototype(&of_itself(parameters), None, "f").unwrap().unwrap();
            assert_eq!(found.parameters.len(), parameters as usize);
            assert!((20..500_000).contains(&found.count()), "{parameters}: {}", found.count());
        }
        let error = prototype(&of_itself(128), None, "f").unwrap_err().to_string();
        assert!(error.contains("too many parameters"), "{error}");
    }

    /// BTF with `int` as type 1, behind it `types`, and `strings` that begin with the empty one.
    fn with_int(types: &[u32], strings: &[u8]) -> Vec<u8> {
        const INT: [u32; 4] = [1, 1 << 24, 4, 32];
        let length = |count: usize| u32::try_from(count).unwrap();
        let size = length(4 * (INT.len() + types.len()));
        let header: [u32; 6] = [0x0001_eb9f, 24, 0, size, size, length(strings.len())];
        let words = header.iter().chain(&INT).chain(types).flat_map(|word| word.to_le_bytes());
        words.chain(strings.iter().copied()).collect()
    }

    #[test]
    fn what_others_define_is_apart_from_what_is_defined() {
        const STATIC: u32 = 0;
        const EXTERN: u32 = 2;
        // `int f(void)` in type 2, a function `f` of it, and a variable `v`.
        let of = |linkage: u32| {
            let types = [0, 13 << 24, 1, 5, 12 << 24 | linkage, 2, 7, 14 << 24, 1, linkage];
            with_int(&types, b"\0int\0f\0v\0")
        };
        for (linkage, defined, declared) in [(STATIC, true, false), (EXTERN, false, true)] {
            let types = Types::read(&of(linkage), None).unwrap();
            for (name, shown) in [("f", "int f(void)"), ("v", "int v")] {
                let text = |found: Option<Declaration>| found.map(|found| found.shown(name));
                let expected = |is_there: bool| is_there.then(|| shown.to_owned());
                assert_eq!(text(types.defined(name).unwrap()), expected(defined));
                assert_eq!(text(types.declared(name).unwrap()), expected(declared));
            }
        }
    }

    #[test]
    fn what_is_made_on_top_of_another_needs_it() {
        let base = with_int(&[], b"\0int\0");
        // Types count on from those of the base, and so do strings: `int f(void)` in type 2, and `f`.
        let types: [u32; 6] = [0, 13 << 24, 1, 5, 12 << 24, 2];
        let header: [u32; 6] = [0x0001_eb9f, 24, 0, 24, 24, 2];
        let words = header.iter().chain(&types).flat_map(|word| word.to_le_bytes());
        let split: Vec<u8> = words.chain(*b"f\0").collect();
        assert!(stands_alone(&base) && !stands_alone(&split));
        assert!(Types::read(&split, None).is_err());
        // vmlinux's own functions are not the module's.
        let found = Types::read(&split, Some(&base)).unwrap();
        assert_eq!(found.defined("f").unwrap().unwrap().shown("f"), "int f(void)");
        assert_eq!(found.defined("int").unwrap(), None);
    }
}
