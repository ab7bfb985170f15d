//! Columns.

use anstyle::Style;

use super::{HEADING, line, painted};

/// One cell; its text must be clean.
pub(super) type Cell = (Style, String);

/// Lays rows out under headings. The last column is as wide as it likes.
pub(super) fn table<const N: usize>(out: &mut String, headings: [&str; N], rows: &[[Cell; N]]) {
    let mut widths = headings.map(|heading| heading.chars().count());
    for row in rows {
        for (width, (_, text)) in widths.iter_mut().zip(row) {
            *width = (*width).max(text.chars().count());
        }
    }
    row(out, &widths, &headings.map(|heading| (HEADING, heading.to_owned())));
    for cells in rows {
        row(out, &widths, cells);
    }
}

/// One row, without spaces at its end.
fn row<const N: usize>(out: &mut String, widths: &[usize; N], cells: &[Cell; N]) {
    let mut text = String::new();
    let mut gap = 0;
    for ((style, cell), width) in cells.iter().zip(widths) {
        if !cell.is_empty() {
            text.push_str(&" ".repeat(gap));
            text.push_str(&painted(*style, cell));
            gap = 0;
        }
        gap += width - cell.chars().count() + 2;
    }
    line(out, text);
}
