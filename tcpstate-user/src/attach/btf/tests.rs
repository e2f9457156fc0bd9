use super::*;

/// Lays out BTF by hand: types in order, strings on demand.
struct Blob {
    types: Vec<u8>,
    strings: Vec<u8>,
}

impl Blob {
    fn new() -> Self {
        Self {
            types: Vec::new(),
            strings: vec![0],
        }
    }

    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let at = u32::try_from(self.strings.len()).unwrap();
        self.strings.extend_from_slice(name.as_bytes());
        self.strings.push(0);
        at
    }

    fn words(&mut self, words: &[u32]) {
        for word in words {
            self.types.extend_from_slice(&word.to_ne_bytes());
        }
    }

    fn entry(&mut self, name: &str, kind: u32, vlen: u32, size_or_type: u32) {
        let name = self.name(name);
        self.words(&[name, kind << 24 | vlen, size_or_type]);
    }

    fn member(&mut self, name: &str, type_id: u32, place: u32) {
        let name = self.name(name);
        self.words(&[name, type_id, place]);
    }

    fn bytes(&self) -> Vec<u8> {
        let types = u32::try_from(self.types.len()).unwrap();
        let strings = u32::try_from(self.strings.len()).unwrap();
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        for word in [24, 0, types, types, strings] {
            bytes.extend_from_slice(&u32::to_ne_bytes(word));
        }
        bytes.extend_from_slice(&self.types);
        bytes.extend_from_slice(&self.strings);
        bytes
    }
}

const KIND_FLAG: u32 = 1 << 7;

/// A structure with an anonymous union of an anonymous structure, a typedef of
/// a structure, an array and bit fields, as the kernel has them.
fn sample() -> Vec<u8> {
    let mut blob = Blob::new();
    blob.entry("int", 1, 0, 4); // 1
    blob.words(&[32]);
    blob.entry("", 2, 0, 1); // 2: int *
    blob.entry("", 4, 2, 8); // 3
    blob.member("first", 1, 0);
    blob.member("second", 1, 32);
    blob.entry("", 5, 2, 8); // 4
    blob.member("pair", 2, 0);
    blob.member("", 3, 0);
    blob.entry("net_t", 8, 0, 6); // 5
    blob.entry("net_holder", 4, 1, 8); // 6
    blob.member("net", 2, 0);
    blob.entry("", 3, 0, 0); // 7: int[5]
    blob.words(&[1, 1, 5]);
    blob.entry("outer", 4 | KIND_FLAG, 5, 64); // 8
    blob.member("head", 1, 0);
    blob.member("", 4, 64);
    blob.member("net", 5, 128);
    blob.member("flags", 1, 3 << 24 | 192);
    blob.member("table", 7, 224);
    blob.entry("", 13, 3, 0); // 9
    blob.words(&[0, 2, 0, 1, 0, 1]);
    blob.entry("", 2, 0, 9); // 10
    blob.entry("btf_trace_event", 8, 0, 10); // 11
    blob.entry("function", 12, 1, 9); // 12
    blob.entry("reason", 6, 2, 4); // 13
    let (zero, seven) = (blob.name("R_ZERO"), blob.name("R_SEVEN"));
    blob.words(&[zero, 0, seven, 7]);
    blob.entry("", 2, 0, 8); // 14: outer *
    blob.entry("", 10, 0, 6); // 15: const net_holder
    blob.entry("", 2, 0, 15); // 16
    blob.entry("", 13, 3, 0); // 17
    blob.words(&[0, 14, 0, 16, 0, 13]);
    blob.entry("takes", 12, 1, 17); // 18
    blob.entry("", 2, 0, 17); // 19
    blob.entry("btf_trace_taken", 8, 0, 19); // 20
    blob.bytes()
}

#[test]
fn fields_are_found_through_anonymous_members_typedefs_and_dots() {
    let bytes = sample();
    let btf = Btf::parse(&bytes).unwrap();
    let field = |offset, size| Ok(Field { offset, size });
    assert_eq!(btf.field("outer", "head"), field(0, 4));
    assert_eq!(btf.field("outer", "pair"), field(8, 8));
    assert_eq!(btf.field("outer", "second"), field(12, 4));
    assert_eq!(btf.field("outer", "net"), field(16, 8));
    assert_eq!(btf.field("outer", "net.net"), field(16, 8));
    assert_eq!(btf.field("outer", "table"), field(28, 20));
}

