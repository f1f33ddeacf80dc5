//! The audit log: searched and taken out by staff, seen by the person it is about.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use keryu_common::audit::STEP;
use keryu_common::job::Terms;
use keryu_common::seal;
use keryu_common::upload::{self, Purpose};
use keryu_common::user::erase::EraseDue;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use uuid::Uuid;

use super::support::product::{field, read};
use super::support::{Engine, Product, eventually};

const PATH: &str = "/api/admin/audit";

/// Somebody of staff with these rights.
async fn staff(product: &Product, name: &str, permissions: &str) -> Value {
    let tokens = product.register(&format!("{name}@example.org"), name).await;
    sqlx::query(
        "WITH made AS (INSERT INTO roles (role, rank, is_staff, permissions, updated_at)
                       VALUES ($1, 40, true, $2::text[], now()) RETURNING role)
         SELECT role FROM made",
    )
    .bind(name)
    .bind(permissions)
    .execute(&product.world.db)
    .await
    .unwrap();
    sqlx::query("UPDATE users SET role = $1 WHERE username = $1")
        .bind(name)
        .execute(&product.world.db)
        .await
        .unwrap();
    tokens
}

async fn search(product: &Product, tokens: &Value, query: &str) -> Vec<Value> {
    let (status, page) = product.get(&format!("{PATH}?{query}"), tokens).await;
    assert_eq!(status, 200, "{query}: {page}");
    page["items"].as_array().unwrap().clone()
}

fn id(tokens: &Value) -> &str {
    tokens["user_id"].as_str().unwrap()
}

async fn export(product: &Product, tokens: &Value, query: &str) -> Response {
    let bearer = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
    let fields = [("authorization", bearer.as_str()), ("accept-encoding", "gzip, br")];
    product.send(Method::GET, &format!("{PATH}/export?{query}"), &Value::Null, &fields).await
}

/// So many lines of one person of staff, a second apart, all `bench.row` but every thousandth.
async fn fill(product: &Product, actor: &str, count: i64) {
    let sql = "INSERT INTO audit (audit_id, at, action, entity_type, entity_id, actor, details, ip_address, user_agent)
               SELECT gen_random_uuid(), $3 - n * interval '1 second',
                      CASE WHEN n = $2 THEN 'bench.rare' ELSE 'bench.row' END, 'bench', n::text, $1::uuid, '{}',
                      '198.51.100.9', '=cmd()'
               FROM generate_series(1, $2) n";
    let query = sqlx::query(sql).bind(actor).bind(count).bind(product.ctx.now());
    query.execute(&product.world.db).await.unwrap();
}

#[tokio::test]
async fn every_filter_finds_its_lines_and_the_search_is_a_line_itself() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let boss = staff(&product, "boss", "{audit.read,users.read}").await;
    product.advance(Duration::from_secs(5));
    let bearer = format!("Bearer {}", ada["access_token"].as_str().unwrap());
    let path = format!("/api/users/{}", id(&ada));
    let change = json!({ "first_name": "Ada", "address": "Byron Street 1" });
    let fields = [("authorization", bearer.as_str()), ("x-request-id", "r-1"), ("user-agent", "Loom/1.0")];
    assert_eq!(product.send(Method::PATCH, &path, &change, &fields).await.status().as_u16(), 200);
    let since = product.ctx.now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let ada_id = id(&ada);
    for query in [
        "request_id=r-1".to_owned(),
        format!("actor={ada_id}&action=user.changed"),
        format!("entity_type=user&entity_id={ada_id}&action=user.*&since={since}"),
        format!("entity_id={ada_id}&since={since}"),
        "action=user.changed".to_owned(),
        format!("action=user.*&since={since}&ip_address=127.0.0.1&actor={ada_id}"),
        format!("ip_address=127.0.0.1&since={since}&entity_type=user"),
    ] {
        let found = search(&product, &boss, &query).await;
        assert_eq!(found.len(), 1, "{query}: {found:?}");
        let line = &found[0];
        assert_eq!(line["action"], "user.changed");
        assert_eq!((&line["entity_type"], &line["entity_id"]), (&json!("user"), &ada["user_id"]));
        assert_eq!((&line["actor"], &line["request_id"]), (&ada["user_id"], &json!("r-1")));
        assert_eq!(line["new_values"], json!({ "first_name": "Ada", "address": "Byron Street 1" }));
        assert_eq!(line["old_values"], json!({ "first_name": null, "address": null }));
        assert_eq!((&line["ip_address"], &line["user_agent"]), (&json!("127.0.0.1"), &json!("Loom/1.0")));
        assert!(line["session_id"].is_string() && line["sealed"] == false, "{line}");
    }
    for query in ["action=user.change", "entity_type=role", "action=nothing.*", "ip_address=203.0.113.9"] {
        assert_eq!(search(&product, &boss, query).await, [Value::Null; 0], "{query}");
    }
    let looks = search(&product, &boss, "action=audit.searched").await;
    let told = looks.iter().find(|line| line["details"]["action"] == "user.changed").expect("a line");
    assert_eq!(told["actor"], boss["user_id"]);
    assert!(!looks.iter().any(|line| line["details"].to_string().contains("203.0.113.9")), "{looks:?}");
}

