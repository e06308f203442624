//! BTF, the kernel's own type information (Documentation/bpf/btf.rst); the only place that names btf_rs.

use anyhow::{Context as _, Result};
use btf_rs::{Btf, BtfType, FuncProto, Type as Kind};

use crate::prototype::{Prototype, Type};

/// How many types may stand in each other.
const DEEPEST: usize = 32;

/// The prototype of the function `name` in the BTF of a module, or of vmlinux if there is no `module`. None if it is
/// not there, or there more than once with different types.
///
/// # Errors
/// The BTF is damaged.
pub fn prototype(vmlinux: &[u8], module: Option<&[u8]>, name: &str) -> Result<Option<Prototype>> {
    let base = Btf::from_bytes(vmlinux).context("cannot read the BTF of vmlinux")?;
    let btf = match module {
        Some(module) => Btf::from_split_bytes(module, &base).context("cannot read the BTF of the module")?,
        None => base,
    };
    let mut found: Option<Prototype> = None;
    for kind in btf.resolve_types_by_name(name).unwrap_or_default() {
        let Kind::Func(function) = kind else { continue };
        let Kind::FuncProto(prototype) = btf.resolve_chained_type(&function)? else { continue };
        let prototype = read(&btf, &prototype, 0)?;
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
    let mut parameters = Vec::new();
    let mut is_variadic = false;
    for parameter in &prototype.parameters {
        if parameter.is_variadic() {
            is_variadic = true;
            continue;
        }
        let name = btf.resolve_name(parameter).ok().filter(|name| !name.is_empty());
        parameters.push((by_id(btf, parameter.get_type_id().unwrap_or(0), depth + 1)?, name));
    }
    Ok(Prototype { result: by_id(btf, prototype.return_type_id(), depth + 1)?, parameters, is_variadic })
}

fn by_id(btf: &Btf, id: u32, depth: usize) -> Result<Type> {
    // A type that has itself in it ends as one without a name.
    if depth > DEEPEST {
        return Ok(Type::Aggregate("struct", None));
    }
    let kind = btf.resolve_type_by_id(id)?;
    let name = |kind: &dyn BtfType| btf.resolve_name(kind).ok().filter(|name| !name.is_empty());
    let target = |kind: &dyn BtfType| {
        Ok::<_, anyhow::Error>(Box::new(by_id(btf, kind.get_type_id().unwrap_or(0), depth + 1)?))
    };
    Ok(match &kind {
        Kind::Void => Type::Void,
        Kind::Int(int) => Type::Base(name(int).unwrap_or_else(|| "int".to_owned())),
        Kind::Float(float) => Type::Base(name(float).unwrap_or_else(|| "double".to_owned())),
        Kind::Ptr(pointer) => Type::Pointer(target(pointer)?),
        Kind::Array(array) => Type::Array(target(array)?),
        Kind::Struct(structure) => Type::Aggregate("struct", name(structure)),
        Kind::Union(union) => Type::Aggregate("union", name(union)),
        Kind::Fwd(forward) => {
            Type::Aggregate(if forward.is_struct() { "struct" } else { "union" }, name(forward))
        }
        Kind::Enum(values) => Type::Enum(name(values), values.is_signed()),
        Kind::Enum64(values) => Type::Enum(name(values), values.is_signed()),
        Kind::Typedef(typedef) => Type::Typedef(name(typedef).unwrap_or_default(), target(typedef)?),
        Kind::Volatile(qualified) => Type::Qualified("volatile", target(qualified)?),
        Kind::Const(qualified) => Type::Qualified("const", target(qualified)?),
        Kind::Restrict(qualified) => *target(qualified)?,
        Kind::TypeTag(tag) => *target(tag)?,
        Kind::FuncProto(prototype) => Type::Function(Box::new(read(btf, prototype, depth + 1)?)),
        _ => Type::Aggregate("struct", None),
    })
}
