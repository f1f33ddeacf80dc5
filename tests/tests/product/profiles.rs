//! Profiles: what people say of themselves, who sees and changes it, what it said before.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::product::{field, read};
use crate::support::{Product, dump};

const OWN: &str = "/api/users/profile";

fn of(tokens: &Value) -> String {
    format!("/api/users/{}/profile", tokens["user_id"].as_str().expect("user_id"))
}

async fn patch(product: &Product, path: &str, body: Value, tokens: &Value) -> (u16, Value) {
    product.call(Method::PATCH, path, &body, tokens).await
}

async fn with_role(product: &Product, name: &str, role: &str) -> Value {
    let tokens = product.register(&format!("{name}@example.org"), name).await;
    let change = format!("UPDATE users SET role = '{role}' WHERE username = '{name}'");
    sqlx::raw_sql(sqlx::AssertSqlSafe(change)).execute(&product.world.db).await.expect("role");
    tokens
}

fn whole() -> Value {
    json!({
        "full_name": "Augusta Ada King", "date_of_birth": "1990-12-10", "address": "12 Moi Avenue, Nairobi",
        "emergency_contact": "William King", "emergency_phone": "0712 345 678", "preferred_language": "SW",
    })
}

/// The faults of an answer: pointer and code.
fn faults((status, body): (u16, Value)) -> Vec<(String, String)> {
    assert_eq!((status, &body["code"]), (422, &json!("request.invalid")), "{body}");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    body["errors"]
        .as_array()
        .expect("errors")
        .iter()
        .map(|e| (text(&e["pointer"]), text(&e["code"])))
        .collect()
}