#[tokio::test]
async fn pages_hold_every_line_once_and_cursors_are_good_for_nothing_else() {
    let product = Product::new().await;
    let boss = staff(&product, "boss", "{audit.read}").await;
    let other = staff(&product, "other", "{audit.read}").await;
    // two lines of the same moment each
    product
        .world
        .execute(
            "INSERT INTO audit (audit_id, at, action, entity_type, entity_id)
             SELECT gen_random_uuid(), now() - n / 2 * interval '1 second', 'page.row', 'page', n::text
             FROM generate_series(1, 107) n",
        )
        .await;
    for query in ["action=page.*", "entity_type=page&since=2000-01-01T00:00:00Z", "action=page.row"] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let (status, page) = product.get(&format!("{PATH}?{query}&limit=10{cursor}"), &boss).await;
            assert_eq!(status, 200, "{page}");
            seen.extend(page["items"].as_array().unwrap().clone());
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        let mut ids: Vec<&str> = seen.iter().map(|line| line["id"].as_str().unwrap()).collect();
        let times: Vec<&str> = seen.iter().map(|line| line["at"].as_str().unwrap()).collect();
        assert!(times.is_sorted_by(|a, b| a >= b), "newest first");
        ids.sort_unstable();
        ids.dedup();
        assert_eq!((ids.len(), seen.len()), (107, 107), "{query}");
    }
    let (_, page) = product.get(&format!("{PATH}?action=page.*&limit=10"), &boss).await;
    let ours = page["next_cursor"].as_str().unwrap();
    let (_, page) = product.get("/api/users/audit?limit=1", &boss).await;
    let own = page["next_cursor"].as_str().unwrap();
    let (head, tail) = ours.split_at(10);
    let tampered = format!("{head}{}{}", if tail.starts_with('A') { 'B' } else { 'A' }, &tail[1..]);
    for (path, tokens) in [
        (format!("{PATH}?cursor={ours}"), &other),
        (format!("{PATH}?cursor={own}"), &boss),
        (format!("{PATH}?cursor={tampered}"), &boss),
        (format!("/api/users/audit?cursor={ours}"), &boss),
        (format!("{PATH}?cursor=x"), &boss),
    ] {
        let (status, refused) = product.get(&path, tokens).await;
        assert_eq!((status, &refused["code"]), (422, &json!("request.invalid")), "{path}");
    }
}

#[tokio::test]
async fn bad_filters_are_refused_and_nobody_looks_without_the_right() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let boss = staff(&product, "boss", "{audit.read}").await;
    for query in [
        "actor=me",
        "entity_type=User",
        "entity_type=",
        "entity_id=%00",
        "action=*",
        "action=user.*.x",
        "action=user.ch*",
        "action=user%25",
        "since=yesterday",
        "since=0001-01-01T00:00:00Z",
        "until=99999-01-01T00:00:00Z",
        "since=2030-01-01T00:00:00Z&until=2029-01-01T00:00:00Z",
        "ip_address=203.0.113.0/24",
        "ip_address=localhost",
        "request_id=%00",
        "limit=0",
        "limit=201",
        "limit=-1",
    ] {
        let (status, refused) = product.get(&format!("{PATH}?{query}"), &boss).await;
        assert_eq!((status, &refused["code"]), (422, &json!("request.invalid")), "{query}: {refused}");
        if !query.starts_with("limit") {
            assert_eq!(export(&product, &boss, query).await.status().as_u16(), 422, "{query}");
        }
    }
    assert_eq!(export(&product, &boss, "format=xml").await.status().as_u16(), 422);
    for path in [PATH.to_owned(), format!("{PATH}/export")] {
        let (status, refused) = product.get(&path, &ada).await;
        assert_eq!((status, &refused["code"]), (403, &json!("auth.forbidden")), "{path}");
        assert_eq!(product.send(Method::GET, &path, &Value::Null, &[]).await.status().as_u16(), 401);
    }
}

