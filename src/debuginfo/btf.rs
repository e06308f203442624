// SPDX-License-Identifier: GPL-2.0-only
//! BTF, the kernel's own type information (Documentation/bpf/btf.rst); the only place that names btf_rs.

use anyhow::{Context as _, Result};
use btf_rs::{Btf, BtfType, FuncProto, Type as Kind};

use crate::debuginfo::prototype::{DEEPEST, Prototype, Scalar, Type, depth_within};

/// The prototype of the function `name` in the BTF of a module, or of vmlinux if there is no `module`. None if it is
/// not there, or there more than once with different types.
///
/// # Errors
/// The BTF is damaged.
pub fn prototype(vmlinux: &[u8], module: Option<&[u8]>, name: &str) -> Result<Option<Prototype>> {
    Ok(prototypes(vmlinux, module, &[name])?.pop().flatten())
}

/// The prototypes of functions, in the order of `names`, as [`prototype()`] has them.
///
/// # Errors
/// The BTF is damaged.
pub fn prototypes(vmlinux: &[u8], module: Option<&[u8]>, names: &[&str]) -> Result<Vec<Option<Prototype>>> {
    let base = Btf::from_bytes(vmlinux).context("cannot read the BTF of vmlinux")?;
    let btf = match module {
        Some(module) => Btf::from_split_bytes(module, &base).context("cannot read the BTF of the module")?,
        None => base,
    };
    names.iter().map(|name| by_name(&btf, name)).collect()
}

fn by_name(btf: &Btf, name: &str) -> Result<Option<Prototype>> {
    let mut found: Option<Prototype> = None;
    for kind in btf.resolve_types_by_name(name).unwrap_or_default() {
        let Kind::Func(function) = kind else { continue };
        let Kind::FuncProto(prototype) = btf.resolve_chained_type(&function)? else { continue };
        let prototype = read(btf, &prototype, 0)?;
        if found.as_ref().is_some_and(|found| *found != prototype) {
            return Ok(None);
        }
        found = Some(prototype);
    }
    Ok(found)
}

/// The size in bytes of `struct name` in the BTF of vmlinux; none if it is not there, or there with different sizes.
///
/// # Errors
/// The BTF is damaged.
pub fn size_of_struct(vmlinux: &[u8], name: &str) -> Result<Option<u64>> {
    let btf = Btf::from_bytes(vmlinux).context("cannot read the BTF of vmlinux")?;
    let all = btf.resolve_types_by_name(name).unwrap_or_default();
    let sizes = all.iter().filter_map(|kind| match kind {
        Kind::Struct(structure) => Some(structure.size() as u64),
        _ => None,
    });
    let sizes: std::collections::BTreeSet<u64> = sizes.collect();
    Ok(sizes.first().copied().filter(|_| sizes.len() == 1))
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
    // A type that has itself in it ends as one without a name.
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
        Kind::Int(int) => scalar(name(int), "int", int.size(), false),
        Kind::Float(float) => scalar(name(float), "double", float.size(), true),
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

fn scalar(name: Option<String>, usual: &str, size: usize, is_float: bool) -> Type {
    Type::Base(Scalar { name: name.unwrap_or_else(|| usual.to_owned()), size: size as u64, is_float })
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
}
