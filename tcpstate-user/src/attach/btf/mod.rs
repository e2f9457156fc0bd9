//! What the running kernel's own type information (BTF) says of a structure,
//! a function or an enumeration.
//!
//! Of the format it knows as much as these questions need. It is total: bytes
//! that are no BTF give an error, never a panic, an endless loop or a wrong
//! answer. Format: <https://docs.kernel.org/bpf/btf.html>.

mod parse;
mod sparse;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, fmt};

pub(crate) use self::parse::Btf;
use self::parse::{Kind, Type};

/// Where the running kernel shows its BTF.
pub(crate) const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// How deep names may be nested: typedefs of typedefs, structures in unions in
/// structures. The deepest of the kernel are below ten.
const MAX_DEPTH: u32 = 32;

/// How many members a search may look at; the largest structures have hundreds.
const MAX_MEMBERS: u32 = 1 << 16;

/// Where a field lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    /// Bytes from the beginning of the structure.
    pub(crate) offset: u32,
    /// Size in bytes.
    pub(crate) size: u32,
}

/// What a program takes a parameter of a hook for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parameter {
    /// A pointer to the structure of this name.
    Struct(&'static str),
    /// An integer, a bool or an enumerator.
    Number,
    /// Not used.
    Any,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BtfError {
    /// Not BTF, or a version of it that we do not know.
    Malformed(&'static str),
    /// The kernel has no such type or field.
    Missing(String),
    /// The field is not a whole number of bytes.
    Bitfield(String),
    /// The function or tracepoint has other parameters.
    Signature(String),
}

impl fmt::Display for BtfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => write!(f, "malformed BTF: {what}"),
            Self::Missing(name) => write!(f, "the kernel has no {name}"),
            Self::Bitfield(name) => write!(f, "{name} is a bit field"),
            Self::Signature(name) => {
                write!(f, "{name} has parameters that this version does not know")
            }
        }
    }
}

impl std::error::Error for BtfError {}