#[tokio::test]
async fn what_identifies_a_person_is_for_those_who_may_and_gone_with_the_person() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let boss = staff(&product, "boss", "{audit.read,users.read}").await;
    let clerk = staff(&product, "clerk", "{audit.read}").await;
    let change = json!({ "address": "Byron Street 1" });
    let path = format!("/api/users/{}", id(&ada));
    assert_eq!(product.call(Method::PATCH, &path, &change, &ada).await.0, 200);
    let query = format!("entity_id={}&action=user.changed", id(&ada));
    let seen = search(&product, &boss, &query).await;
    assert_eq!(
        (&seen[0]["new_values"]["address"], &seen[0]["sealed"]),
        (&json!("Byron Street 1"), &json!(false))
    );
    let seen = search(&product, &clerk, &query).await;
    assert_eq!((&seen[0]["new_values"], &seen[0]["sealed"]), (&Value::Null, &json!(true)));
    assert!(export(&product, &boss, &query).await.text().await.unwrap().contains("Byron Street 1"));
    assert!(!export(&product, &clerk, &query).await.text().await.unwrap().contains("Byron Street"));
    assert_eq!(product.delete("/api/auth/account", &ada).await.0, 202);
    product.advance(Duration::from_secs(31 * 24 * 3600));
    let engine = Engine { world: product.world.again(), ctx: product.ctx.clone() };
    engine.ask(&EraseDue::default(), Terms::default()).await;
    engine.drain().await;
    let boss = product.login("boss@example.org").await;
    let seen = search(&product, &boss, &query).await;
    assert_eq!((&seen[0]["new_values"], &seen[0]["sealed"]), (&Value::Null, &json!(true)));
}

#[tokio::test]
async fn a_rare_line_in_a_long_log_is_found_in_bounded_steps() {
    let product = Product::new().await;
    let boss = staff(&product, "boss", "{audit.read}").await;
    let actor = "019a9f31-7cf2-7b0a-9e1c-2d3e4f506199";
    fill(&product, actor, STEP + 1_000).await;
    let query = format!("{PATH}?actor={actor}&action=bench.rare");
    let (_, first) = product.get(&query, &boss).await;
    assert_eq!(first["items"], json!([]), "it lies beyond the first step");
    let cursor = first["next_cursor"].as_str().expect("that was not all");
    let (_, second) = product.get(&format!("{query}&cursor={cursor}"), &boss).await;
    assert_eq!((second["items"].as_array().unwrap().len(), &second["next_cursor"]), (1, &Value::Null));
    let file = export(&product, &boss, &format!("actor={actor}&action=bench.rare&format=jsonl")).await;
    assert_eq!(file.text().await.unwrap().lines().count(), 1, "a file holds it all");
}

#[tokio::test]
async fn a_file_holds_every_line_no_formula_and_leaves_a_line() {
    let product = Product::new().await;
    let boss = staff(&product, "boss", "{audit.read}").await;
    let actor = "019a9f31-7cf2-7b0a-9e1c-2d3e4f506199";
    fill(&product, actor, 2_500).await;
    let answer = export(&product, &boss, &format!("actor={actor}")).await;
    assert_eq!(field(&answer, "content-type"), "text/csv; charset=utf-8");
    assert_eq!(field(&answer, "transfer-encoding"), "chunked", "it is sent while it is written");
    let day = product.ctx.now().format("%Y-%m-%d");
    assert_eq!(field(&answer, "content-disposition"), format!("attachment; filename=\"audit-{day}.csv\""));
    assert_eq!(field(&answer, "cache-control"), "no-store");
    let text = answer.text().await.unwrap();
    let mut sheet = csv::Reader::from_reader(text.as_bytes());
    let agent = sheet.headers().unwrap().iter().position(|name| name == "user_agent").unwrap();
    let rows: Vec<csv::StringRecord> = sheet.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 2_500);
    assert!(rows.iter().all(|row| &row[agent] == "'=cmd()"), "no cell is a formula");
    product.advance(Duration::from_secs(1));
    let lines = export(&product, &boss, &format!("actor={actor}&format=jsonl")).await.text().await.unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), &lines[0]["user_agent"]), (2_500, &json!("=cmd()")));
    assert!(lines.iter().map(|line| line["at"].as_str().unwrap()).is_sorted_by(|a, b| a >= b));
    let looks = search(&product, &boss, "action=audit.exported").await;
    assert_eq!(looks.len(), 2);
    assert_eq!(
        (&looks[1]["details"]["actor"], &looks[1]["details"]["format"]),
        (&json!(actor), &json!("csv"))
    );
}

