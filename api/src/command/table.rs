//! Tables for people: columns as wide as what is in them.

/// A table.
#[derive(Debug)]
pub struct Table(Vec<Vec<String>>);

impl Table {
    /// With a head.
    pub fn new<const N: usize>(head: [&str; N]) -> Self {
        Self(vec![head.map(str::to_uppercase).into()])
    }

    /// With one more row.
    #[must_use]
    pub fn row<const N: usize>(mut self, cells: [String; N]) -> Self {
        self.0.push(cells.into());
        self
    }

    /// As it is shown.
    pub fn text(&self) -> String {
        let columns = self.0.iter().map(Vec::len).max().unwrap_or_default();
        let wide = |column: usize| {
            self.0.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
        };
        let widths: Vec<usize> = (0..columns).map(|column| wide(column).unwrap_or_default()).collect();
        let mut text = String::new();
        for row in &self.0 {
            let cells: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            text.push_str(cells.join("  ").trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let table =
            Table::new(["id", "name"]).row(["1".into(), "Zoë".into()]).row(["200".into(), "x".into()]);
        assert_eq!(table.text(), "ID   NAME\n1    Zoë\n200  x\n");
    }
}
