// SPDX-License-Identifier: GPL-2.0-only
//! Whether two declarations of the same thing agree: a livepatch's declaration of a function or variable, and the
//! kernel's.
//!
//! Only differences that change the machine code count. Qualifiers, the names of types, and whether a number is
//! signed or an enumeration are ignored; structures are compared by name, kind and size, and one that is only
//! declared agrees with its definition.

use super::{Declaration, Prototype, Type};

impl Declaration {
    /// Whether code compiled with the one declaration can use what has the other.
    pub fn agrees_with(&self, other: &Declaration) -> bool {
        if [self, other].into_iter().any(Declaration::is_address) {
            return true;
        }
        match (self, other) {
            (Declaration::Function(own), Declaration::Function(other)) => own.agrees_with(other),
            (Declaration::Variable(own), Declaration::Variable(other)) => own.agrees_with(other),
            _ => false,
        }
    }

    /// Whether it only says that something exists, whose address is taken: `struct klp_any` of klp_relocs.h, which is
    /// defined nowhere.
    fn is_address(&self) -> bool {
        *self == Declaration::Variable(Type::Aggregate("struct", Some("klp_any".to_owned()), None))
    }
}

impl Prototype {
    fn agrees_with(&self, other: &Prototype) -> bool {
        // `f()` leaves the parameters open.
        let is_open = |prototype: &Prototype| prototype.is_variadic && prototype.parameters.is_empty();
        let pairs = || self.parameters.iter().zip(&other.parameters);
        self.result.agrees_with(&other.result)
            && (is_open(self)
                || is_open(other)
                || self.parameters.len() == other.parameters.len()
                    && self.is_variadic == other.is_variadic
                    && pairs().all(|((own, _), (other, _))| own.agrees_with(other)))
    }
}

impl Type {
    /// The type without qualifiers and typedefs.
    fn bare(&self) -> &Type {
        match self {
            Type::Typedef(_, target) | Type::Qualified(_, target) => target.bare(),
            other => other,
        }
    }

    fn agrees_with(&self, other: &Type) -> bool {
        match (self.bare(), other.bare()) {
            (Type::Void, Type::Void) => true,
            // The type is nested too deep to be read, or has neither name nor size.
            (Type::Aggregate(_, None, None), _) | (_, Type::Aggregate(_, None, None)) => true,
            (Type::Base(own), Type::Base(other)) => {
                own.is_float == other.is_float && is_one_size(Some(own.size), Some(other.size))
            }
            (Type::Enum(..), Type::Enum(..)) => true,
            (Type::Base(base), Type::Enum(..)) | (Type::Enum(..), Type::Base(base)) => {
                // The size of an enumeration is nearly always that of int; a packed one may be smaller.
                !base.is_float && base.size <= 4
            }
            (Type::Aggregate(own, own_name, own_size), Type::Aggregate(other, other_name, other_size)) => {
                let is_one_name = own_name.is_none() || other_name.is_none() || own_name == other_name;
                own == other && is_one_name && is_one_size(*own_size, *other_size)
            }
            (Type::Pointer(own), Type::Pointer(other)) => own.is_behind_one_pointer(other),
            (Type::Array(own, own_count), Type::Array(other, other_count)) => {
                own.agrees_with(other) && is_one_size(*own_count, *other_count)
            }
            (Type::Function(own), Type::Function(other)) => own.agrees_with(other),
            _ => false,
        }
    }

    /// Whether the same pointer can point to both types.
    fn is_behind_one_pointer(&self, other: &Type) -> bool {
        match (self.bare(), other.bare()) {
            (Type::Void, _) | (_, Type::Void) => true,
            (Type::Array(own, _), Type::Array(other, _)) => own.is_behind_one_pointer(other),
            // The address of an array is that of its first element.
            (Type::Array(element, _), other) | (other, Type::Array(element, _)) => {
                element.is_behind_one_pointer(other)
            }
            (own, other) => own.agrees_with(other),
        }
    }
}