#[tokio::test]
async fn who_reads_slowly_or_hangs_up_holds_no_connection() {
    let product = Product::new().await;
    let boss = staff(&product, "boss", "{audit.read}").await;
    fill(&product, "019a9f31-7cf2-7b0a-9e1c-2d3e4f506199", 30_000).await;
    let mut slow = export(&product, &boss, "format=jsonl").await.bytes_stream();
    let first = slow.next().await.unwrap().unwrap();
    assert!(!first.is_empty());
    let pool = &product.ctx.db;
    let free = || async { pool.num_idle() == pool.size() as usize };
    eventually("every connection is back while the file waits", Duration::from_secs(10), free).await;
    let held =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'";
    assert_eq!(product.world.count(held).await, 0, "and no transaction is open");
    drop(slow);
    eventually("and after the reader hung up", Duration::from_secs(10), free).await;
}

#[tokio::test]
async fn a_person_sees_what_happened_but_not_who_of_staff_did_it() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let boss = staff(&product, "boss", "{users.read,users.status}").await;
    let bearer = format!("Bearer {}", boss["access_token"].as_str().unwrap());
    let fields = [("authorization", bearer.as_str()), ("user-agent", "StaffBrowser/1.0")];
    let path = format!("/api/users/{}", id(&ada));
    assert_eq!(product.send(Method::GET, &path, &Value::Null, &fields).await.status().as_u16(), 200);
    let change = json!({ "address": "Byron Street 1" });
    assert_eq!(product.call(Method::PATCH, &path, &change, &ada).await.0, 200);
    let body = json!({ "status": "suspended", "reason": "Reported by boss" });
    let answer =
        product.send(Method::POST, &format!("/api/admin/users/{}/status", id(&ada)), &body, &fields).await;
    assert_eq!(answer.status().as_u16(), 200);
    product.advance(Duration::from_secs(1));
    let body = json!({ "status": "active", "reason": "Cleared by boss" });
    product.send(Method::POST, &format!("/api/admin/users/{}/status", id(&ada)), &body, &fields).await;
    product.advance(Duration::from_secs(61));
    let ada = product.login("ada@example.org").await;
    let (status, page) = product.get("/api/users/audit?limit=200", &ada).await;
    assert_eq!(status, 200, "{page}");
    let lines = page["items"].as_array().unwrap();
    let of = |action: &str| {
        lines.iter().find(|line| line["action"] == action).unwrap_or_else(|| panic!("{action}: {page}"))
    };
    assert_eq!(of("user.read")["by"], "staff");
    assert_eq!(
        (&of("user.changed")["by"], &of("user.changed")["ip_address"]),
        (&json!("you"), &json!("127.0.0.1"))
    );
    assert_eq!(of("user.changed")["new_values"]["address"], "Byron Street 1");
    let suspended = of("user.status_changed");
    assert_eq!(
        (&suspended["by"], &suspended["old_values"]["status"]),
        (&json!("staff"), &json!("suspended"))
    );
    let text = page.to_string();
    for hidden in [id(&boss), "boss", "StaffBrowser"] {
        assert!(!text.contains(hidden), "{hidden} in {text}");
    }
    let (_, theirs) =
        product.get("/api/users/audit?limit=200", &product.login("boss@example.org").await).await;
    let read = theirs["items"].as_array().unwrap().iter().find(|line| line["action"] == "user.read").unwrap();
    assert_eq!((&read["by"], &read["user_agent"]), (&json!("you"), &json!("StaffBrowser/1.0")));
    assert!(!theirs.to_string().contains("Byron Street"), "of others nothing is opened");
}

/// Reads of one record that leave no line, each with the reason.
const NOT_A_PERSONS: &[(&str, &str)] = &[
    ("delivery_show", "open to whoever holds its unguessable id, and names nobody"),
    ("verify_email_link", "opened by its recipient, nobody is signed in"),
    ("report_show", "its owner's alone"),
    ("report_download", "its owner's alone"),
    ("export_show", "its owner's alone"),
    ("export_download", "its owner's alone"),
    ("bulk_show", "progress of an action; it holds ids, no record of a person"),
    ("job_show", "a job; it holds ids, no record of a person"),
    ("kyc_read_file", "its owner's alone"),
    ("department_show", "of no person"),
    ("programme_show", "of no person"),
    ("class_group_show", "of no person"),
];

