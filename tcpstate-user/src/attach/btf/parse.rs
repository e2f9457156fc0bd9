//! The bytes of BTF: a header, a section of types, a section of strings.
//!
//! Types follow each other and are numbered from 1; each has twelve bytes and
//! then, by its kind, more. One pass notes where each begins and sorts out the
//! kinds that are searched by name; names are compared as bytes, on demand.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
};

use super::BtfError;

/// Type section and string section, and where each type begins.
pub(crate) struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Position of type `id` at `id - 1`.
    positions: Vec<u32>,
    structs: Vec<u32>,
    functions: Vec<u32>,
    typedefs: Vec<u32>,
    enums: Vec<u32>,
    /// Where what was looked for is: a search takes up to half a millisecond, and
    /// most of them are for the fields of a few structures.
    known: RefCell<HashMap<(Kind, String), Option<u32>>>,
}

/// The kinds of type, those that are treated alike together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// Integers and floats.
    Sized,
    Ptr,
    Array,
    Struct,
    Union,
    Enum,
    Enum64,
    Typedef,
    /// `volatile`, `const`, `restrict` and type tags.
    Qualifier,
    Func,
    FuncProto,
    /// Forward declarations, variables, sections, declaration tags.
    Other,
}

/// One type's first twelve bytes, and where what follows them begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Type {
    pub(super) kind: Kind,
    /// Number of members, enumerators or parameters.
    pub(super) vlen: usize,
    kind_flag: bool,
    pub(super) size_or_type: u32,
    pub(super) name_offset: u32,
    rest: usize,
}

/// One member of a structure or union.
pub(super) struct Member {
    pub(super) name_offset: u32,
    pub(super) type_id: u32,
    /// Bits from the beginning of the structure.
    pub(super) bits: u32,
    /// 0 for a member that is not a bit field.
    pub(super) bitfield_size: u32,
}

const HEADER: usize = 24;
const TYPE: usize = 12;
const MEMBER: usize = 12;