impl Btf<'_> {
    /// Finds `path`, its names separated by dots, in the structure `name`.
    /// Members of anonymous structures and unions count as the outer one's.
    pub(crate) fn field(&self, name: &str, path: &str) -> Result<Field, BtfError> {
        let missing = || BtfError::Missing(format!("{name}.{path}"));
        let mut at = self
            .find(Kind::Struct, name)?
            .ok_or_else(|| BtfError::Missing(format!("struct {name}")))?;
        let mut bits = 0_u32;
        let mut budget = MAX_MEMBERS;
        for step in path.split('.') {
            let member = self.member(at, step, 0, &mut budget)?.ok_or_else(missing)?;
            if member.is_bitfield {
                return Err(BtfError::Bitfield(format!("{name}.{path}")));
            }
            bits = bits.checked_add(member.bits).ok_or_else(missing)?;
            at = self.resolve(member.type_id)?;
        }
        if !bits.is_multiple_of(8) {
            return Err(BtfError::Bitfield(format!("{name}.{path}")));
        }
        let size = self.size_of(at)?;
        Ok(Field {
            offset: bits / 8,
            size,
        })
    }

    /// Number of parameters of the function `name`.
    pub(crate) fn parameters(&self, name: &str) -> Result<usize, BtfError> {
        self.function(name).map(|prototype| prototype.vlen)
    }

    /// Number of arguments of the tracepoint `event`, without the context that
    /// its probes get first.
    pub(crate) fn tracepoint_arguments(&self, event: &str) -> Result<usize, BtfError> {
        let count = self.tracepoint(event)?.vlen.checked_sub(1);
        count.ok_or_else(|| no_tracepoint(event))
    }

    /// Confirms that the first parameters of the function `name` are these.
    pub(crate) fn function_takes(&self, name: &str, takes: &[Parameter]) -> Result<(), BtfError> {
        self.confirm(self.function(name)?, 0, takes, name)
    }

    /// Confirms that the first arguments of the tracepoint `event`, without the
    /// context, are these.
    pub(crate) fn tracepoint_takes(
        &self,
        event: &str,
        takes: &[Parameter],
    ) -> Result<(), BtfError> {
        self.confirm(self.tracepoint(event)?, 1, takes, event)
    }

    fn confirm(
        &self,
        prototype: Type,
        skip: usize,
        takes: &[Parameter],
        name: &str,
    ) -> Result<(), BtfError> {
        let mismatch = || BtfError::Signature(name.to_owned());
        if prototype.vlen < skip + takes.len() {
            return Err(mismatch());
        }
        for (index, &wanted) in takes.iter().enumerate() {
            let given = self.resolve(self.parameter_at(prototype, skip + index)?)?;
            if !self.is_parameter(given, wanted)? {
                return Err(mismatch());
            }
        }
        Ok(())
    }

    fn is_parameter(&self, given: Type, wanted: Parameter) -> Result<bool, BtfError> {
        match wanted {
            Parameter::Any => Ok(true),
            Parameter::Number => Ok(matches!(
                given.kind,
                Kind::Sized | Kind::Enum | Kind::Enum64
            )),
            Parameter::Struct(name) => {
                if given.kind != Kind::Ptr {
                    return Ok(false);
                }
                let target = self.resolve(given.size_or_type)?;
                Ok(target.kind == Kind::Struct && self.is_name(target.name_offset, name))
            }
        }
    }

    /// The prototype of the function `name`.
    fn function(&self, name: &str) -> Result<Type, BtfError> {
        let function = self
            .find(Kind::Func, name)?
            .ok_or_else(|| BtfError::Missing(format!("function {name}")))?;
        let prototype = self.type_by_id(function.size_or_type)?;
        match prototype.kind {
            Kind::FuncProto => Ok(prototype),
            _ => Err(BtfError::Malformed("a function without a prototype")),
        }
    }

    /// The prototype of the probes of the tracepoint `event`.
    fn tracepoint(&self, event: &str) -> Result<Type, BtfError> {
        let name = format!("btf_trace_{event}");
        let typedef = self
            .find(Kind::Typedef, &name)?
            .ok_or_else(|| no_tracepoint(event))?;
        let pointer = self.resolve(typedef.size_or_type)?;
        let prototype = self.type_by_id(pointer.size_or_type)?;
        match (pointer.kind, prototype.kind) {
            (Kind::Ptr, Kind::FuncProto) => Ok(prototype),
            _ => Err(BtfError::Malformed("a tracepoint without a prototype")),
        }
    }

    /// Names and values of the enumeration `name`, in the kernel's order.
    pub(crate) fn enumerators(&self, name: &str) -> Result<Vec<(u32, Cow<'_, str>)>, BtfError> {
        let found = self
            .find(Kind::Enum, name)?
            .ok_or_else(|| BtfError::Missing(format!("enum {name}")))?;
        (0..found.vlen)
            .map(|index| {
                let (name, value) = self.enumerator(found, index)?;
                Ok((value, String::from_utf8_lossy(self.name(name)?)))
            })
            .collect()
    }

    /// Searches the members of `within`, and of its anonymous members.
    fn member(
        &self,
        within: Type,
        name: &str,
        depth: u32,
        budget: &mut u32,
    ) -> Result<Option<Found>, BtfError> {
        if !matches!(within.kind, Kind::Struct | Kind::Union) || depth > MAX_DEPTH {
            return Ok(None);
        }
        for index in 0..within.vlen {
            *budget = budget
                .checked_sub(1)
                .ok_or(BtfError::Malformed("a structure without an end"))?;
            let member = self.member_at(within, index)?;
            if member.name_offset == 0 {
                let inner = self.resolve(member.type_id)?;
                if let Some(found) = self.member(inner, name, depth + 1, budget)? {
                    return Ok(found.shifted(member.bits));
                }
            } else if self.is_name(member.name_offset, name) {
                return Ok(Some(Found {
                    bits: member.bits,
                    type_id: member.type_id,
                    is_bitfield: member.bitfield_size != 0,
                }));
            }
        }
        Ok(None)
    }

    /// Follows typedefs and qualifiers to the type itself.
    fn resolve(&self, id: u32) -> Result<Type, BtfError> {
        let mut found = self.type_by_id(id)?;
        for _ in 0..MAX_DEPTH {
            match found.kind {
                Kind::Typedef | Kind::Qualifier => found = self.type_by_id(found.size_or_type)?,
                _ => return Ok(found),
            }
        }
        Err(BtfError::Malformed("typedefs that go on and on"))
    }

    /// 0 for what has no size of its own (functions, incomplete types).
    fn size_of(&self, of: Type) -> Result<u32, BtfError> {
        let (mut of, mut count) = (of, 1_u32);
        for _ in 0..MAX_DEPTH {
            let size = match of.kind {
                Kind::Sized | Kind::Struct | Kind::Union | Kind::Enum | Kind::Enum64 => {
                    of.size_or_type
                }
                Kind::Ptr => 8,
                Kind::Array => {
                    let (element, length) = self.array(of)?;
                    count = count.saturating_mul(length);
                    of = self.resolve(element)?;
                    continue;
                }
                _ => 0,
            };
            return Ok(size.saturating_mul(count));
        }
        Err(BtfError::Malformed("arrays that go on and on"))
    }
}

fn no_tracepoint(event: &str) -> BtfError {
    BtfError::Missing(format!("tracepoint {event}"))
}

/// A member and where it lies in the structure that was asked.
struct Found {
    bits: u32,
    type_id: u32,
    is_bitfield: bool,
}

impl Found {
    fn shifted(self, by: u32) -> Option<Self> {
        let bits = self.bits.checked_add(by)?;
        Some(Self { bits, ..self })
    }
}