#[test]
fn what_is_not_there_is_named() {
    let bytes = sample();
    let btf = Btf::parse(&bytes).unwrap();
    let missing = |name: &str| Err(BtfError::Missing(name.to_owned()));
    assert_eq!(btf.field("outer", "third"), missing("outer.third"));
    assert_eq!(btf.field("outer", "head.deep"), missing("outer.head.deep"));
    assert_eq!(btf.field("out", "head"), missing("struct out"));
    assert_eq!(
        btf.field("outer", "flags"),
        Err(BtfError::Bitfield("outer.flags".to_owned()))
    );
}

#[test]
fn functions_tracepoints_and_enumerations_are_counted_and_named() {
    let bytes = sample();
    let btf = Btf::parse(&bytes).unwrap();
    assert_eq!(btf.parameters("function"), Ok(3));
    assert_eq!(btf.tracepoint_arguments("event"), Ok(2));
    assert_eq!(
        btf.enumerators("reason"),
        Ok(vec![(0, "R_ZERO".into()), (7, "R_SEVEN".into())])
    );
}

#[test]
fn parameters_are_confirmed_by_their_kind_and_structure() {
    use Parameter::{Any, Number, Struct};
    let bytes = sample();
    let btf = Btf::parse(&bytes).unwrap();
    let (outer, holder) = (Struct("outer"), Struct("net_holder"));
    let takes = |takes: &[Parameter]| btf.function_takes("takes", takes).is_ok();
    assert!(takes(&[]));
    assert!(takes(&[outer, holder, Number]));
    assert!(takes(&[Any, Any, Number]));
    assert!(!takes(&[holder]));
    assert!(!takes(&[Number]));
    assert!(!takes(&[outer, holder, outer]));
    assert!(!takes(&[outer, holder, Number, Any]));
    // The context comes before a tracepoint's own.
    assert_eq!(btf.tracepoint_takes("taken", &[holder, Number]), Ok(()));
    assert_eq!(
        btf.tracepoint_takes("taken", &[outer]),
        Err(BtfError::Signature("taken".to_owned()))
    );
}

/// Asks everything; only a panic or an endless loop would be wrong.
fn ask(bytes: &[u8]) {
    let Ok(btf) = Btf::parse(bytes) else { return };
    for path in ["second", "net.net", "table", "flags", "third"] {
        let _answer = btf.field("outer", path);
    }
    let _answer = btf.parameters("function");
    let _answer = btf.tracepoint_arguments("event");
    let _answer = btf.function_takes("takes", &[Parameter::Struct("outer"); 3]);
    let _answer = btf.tracepoint_takes("taken", &[Parameter::Number; 2]);
    let _answer = btf.enumerators("reason");
}

#[test]
fn every_prefix_is_refused() {
    let bytes = sample();
    for end in 0..bytes.len() {
        assert!(Btf::parse(&bytes[..end]).is_err(), "{end} bytes");
    }
}

#[test]
fn no_corrupt_byte_makes_it_panic_or_hang() {
    let bytes = sample();
    for at in 0..bytes.len() {
        for value in [0, 1, 4, 8, 0x7f, 0x80, 0xff] {
            let mut corrupt = bytes.clone();
            corrupt[at] = value;
            ask(&corrupt);
        }
    }
}

#[test]
fn types_that_contain_themselves_end_in_an_error() {
    let mut blob = Blob::new();
    blob.entry("outer", 4, 2, 8); // 1
    blob.member("", 1, 0);
    blob.member("", 1, 0);
    blob.entry("loop", 8, 0, 2); // 2
    blob.entry("uses", 4, 1, 8); // 3
    blob.member("head", 2, 0);
    let bytes = blob.bytes();
    let btf = Btf::parse(&bytes).unwrap();
    let malformed = |field| matches!(field, Err(BtfError::Malformed(_)));
    assert!(malformed(btf.field("outer", "head")));
    assert!(malformed(btf.field("uses", "head")));
}

#[test]
fn the_running_kernel_answers() {
    let bytes = std::fs::read(VMLINUX).unwrap();
    let btf = Btf::parse(&bytes).unwrap();
    assert_eq!(btf.field("sock", "__sk_common.skc_num").unwrap().offset, 14);
    assert_eq!(btf.field("sock_common", "skc_num").unwrap().offset, 14);
    assert_eq!(btf.tracepoint_arguments("inet_sock_set_state"), Ok(3));
    assert_eq!(btf.parameters("__tcp_close"), Ok(2));
}
