//! Names of symbols as people write them, and of a length that they read.
//!
//! A name is whatever a file says: a hundred bytes of C++'s encoding can stand
//! for more text than there is memory, because a part may be named again by a
//! number. So the text is cut while it is written.

use std::fmt::{self, Write};

use cpp_demangle::DemangleOptions;

/// The longest name of a program with many templates has about as many bytes.
const LONGEST: usize = 4096;

/// The name of a function, from the name of its symbol.
pub(super) fn readable(symbol: &str) -> String {
    if symbol.len() > LONGEST {
        return clipped(symbol);
    }
    let mut text = Clipped(String::new());
    // An error may be the clip.
    if let Ok(name) = rustc_demangle::try_demangle(symbol) {
        let _written = write!(text, "{name:#}");
    } else if let Ok(name) = cpp_demangle::Symbol::new(symbol) {
        let written = name.structured_demangle(&mut text, &DemangleOptions::new());
        if written.is_err() && text.0.len() < LONGEST {
            return symbol.to_owned();
        }
    }
    if text.0.is_empty() {
        return symbol.to_owned();
    }
    if text.0.len() >= LONGEST {
        return clipped(&text.0);
    }
    text.0
}

/// The beginning of a text that is too long.
pub(super) fn clipped(text: &str) -> String {
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    let end = boundary(text, LONGEST - '…'.len_utf8());
    format!("{}…", &text[..end])
}

/// Where a text can be cut to have at most so many bytes.
fn boundary(text: &str, most: usize) -> usize {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    end
}

/// As [`clipped`], of bytes.
pub(super) fn clipped_bytes(bytes: &[u8]) -> String {
    // One more than may stay, so that it shows that something is missing.
    let bytes = &bytes[..bytes.len().min(LONGEST + 1)];
    clipped(&String::from_utf8_lossy(bytes))
}

/// Takes text until it is long enough.
struct Clipped(String);

impl Write for Clipped {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = LONGEST.saturating_sub(self.0.len());
        // One more, for `clipped` to see.
        let end = boundary(text, room + 1);
        self.0.push_str(&text[..end]);
        if end < text.len() || self.0.len() > LONGEST {
            Err(fmt::Error)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_rust_c_and_cpp() {
        for (symbol, name) in [
            (
                "_ZN4core3ops8function6FnOnce9call_once17h0123456789abcdefE",
                "core::ops::function::FnOnce::call_once",
            ),
            ("_RNvCs1234_7mycrate3foo", "mycrate::foo"),
            ("_ZN4shop4pool3getEi", "shop::pool::get(int)"),
            ("connect", "connect"),
            ("", ""),
            ("_Z", "_Z"),
        ] {
            assert_eq!(readable(symbol), name);
        }
    }

    /// Each part is a pair of the part before, named twice by its number.
    #[test]
    fn a_name_that_doubles_with_every_letter_is_cut() {
        let mut symbol = "_Z1fSt4pairI1aS0_E".to_owned();
        for number in 1..60_u32 {
            let digit = char::from_digit(number % 36, 36)
                .unwrap()
                .to_ascii_uppercase();
            let earlier = if number < 36 {
                format!("S{digit}_")
            } else {
                format!("S1{digit}_")
            };
            symbol.push_str(&format!("St4pairI{earlier}{earlier}E"));
        }
        let began = std::time::Instant::now();
        let name = readable(&symbol);
        assert!(name.len() <= LONGEST + 1, "{}", name.len());
        assert!(began.elapsed() < std::time::Duration::from_secs(10));
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        let long = "ä".repeat(LONGEST);
        for text in [
            readable(&long),
            clipped(&long),
            clipped_bytes(long.as_bytes()),
        ] {
            assert!(text.len() <= LONGEST && text.ends_with('…'));
        }
        assert_eq!(clipped("short"), "short");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_symbol(text in "(_Z|_R)?[A-Z0-9a-z_]{0,80}") {
            proptest::prop_assert!(readable(&text).len() <= LONGEST);
        }
    }
}