/// Somebody's picture, and a document of theirs that waits: the id of its submission.
async fn files(product: &Product, owner: Uuid) -> Uuid {
    let (ctx, bytes) = (&product.ctx, Bytes::from_static(b"a file"));
    let picture = upload::keep(ctx, owner, Purpose::Picture, "image/jpeg", bytes.clone()).await.unwrap();
    sqlx::query("UPDATE profiles SET picture_large = $2, picture_small = $2 WHERE user_id = $1")
        .bind(owner)
        .bind(picture.upload_id)
        .execute(&product.world.db)
        .await
        .unwrap();
    let front = upload::keep(ctx, owner, Purpose::KycDocument, "image/jpeg", bytes).await.unwrap();
    let submission_id = Uuid::from_u128(7);
    let number =
        seal::seal(&ctx.config.keys, "document_number", submission_id.as_bytes(), b"12345678").unwrap();
    sqlx::query(
        "INSERT INTO kyc_submissions (submission_id, user_id, document_type, number_sealed, number_hash,
                                      front_upload_id, state, created_at, updated_at)
         VALUES ($1, $2, 'national_id', $3, '', $4, 'pending', $5, $5)",
    )
    .bind(submission_id)
    .bind(owner)
    .bind(number)
    .bind(front.upload_id)
    .bind(ctx.now())
    .execute(&product.world.db)
    .await
    .unwrap();
    submission_id
}

#[tokio::test]
async fn every_read_of_one_persons_record_by_staff_leaves_a_line() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let boss = product.register("boss@example.org", "boss").await;
    product.world.execute("UPDATE users SET is_superuser = true WHERE username = 'boss'").await;
    let bearer = format!("Bearer {}", boss["access_token"].as_str().unwrap());
    let delivery = "SELECT delivery_id::text FROM deliveries WHERE recipient = 'ada@example.org' LIMIT 1";
    let delivery: String = sqlx::query_scalar(delivery).fetch_one(&product.world.db).await.unwrap();
    let document = product.send(Method::GET, "/api/openapi.json", &Value::Null, &[]).await;
    let (_, document) = read(document).await;
    let submission = files(&product, id(&ada).parse().unwrap()).await.to_string();
    // the lines of an export by ids are written with its file
    let wish = json!({ "action": "export", "format": "csv", "ids": [id(&ada)], "reason": "For the council" });
    let fields = [("authorization", bearer.as_str()), ("x-request-id", "bulk_result")];
    let ordered = product.send(Method::POST, "/api/admin/users/bulk", &wish, &fields).await;
    let (status, ordered) = read(ordered).await;
    assert_eq!(status, 202, "{ordered}");
    product.drain().await;
    let mut walked = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let Some(operation) = item.get("get").filter(|_| path.contains('{')) else { continue };
        let name = operation["operationId"].as_str().unwrap();
        if NOT_A_PERSONS.iter().any(|(known, _)| *known == name) {
            continue;
        }
        let of = match name {
            "delivery_detail" => delivery.as_str(),
            "kyc_case" | "kyc_read_side" => submission.as_str(),
            "bulk_result" => ordered["id"].as_str().unwrap(),
            _ => id(&ada),
        };
        let url = path.replace("{id}", of).replace("{side}", "front");
        assert!(
            !url.contains('{'),
            "say here what {path} is called with, or in NOT_A_PERSONS why it leaves no line"
        );
        let fields = [("authorization", bearer.as_str()), ("x-request-id", name)];
        let answer = product.send(Method::GET, &url, &Value::Null, &fields).await;
        let (status, body) = read(answer).await;
        // whether somebody is a trainee is a look at them too
        let found = status == 200 || body["code"] == "role_profile.not_found";
        assert!(found, "{url}: say here what {name} is called with: {status} {body}");
        let about = if name == "delivery_detail" { of } else { id(&ada) };
        let lines: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM audit WHERE request_id = $1 AND actor = $2::uuid AND entity_id = $3",
        )
        .bind(name)
        .bind(id(&boss))
        .bind(about)
        .fetch_one(&product.world.db)
        .await
        .unwrap();
        assert_eq!(lines, 1, "{name} leaves one line");
        walked += 1;
    }
    assert!(walked >= 4, "{walked} were walked");
}
