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
        lines(&self.0)
    }
}

/// Names and values below each other; values that are absent are left out.
pub fn list<const N: usize>(rows: [(&str, Option<String>); N]) -> String {
    let rows = rows.into_iter().filter_map(|(name, value)| Some(vec![format!("{name}:"), value?]));
    lines(&rows.collect::<Vec<_>>())
}

fn lines(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let wide =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| wide(column).unwrap_or_default()).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Table, list};

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let table =
            Table::new(["id", "name"]).row(["1".into(), "Zoë".into()]).row(["200".into(), "x".into()]);
        assert_eq!(table.text(), "ID   NAME\n1    Zoë\n200  x\n");
    }

    #[test]
    fn what_is_absent_is_left_out() {
        let rows = [("id", Some("1".to_owned())), ("gone", None), ("state", Some("new".to_owned()))];
        assert_eq!(list(rows), "id:     1\nstate:  new\n");
    }
}
