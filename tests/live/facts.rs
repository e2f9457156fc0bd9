//! What a run of the tests has established, for the table of kernels.
//!
//! It knows neither the topics nor who reads them: a fact is a line of topic,
//! key and value with tabs between, appended to the file that `TCPSTATE_FACTS`
//! names.

use std::{fmt::Display, fs::OpenOptions, io::Write as _};

use crate::clock::in_vm;

/// Appends one fact; nothing where nobody wants to know.
pub(crate) fn tell(topic: &str, key: &str, value: impl Display) {
    if let Some(path) = std::env::var_os("TCPSTATE_FACTS") {
        let fact = line(topic, key, &value.to_string());
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        // One write: tests run beside each other.
        let written = file.write(fact.as_bytes()).unwrap();
        assert_eq!(written, fact.len(), "{}", path.display());
    }
}

/// Whether the rest of a test is left out, here in the emulated machine, for want
/// of a program; the table of kernels says so.
pub(crate) fn lacks(program: &str) -> bool {
    if in_vm() {
        tell("not run", program, "absent");
    }
    in_vm()
}

/// A tab or the end of a line in a part would be another part.
fn line(topic: &str, key: &str, value: &str) -> String {
    let part = |text: &str| text.replace(['\t', '\n', '\r'], " ");
    format!("{}\t{}\t{}\n", part(topic), part(key), part(value))
}

#[test]
fn a_fact_is_one_line_of_three_parts_whatever_is_in_them() {
    assert_eq!(
        line("cause", "expired/fentry", "ok"),
        "cause\texpired/fentry\tok\n"
    );
    assert_eq!(line("a\tb", "c\nd", "e\r\n"), "a b\tc d\te  \n");
}
