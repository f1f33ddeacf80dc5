//! A report as JSON, and as a page of its own: no script, and nothing that is loaded.

use chrono::{DateTime, Utc};
use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};
use serde_json::{Map, Value, json};

use super::figures::Section;
use crate::error::{Error, Result};

const PAGE: &str = include_str!("page.html");
/// Raised when members change their meaning; new ones do not count.
const VERSION: u32 = 1;

/// For programs.
///
/// # Errors
/// A defect: what does not serialise.
pub fn json(sections: &[Section], at: DateTime<Utc>) -> Result<Vec<u8>> {
    let figures: Map<String, Value> =
        sections.iter().map(|section| (section.name.to_owned(), section.figures.clone())).collect();
    let report = json!({ "version": VERSION, "generated_at": at, "sections": figures });
    serde_json::to_vec_pretty(&report).map_err(Error::internal)
}

/// For people.
///
/// # Errors
/// A defect: what does not render.
pub fn html(name: &str, sections: &[Section], at: DateTime<Utc>) -> Result<Vec<u8>> {
    let shown = sections.iter().map(|section| {
        let bars = section.bars.as_ref();
        Ok(context! {
            title => section.title,
            facts => &section.facts,
            head => section.table.as_ref().map(|table| &table.head),
            rows => section.table.as_ref().map(|table| &table.rows),
            plot => bars.map(|bars| bars.title),
            svg => bars.map(super::plot::Bars::svg).transpose()?.flatten(),
        })
    });
    let shown = shown.collect::<Result<Vec<_>>>()?;
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let at = at.format("%Y-%m-%d %H:%M UTC").to_string();
    let page = environment.render_str(PAGE, context! { name, at, sections => shown });
    Ok(page.map_err(Error::internal)?.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::super::figures::Table;
    use super::*;

    #[test]
    fn what_people_chose_is_escaped() {
        let evil = "<script>alert(1)</script>";
        let section = Section {
            name: "account",
            title: "Account",
            figures: json!({ "username": evil }),
            facts: vec![("Username", evil.to_owned())],
            table: Some(Table { head: vec!["A".to_owned()], rows: vec![vec![evil.to_owned()]] }),
            bars: None,
        };
        let at = DateTime::from_timestamp(1_793_000_000, 0).expect("time");
        let page = String::from_utf8(html(evil, &[section], at).expect("page")).expect("text");
        assert!(!page.contains("<script"), "{page}");
        assert!(page.contains("2026-10-26"), "{page}");
    }
}
