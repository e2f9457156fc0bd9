//! The rows of the table: which there are, and what a cell of one says.

use super::column::Column;

/// Of a cell; seven of them and a name make less than 120.
pub(crate) const WIDTH: usize = 12;

/// Topics that a run of all tests tells of, each with its heading, in this
/// order; others come after them.
const TOPICS: &[(&str, &str)] = &[
    ("kernel", "kernel"),
    ("hook", "hook of each signal"),
    ("hook-fentry", "hook with --hooks fentry"),
    ("hook-kprobe", "hook with --hooks kprobe"),
    ("hook-tracepoint", "hook with --hooks tracepoint"),
    ("cause", "cause of an end"),
    ("insns", "instructions that the verifier walked"),
];

/// Topics of which a kernel may tell less than another: not every program is
/// for every kernel, and what is only listed has no cell to be empty.
fn may_be_absent(topic: &str) -> bool {
    topic == "insns" || !is_known(topic)
}

fn is_known(topic: &str) -> bool {
    TOPICS.iter().any(|(known, _)| *known == topic)
}

/// One thing that runs have told about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) topic: String,
    pub(crate) key: String,
    /// False of a sentence, which goes below the table.
    pub(crate) has_cells: bool,
}

/// All there are: by topic, then by kind of hook where a key names one
/// (`expired/fentry`), otherwise in the order in which they were told.
pub(crate) fn rows(columns: &[Column]) -> Vec<Row> {
    let mut rows = Vec::<Row>::new();
    for fact in columns.iter().flat_map(|column| &column.facts) {
        let has_cells = is_known(&fact.topic) || fact.value.len() < WIDTH;
        let mut known = rows.iter_mut();
        match known.find(|row| row.topic == fact.topic && row.key == fact.key) {
            Some(row) => row.has_cells &= has_cells,
            None => rows.push(Row {
                topic: fact.topic.clone(),
                key: fact.key.clone(),
                has_cells,
            }),
        }
    }
    rows.sort_by_key(Row::place);
    rows
}

impl Row {
    fn place(&self) -> (usize, String, String) {
        let topics = TOPICS.iter().position(|(topic, _)| *topic == self.topic);
        let name = match self.topic.as_str() {
            "cause" | "insns" => self.name().to_owned(),
            _ => String::new(),
        };
        (
            topics.unwrap_or(TOPICS.len()),
            self.kind().unwrap_or_default().to_owned(),
            name,
        )
    }

    /// The kind of hook in the key.
    fn kind(&self) -> Option<&str> {
        self.key.split_once('/').map(|(_, kind)| kind)
    }

    pub(crate) fn name(&self) -> &str {
        self.key.split_once('/').map_or(&self.key, |(name, _)| name)
    }

    pub(crate) fn heading(&self) -> String {
        let known = TOPICS.iter().find(|(topic, _)| *topic == self.topic);
        let heading = known.map_or(self.topic.as_str(), |(_, heading)| heading);
        match self.kind() {
            Some(kind) => format!("{heading}, with {kind}"),
            None => heading.to_owned(),
        }
    }

    /// Whether this run should have told it.
    pub(crate) fn is_missing(&self, column: &Column) -> bool {
        !may_be_absent(&self.topic)
            && column.is_whole()
            && !self.has_no_hook(column)
            && column.value(&self.topic, &self.key).is_none()
    }

    /// Whether it needs a kind of hook by which this kernel does not let
    /// minisockets be followed.
    fn has_no_hook(&self, column: &Column) -> bool {
        let topic = self.kind().map(|kind| format!("hook-{kind}"));
        let hook = topic.and_then(|topic| column.value(&topic, "minisocket_end"));
        hook.is_some_and(|hook| hook.starts_with("refused"))
    }

    /// A value that fits, or its first word.
    pub(crate) fn cell(&self, column: &Column) -> String {
        match column.value(&self.topic, &self.key) {
            Some(value) if self.is_short(value) => value.to_owned(),
            Some(value) => first_word(value).chars().take(WIDTH - 1).collect(),
            None if self.has_no_hook(column) => "no hook".to_owned(),
            None if self.is_missing(column) => "MISSING".to_owned(),
            None if may_be_absent(&self.topic) => "-".to_owned(),
            None => "not run".to_owned(),
        }
    }

    /// What a cell has left out, or a value for which there is no cell.
    pub(crate) fn note<'a>(&self, column: &'a Column) -> Option<&'a str> {
        let value = column.value(&self.topic, &self.key)?;
        // What is hooked is said once, of the default choice.
        let is_said = self.topic.starts_with("hook-") && !value.starts_with("refused");
        let has_cell = self.has_cells && self.is_short(value);
        (!has_cell && !is_said).then_some(value)
    }

    /// Of a hook the kind is enough in the table, so that columns can be compared.
    fn is_short(&self, value: &str) -> bool {
        let one_word = !self.topic.starts_with("hook") || !value.contains(' ');
        one_word && value.chars().count() < WIDTH
    }
}

fn first_word(value: &str) -> &str {
    // `6.12.107+deb13-cloud-amd64`, `refused: …`, `fentry …`
    value
        .split([' ', ':', ',', '+', '-'])
        .next()
        .unwrap_or(value)
}
