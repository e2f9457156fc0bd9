//! The end of a function, read from its machine code.
//!
//! Code that was made at run time has no unwind information and, often, no
//! frame pointer. When all that it does behind a call is to return, its few
//! instructions say how. So it is with the trampolines of Python's `-X perf`
//! (`add $8,%rsp; ret`):
//! <https://github.com/python/cpython/blob/v3.13.0/Python/asm_trampoline.S>.

/// Where the words lie that a function's last instructions take from the
/// stack, in bytes above the stack pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epilogue {
    /// The address to which it returns; nothing above it is the function's.
    pub return_address: u64,
    /// The caller's frame pointer, where it is restored.
    pub frame_pointer: Option<u64>,
}

/// How many bytes of code [`epilogue`] looks at.
pub(super) const LONGEST: usize = 16;

/// The epilogue that begins with these bytes of x86-64 code, if they are one:
/// additions to the stack pointer and pops, and then a return.
pub(super) fn epilogue(code: &[u8]) -> Option<Epilogue> {
    const RBP: u8 = 5;
    let mut rest = code;
    let mut popped = 0_u64;
    let mut frame_pointer = None;
    loop {
        let (length, step) = match *rest {
            // ret; also with the prefix that old branch predictors liked
            [0xc3, ..] | [0xf3, 0xc3, ..] => {
                return Some(Epilogue {
                    return_address: popped,
                    frame_pointer,
                });
            }
            // add $imm8,%rsp
            [0x48, 0x83, 0xc4, bytes, ..] if bytes < 0x80 => (4, u64::from(bytes)),
            // add $imm32,%rsp
            [0x48, 0x81, 0xc4, a, b, c, d, ..] if d < 0x80 => {
                (7, u64::from(u32::from_le_bytes([a, b, c, d])))
            }
            // pop %r8 … %r15
            [0x41, 0x58..=0x5f, ..] => (2, 8),
            // pop %rax … %rdi, but not %rsp
            [register @ 0x58..=0x5f, ..] if register != 0x5c => {
                if register - 0x58 == RBP {
                    frame_pointer = Some(popped);
                }
                (1, 8)
            }
            _ => return None,
        };
        popped += step;
        rest = &rest[length..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn returns(return_address: u64, frame_pointer: Option<u64>) -> Option<Epilogue> {
        Some(Epilogue {
            return_address,
            frame_pointer,
        })
    }

    #[test]
    fn a_perf_trampoline_of_python_pops_one_word() {
        assert_eq!(epilogue(&[0x48, 0x83, 0xc4, 0x08, 0xc3]), returns(8, None));
    }

    #[test]
    fn pops_and_additions_count_and_the_frame_pointer_is_noticed() {
        let code = [
            0x48, 0x81, 0xc4, 0x00, 0x01, 0x00, 0x00, 0x5b, 0x41, 0x5c, 0x5d, 0xf3, 0xc3,
        ];
        assert_eq!(epilogue(&code), returns(0x110 + 8, Some(0x110)));
        assert_eq!(epilogue(&[0xc3]), returns(0, None));
    }

    #[test]
    fn anything_else_is_no_epilogue() {
        for code in [
            &[][..],
            &[0x90],
            &[0x5c, 0xc3],
            &[0x48, 0x83, 0xc4, 0xf8, 0xc3],
            &[0x48, 0x83, 0xc4, 0x08],
        ] {
            assert_eq!(epilogue(code), None, "{code:x?}");
        }
    }
}
