//! Unwind information that can be followed in bounded time.
//!
//! It is a program in two languages, and anybody's: an expression can jump
//! back for ever, and a table can send every step through megabytes. Following
//! it is framehop's; here the entries are read once, from the first to the
//! last, before it gets them. What no compiler writes is refused.

use std::collections::HashMap;

use gimli::{
    BaseAddresses, CallFrameInstruction, CallFrameInstructionIter, CommonInformationEntry,
    DebugFrame, EhFrame, EhFrameHdr, Encoding, EndianSlice, LittleEndian, Operation,
    UnwindExpression, UnwindOffset, UnwindSection,
};

type Bytes<'d> = EndianSlice<'d, LittleEndian>;

/// A longer entry is refused: each step through its function reads all of it.
/// The longest of an ordinary program has some kilobytes.
const MAX_ENTRY: u32 = 1 << 16;

/// Why it is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// An entry is too long, or in the long format.
    Long,
    /// An entry refers to one that is not there.
    Stray,
    /// An expression jumps.
    Jump,
}

/// Where each function's entry begins, in order.
type Entries = Vec<usize>;

/// Reads `.eh_frame`; gives whether `table`, the `.eh_frame_hdr`, leads to its
/// entries and nowhere else.
pub(super) fn eh_frame(
    frame: &[u8],
    table: Option<&[u8]>,
    bases: &BaseAddresses,
) -> Result<bool, Refused> {
    let mut section = EhFrame::new(frame, LittleEndian);
    section.set_address_size(8);
    let entries = entries(&section, frame, bases, 0)?;
    Ok(table.is_some_and(|table| leads(table, &entries, bases)))
}

/// Reads `.debug_frame`.
pub(super) fn debug_frame(frame: &[u8], bases: &BaseAddresses) -> Result<(), Refused> {
    let mut section = DebugFrame::new(frame, LittleEndian);
    section.set_address_size(8);
    entries(&section, frame, bases, u32::MAX).map(drop)
}

fn leads(table: &[u8], entries: &Entries, bases: &BaseAddresses) -> bool {
    let Ok(header) = EhFrameHdr::new(table, LittleEndian).parse(bases, 8) else {
        return false;
    };
    let (Some(table), Ok(begin)) = (header.table(), header.eh_frame_ptr().direct()) else {
        return false;
    };
    // It can claim to have any number.
    let mut rows = table.iter(bases);
    for _ in 0..=entries.len() {
        let Ok(row) = rows.next() else { return false };
        let Some((_, to)) = row else { return true };
        // gimli's own way to the offset overflows when the table is damaged.
        let offset = to.direct().ok().and_then(|to| to.checked_sub(begin));
        let offset = offset.and_then(|offset| usize::try_from(offset).ok());
        if offset.is_none_or(|offset| entries.binary_search(&offset).is_err()) {
            return false;
        }
    }
    false
}

/// Reads every entry; `common` is what the second word is of one that others
/// share. An entry that cannot be read is left to the one who needs it.
fn entries<'d, S: UnwindSection<Bytes<'d>>>(
    section: &S,
    frame: &'d [u8],
    bases: &BaseAddresses,
    common: u32,
) -> Result<Entries, Refused> {
    let mut shared: HashMap<usize, CommonInformationEntry<Bytes<'d>>> = HashMap::new();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(length) = word(frame, at) {
        let here = at;
        at += 4;
        // Linkers leave these between what they put together.
        if length == 0 {
            continue;
        }
        if length > MAX_ENTRY {
            return Err(Refused::Long);
        }
        let Some(second) = word(frame, at) else { break };
        at += length as usize;
        if second == common {
            let entry = section.cie_from_offset(bases, S::Offset::from(here));
            if let Ok(entry) = entry {
                vet(
                    section,
                    entry.instructions(section, bases),
                    entry.encoding(),
                )?;
                shared.insert(here, entry);
            }
        } else if let Ok(partial) = section.partial_fde_from_offset(bases, S::Offset::from(here)) {
            let of = shared.get(&UnwindOffset::into(partial.cie_offset()));
            let of = of.ok_or(Refused::Stray)?;
            if let Ok(entry) = partial.parse(|_, _, _| Ok(of.clone())) {
                vet(section, entry.instructions(section, bases), of.encoding())?;
                found.push(here);
            }
        }
    }
    Ok(found)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*bytes))
}

