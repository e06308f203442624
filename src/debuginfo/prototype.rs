// SPDX-License-Identifier: GPL-2.0-only
//! Functions of the kernel as C declares them, put together from its type information: [`crate::debuginfo::btf`] or
//! [`crate::debuginfo::dwarf`] read it. [`agreement`]: whether two declarations of one thing agree.

mod agreement;

use std::collections::BTreeSet;

/// Names of types that the headers of a livepatch's skeleton define; others are written as the types that they stand
/// for.
const KNOWN: [&str; 66] = [
    "bool",
    "u8",
    "u16",
    "u32",
    "u64",
    "s8",
    "s16",
    "s32",
    "s64",
    "__u8",
    "__u16",
    "__u32",
    "__u64",
    "__s8",
    "__s16",
    "__s32",
    "__s64",
    "__le16",
    "__le32",
    "__le64",
    "__be16",
    "__be32",
    "__be64",
    "__sum16",
    "__wsum",
    "size_t",
    "ssize_t",
    "loff_t",
    "off_t",
    "pid_t",
    "uid_t",
    "gid_t",
    "umode_t",
    "dev_t",
    "gfp_t",
    "fmode_t",
    "slab_flags_t",
    "sector_t",
    "blkcnt_t",
    "pgoff_t",
    "phys_addr_t",
    "resource_size_t",
    "dma_addr_t",
    "atomic_t",
    "atomic64_t",
    "atomic_long_t",
    "uintptr_t",
    "time64_t",
    "ktime_t",
    "spinlock_t",
    "kuid_t",
    "kgid_t",
    "pte_t",
    "pmd_t",
    "pgd_t",
    "pgprot_t",
    "vm_fault_t",
    "irqreturn_t",
    "cpumask_t",
    "wait_queue_head_t",
    "__poll_t",
    "netdev_features_t",
    "poll_table",
    "uint8_t",
    "uint32_t",
    "uint64_t",
];

/// A type of C.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    /// `void`
    Void,
    /// A base type, as in `unsigned int`.
    Base(Scalar),
    /// `struct x` or `union x`, and its size in bytes, if that is known; a type without a name cannot be written.
    Aggregate(&'static str, Option<String>, Option<u64>),
    /// `enum x`, and whether it is signed. By value, it is written as an integer: the enumeration may be defined
    /// nowhere.
    Enum(Option<String>, bool),
    /// `const`, `volatile` or `restrict` of a type.
    Qualified(&'static str, Box<Type>),
    /// A pointer.
    Pointer(Box<Type>),
    /// An array, and its number of elements, if that is given.
    Array(Box<Type>, Option<u64>),
    /// A function, behind a pointer.
    Function(Box<Prototype>),
    /// The name of a type, and what it stands for.
    Typedef(String, Box<Type>),
}

/// How deep types may be nested. A type that contains itself ends at this depth as one without a name.
pub const DEEPEST: usize = 40;
/// How many parameters a function may have: more than any compiler has to take (C11, 5.2.4.1).
const MOST_PARAMETERS: usize = 127;

/// The depth of the types of a function's parameters, if the function is at `depth` itself. A type with many branches
/// goes down faster: in damaged debugging information, a function may have itself as parameters, and this has to end
/// after some thousands of types and not when memory is used up. None if there are too many parameters.
pub fn depth_within(depth: usize, parameters: usize) -> Option<usize> {
    (parameters <= MOST_PARAMETERS).then(|| depth + 1 + 3 * (parameters + 1).ilog2() as usize)
}

/// A base type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scalar {
    /// The compiler's name for it.
    pub name: String,
    /// Its size in bytes; 0 if that is not known.
    pub size: u64,
    /// Whether it is a floating point number.
    pub is_float: bool,
}

/// The declaration of a function or variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Declaration {
    /// A function.
    Function(Prototype),
    /// A variable.
    Variable(Type),
}

/// For whom a type is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// For a compiler: only types that the headers of a skeleton define.
    Source,
    /// For people.
    Message,
}

/// A function's type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prototype {
    /// What it returns.
    pub result: Type,
    /// Its parameters, with their names.
    pub parameters: Vec<(Type, Option<String>)>,
    /// Whether more may follow (`...`). Without parameters, the declaration leaves them open: `f()`.
    pub is_variadic: bool,
}

impl Scalar {
    /// A base type of which only the name is known.
    pub fn named(name: impl Into<String>) -> Scalar {
        Scalar { name: name.into(), size: 0, is_float: false }
    }
}

impl Declaration {
    /// The declaration of `name`, for people.
    pub fn shown(&self, name: &str) -> String {
        let text = match self {
            Declaration::Function(prototype) => prototype.declare(name, Style::Message),
            Declaration::Variable(kind) => kind.declare(name, Style::Message),
        };
        text.unwrap_or_else(|| name.to_owned())
    }
}