#[tokio::test]
async fn a_person_fills_in_their_profile_until_nothing_is_missing() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let (status, empty) = product.get(OWN, &ada).await;
    assert_eq!(status, 200, "{empty}");
    assert_eq!(empty["id"], ada["user_id"]);
    assert_eq!((&empty["preferred_language"], &empty["avatar_status"]), (&json!("en"), &json!("none")));
    assert_eq!(
        empty["missing"],
        json!(["full_name", "date_of_birth", "address", "emergency_contact", "emergency_phone"])
    );
    assert_eq!(product.get("/api/auth/me", &ada).await.1["profile_complete"], false);
    let switches = empty["notification_preferences"].as_object().expect("switches");
    assert!(switches.values().all(|ways| *ways == json!({ "sms": true, "email": true, "push": true })));
    assert!(switches.contains_key("welcome") && !switches.contains_key("password_changed"));
    let (status, full) = product.call(Method::PUT, OWN, &whole(), &ada).await;
    assert_eq!(status, 200, "{full}");
    assert_eq!(
        (&full["emergency_phone"], &full["preferred_language"]),
        (&json!("+254712345678"), &json!("sw"))
    );
    assert_eq!((&full["is_profile_complete"], &full["missing"]), (&json!(true), &json!([])));
    assert_eq!(product.get("/api/auth/me", &ada).await.1["profile_complete"], true);
    assert_eq!(product.get(&of(&ada), &ada).await.1, full, "the same under one's own id");
    // address and language are one thing with the record's
    let record = product.get(of(&ada).trim_end_matches("/profile"), &ada).await.1;
    assert_eq!(record["address"], "12 Moi Avenue, Nairobi");
    let (_, changed) = patch(&product, OWN, json!({ "address": null, "full_name": "Ada" }), &ada).await;
    assert_eq!((&changed["missing"], &changed["date_of_birth"]), (&json!(["address"]), &json!("1990-12-10")));
    let (_, bare) = product.call(Method::PUT, OWN, &json!({ "full_name": "Ada" }), &ada).await;
    assert_eq!((&bare["full_name"], &bare["date_of_birth"]), (&json!("Ada"), &Value::Null));
    assert_eq!(bare["preferred_language"], "en");
    product.drain().await;
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn every_fault_is_told_at_once_and_changes_nothing() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let body = json!({
        "full_name": "Ada\u{1}", "date_of_birth": "1990-02-31", "address": "a\u{7}b", "emergency_contact": "",
        "emergency_phone": "12", "preferred_language": "en_US", "id": 7, "avatar_url": "https://example.org/x.png",
    });
    let found = faults(patch(&product, OWN, body, &ada).await);
    let wanted = [
        ("/address", "field.characters"),
        ("/avatar_url", "field.unknown"),
        ("/date_of_birth", "field.format"),
        ("/emergency_contact", "field.length"),
        ("/emergency_phone", "identifier.phone"),
        ("/full_name", "field.characters"),
        ("/id", "field.unknown"),
        ("/preferred_language", "field.format"),
    ];
    assert_eq!(found, wanted.map(|(pointer, code)| (pointer.to_owned(), code.to_owned())));
    for (field, value, code) in [
        ("date_of_birth", json!("1800-01-01"), "field.range"),
        ("date_of_birth", json!("9999-12-31"), "field.range"),
        ("date_of_birth", json!("0000-01-01"), "field.range"),
        ("date_of_birth", json!("-001-01-01"), "field.format"),
        ("date_of_birth", json!("12/10/1990"), "field.format"),
        ("date_of_birth", json!(19_901_210), "field.type"),
        ("full_name", json!("A"), "field.length"),
        ("full_name", json!("x".repeat(101)), "field.length"),
        ("full_name", json!("Ada\u{202e}adA"), "field.characters"),
        ("notification_preferences", json!({ "welcome": true }), "field.type"),
    ] {
        let found = faults(patch(&product, OWN, json!({ field: value }), &ada).await);
        assert_eq!(found.len(), 1, "{field} {value}");
        assert!(found[0].0.starts_with(&format!("/{field}")) && found[0].1 == code, "{value}: {found:?}");
    }
    assert_eq!(product.get(OWN, &ada).await.1["full_name"], Value::Null);
    let (status, _) = patch(&product, OWN, json!({ "full_name": "می\u{200c}ترا 李" }), &ada).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn messages_are_switched_off_by_kind_and_way_but_for_those_of_safety() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let wanted = |preferences: Value| json!({ "notification_preferences": preferences });
    let off =
        wanted(json!({ "welcome": { "sms": false }, "profile_completion_reminder": { "email": false } }));
    assert_eq!(patch(&product, OWN, off, &ada).await.0, 200);
    let (_, one) = patch(&product, OWN, wanted(json!({ "welcome": { "email": false } })), &ada).await;
    assert_eq!(
        one["notification_preferences"]["welcome"],
        json!({ "sms": false, "email": false, "push": true })
    );
    assert_eq!(one["notification_preferences"]["profile_completion_reminder"]["email"], false, "others stay");
    let refused = wanted(json!({
        "password_changed": { "email": false }, "no_such": { "sms": true }, "welcome": { "pigeon": false, "push": false },
    }));
    let pointer = |rest: &str| format!("/notification_preferences/{rest}");
    let found = faults(patch(&product, OWN, refused, &ada).await);
    assert_eq!(
        found,
        [
            (pointer("no_such"), "field.unknown".to_owned()),
            (pointer("password_changed/email"), "preference.required".to_owned()),
            (pointer("welcome/pigeon"), "field.unknown".to_owned()),
        ]
    );
    let still = product.get(OWN, &ada).await.1;
    assert_eq!(still["notification_preferences"]["welcome"]["push"], true, "nothing was changed");
    // what is on by nature may be said to be
    assert_eq!(
        patch(&product, OWN, wanted(json!({ "password_changed": { "email": true } })), &ada).await.0,
        200
    );
    let (_, all) = patch(&product, OWN, wanted(Value::Null), &ada).await;
    assert_eq!(all["notification_preferences"]["welcome"]["sms"], true);
    let lines = "SELECT count(*) FROM audit WHERE action = 'profile.notifications_changed'";
    assert_eq!(product.world.count(lines).await, 3);
}