fn vet<'d>(
    section: &impl UnwindSection<Bytes<'d>>,
    mut instructions: CallFrameInstructionIter<'_, Bytes<'d>>,
    encoding: Encoding,
) -> Result<(), Refused> {
    // What cannot be read ends the reading for everybody.
    while let Ok(Some(instruction)) = instructions.next() {
        if let CallFrameInstruction::DefCfaExpression { expression }
        | CallFrameInstruction::Expression { expression, .. }
        | CallFrameInstruction::ValExpression { expression, .. } = instruction
            && jumps(section, expression, encoding)
        {
            return Err(Refused::Jump);
        }
    }
    Ok(())
}

/// gimli evaluates any number of operations, unless it is told a limit, and
/// framehop tells it none.
fn jumps<'d>(
    section: &impl UnwindSection<Bytes<'d>>,
    expression: UnwindExpression<usize>,
    encoding: Encoding,
) -> bool {
    let Ok(expression) = expression.get(section) else {
        return false;
    };
    let mut operations = expression.operations(encoding);
    while let Ok(Some(operation)) = operations.next() {
        if matches!(operation, Operation::Skip { .. } | Operation::Bra { .. }) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One common entry and one function's, with these instructions.
    fn frame(instructions: &[u8]) -> Vec<u8> {
        let mut common = vec![0, 0, 0, 0, 1, 0, 1, 0x78, 16, 0x0c, 7, 8, 0x90, 1];
        common.resize(16, 0);
        let mut function = 24_u32.to_le_bytes().to_vec();
        function.extend(0x1000_u64.to_le_bytes());
        function.extend(0x100_u64.to_le_bytes());
        function.extend(instructions);
        let mut bytes = Vec::new();
        for entry in [common, function] {
            bytes.extend(u32::try_from(entry.len()).unwrap().to_le_bytes());
            bytes.extend(entry);
        }
        bytes
    }

    fn vetted(frame: &[u8]) -> Result<bool, Refused> {
        eh_frame(frame, None, &BaseAddresses::default())
    }

    #[test]
    fn an_expression_that_jumps_is_refused_and_another_is_not() {
        // DW_CFA_def_cfa_expression: breg7 8, and skip -3.
        assert_eq!(vetted(&frame(&[0x0f, 2, 0x77, 8])), Ok(false));
        let jump = frame(&[0x0f, 3, 0x2f, 0xfd, 0xff]);
        assert_eq!(vetted(&jump), Err(Refused::Jump));
        // DW_CFA_val_expression of a register: bra 0.
        let branch = frame(&[0x16, 6, 3, 0x28, 0, 0]);
        assert_eq!(vetted(&branch), Err(Refused::Jump));
    }

    #[test]
    fn a_long_entry_is_refused_and_so_is_one_that_belongs_to_none() {
        let nothings = vec![0; 1 << 16];
        assert_eq!(vetted(&frame(&nothings)), Err(Refused::Long));
        assert_eq!(vetted(&[0xff; 64]), Err(Refused::Long));
        let mut stray = frame(&[0]);
        stray[24] = 23;
        assert_eq!(vetted(&stray), Err(Refused::Stray));
    }

    #[test]
    fn a_gap_between_entries_is_no_end() {
        let mut bytes = frame(&[0]);
        bytes.extend([0; 4]);
        bytes.extend(frame(&[0x0f, 3, 0x2f, 0xfd, 0xff]));
        assert_eq!(vetted(&bytes), Err(Refused::Jump));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_unwind_information(
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300),
            place in 0..60_usize,
        ) {
            let bases = BaseAddresses::default();
            let _any = eh_frame(&bytes, Some(&bytes), &bases);
            let _any = debug_frame(&bytes, &bases);
            let mut damaged = frame(&[0x0f, 3, 0x2f, 0xfd, 0xff]);
            let place = place.min(damaged.len());
            damaged.splice(place.., bytes);
            let _any = vetted(&damaged);
        }
    }
}