/// Whether two sizes, or numbers of elements, agree; 0 stands for an unknown one.
fn is_one_size(own: Option<u64>, other: Option<u64>) -> bool {
    match (own.filter(|&size| size > 0), other.filter(|&size| size > 0)) {
        (Some(own), Some(other)) => own == other,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Scalar;
    use super::*;

    fn base(name: &str, size: u64) -> Type {
        Type::Base(Scalar { name: name.to_owned(), size, is_float: false })
    }

    fn pointer(target: Type) -> Type {
        Type::Pointer(Box::new(target))
    }

    fn constant(target: Type) -> Type {
        Type::Qualified("const", Box::new(target))
    }

    fn tag(name: &str, size: Option<u64>) -> Type {
        Type::Aggregate("struct", Some(name.to_owned()), size)
    }

    fn function(result: Type, parameters: &[Type], is_variadic: bool) -> Prototype {
        let parameters = parameters.iter().map(|parameter| (parameter.clone(), None)).collect();
        Prototype { result, parameters, is_variadic }
    }

    #[test]
    fn what_the_machine_cannot_tell_apart_agrees() {
        let typedef = |target: Type| Type::Typedef("t".to_owned(), Box::new(target));
        for (own, other) in [
            (base("long int", 8), base("long long unsigned int", 8)),
            (typedef(base("int", 4)), base("unsigned int", 4)),
            (constant(base("int", 4)), base("int", 4)),
            (Type::Enum(Some("e".to_owned()), false), base("int", 4)),
            (tag("s", None), tag("s", Some(16))),
            (typedef(Type::Aggregate("struct", None, Some(4))), tag("s", Some(4))),
            (pointer(Type::Void), pointer(tag("s", Some(16)))),
            (pointer(constant(base("char", 1))), pointer(base("unsigned char", 1))),
            (pointer(tag("s", None)), pointer(constant(tag("s", Some(16))))),
            (pointer(pointer(Type::Void)), pointer(pointer(tag("s", None)))),
            (pointer(base("int", 4)), pointer(Type::Array(Box::new(base("int", 4)), Some(2)))),
            (Type::Array(Box::new(base("char", 1)), None), Type::Array(Box::new(base("char", 1)), Some(9))),
        ] {
            assert!(own.agrees_with(&other) && other.agrees_with(&own), "{own:?} {other:?}");
        }
    }

    #[test]
    fn what_the_machine_takes_otherwise_does_not() {
        let float = Type::Base(Scalar { name: "float".to_owned(), size: 4, is_float: true });
        let array = |element: Type, count| Type::Array(Box::new(element), count);
        for (own, other) in [
            (base("int", 4), base("long int", 8)),
            (base("_Bool", 1), base("int", 4)),
            (float, base("int", 4)),
            (Type::Void, base("int", 4)),
            (base("long int", 8), pointer(Type::Void)),
            (tag("s", Some(8)), tag("s", Some(16))),
            (tag("s", None), tag("t", None)),
            (tag("s", None), Type::Aggregate("union", Some("s".to_owned()), None)),
            (pointer(base("int", 4)), pointer(base("long int", 8))),
            (pointer(tag("s", None)), pointer(tag("t", None))),
            (pointer(base("char", 1)), array(base("char", 1), None)),
            (array(base("char", 1), Some(8)), array(base("char", 1), Some(9))),
        ] {
            assert!(!own.agrees_with(&other) && !other.agrees_with(&own), "{own:?} {other:?}");
        }
    }

    #[test]
    fn functions_agree_by_result_and_parameters() {
        let int = || base("int", 4);
        let one = function(int(), &[int()], false);
        assert!(function(int(), &[], true).agrees_with(&one), "f() says nothing of parameters");
        assert!(one.agrees_with(&function(base("unsigned int", 4), &[int()], false)));
        for other in [
            function(Type::Void, &[int()], false),
            function(int(), &[int(), int()], false),
            function(int(), &[], false),
            function(int(), &[int()], true),
            function(int(), &[base("long int", 8)], false),
        ] {
            assert!(!one.agrees_with(&other), "{other:?}");
        }
        let variable = Declaration::Variable(int());
        assert!(!Declaration::Function(one.clone()).agrees_with(&variable));
        let callback = |prototype: Prototype| pointer(Type::Function(Box::new(prototype)));
        assert!(!callback(one.clone()).agrees_with(&callback(function(int(), &[], false))));
        assert!(callback(one).agrees_with(&callback(function(int(), &[int()], false))));
    }

    #[test]
    fn declarations_are_shown_as_people_write_them() {
        let own = Type::Typedef("own_t".to_owned(), Box::new(tag("s", None)));
        let unnamed = Type::Aggregate("struct", None, Some(4));
        let prototype = Prototype {
            result: base("long unsigned int", 8),
            parameters: vec![(pointer(own), Some("own".to_owned())), (unnamed, None)],
            is_variadic: false,
        };
        let shown = Declaration::Function(prototype).shown("f");
        assert_eq!(shown, "unsigned long f(own_t *own, struct { ... })");
        let open = Declaration::Function(function(base("int", 4), &[], true));
        assert_eq!(open.shown("f"), "int f()");
        let array = Declaration::Variable(Type::Array(Box::new(base("char", 1)), Some(8)));
        assert_eq!(array.shown("x"), "char x[8]");
    }
}
