//! Text that somebody else chose, and the only ways to write it.

/// Bytes from a thread name, a path, a recording: anything at all. There is no
/// `Display`; each way out makes it harmless for its reader, and none of them
/// hides a byte.
#[derive(Clone, Copy)]
pub struct Untrusted<'a>(&'a [u8]);

impl<'a> Untrusted<'a> {
    /// Any bytes.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// A thread name, up to its first NUL.
    #[must_use]
    pub fn comm(comm: &'a [u8; 16]) -> Self {
        let length = comm.iter().position(|&byte| byte == 0);
        Self(&comm[..length.unwrap_or(comm.len())])
    }

    /// For a terminal: whatever does not print is escaped as in Rust source.
    /// Returns how many characters were written.
    pub fn term(self, out: &mut Vec<u8>) -> usize {
        self.escape(out, false)
    }

    /// For CSV: a whole cell. Quoted where RFC 4180 or a spreadsheet's reader
    /// (`;`) wants it; a leading `'` keeps a spreadsheet from calculating it.
    pub fn csv(self, out: &mut Vec<u8>) {
        let separates = |byte: &u8| matches!(byte, b',' | b';' | b'"');
        let blank = self.0.first() == Some(&b' ') || self.0.last() == Some(&b' ');
        let quoted = blank || self.0.iter().any(separates);
        if quoted {
            out.push(b'"');
        }
        if matches!(self.0, [b'=' | b'+' | b'-' | b'@' | b'\t' | b'\r', ..]) {
            out.push(b'\'');
        }
        self.escape(out, quoted);
        if quoted {
            out.push(b'"');
        }
    }

    /// For JSON: a whole string, in quotes. Bytes that are no UTF-8 become
    /// U+FFFD; [`Self::is_utf8`] and [`Self::hex`] tell what they were.
    pub fn json(self, out: &mut Vec<u8>) {
        out.push(b'"');
        if self.0.iter().all(|&byte| plain(byte) && byte != b'"') {
            out.extend_from_slice(self.0);
        } else {
            for chunk in self.0.utf8_chunks() {
                json_text(chunk.valid(), out);
                if !chunk.invalid().is_empty() {
                    push(char::REPLACEMENT_CHARACTER, out);
                }
            }
        }
        out.push(b'"');
    }

    /// For a writer of JSON that escapes what [`Self::json`] escapes: as text,
    /// with U+FFFD for what is no UTF-8.
    pub(super) fn to_lossy(self) -> String {
        String::from_utf8_lossy(self.0).into_owned()
    }

    /// Two hexadecimal digits per byte.
    pub fn hex(self, out: &mut Vec<u8>) {
        for byte in self.0 {
            super::digits::hex(u64::from(*byte), 2, out);
        }
    }

    /// Whether [`Self::json`] tells everything.
    #[must_use]
    pub fn is_utf8(self) -> bool {
        std::str::from_utf8(self.0).is_ok()
    }

    fn escape(self, out: &mut Vec<u8>, double_quotes: bool) -> usize {
        let easy = |&byte: &u8| plain(byte) && !(double_quotes && byte == b'"');
        if self.0.iter().all(easy) {
            out.extend_from_slice(self.0);
            return self.0.len();
        }
        let mut columns = 0;
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                columns += escape_char(c, double_quotes, out);
            }
            for &byte in chunk.invalid() {
                out.extend_from_slice(b"\\x");
                super::digits::hex(u64::from(byte), 2, out);
                columns += 4;
            }
        }
        columns
    }
}

/// ASCII that prints and means nothing more, in every format.
const fn plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'\\'
}

/// Whether a terminal shows it as itself. Not so: control characters (C0, DEL,
/// C1), format characters (bidi, zero width, BOM, tags), line separators,
/// unassigned and private ones, and marks that attach to what stands before.
fn prints(c: char) -> bool {
    matches!(c, '"' | '\'') || c != '\\' && c.escape_debug().len() == 1
}

fn escape_char(c: char, double_quotes: bool, out: &mut Vec<u8>) -> usize {
    if c == '"' && double_quotes {
        out.extend_from_slice(b"\"\"");
        return 2;
    }
    if prints(c) {
        push(c, out);
        return 1;
    }
    c.escape_debug().map(|part| push(part, out)).count()
}

