//! Names made to disturb a terminal or a reader of JSON or CSV.

use rustix::process::Signal;

use crate::{
    clock::wait_for,
    net::Listener,
    process::rename,
    tool::{Done, Tool, tcpstate},
    trace::Trace,
};

/// A comma, an escape sequence, a quote, line ends, no UTF-8, and the bidi
/// control that turns text around.
const NAME: &[u8] = b"x,\x1b[31m\"\n\r\xff\xe2\x80\xae";

/// Its beginning, which every format can show.
const HARMLESS: &str = "x,";

/// What the tool writes in `format` about connections of a thread so named.
fn written(format: &str) -> Done {
    rename(NAME);
    let tool = Tool::start(&mut tcpstate(&["trace", "-o", format]));
    let listener = Listener::on("127.0.0.1:0");
    // These formats have no start line: connections until one shows.
    wait_for("a line of the hostile name", || {
        drop(listener.pair());
        tool.stdout.text().contains(HARMLESS).then_some(())
    });
    tool.signal(Signal::INT);
    tool.done()
}

#[test]
fn a_hostile_name_arrives_whole_in_the_json() {
    rename(NAME);
    let trace = Trace::start(&[]);
    let (client, _server) = Listener::on("127.0.0.1:0").pair();
    let run = trace.stop();
    run.assert_sound();
    let lines = run.of(&client.side);
    let comm = lines[0].comm.as_deref().unwrap();
    assert!(comm.starts_with("x,\u{1b}[31m\"\n\r"), "{comm:?}");
}

fn assert_no_controls(text: &str) {
    let control = text.chars().find(|&c| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    });
    assert_eq!(control, None, "{text:?}");
}

#[test]
fn a_hostile_name_cannot_disturb_the_table() {
    let done = written("table");
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_no_controls(&done.stdout);
    let lines: Vec<_> = done.stdout.lines().collect();
    let named: Vec<_> = lines
        .iter()
        .filter(|line| line.contains(HARMLESS))
        .collect();
    assert!(!named.is_empty(), "{}", done.stdout);
    // A newline in the name would have cut its lines in two.
    assert!(
        named.iter().all(|line| line.contains("127.0.0.1")),
        "{named:#?}"
    );
}

#[test]
fn a_hostile_name_cannot_disturb_the_csv() {
    let done = written("csv");
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(!done.stdout.contains('\u{1b}'), "{:?}", done.stdout);
    let records = csv(&done.stdout);
    let columns = records[0].len();
    let at = records[0].iter().position(|name| name == "comm");
    let at = at.expect("a column comm");
    assert!(records.len() > 1, "{}", done.stdout);
    for record in &records {
        assert_eq!(record.len(), columns, "{record:?}");
    }
    assert!(
        records
            .iter()
            .any(|record| record[at].starts_with(HARMLESS))
    );
}

/// RFC 4180: a quoted field may hold commas, newlines and doubled quotes.
fn csv(text: &str) -> Vec<Vec<String>> {
    let mut records = vec![vec![String::new()]];
    let mut quoted = false;
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        let record = records.last_mut().unwrap();
        let field = record.last_mut().unwrap();
        match c {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => record.push(String::new()),
            '\r' if !quoted => {}
            '\n' if !quoted => records.push(vec![String::new()]),
            other => field.push(other),
        }
    }
    records.pop();
    records
}

#[test]
fn a_quoted_field_is_one_field() {
    let records = csv("a,b\r\n\"x\"\",\n\",2\n");
    assert_eq!(records, [["a", "b"], ["x\",\n", "2"]]);
}
