//! Holds `keryu.example.toml` true: it names every setting the product asks for and no other, and what
//! it shows as a default is the default.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use keryu_common::config::{Config, Source};

/// The settings of the file with the values shown, whether commented out or not.
fn shown() -> BTreeMap<String, String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../keryu.example.toml");
    let text = std::fs::read_to_string(path).expect("keryu.example.toml");
    let mut shown = BTreeMap::new();
    for (n, line) in text.lines().enumerate() {
        let line = line.strip_prefix('#').unwrap_or(line);
        let name = line.split([' ', '=']).next().unwrap_or_default();
        let setting = !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
        if !setting || !line[name.len()..].trim_start().starts_with('=') {
            continue;
        }
        let table: toml::Table = line.parse().unwrap_or_else(|fault| panic!("line {}: {fault}", n + 1));
        for (name, value) in table {
            let value = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
            assert!(shown.insert(name.clone(), value).is_none(), "line {}: {name} is there twice", n + 1);
        }
    }
    shown
}

#[test]
fn the_example_is_complete_and_true() {
    let mut source = Source::of([("KERYU_ENV", "production")]);
    // what is required is missing here; what matters is what was asked for
    let _ = Config::read(&mut source);
    let (asked, shown) = (source.asked(), shown());
    let mut faults = Vec::new();
    for (name, default) in asked {
        match shown.get(*name) {
            None => faults.push(format!("{name} is missing; add a comment and:\n#{name} = {default:?}")),
            Some(value) if value != default => {
                faults.push(format!("{name}: the file says {value:?}, the default is {default:?}"));
            }
            Some(_) => {}
        }
    }
    for name in shown.keys().filter(|name| !asked.contains_key(name.as_str())) {
        faults.push(format!("{name} is in the file, but nothing asks for it"));
    }
    assert!(faults.is_empty(), "keryu.example.toml is not true:\n{}", faults.join("\n"));
}
