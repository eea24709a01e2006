//! Tables for people: columns as wide as what stands in them.

use anstyle::Style;

use super::color::Palette;

/// On which side of a column text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Left,
    Right,
}

/// A table with a line of headings.
pub struct Columns<const N: usize> {
    sides: [Side; N],
    rows: Vec<([String; N], Style)>,
}

impl<const N: usize> Columns<N> {
    pub fn new(headings: [(&str, Side); N], style: Style) -> Self {
        Self { sides: headings.map(|(_, side)| side), rows: vec![(headings.map(|(name, _)| name.to_owned()), style)] }
    }

    pub fn row(&mut self, cells: [String; N], style: Style) {
        self.rows.push((cells, style));
    }

    /// The lines. Nothing is added behind the last column.
    pub fn text(&self, palette: Palette) -> String {
        let width = |column: usize| self.rows.iter().map(|(cells, _)| cells[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; N] = std::array::from_fn(width);
        let line = |(cells, style): &([String; N], Style)| {
            let cells = cells.iter().zip(widths).zip(self.sides).map(|((cell, width), side)| match side {
                Side::Left => format!("{cell:<width$}"),
                Side::Right => format!("{cell:>width$}"),
            });
            let line = cells.collect::<Vec<_>>().join("  ");
            format!("{}\n", palette.paint(*style, line.trim_end()))
        };
        self.rows.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Columns::new([("NAME", Side::Left), ("SIZE", Side::Right), ("PATH", Side::Left)], Style::new());
        table.row(["müller".to_owned(), "1".to_owned(), String::new()], Style::new());
        table.row(["x".to_owned(), "12345".to_owned(), "/a b".to_owned()], Style::new());
        let text = table.text(Palette::without_colors());
        assert_eq!(text, "NAME     SIZE  PATH\nmüller      1\nx       12345  /a b\n");
    }
}
