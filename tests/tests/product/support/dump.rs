//! Everything a test's database and its corner of Redis hold, as text: for looking whether something
//! is there that must not be, and whether two requests wrote the same.

use std::collections::BTreeMap;

use redis::Value;

use super::World;

/// Every row of every table as text, by table (a partition counts as its table).
pub async fn tables(world: &World) -> BTreeMap<String, Vec<String>> {
    let names: Vec<(String, String)> = sqlx::query_as(
        "SELECT quote_ident(c.relname), coalesce(p.relname, c.relname)
         FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid LEFT JOIN pg_class p ON p.oid = i.inhparent
         WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace",
    )
    .fetch_all(&world.db)
    .await
    .expect("tables");
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, table) in names {
        let rows = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT t::text FROM {name} t")));
        let rows: Vec<String> = rows.fetch_all(&world.db).await.expect("rows");
        all.entry(table).or_default().extend(rows);
    }
    all
}

/// How many rows each table holds.
pub async fn counts(world: &World) -> BTreeMap<String, i64> {
    let count = |rows: Vec<String>| i64::try_from(rows.len()).expect("rows");
    tables(world).await.into_iter().map(|(table, rows)| (table, count(rows))).collect()
}

/// Every key of this world in Redis with what it holds, as readable as its bytes are.
pub async fn redis(world: &World) -> String {
    let client = redis::Client::open(world.redis_url.as_str()).expect("redis");
    let mut redis = client.get_multiplexed_async_connection().await.expect("redis");
    let pattern = format!("*{}*", world.prefix);
    let keys: Vec<String> = redis::cmd("KEYS").arg(pattern).query_async(&mut redis).await.expect("keys");
    let mut text = String::new();
    for key in keys {
        let kind: String = redis::cmd("TYPE").arg(&key).query_async(&mut redis).await.expect("type");
        let (command, rest): (&str, &[&str]) = match kind.as_str() {
            "string" => ("GET", &[]),
            "hash" => ("HGETALL", &[]),
            "list" => ("LRANGE", &["0", "-1"]),
            "zset" => ("ZRANGE", &["0", "-1"]),
            "set" => ("SMEMBERS", &[]),
            "stream" => ("XRANGE", &["-", "+"]),
            "none" => continue,
            other => panic!("{key} is a {other}"),
        };
        let mut ask = redis::cmd(command);
        ask.arg(&key);
        for word in rest {
            ask.arg(*word);
        }
        text.push_str(&key);
        readable(&ask.query_async(&mut redis).await.expect("value"), &mut text);
    }
    text
}

fn readable(value: &Value, text: &mut String) {
    text.push(' ');
    match value {
        Value::BulkString(bytes) => text.push_str(&String::from_utf8_lossy(bytes)),
        Value::Array(items) | Value::Set(items) => items.iter().for_each(|item| readable(item, text)),
        Value::Map(pairs) => pairs.iter().for_each(|(name, item)| {
            readable(name, text);
            readable(item, text);
        }),
        other => text.push_str(&format!("{other:?}")),
    }
}
