//! A piece of kernel memory, read at once, and the fields in it.
//!
//! Each call of the helper that reads takes about 9 ns, where an empty program
//! takes 32, and every further hundred bytes 10 ns more (Linux 6.18): so what
//! lies close together is read by one call.

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use zerocopy::FromBytes;

use crate::sock::read;

/// A copy of up to `WORDS` times eight bytes behind `begin` of a structure.
pub(crate) struct Window<const WORDS: usize> {
    structure: u64,
    begin: u32,
    length: u32,
    bytes: MaybeUninit<[u64; WORDS]>,
}

impl<const WORDS: usize> Window<WORDS> {
    #[expect(clippy::cast_possible_truncation, reason = "a small constant")]
    const MOST: u32 = WORDS as u32 * 8;

    /// Reads `length` bytes, or as many as there is room for; zeros if they
    /// cannot be read. Where it begins and how long it is must be known to the
    /// verifier.
    #[inline(always)]
    pub(crate) fn read(structure: u64, begin: u32, length: u32) -> Self {
        let length = length.min(Self::MOST);
        let mut bytes = MaybeUninit::<[u64; WORDS]>::uninit();
        // SAFETY: the helper checks the source and writes all bytes of the
        // destination, which has room for `length`, zeros when it fails: see
        // `sock::read`.
        unsafe {
            bpf_probe_read_kernel(
                bytes.as_mut_ptr().cast(),
                length,
                structure.wrapping_add(u64::from(begin)) as *const c_void,
            );
        }
        Self {
            structure,
            begin,
            length,
            bytes,
        }
    }

    /// A field of the structure. One that does not lie in the window is read by
    /// itself, which the verifier, who knows the offsets, finds never to happen,
    /// or always.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the size of a field")]
    pub(crate) fn field<T: FromBytes>(&self, offset: u32) -> T {
        let at = offset.wrapping_sub(self.begin);
        let size = size_of::<T>() as u32;
        if at <= Self::MOST - size
            && at + size <= self.length
            && at.is_multiple_of(align_of::<T>() as u32)
        {
            // SAFETY: it lies in what was read and is aligned, and a `T` may have any bytes.
            unsafe { self.bytes.as_ptr().byte_add(at as usize).cast::<T>().read() }
        } else {
            read(self.structure, offset)
        }
    }
}