#[tokio::test]
async fn two_who_change_one_profile_do_not_overwrite_each_other() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let bearer = format!("Bearer {}", ada["access_token"].as_str().expect("token"));
    let read_it = product.send(Method::GET, OWN, &Value::Null, &[("authorization", &bearer)]).await;
    let tag = field(&read_it, "etag");
    let change = |name: &'static str, tag: String| {
        let (product, bearer) = (&product, bearer.clone());
        async move {
            let fields = [("authorization", bearer.as_str()), ("if-match", tag.as_str())];
            product.send(Method::PATCH, OWN, &json!({ "full_name": name }), &fields).await
        }
    };
    product.advance(Duration::from_secs(1));
    let first = change("First", tag.clone()).await;
    let next = field(&first, "etag");
    assert_eq!((first.status().as_u16(), next != tag), (200, true));
    let (status, refused) = read(change("Second", tag).await).await;
    assert_eq!((status, &refused["code"]), (412, &json!("user.changed")));
    product.advance(Duration::from_secs(1));
    assert_eq!(change("Third", next).await.status(), 200);
    assert_eq!(product.get(OWN, &ada).await.1["full_name"], "Third");
}

#[tokio::test]
async fn staff_see_and_change_those_below_them_and_leave_lines() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let bob = product.register("bob@example.org", "bob").await;
    let reader = with_role(&product, "reader", "hod").await;
    let admin = with_role(&product, "boss", "admin").await;
    assert_eq!(patch(&product, OWN, whole(), &ada).await.0, 200);
    for (method, body) in [(Method::GET, Value::Null), (Method::PATCH, json!({})), (Method::PUT, whole())] {
        let (status, refused) = product.call(method, &of(&ada), &body, &bob).await;
        assert_eq!((status, &refused["code"]), (404, &json!("user.not_found")), "as if there were nobody");
    }
    assert_eq!(product.get(&format!("{}/history", of(&ada)), &bob).await.0, 404);
    let (status, seen) = product.get(&of(&ada), &reader).await;
    assert_eq!((status, &seen["full_name"]), (200, &json!("Augusta Ada King")));
    assert_eq!(
        patch(&product, &of(&ada), json!({ "full_name": "Other" }), &reader).await.0,
        404,
        "reads only"
    );
    assert_eq!(patch(&product, &of(&ada), json!({ "full_name": "Ada King" }), &admin).await.0, 200);
    let (status, put) =
        product.call(Method::PUT, &of(&ada), &json!({ "full_name": "Ada Byron" }), &admin).await;
    assert_eq!((status, &put["full_name"]), (200, &json!("Ada Byron")));
    assert_eq!((&put["id"], &put["date_of_birth"]), (&ada["user_id"], &Value::Null), "all is replaced");
    assert_eq!(product.get(OWN, &ada).await.1["full_name"], "Ada Byron");
    let boss = with_role(&product, "owner", "admin").await;
    product.world.execute("UPDATE users SET is_superuser = true WHERE username = 'owner'").await;
    let (status, refused) = patch(&product, &of(&boss), json!({ "full_name": "Mine" }), &admin).await;
    assert_eq!((status, &refused["code"]), (403, &json!("auth.forbidden")));
    let nobody = json!({ "user_id": "019aa9f3-17cf-7b0a-9e1c-2d3e4f506172" });
    assert_eq!(product.get(&of(&nobody), &admin).await.1["code"], "user.not_found");
    for (action, count) in [("profile.read", 1), ("profile.changed", 3)] {
        let lines: i64 = sqlx::query_scalar("SELECT count(*) FROM audit WHERE action = $1")
            .bind(action)
            .fetch_one(&product.world.db)
            .await
            .expect("lines");
        assert_eq!(lines, count, "{action}");
    }
    // what identifies is sealed in the log
    let logged = dump::tables(&product.world).await;
    let audit: Vec<&String> =
        logged.iter().filter(|(table, _)| table.starts_with("audit")).flat_map(|(_, rows)| rows).collect();
    for trace in ["Augusta", "1990-12-10", "Moi Avenue", "William", "+254712345678"] {
        assert!(!audit.iter().any(|row| row.contains(trace)), "{trace}");
    }
}

