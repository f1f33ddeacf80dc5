//! Reads JSON strictly: no name twice in an object, no NUL character, no unbounded depth. What Postgres
//! cannot store or two readers would understand differently does not get in.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Reads one document.
///
/// # Errors
/// Says for a person what is wrong and where, and repeats nothing of the document.
pub fn parse(raw: &[u8]) -> Result<Value, String> {
    if std::str::from_utf8(raw).is_err() {
        return Err("The body is not UTF-8.".to_owned());
    }
    let mut reader = serde_json::Deserializer::from_slice(raw);
    let value = Strict.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    value.map_err(|error| {
        let (line, column) = (error.line(), error.column());
        match error.classify() {
            serde_json::error::Category::Data => format!("{error}."),
            _ => format!("The body is not well-formed JSON at line {line}, column {column}."),
        }
    })
}

struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

fn sound<E: Error>(text: &str) -> Result<String, E> {
    if text.contains('\0') { Err(E::custom("The body holds a NUL character")) } else { Ok(text.to_owned()) }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }
    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        sound(value).map(Value::String)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Strict)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = items.next_key::<String>()? {
            let (name, value) = (sound(&name)?, items.next_value_seed(Strict)?);
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom("The body names a field twice"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn what_two_readers_would_read_differently_is_refused() {
        for broken in [
            "",
            "{",
            "{}x",
            "nul",
            "{\"a\":1,\"a\":2}",
            "{\"a\":{\"b\":1,\"b\":1}}",
            "{\"a\":\"\\u0000\"}",
            "{'a':1}",
            "[1,]",
            "\"\\ud800\"",
            "{\"a\\u0000\":1}",
        ] {
            let fault = parse(broken.as_bytes()).expect_err(broken);
            assert!(!fault.contains('\0') && fault.ends_with('.'), "{fault}");
        }
        assert!(parse(b"\xff\xfe").expect_err("bytes").contains("UTF-8"));
        assert!(parse("[".repeat(100_000).as_bytes()).is_err());
    }

    #[test]
    fn the_rest_is_read_as_ever() {
        for text in
            ["null", "true", "-1", "18446744073709551615", "1.5", "\"é\"", "[1,[2]]", "{\"a\":{\"a\":null}}"]
        {
            assert_eq!(
                parse(text.as_bytes()).expect(text),
                serde_json::from_str::<serde_json::Value>(text).expect(text)
            );
        }
    }
}