impl Type {
    /// The type without typedefs that headers may not define.
    fn spelled(&self, style: Style) -> &Type {
        match self {
            Type::Typedef(name, target) if style == Style::Source && !KNOWN.contains(&name.as_str()) => {
                target.spelled(style)
            }
            other => other,
        }
    }

    /// The declaration of `inner`, which may have `*` and parentheses around a name. None if the type cannot be
    /// written in C.
    fn declare(&self, inner: &str, style: Style) -> Option<String> {
        let named = |name: &str| if inner.is_empty() { name.to_owned() } else { format!("{name} {inner}") };
        Some(match self.spelled(style) {
            Type::Void => named("void"),
            Type::Base(scalar) => named(usual(&scalar.name)),
            Type::Typedef(name, _) => named(name),
            Type::Aggregate(kind, Some(name), _) => named(&format!("{kind} {name}")),
            Type::Aggregate(kind, None, _) if style == Style::Message => named(&format!("{kind} {{ ... }}")),
            Type::Aggregate(..) => return None,
            Type::Enum(Some(name), _) if style == Style::Message => named(&format!("enum {name}")),
            Type::Enum(name, is_signed) => {
                let integer = if *is_signed { "int" } else { "unsigned int" };
                match name {
                    Some(name) => named(&format!("{integer} /* enum {name} */")),
                    None => named(integer),
                }
            }
            Type::Qualified(qualifier, target) => match target.spelled(style) {
                // A pointer's qualifiers stand behind it.
                Type::Pointer(_) => {
                    target.declare(&format!("{qualifier} {inner}").trim_end().replace("  ", " "), style)?
                }
                _ => format!("{qualifier} {}", target.declare(inner, style)?),
            },
            Type::Pointer(target) => match target.spelled(style) {
                Type::Function(_) | Type::Array(..) => target.declare(&format!("(*{inner})"), style)?,
                // A type without a name can only be passed by its address.
                Type::Aggregate(_, None, _) if style == Style::Source => format!("void *{inner}"),
                _ => target.declare(&format!("*{inner}"), style)?,
            },
            Type::Array(target, count) => {
                let count = count.filter(|_| style == Style::Message).map(|count| count.to_string());
                target.declare(&format!("{inner}[{}]", count.unwrap_or_default()), style)?
            }
            Type::Function(prototype) => prototype.declare(inner, style)?,
        })
    }

    /// Collects the structures and unions that have to be declared beforehand.
    fn tags(&self, tags: &mut BTreeSet<String>) {
        match self.spelled(Style::Source) {
            Type::Aggregate(kind, Some(name), _) => drop(tags.insert(format!("{kind} {name}"))),
            Type::Qualified(_, target) | Type::Pointer(target) | Type::Array(target, _) => target.tags(tags),
            Type::Function(prototype) => prototype.tags_into(tags),
            _ => {}
        }
    }

    /// Whether a value of the type can be passed without a definition of it.
    fn is_complete(&self) -> bool {
        match self.spelled(Style::Source) {
            Type::Aggregate(..) | Type::Function(_) => false,
            Type::Qualified(_, target) => target.is_complete(),
            _ => true,
        }
    }

    /// Whether it is a pointer, so that NULL is a value of it.
    pub fn is_pointer(&self) -> bool {
        match self.spelled(Style::Source) {
            Type::Pointer(_) => true,
            Type::Qualified(_, target) => target.is_pointer(),
            _ => false,
        }
    }

    /// Whether it is void.
    pub fn is_void(&self) -> bool {
        *self.spelled(Style::Source) == Type::Void
    }
}

impl Prototype {
    /// The names of the parameters: their own, or made up.
    pub fn names(&self) -> Vec<String> {
        let name = |(index, (_, name)): (usize, &(Type, Option<String>))| {
            name.clone().unwrap_or_else(|| format!("arg{}", index + 1))
        };
        self.parameters.iter().enumerate().map(name).collect()
    }

    /// The declaration of a function `name`, as in `int name(struct seq_file *m, void *v)`. None if a type in it has
    /// no name, or is passed by value and so would have to be defined.
    pub fn declaration(&self, name: &str) -> Option<String> {
        let values = self.parameters.iter().map(|(parameter, _)| parameter).chain([&self.result]);
        if !values.into_iter().all(Type::is_complete) {
            return None;
        }
        self.declare(name, Style::Source)
    }

    fn declare(&self, inner: &str, style: Style) -> Option<String> {
        let names = match style {
            Style::Source => self.names(),
            Style::Message => {
                self.parameters.iter().map(|(_, name)| name.clone().unwrap_or_default()).collect()
            }
        };
        let mut parameters = (self.parameters.iter().zip(&names))
            .map(|((parameter, _), name)| parameter.declare(name, style))
            .collect::<Option<Vec<String>>>()?;
        let is_unsaid = self.is_variadic && parameters.is_empty() && style == Style::Message;
        if self.is_variadic && !is_unsaid {
            parameters.push("...".to_owned());
        }
        let is_empty = parameters.is_empty() && !is_unsaid;
        let parameters = if is_empty { "void".to_owned() } else { parameters.join(", ") };
        self.result.declare(&format!("{inner}({parameters})"), style)
    }

