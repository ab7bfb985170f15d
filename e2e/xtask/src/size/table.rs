//! Tables for people, in plain text and as Markdown, and the same for programs.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// Rows under columns.
#[derive(Debug)]
pub(super) struct Table {
    /// What programs know it by.
    pub(super) key: &'static str,
    pub(super) title: &'static str,
    pub(super) columns: &'static [&'static str],
    pub(super) rows: Vec<Vec<Cell>>,
    /// What it shows, and what it does not.
    pub(super) note: String,
}

/// What stands in a column of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cell {
    Text(String),
    Number(usize),
    Nothing,
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<usize> for Cell {
    fn from(number: usize) -> Self {
        Self::Number(number)
    }
}

impl From<Option<usize>> for Cell {
    fn from(number: Option<usize>) -> Self {
        number.map_or(Self::Nothing, Self::Number)
    }
}

impl Cell {
    fn shown(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(number) => grouped(*number),
            Self::Nothing => String::new(),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Text(text) => text.as_str().into(),
            Self::Number(number) => (*number).into(),
            Self::Nothing => Value::Null,
        }
    }
}

impl Table {
    /// For a terminal.
    pub(super) fn text(&self) -> String {
        let heads = self.columns.iter().map(|column| (*column).to_owned()).collect();
        let lines: Vec<Vec<String>> = std::iter::once(heads).chain(self.shown()).collect();
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|column| lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max())
            .map(Option::unwrap_or_default)
            .collect();
        let mut text = format!("{}\n", self.title);
        for line in &lines {
            let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
                if self.is_of_numbers(column) { format!("{cell:>width$}") } else { format!("{cell:width$}") }
            });
            let _ = writeln!(text, "  {}", cells.collect::<Vec<_>>().join("  ").trim_end());
        }
        let _ = writeln!(text, "{}", self.note);
        text
    }

    /// For a page.
    pub(super) fn markdown(&self) -> String {
        let rule = (0..self.columns.len()).map(|column| if self.is_of_numbers(column) { "---:|" } else { "---|" });
        let mut page = format!("## {}\n{}\n\n", self.title, self.note);
        let _ = writeln!(page, "| {} |\n|{}", self.columns.join(" | "), rule.collect::<String>());
        for row in self.shown() {
            let _ = writeln!(page, "| {} |", row.join(" | "));
        }
        page
    }

    /// For programs: an object for each row.
    pub(super) fn json(&self) -> Value {
        let row = |row: &Vec<Cell>| {
            let fields = self.columns.iter().zip(row).map(|(column, cell)| ((*column).to_owned(), cell.json()));
            fields.collect::<Map<_, _>>()
        };
        self.rows.iter().map(row).collect()
    }

    fn shown(&self) -> impl Iterator<Item = Vec<String>> {
        self.rows.iter().map(|row| row.iter().map(Cell::shown).collect())
    }

    fn is_of_numbers(&self, column: usize) -> bool {
        let cells = || self.rows.iter().filter_map(|row| row.get(column));
        cells().any(|cell| matches!(cell, Cell::Number(_))) && !cells().any(|cell| matches!(cell, Cell::Text(_)))
    }
}

/// With a comma between thousands.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn table_is_the_same_for_people_and_programs() {
        let table = Table {
            key: "files",
            title: "Files",
            columns: &["file", "bytes", "from"],
            rows: vec![
                vec!["agent".into(), 1_234_567.into(), "here".into()],
                vec!["nft".into(), Cell::Nothing, "there".into()],
            ],
            note: "Of two.".to_owned(),
        };
        let text = "Files\n  file       bytes  from\n  agent  1,234,567  here\n  nft               there\nOf two.\n";
        assert_eq!(table.text(), text);
        assert_eq!(
            table.markdown(),
            "## Files\nOf two.\n\n| file | bytes | from |\n|---|---:|---|\n\
             | agent | 1,234,567 | here |\n| nft |  | there |\n"
        );
        assert_eq!(
            table.json(),
            json!([
                {"file": "agent", "bytes": 1_234_567, "from": "here"},
                {"file": "nft", "bytes": null, "from": "there"},
            ])
        );
    }

    #[test]
    fn thousands_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (123_456, "123,456"), (1_000_000, "1,000,000")]
        {
            assert_eq!(grouped(number), text);
        }
    }
}
