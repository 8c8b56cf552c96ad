//! Tables: columns as wide as their widest cell, two spaces between, no lines.

use super::paint::{Paint, Tone};
use super::safe::safe_line;

/// A table that is filled row by row.
pub(crate) struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<(String, Option<Tone>)>>,
}

impl Table {
    /// A table with these columns.
    pub(crate) fn new(header: &[&'static str]) -> Self {
        Table { header: header.to_vec(), rows: Vec::new() }
    }

    /// Adds a row of cells; their text may be of anyone.
    pub(crate) fn row<S: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = (S, Option<Tone>)>) {
        let cells = cells.into_iter().map(|(text, tone)| (safe_line(text.as_ref()), tone));
        self.rows.push(cells.collect());
    }

    /// Adds a row without colours.
    pub(crate) fn plain<S: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.row(cells.into_iter().map(|cell| (cell, None)));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The lines of the table, each with its line break.
    pub(crate) fn render(&self, paint: Paint) -> String {
        let mut widths: Vec<usize> = self.header.iter().map(|title| title.len()).collect();
        for row in &self.rows {
            for (width, (text, _)) in widths.iter_mut().zip(row) {
                *width = (*width).max(text.chars().count());
            }
        }
        let header: Vec<(String, Option<Tone>)> =
            self.header.iter().map(|title| ((*title).to_owned(), Some(Tone::Dim))).collect();
        let mut text = String::new();
        for row in std::iter::once(&header).chain(&self.rows) {
            let mut line = String::new();
            for (index, (cell, tone)) in row.iter().enumerate() {
                line.push_str(&tone.map_or_else(|| cell.clone(), |tone| paint.tone(tone, cell)));
                if index + 1 < row.len() {
                    let gap = widths[index].saturating_sub(cell.chars().count()) + 2;
                    line.push_str(&" ".repeat(gap));
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["NAME", "STATE"]);
        table.plain(["a-long-name", "ready"]);
        table.plain(["b", "done"]);
        assert_eq!(table.render(Paint::off()), "NAME         STATE\na-long-name  ready\nb            done\n");
    }
}