    /// The structures and unions that it names, as in `struct seq_file`.
    pub fn tags(&self) -> BTreeSet<String> {
        let mut tags = BTreeSet::new();
        self.tags_into(&mut tags);
        tags
    }

    fn tags_into(&self, tags: &mut BTreeSet<String>) {
        self.parameters.iter().for_each(|(parameter, _)| parameter.tags(tags));
        self.result.tags(tags);
    }
}

/// The usual name of a base type, which the compiler gives in full.
fn usual(name: &str) -> &str {
    match name {
        "short int" => "short",
        "short unsigned int" => "unsigned short",
        "long int" => "long",
        "long unsigned int" => "unsigned long",
        "long long int" => "long long",
        "long long unsigned int" => "unsigned long long",
        "_Bool" => "bool",
        other => other,
    }
}

#[cfg(test)]
impl Prototype {
    /// The number of types in it.
    pub(crate) fn count(&self) -> usize {
        self.parameters.iter().map(|(parameter, _)| parameter.count()).sum::<usize>() + self.result.count()
    }
}

#[cfg(test)]
impl Type {
    fn count(&self) -> usize {
        1 + match self {
            Type::Function(prototype) => prototype.count(),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(name: &str) -> Type {
        Type::Base(Scalar::named(name))
    }

    fn pointer(target: Type) -> Type {
        Type::Pointer(Box::new(target))
    }

    fn declared(result: Type, parameters: Vec<Type>) -> Option<String> {
        let parameters = parameters.into_iter().map(|parameter| (parameter, None)).collect();
        Prototype { result, parameters, is_variadic: false }.declaration("f")
    }

    #[test]
    fn declarations_are_c() {
        let tag = |name: &str| Type::Aggregate("struct", Some(name.to_owned()), None);
        let constant = |target: Type| Type::Qualified("const", Box::new(target));
        let function =
            Prototype { result: Type::Void, parameters: vec![(base("int"), None)], is_variadic: false };
        let callback = pointer(Type::Function(Box::new(function)));
        for (result, parameters, expected) in [
            (base("int"), vec![], "int f(void)"),
            (
                Type::Void,
                vec![pointer(tag("file")), base("long int")],
                "void f(struct file *arg1, long arg2)",
            ),
            (pointer(Type::Void), vec![pointer(constant(base("char")))], "void *f(const char *arg1)"),
            (base("int"), vec![constant(pointer(base("char")))], "int f(char *const arg1)"),
            (base("int"), vec![pointer(pointer(tag("a")))], "int f(struct a **arg1)"),
            (base("int"), vec![callback.clone()], "int f(void (*arg1)(int arg1))"),
            (callback, vec![], "void (*f(void))(int arg1)"),
            (
                base("int"),
                vec![Type::Typedef("gfp_t".to_owned(), Box::new(base("unsigned int")))],
                "int f(gfp_t arg1)",
            ),
            (
                base("int"),
                vec![Type::Typedef("own_t".to_owned(), Box::new(base("unsigned int")))],
                "int f(unsigned int arg1)",
            ),
            (Type::Enum(Some("e".to_owned()), false), vec![], "unsigned int /* enum e */ f(void)"),
            (base("int"), vec![pointer(Type::Aggregate("struct", None, None))], "int f(void *arg1)"),
            (base("int"), vec![pointer(Type::Array(Box::new(base("int")), None))], "int f(int (*arg1)[])"),
        ] {
            assert_eq!(declared(result, parameters).as_deref(), Some(expected));
        }
        assert_eq!(declared(base("int"), vec![tag("by_value")]), None);
        assert_eq!(declared(Type::Aggregate("union", None, None), vec![]), None);
    }

    #[test]
    fn names_that_are_declared_beforehand() {
        let tag = |kind, name: &str| pointer(Type::Aggregate(kind, Some(name.to_owned()), None));
        let inner =
            Prototype { result: Type::Void, parameters: vec![(tag("struct", "b"), None)], is_variadic: true };
        let outer = Prototype {
            result: tag("union", "a"),
            parameters: vec![(pointer(Type::Function(Box::new(inner))), Some("g".to_owned()))],
            is_variadic: false,
        };
        assert_eq!(outer.tags().into_iter().collect::<Vec<_>>(), ["struct b", "union a"]);
        assert_eq!(outer.declaration("f").unwrap(), "union a *f(void (*g)(struct b *arg1, ...))");
    }
}