/// The inside of a JSON string. RFC 8259 section 7 wants only quotes, backslash
/// and C0 escaped; the rest is for the terminal that somebody looks at it with.
pub(super) fn json_text(text: &str, out: &mut Vec<u8>) {
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
            _ if prints(c) => push(c, out),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.extend_from_slice(b"\\u");
                    super::digits::hex(u64::from(*unit), 4, out);
                }
            }
        }
    }
}

fn push(c: char, out: &mut Vec<u8>) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::Untrusted;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn term(bytes: &[u8]) -> String {
        written(|out| {
            let columns = Untrusted::new(bytes).term(out);
            assert_eq!(columns, String::from_utf8_lossy(out).chars().count());
        })
    }

    fn csv(bytes: &[u8]) -> String {
        written(|out| Untrusted::new(bytes).csv(out))
    }

    fn json(bytes: &[u8]) -> String {
        written(|out| Untrusted::new(bytes).json(out))
    }

    #[test]
    fn ordinary_names_stay_as_they_are() {
        for name in ["nginx", "tmux: server", "kworker/0:1-ev", "größe", "語"] {
            assert_eq!(term(name.as_bytes()), name);
            assert_eq!(csv(name.as_bytes()), name);
            assert_eq!(json(name.as_bytes()), format!("{name:?}"));
        }
    }

    #[test]
    fn a_terminal_sees_no_control_and_no_format_character() {
        assert_eq!(term(b"\x1b[31m"), "\\u{1b}[31m");
        assert_eq!(term(b"a\nb\tc\\"), "a\\nb\\tc\\\\");
        assert_eq!(term(b"\x9b1m\xff"), "\\x9b1m\\xff");
        assert_eq!(term("\u{9b}1m".as_bytes()), "\\u{9b}1m");
        assert_eq!(term("a\u{202e}b".as_bytes()), "a\\u{202e}b");
        assert_eq!(term(b"it's \"it\""), "it's \"it\"");
    }

    #[test]
    fn every_dangerous_character_leaves_json_as_an_escape() {
        let ranges = [
            0..0x20_u32,
            0x7f..0xa0,
            0x61c..0x61d,
            0x200b..0x2010,
            0x2028..0x202f,
            0x2060..0x2065,
            0x2066..0x206a,
            0xfeff..0xff00,
            0xe_0001..0xe_0002,
            0xe_0020..0xe_0080,
        ];
        for c in ranges.into_iter().flatten().filter_map(char::from_u32) {
            let text = json(c.to_string().as_bytes());
            assert!(text.is_ascii() && text.contains("\\u"), "{c:?} as {text}");
            assert_eq!(
                serde_json::from_str::<String>(&text).unwrap(),
                c.to_string()
            );
        }
    }

    #[test]
    fn json_keeps_what_is_utf8_and_marks_what_is_not() {
        assert_eq!(json(br#"a"b\c"#), r#""a\"b\\c""#);
        assert_eq!(json(b"\xffok\xc3"), "\"\u{fffd}ok\u{fffd}\"");
        assert!(!Untrusted::new(b"\xffok").is_utf8());
        assert_eq!(
            written(|out| Untrusted::new(b"\xffok\x00").hex(out)),
            "ff6f6b00"
        );
    }

    #[test]
    fn a_csv_cell_is_quoted_and_never_a_formula() {
        assert_eq!(csv(b"a,b"), "\"a,b\"");
        assert_eq!(csv(b"a;b"), "\"a;b\"");
        assert_eq!(csv(b"say \"hi\""), "\"say \"\"hi\"\"\"");
        assert_eq!(csv(b"two\nlines"), "two\\nlines");
        assert_eq!(csv(b" padded"), "\" padded\"");
        assert_eq!(csv(b"=cmd|'/c calc'!A1"), "'=cmd|'/c calc'!A1");
        assert_eq!(csv(b"-1,2"), "\"'-1,2\"");
        assert_eq!(csv(b"\t=1"), "'\\t=1");
        for first in ["+", "@", "\r"] {
            assert!(csv(first.as_bytes()).starts_with('\''));
        }
    }

    #[test]
    fn a_thread_name_ends_at_its_first_nul() {
        let text = |comm: &[u8; 16]| written(|out| Untrusted::comm(comm).json(out));
        assert_eq!(text(b"nginx\0leftovers\0"), "\"nginx\"");
        assert_eq!(text(b"sixteen bytes ok"), "\"sixteen bytes ok\"");
    }
}