impl<'a> Btf<'a> {
    /// Reads the header and finds all types.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, BtfError> {
        let header = bytes.get(..HEADER).ok_or(short())?;
        if header[..4] != [0x9f, 0xeb, 1, 0] {
            return Err(BtfError::Malformed("not version 1 in this byte order"));
        }
        let body = bytes.get(word(header, 4)? as usize..).ok_or(short())?;
        let section = |at: usize| -> Result<&'a [u8], BtfError> {
            let (start, length) = (word(header, at)? as usize, word(header, at + 4)? as usize);
            let end = start.checked_add(length).ok_or(short())?;
            body.get(start..end).ok_or(short())
        };
        let mut btf = Self {
            types: section(8)?,
            strings: section(16)?,
            positions: Vec::new(),
            structs: Vec::new(),
            functions: Vec::new(),
            typedefs: Vec::new(),
            enums: Vec::new(),
            known: RefCell::default(),
        };
        btf.index()?;
        Ok(btf)
    }

    fn index(&mut self) -> Result<(), BtfError> {
        // An average type of a kernel takes 30 bytes.
        self.positions.reserve(self.types.len() / 24);
        let mut position = 0;
        while position < self.types.len() {
            let (found, length) = read_type(self.types, position)?;
            let at = u32::try_from(position).map_err(|_too_big| short())?;
            self.positions.push(at);
            match found.kind {
                Kind::Struct => self.structs.push(at),
                Kind::Func => self.functions.push(at),
                Kind::Typedef => self.typedefs.push(at),
                Kind::Enum => self.enums.push(at),
                _ => {}
            }
            position += length;
        }
        Ok(())
    }

    /// The first type of this kind and name.
    pub(super) fn find(&self, kind: Kind, name: &str) -> Result<Option<Type>, BtfError> {
        let key = (kind, name.to_owned());
        let known = self.known.borrow().get(&key).copied();
        let position = match known {
            Some(position) => position,
            None => {
                let found = self.search(kind, name)?;
                self.known.borrow_mut().insert(key, found);
                found
            }
        };
        let read = |position| Ok(read_type(self.types, position as usize)?.0);
        position.map(read).transpose()
    }

    fn search(&self, kind: Kind, name: &str) -> Result<Option<u32>, BtfError> {
        let candidates = match kind {
            Kind::Struct => &self.structs,
            Kind::Func => &self.functions,
            Kind::Typedef => &self.typedefs,
            Kind::Enum => &self.enums,
            _ => return Ok(None),
        };
        for &position in candidates {
            if self.is_name(word(self.types, position as usize)?, name) {
                return Ok(Some(position));
            }
        }
        Ok(None)
    }

    /// The number of the function `name`, less one.
    pub(super) fn function_index(&self, name: &str) -> Result<Option<usize>, BtfError> {
        self.find(Kind::Func, name)?;
        let position = self
            .known
            .borrow()
            .get(&(Kind::Func, name.to_owned()))
            .copied();
        let index = |position: u32| self.positions.binary_search(&position).ok();
        Ok(position.flatten().and_then(index))
    }

    /// How many types there are, `void` left out.
    pub(super) fn count(&self) -> usize {
        self.positions.len()
    }

    /// Notes where the functions of these names are, by one search for all.
    pub(super) fn find_functions(&self, names: &[&str]) {
        let mut missing: HashSet<_> = names.iter().map(|name| name.as_bytes()).collect();
        for &position in &self.functions {
            let name = word(self.types, position as usize).and_then(|name| self.name(name));
            if let Ok(name) = name
                && missing.remove(name)
            {
                let name = String::from_utf8_lossy(name).into_owned();
                self.known
                    .borrow_mut()
                    .insert((Kind::Func, name), Some(position));
            }
        }
    }

    pub(super) fn type_by_id(&self, id: u32) -> Result<Type, BtfError> {
        let position = (id as usize)
            .checked_sub(1)
            .and_then(|index| self.positions.get(index));
        match position {
            Some(&position) => Ok(read_type(self.types, position as usize)?.0),
            // Number 0 is void, which is in no section.
            None if id == 0 => Ok(Type {
                kind: Kind::Other,
                vlen: 0,
                kind_flag: false,
                size_or_type: 0,
                name_offset: 0,
                rest: 0,
            }),
            None => Err(BtfError::Malformed("a type number that is none")),
        }
    }

    pub(super) fn member_at(&self, of: Type, index: usize) -> Result<Member, BtfError> {
        let at = of.rest + index * MEMBER;
        let place = word(self.types, at + 8)?;
        let (bits, bitfield_size) = if of.kind_flag {
            (place & 0x00ff_ffff, place >> 24)
        } else {
            (place, 0)
        };
        Ok(Member {
            name_offset: word(self.types, at)?,
            type_id: word(self.types, at + 4)?,
            bits,
            bitfield_size,
        })
    }

    /// Type of a parameter of a prototype.
    pub(super) fn parameter_at(&self, of: Type, index: usize) -> Result<u32, BtfError> {
        word(self.types, of.rest + index * 8 + 4)
    }

    /// Name and value.
    pub(super) fn enumerator(&self, of: Type, index: usize) -> Result<(u32, u32), BtfError> {
        let at = of.rest + index * 8;
        Ok((word(self.types, at)?, word(self.types, at + 4)?))
    }

    /// Element type and length.
    pub(super) fn array(&self, of: Type) -> Result<(u32, u32), BtfError> {
        Ok((word(self.types, of.rest)?, word(self.types, of.rest + 8)?))
    }

    pub(super) fn name(&self, offset: u32) -> Result<&'a [u8], BtfError> {
        let from = self.strings.get(offset as usize..).ok_or(short())?;
        let end = from.iter().position(|&byte| byte == 0).ok_or(short())?;
        Ok(&from[..end])
    }

    pub(super) fn is_name(&self, offset: u32, name: &str) -> bool {
        let from = self.strings.get(offset as usize..).unwrap_or_default();
        from.strip_prefix(name.as_bytes())
            .is_some_and(|rest| rest.first() == Some(&0))
    }
}

/// The type at `position`, and the length of all of it.
fn read_type(types: &[u8], position: usize) -> Result<(Type, usize), BtfError> {
    let info = word(types, position + 4)?;
    let vlen = (info & 0xffff) as usize;
    let number = (info >> 24) & 0x1f;
    let (kind, rest) = match number {
        1 => (Kind::Sized, 4),
        2 => (Kind::Ptr, 0),
        3 => (Kind::Array, 12),
        4 => (Kind::Struct, MEMBER * vlen),
        5 => (Kind::Union, MEMBER * vlen),
        6 => (Kind::Enum, 8 * vlen),
        7 => (Kind::Other, 0),
        8 => (Kind::Typedef, 0),
        9..=11 | 18 => (Kind::Qualifier, 0),
        12 => (Kind::Func, 0),
        13 => (Kind::FuncProto, 8 * vlen),
        14 | 17 => (Kind::Other, 4),
        15 => (Kind::Other, 12 * vlen),
        16 => (Kind::Sized, 0),
        19 => (Kind::Enum64, 12 * vlen),
        _ => return Err(BtfError::Malformed("a kind of type that we do not know")),
    };
    let length = TYPE + rest;
    if types.len() - position < length {
        return Err(short());
    }
    let found = Type {
        kind,
        vlen,
        kind_flag: info >> 31 != 0,
        size_or_type: word(types, position + 8)?,
        name_offset: word(types, position)?,
        rest: position + TYPE,
    };
    Ok((found, length))
}

fn word(bytes: &[u8], at: usize) -> Result<u32, BtfError> {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk());
    word.map(|&word| u32::from_ne_bytes(word)).ok_or(short())
}

const fn short() -> BtfError {
    BtfError::Malformed("cut short")
}
