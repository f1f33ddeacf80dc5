//! Comma-separated rows for spreadsheets (RFC 4180). Cells come from strangers, and a spreadsheet takes one
//! that begins like a formula for one (CWE-1236): such cells are led by an apostrophe, as OWASP advises. A
//! spreadsheet that splits at something else than commas sees cells where there are none, so what would begin one
//! of those is led by one too.

use std::borrow::Cow;

/// One row, with its line break.
pub fn row<'a>(cells: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    let mut out = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    let written = out.write_record(cells.into_iter().map(|cell| safe(cell).into_owned()));
    debug_assert!(written.is_ok(), "memory takes every row");
    out.into_inner().unwrap_or_default()
}

/// What a formula begins with.
const FORMULA: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];
/// Where other spreadsheets begin a cell.
const SPLIT: [char; 4] = [';', '\t', '\r', '\n'];

/// A cell that no spreadsheet runs.
fn safe(cell: &str) -> Cow<'_, str> {
    if !cell.contains(FORMULA) && !cell.starts_with(['\t', '\r', '\n']) {
        return cell.into();
    }
    let mut out = String::with_capacity(cell.len() + 1);
    if cell.starts_with(['\t', '\r', '\n']) || begins_formula(cell) {
        out.push('\'');
    }
    for (place, letter) in cell.char_indices() {
        out.push(letter);
        if SPLIT.contains(&letter) && begins_formula(&cell[place + letter.len_utf8()..]) {
            out.push('\'');
        }
    }
    out.into()
}

/// Whether this begins like a formula, within quotes or without.
fn begins_formula(text: &str) -> bool {
    text.trim_start_matches('"').starts_with(FORMULA)
}

#[cfg(test)]
mod tests {
    use super::row;

    #[test]
    fn formulas_are_text_and_quotes_are_quoted() {
        assert_eq!(row(["ada", "=1+1", "a,\"b\"", "-2"]), b"ada,'=1+1,\"a,\"\"b\"\"\",'-2\r\n");
        assert_eq!(row(["@SUM(A1)", "\tx", "", "+254700000001"]), b"'@SUM(A1),'\tx,,'+254700000001\r\n");
    }

    #[test]
    fn a_spreadsheet_that_splits_elsewhere_finds_no_formula_either() {
        for (cell, written) in [
            ("Ada;=1+1", "Ada;'=1+1"),
            ("Ada;;@SUM(A1);-2", "Ada;;'@SUM(A1);'-2"),
            ("Ada;\"=1+1\"", "\"Ada;'\"\"=1+1\"\"\""),
            ("\"=1+1\"", "\"'\"\"=1+1\"\"\""),
            ("Ada\t+1", "Ada\t'+1"),
            ("a\n=1", "\"a\n'=1\""),
            (";＝1", ";'＝1"),
            ("Mozilla/5.0 (X11; Linux x86_64)", "Mozilla/5.0 (X11; Linux x86_64)"),
            ("2026-11-20T10:00:00+00:00", "2026-11-20T10:00:00+00:00"),
        ] {
            assert_eq!(String::from_utf8_lossy(&row([cell])), format!("{written}\r\n"), "{cell:?}");
        }
    }
}