#[tokio::test]
async fn a_profile_can_be_put_back_to_what_it_said_before() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let admin = with_role(&product, "boss", "admin").await;
    let history = format!("{}/history", of(&ada));
    assert_eq!(product.get(&history, &ada).await.1, json!({ "items": [], "next_cursor": null }));
    for body in [
        json!({ "full_name": "First", "notification_preferences": { "welcome": { "sms": false } } }),
        json!({ "full_name": "Second" }),
        json!({ "full_name": "Second" }),
        json!({ "full_name": "Third", "preferred_language": "sw" }),
    ] {
        product.advance(Duration::from_secs(1));
        assert_eq!(patch(&product, OWN, body, &ada).await.0, 200);
    }
    let (_, page) = product.get(&history, &ada).await;
    let items = page["items"].as_array().expect("items").clone();
    assert_eq!(items.len(), 3, "what says the same is no change");
    let change = |field: &str, old: Value, new: Value| json!({ "field": field, "old": old, "new": new });
    assert_eq!(
        items[0]["changes"],
        json!([
            change("full_name", json!("Second"), json!("Third")),
            change("preferred_language", json!("en"), json!("sw"))
        ])
    );
    assert_eq!(
        items[2]["changes"],
        json!([
            change("full_name", Value::Null, json!("First")),
            change("switched_off", json!([]), json!(["welcome.sms"]))
        ])
    );
    assert_eq!(items[0]["actor"], ada["user_id"]);
    // page by page, and by no cursor of another's
    let (_, first) = product.get(&format!("{history}?limit=2"), &ada).await;
    let cursor = first["next_cursor"].as_str().expect("more");
    let (_, second) = product.get(&format!("{history}?limit=2&cursor={cursor}"), &ada).await;
    assert_eq!((&second["items"], &second["next_cursor"]), (&json!([items[2]]), &Value::Null));
    let other = format!("{}/history?cursor={cursor}", of(&admin));
    assert_eq!(product.get(&other, &admin).await.0, 422);
    // back to before the second change: and that is one more
    let path = format!("/api/admin/users/{}/profile/restore", ada["user_id"].as_str().expect("id"));
    let restore = |change: Value, tokens: Value| {
        let (product, path) = (&product, path.clone());
        async move { product.call(Method::POST, &path, &json!({ "change_id": change }), &tokens).await }
    };
    assert_eq!(restore(items[1]["id"].clone(), ada.clone()).await.1["code"], "auth.forbidden");
    product.advance(Duration::from_secs(1));
    let (status, back) = restore(items[1]["id"].clone(), admin.clone()).await;
    assert_eq!(
        (status, &back["full_name"], &back["preferred_language"]),
        (200, &json!("First"), &json!("en"))
    );
    assert_eq!(back["notification_preferences"]["welcome"]["sms"], false);
    product.advance(Duration::from_secs(1));
    let (_, empty) = restore(items[2]["id"].clone(), admin.clone()).await;
    assert_eq!(
        (&empty["full_name"], &empty["notification_preferences"]["welcome"]["sms"]),
        (&Value::Null, &json!(true))
    );
    let (_, seen) = product.get(&history, &admin).await;
    assert_eq!(seen["items"].as_array().expect("items").len(), 5);
    assert_eq!(
        (&seen["items"][0]["restored"], &seen["items"][0]["actor"]),
        (&items[2]["id"], &admin["user_id"])
    );
    let lost = json!("019aa9f3-17cf-7b0a-9e1c-2d3e4f506172");
    assert_eq!(restore(lost, admin).await.1["code"], "profile.change_not_found");
}

