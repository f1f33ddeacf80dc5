//! Comma-separated rows for spreadsheets (RFC 4180). Cells come from strangers, and a spreadsheet takes one
//! that begins like a formula for one (CWE-1236): such cells are led by an apostrophe, as OWASP advises.

/// One row, with its line break.
pub fn row<'a>(cells: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    let mut out = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    let written = out.write_record(cells.into_iter().map(|cell| safe(cell).into_owned()));
    debug_assert!(written.is_ok(), "memory takes every row");
    out.into_inner().unwrap_or_default()
}

/// A cell that no spreadsheet runs.
fn safe(cell: &str) -> std::borrow::Cow<'_, str> {
    match cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']) {
        true => format!("'{cell}").into(),
        false => cell.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::row;

    #[test]
    fn formulas_are_text_and_quotes_are_quoted() {
        assert_eq!(row(["ada", "=1+1", "a,\"b\"", "-2"]), b"ada,'=1+1,\"a,\"\"b\"\"\",'-2\r\n");
        assert_eq!(row(["@SUM(A1)", "\tx", "", "+254700000001"]), b"'@SUM(A1),'\tx,,'+254700000001\r\n");
    }
}