#[tokio::test]
async fn putting_a_profile_back_leaves_what_was_changed_elsewhere() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let admin = with_role(&product, "boss", "admin").await;
    let record = of(&ada).trim_end_matches("/profile").to_owned();
    let next = |path: String, body: Value| {
        let (product, ada) = (&product, &ada);
        async move {
            product.advance(Duration::from_secs(1));
            let (status, said) = patch(product, &path, body, ada).await;
            assert_eq!(status, 200, "{said}");
        }
    };
    next(of(&ada), json!({ "full_name": "First", "address": "1 Old Road" })).await;
    next(of(&ada), json!({ "full_name": "Second" })).await;
    next(record.clone(), json!({ "address": "2 New Street" })).await;
    next(of(&ada), json!({ "emergency_contact": "William" })).await;
    let restore = |n: usize| {
        let (product, ada, admin) = (&product, &ada, &admin);
        async move {
            let (_, page) = product.get(&format!("{}/history", of(ada)), admin).await;
            let path = format!("/api/admin/users/{}/profile/restore", ada["user_id"].as_str().expect("id"));
            product.advance(Duration::from_secs(1));
            let change = json!({ "change_id": page["items"][n]["id"] });
            product.call(Method::POST, &path, &change, admin).await
        }
    };
    let (status, back) = restore(1).await;
    assert_eq!(
        (status, &back["full_name"], &back["emergency_contact"]),
        (200, &json!("First"), &Value::Null)
    );
    assert_eq!(back["address"], "2 New Street", "no change that was taken back had touched it");
    // a field goes back to what the first change that touched it found
    next(of(&ada), json!({ "full_name": "Third" })).await;
    next(record.clone(), json!({ "address": "3 Newer Street" })).await;
    next(of(&ada), json!({ "address": "4 Newest Street" })).await;
    let (status, back) = restore(1).await;
    assert_eq!((status, &back["full_name"]), (200, &json!("First")));
    assert_eq!(back["address"], "3 Newer Street");
}

#[tokio::test]
async fn every_change_makes_a_new_version_whatever_clocks_say() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let bearer = format!("Bearer {}", ada["access_token"].as_str().expect("token"));
    let tag = async || {
        let answer = product.send(Method::GET, OWN, &Value::Null, &[("authorization", &bearer)]).await;
        let tag = field(&answer, "etag");
        i64::from_str_radix(tag.trim_matches('"'), 16).expect("a version")
    };
    // a process with a clock ahead of ours changed the record
    product.world.execute("UPDATE users SET updated_at = updated_at + interval '1 hour'").await;
    let mut last = tag().await;
    for body in [
        json!({ "full_name": "Ada" }),
        json!({ "address": "12 Moi Avenue" }),
        json!({ "notification_preferences": { "welcome": { "sms": false } } }),
        json!({ "full_name": "Ada", "address": null }),
    ] {
        assert_eq!(patch(&product, OWN, body, &ada).await.0, 200);
        let next = tag().await;
        assert!(next > last, "{next} after {last}");
        last = next;
    }
    let (_, page) = product.get(&format!("{}/history", of(&ada)), &ada).await;
    assert_eq!(page["items"].as_array().expect("items").len(), 4, "none is hidden");
}

#[tokio::test]
async fn what_a_profile_said_is_sealed_and_goes_with_the_person() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    assert_eq!(patch(&product, OWN, whole(), &ada).await.0, 200);
    assert_eq!(
        patch(&product, OWN, json!({ "full_name": "Somebody Else", "address": null }), &ada).await.0,
        200
    );
    let sealed: Vec<Vec<u8>> = sqlx::query_scalar("SELECT sealed FROM profile_changes")
        .fetch_all(&product.world.db)
        .await
        .expect("rows");
    assert_eq!(sealed.len(), 2);
    assert!(!sealed.iter().any(|bytes| bytes.windows(7).any(|part| part == b"Augusta")));
    product.world.execute("DELETE FROM users WHERE username = 'ada'").await;
    assert_eq!(product.world.count("SELECT count(*) FROM profile_changes").await, 0);
}

#[tokio::test]
async fn two_hundred_changes_are_kept() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    for n in 0..203 {
        product.advance(Duration::from_millis(1));
        assert_eq!(patch(&product, OWN, json!({ "full_name": format!("Ada {n}") }), &ada).await.0, 200);
    }
    assert_eq!(product.world.count("SELECT count(*) FROM profile_changes").await, 200);
    let (_, page) = product.get(&format!("{}/history?limit=1", of(&ada)), &ada).await;
    assert_eq!(page["items"][0]["changes"][0]["new"], "Ada 202");
}
