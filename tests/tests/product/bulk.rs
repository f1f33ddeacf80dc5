//! What staff do to many people at once: each in a transaction of their own, nobody above one's rank, and
//! after a crash nobody twice.

use std::time::Duration;

use keryu_common::bulk::RunAction;
use keryu_common::job::Terms;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::support::product::{field, read};
use super::support::{Engine, Product};

const PATH: &str = "/api/admin/users/bulk";

const ACTIONS: [&str; 9] = [
    "activate",
    "deactivate",
    "suspend",
    "ban",
    "delete",
    "restore",
    "assign_role",
    "send_message",
    "export",
];

/// What an action needs beside people.
fn wish(action: &str) -> Value {
    let mut body = json!({ "action": action, "reason": "x" });
    match action {
        "assign_role" => body["role"] = json!("member"),
        "export" => body["format"] = json!("csv"),
        "send_message" => body["message"] = json!({ "subject": "a", "text": "b" }),
        _ => {}
    }
    body
}

fn id(tokens: &Value) -> Uuid {
    tokens["user_id"].as_str().unwrap().parse().unwrap()
}

/// Registers somebody and gives them a role by hand.
async fn somebody(product: &Product, name: &str, role: &str) -> Value {
    let tokens = product.register(&format!("{name}@example.org"), name).await;
    let change = format!("UPDATE users SET role = '{role}' WHERE username = '{name}'");
    sqlx::raw_sql(sqlx::AssertSqlSafe(change)).execute(&product.world.db).await.unwrap();
    tokens
}

async fn order(product: &Product, body: Value, tokens: &Value) -> (u16, Value) {
    product.call(Method::POST, PATH, &body, tokens).await
}

/// Asks for it and lets it be done: the progress.
async fn done(product: &Product, body: Value, tokens: &Value) -> Value {
    let (status, ordered) = order(product, body, tokens).await;
    assert_eq!(status, 202, "{ordered}");
    product.drain().await;
    progress(product, &ordered, tokens).await
}

async fn progress(product: &Product, ordered: &Value, tokens: &Value) -> Value {
    let (status, shown) = product.get(&format!("{PATH}/{}", ordered["id"].as_str().unwrap()), tokens).await;
    assert_eq!(status, 200, "{shown}");
    shown
}

fn counts(shown: &Value) -> [i64; 4] {
    ["total", "done", "failed", "skipped"].map(|name| shown[name].as_i64().unwrap())
}

async fn status(product: &Product, tokens: &Value) -> String {
    sqlx::query_scalar("SELECT status::text FROM users WHERE user_id = $1")
        .bind(id(tokens))
        .fetch_one(&product.world.db)
        .await
        .unwrap()
}

#[tokio::test]
async fn people_named_by_id_are_suspended_each_with_a_line_and_a_notice() {
    let product = Product::new().await;
    let boss = somebody(&product, "boss", "admin").await;
    let (ada, bob) = (somebody(&product, "ada", "member").await, somebody(&product, "bob", "member").await);
    let ids = [id(&ada), id(&bob), id(&ada), id(&boss), Uuid::from_u128(7)];
    let body = json!({ "action": "suspend", "ids": ids, "reason": "Under review" });
    let (code, ordered) = order(&product, body, &boss).await;
    assert_eq!(code, 202, "{ordered}");
    let shown = progress(&product, &ordered, &boss).await;
    assert_eq!((counts(&shown), &shown["state"]), ([4, 0, 0, 0], &json!("running")));
    product.drain().await;
    let shown = progress(&product, &ordered, &boss).await;
    assert_eq!((counts(&shown), &shown["state"]), ([4, 2, 1, 1], &json!("finished")), "{shown}");
    let mut failures: Vec<(String, String)> = shown["failures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["outcome"].as_str().unwrap().to_owned(), it["code"].as_str().unwrap().to_owned()))
        .collect();
    failures.sort_unstable();
    let told = |outcome: &str, code: &str| (outcome.to_owned(), code.to_owned());
    assert_eq!(failures, [told("failed", "user.not_found"), told("skipped", "user.self")]);
    for tokens in [&ada, &bob] {
        assert_eq!(status(&product, tokens).await, "suspended");
        assert_eq!(product.get("/api/auth/me", tokens).await.1["code"], "auth.session_ended");
    }
    assert_eq!(status(&product, &boss).await, "active");
    let lines = "SELECT count(*) FROM audit WHERE action = 'user.status_changed' AND details->>'reason' = 'Under review'
                 AND actor IS NOT NULL AND ip_address IS NOT NULL AND request_id IS NOT NULL";
    assert_eq!(product.world.count(lines).await, 2);
    assert_eq!(product.world.count("SELECT count(*) FROM audit WHERE action = 'bulk.ordered'").await, 1);
    let letters = product.letters().await;
    let told = letters.iter().filter(|letter| letter["kind"] == "account_status_changed").count();
    assert_eq!(told, 2);
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn a_filter_takes_all_who_fit_and_leaves_oneself_and_those_above_alone() {
    let product = Product::new().await;
    let boss = somebody(&product, "boss", "admin").await;
    let chief = somebody(&product, "chief", "admin").await;
    product.world.execute("UPDATE users SET is_superuser = true WHERE username = 'chief'").await;
    let ada = somebody(&product, "ada", "trainee").await;
    let bob = somebody(&product, "bob", "member").await;
    let shown = done(
        &product,
        json!({ "action": "deactivate", "filter": { "role": "trainee", "email_verified": true, "search": "AD" },
                "reason": "Left" }),
        &boss,
    )
    .await;
    assert_eq!(counts(&shown), [1, 1, 0, 0], "{shown}");
    assert_eq!(
        (status(&product, &ada).await, status(&product, &bob).await),
        ("inactive".into(), "active".into())
    );
    // everybody: oneself is skipped, a superuser out of reach
    let everybody = json!({ "action": "ban", "filter": { "status": "all" }, "reason": "A test" });
    let shown = done(&product, everybody, &boss).await;
    assert_eq!((counts(&shown), &shown["state"]), ([4, 2, 1, 1], &json!("finished")), "{shown}");
    let mut codes: Vec<&str> =
        shown["failures"].as_array().unwrap().iter().map(|it| it["code"].as_str().unwrap()).collect();
    codes.sort_unstable();
    assert_eq!(codes, ["auth.forbidden", "user.self"]);
    assert_eq!(
        (status(&product, &boss).await, status(&product, &chief).await),
        ("active".into(), "active".into())
    );
}

#[tokio::test]
async fn on_nobody_is_refused() {
    let product = Product::new().await;
    let boss = somebody(&product, "boss", "admin").await;
    let tomorrow = (product.ctx.now() + Duration::from_secs(48 * 3600)).date_naive();
    for who in [
        json!({ "ids": [] }),
        json!({ "ids": [Uuid::from_u128(7)] }),
        json!({ "ids": [id(&boss)] }),
        json!({ "filter": { "status": "banned" } }),
        json!({ "filter": { "search": "boss" } }),
        json!({ "filter": { "start_date": tomorrow } }),
    ] {
        let mut body = json!({ "action": "activate", "reason": "None" });
        body.as_object_mut().unwrap().extend(who.as_object().unwrap().clone());
        let (code, refused) = order(&product, body, &boss).await;
        assert_eq!((code, &refused["code"]), (422, &json!("bulk.nobody")), "{who}: {refused}");
    }
    for action in ACTIONS {
        for who in [
            json!({ "ids": [] }),
            json!({ "ids": [Uuid::from_u128(7), id(&boss)] }),
            json!({ "filter": { "role": "trainee" } }),
        ] {
            let mut body = wish(action);
            body.as_object_mut().unwrap().extend(who.as_object().unwrap().clone());
            let (code, refused) = order(&product, body, &boss).await;
            assert_eq!((code, &refused["code"]), (422, &json!("bulk.nobody")), "{action} {who}: {refused}");
        }
    }
    assert_eq!(product.world.count("SELECT count(*) FROM bulk_actions").await, 0);
}

#[tokio::test]
async fn a_filter_means_whom_it_means_in_the_list() {
    let product = Product::new().await;
    let boss = somebody(&product, "boss", "admin").await;
    let (ada, bob) = (somebody(&product, "ada", "trainee").await, somebody(&product, "bob", "trainee").await);
    product.world.execute("UPDATE users SET status = 'banned' WHERE username = 'bob'").await;
    let body = |action: &str, filter: Value| json!({ "action": action, "filter": filter, "reason": "x" });
    let trainees = json!({ "role": "trainee" });
    let shown = done(&product, body("activate", trainees.clone()), &boss).await;
    assert_eq!((counts(&shown), status(&product, &bob).await), ([1, 1, 0, 0], "banned".to_owned()));
    product.world.execute("UPDATE users SET status = 'banned' WHERE username = 'ada'").await;
    let (code, refused) = order(&product, body("activate", trainees.clone()), &boss).await;
    assert_eq!((code, &refused["code"]), (422, &json!("bulk.nobody")), "nobody is let in again unasked");
    let (_, listed) = product.get("/api/admin/users?role=trainee", &boss).await;
    assert_eq!(listed["total"], 0);
    let banned = json!({ "role": "trainee", "status": "banned" });
    assert_eq!(counts(&done(&product, body("activate", banned), &boss).await), [2, 2, 0, 0]);
    // a deletion is taken back of who was deleted, and of nobody else
    assert_eq!(order(&product, body("restore", trainees.clone()), &boss).await.1["code"], "bulk.nobody");
    let (code, _) = product.delete(&format!("/api/users/{}", id(&ada)), &boss).await;
    assert_eq!(code, 204);
    let all = json!({ "role": "trainee", "status": "all" });
    let shown = done(&product, body("suspend", all.clone()), &boss).await;
    assert_eq!((counts(&shown), &shown["failures"][0]["code"]), ([2, 1, 1, 0], &json!("user.deleted")));
    for filter in [all, json!({ "role": "trainee", "status": "suspended" })] {
        let (code, refused) = order(&product, body("restore", filter), &boss).await;
        let fault = &refused["errors"][0];
        assert_eq!((code, &fault["pointer"]), (422, &json!("/filter/status")), "{refused}");
        assert_eq!(fault["code"], "bulk.action");
    }
    assert_eq!(counts(&done(&product, body("restore", trainees), &boss).await), [1, 1, 0, 0]);
    assert_eq!(
        (status(&product, &ada).await, status(&product, &bob).await),
        ("active".into(), "suspended".into())
    );
    let said = "SELECT count(*) FROM audit WHERE action = 'bulk.ordered'
                AND details->'who'->'filter'->>'status' IN ('active', 'banned', 'all', 'deleted')";
    assert_eq!(product.world.count(said).await, 4, "the line says of which status");
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn nobody_above_ones_rank_is_touched_by_any_action() {
    let product = Product::new().await;
    let head = somebody(&product, "head", "hod").await;
    let chief = somebody(&product, "chief", "admin").await;
    product
        .world
        .execute(
            "UPDATE roles SET permissions = (SELECT permissions FROM roles WHERE role = 'admin') WHERE role = 'hod'",
        )
        .await;
    for action in ACTIONS.into_iter().filter(|action| *action != "export") {
        let mut body = wish(action);
        body["ids"] = json!([id(&chief)]);
        let shown = done(&product, body, &head).await;
        let code = if action == "assign_role" { "role.beyond_rank" } else { "auth.forbidden" };
        assert_eq!(
            (counts(&shown), &shown["failures"][0]["code"]),
            ([1, 0, 1, 0], &json!(code)),
            "{action}: {shown}"
        );
    }
    let kept = "SELECT count(*) FROM users WHERE username = 'chief' AND status = 'active' AND role = 'admin'";
    assert_eq!(product.world.count(kept).await, 1);
    assert_eq!(product.world.count("SELECT count(*) FROM audit WHERE action = 'user.written_to'").await, 0);
}

#[tokio::test]
async fn what_takes_people_or_data_away_wants_a_fresh_proof() {
    let product = Product::new().await;
    let boss = somebody(&product, "boss", "admin").await;
    let ada = somebody(&product, "ada", "member").await;
    product.advance(Duration::from_secs(601));
    let stale = product.refreshed(&boss).await;
    let fresh = product.login("boss@example.org").await;
    for action in ACTIONS {
        let mut body = wish(action);
        body["ids"] = json!([id(&ada)]);
        let (code, answer) = order(&product, body.clone(), &stale).await;
        if matches!(action, "delete" | "assign_role" | "export") {
            assert_eq!((code, &answer["code"]), (403, &json!("auth.step_up_required")), "{action}");
            assert_eq!(order(&product, body, &fresh).await.0, 202, "{action}");
        } else {
            assert_eq!(code, 202, "{action}: {answer}");
        }
    }
}

#[tokio::test]
async fn a_wish_that_does_not_hold_is_told_all_its_faults() {
    let product = Product::new().await;
    let boss = somebody(&product, "boss", "admin").await;
    let some = json!([Uuid::from_u128(7)]);
    for (body, pointers) in [
        (json!({ "action": "ban", "reason": "x" }), vec![""]),
        (json!({ "action": "ban", "reason": "x", "ids": some, "filter": {} }), vec![""]),
        (
            json!({ "action": "assign_role", "reason": "x", "message": { "subject": "a", "text": "b" } }),
            vec!["", "/message", "/role"],
        ),
        (
            json!({ "action": "send_message", "reason": "x", "ids": some, "role": "member" }),
            vec!["/message", "/role"],
        ),
        (
            json!({ "action": "explode", "reason": "", "ids": ["x"], "filter": { "status": "gone", "search": "a\u{202e}",
                 "start_date": "2026-02-30", "more": 1 }, "role": "A b" }),
            vec![
                "/action",
                "/filter/more",
                "/filter/search",
                "/filter/start_date",
                "/filter/status",
                "/ids/0",
                "/reason",
                "/role",
            ],
        ),
        (
            json!({ "action": "send_message", "reason": "x", "ids": some, "message": { "subject": "a\nb", "text": "\u{202e}" } }),
            vec!["/message/subject", "/message/text"],
        ),
        (
            json!({ "action": "ban", "reason": "x", "filter": { "start_date": "2026-02-02", "end_date": "2026-02-01" } }),
            vec!["/filter/end_date"],
        ),
        (
            json!({ "action": "ban", "reason": "x", "filter": { "start_date": "-5000-01-01", "end_date": "1969-12-31" } }),
            vec!["/filter/end_date", "/filter/start_date"],
        ),
    ] {
        let (code, refused) = order(&product, body.clone(), &boss).await;
        assert_eq!((code, &refused["code"]), (422, &json!("request.invalid")), "{body}: {refused}");
        let mut told: Vec<&str> = refused["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|fault| fault["pointer"].as_str().unwrap())
            .collect();
        told.sort_unstable();
        assert_eq!(told, pointers, "{body}");
    }
    let many: Vec<Uuid> = (0..10_001).map(Uuid::from_u128).collect();
    let (code, _) = order(&product, json!({ "action": "ban", "reason": "x", "ids": many }), &boss).await;
    assert_eq!(code, 422, "more than ten thousand");
    let (code, refused) =
        order(&product, json!({ "action": "ban", "reason": "x", "ids": many[1..] }), &boss).await;
    assert_eq!((code, &refused["code"]), (422, &json!("bulk.nobody")), "ten thousand are read");
}

#[tokio::test]
async fn each_action_takes_its_own_right() {
    let product = Product::new().await;
    let hod = somebody(&product, "hod", "hod").await;
    let ada = somebody(&product, "ada", "member").await;
    let boss = somebody(&product, "boss", "admin").await;
    for action in ACTIONS {
        let mut body = wish(action);
        body["ids"] = json!([id(&ada)]);
        let (code, refused) = order(&product, body, &hod).await;
        assert_eq!((code, &refused["code"]), (403, &json!("auth.forbidden")), "{action}");
    }
    let body = json!({ "action": "ban", "ids": [id(&ada)], "reason": "x" });
    let (_, ordered) = order(&product, body, &boss).await;
    let path = format!("{PATH}/{}", ordered["id"].as_str().unwrap());
    assert_eq!(product.get(&path, &ada).await.1["code"], "auth.forbidden");
    assert_eq!(product.get(&path, &hod).await.0, 200, "who may see people may see what was done");
    let nothing = format!("{PATH}/{}", Uuid::from_u128(7));
    assert_eq!(product.get(&nothing, &boss).await.1["code"], "bulk.not_found");
}

#[tokio::test]
async fn roles_are_assigned_shortly_after_a_proof_and_no_higher_than_ones_own() {
    let product = Product::new().await;
    let boss = somebody(&product, "boss", "admin").await;
    let (ada, bob) = (somebody(&product, "ada", "member").await, somebody(&product, "bob", "trainer").await);
    let ids = [id(&ada), id(&bob)];
    let body = json!({ "action": "assign_role", "ids": ids, "role": "trainer", "reason": "New term" });
    let shown = done(&product, body.clone(), &boss).await;
    assert_eq!(counts(&shown), [2, 2, 0, 0], "{shown}");
    let trainers = "SELECT count(*) FROM users WHERE role = 'trainer'";
    assert_eq!(product.world.count(trainers).await, 2);
    let lines = "SELECT count(*) FROM audit WHERE action = 'user.role_changed'";
    assert_eq!(product.world.count(lines).await, 1, "who had the role already was not changed");
    let mut high = body.clone();
    high["role"] = json!("dean");
    assert_eq!(order(&product, high, &boss).await.1["code"], "role.not_found");
    product.world.execute("UPDATE roles SET rank = 90 WHERE role = 'dp_academics'").await;
    let mut high = body.clone();
    high["role"] = json!("dp_academics");
    assert_eq!(order(&product, high, &boss).await.1["code"], "role.beyond_rank");
    product.advance(Duration::from_secs(601));
    let boss = product.refreshed(&boss).await;
    assert_eq!(order(&product, body, &boss).await.1["code"], "auth.step_up_required");
}

#[tokio::test]
async fn accounts_are_deleted_and_restored_and_a_name_taken_meanwhile_is_a_failure_of_one() {
    let product = Product::new().await;
    let boss = somebody(&product, "boss", "admin").await;
    let (ada, bob) = (somebody(&product, "ada", "member").await, somebody(&product, "bob", "member").await);
    let ids = [id(&ada), id(&bob)];
    let shown = done(&product, json!({ "action": "delete", "ids": ids, "reason": "Left" }), &boss).await;
    assert_eq!(counts(&shown), [2, 2, 0, 0], "{shown}");
    let shown = done(&product, json!({ "action": "ban", "ids": ids, "reason": "Left" }), &boss).await;
    assert_eq!((counts(&shown), &shown["failures"][0]["code"]), ([2, 0, 2, 0], &json!("user.deleted")));
    somebody(&product, "ada2", "member").await;
    product.world.execute("UPDATE users SET username = 'ada' WHERE username = 'ada2'").await;
    let body = json!({ "action": "restore", "filter": { "status": "deleted" }, "reason": "By mistake" });
    let shown = done(&product, body, &boss).await;
    assert_eq!(
        (counts(&shown), &shown["failures"][0]["code"]),
        ([2, 1, 1, 0], &json!("user.username_taken"))
    );
    assert_eq!(
        (status(&product, &ada).await, status(&product, &bob).await),
        ("deleted".into(), "active".into())
    );
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn a_message_of_the_staff_reaches_everybody_and_no_log() {
    let product = Product::new().await;
    let boss = somebody(&product, "boss", "admin").await;
    somebody(&product, "ada", "trainee").await;
    somebody(&product, "bob", "trainee").await;
    let letter = json!({ "subject": "Exams", "text": "They begin on Monday.\r\nBring a pen." });
    let body = json!({ "action": "send_message", "filter": { "role": "trainee" }, "reason": "Exams", "message": letter });
    let shown = done(&product, body, &boss).await;
    assert_eq!(counts(&shown), [2, 2, 0, 0], "{shown}");
    let letters = product.letters().await;
    let texts: Vec<&str> = letters
        .iter()
        .filter(|letter| letter["kind"] == "staff_message")
        .map(|letter| letter["text"].as_str().unwrap())
        .collect();
    assert_eq!(texts.len(), 2);
    assert!(texts.iter().all(|text| text.contains("They begin on Monday.\nBring a pen.")), "{texts:?}");
    let said = "SELECT count(*) FROM audit WHERE details::text LIKE '%Monday%'";
    assert_eq!(product.world.count(said).await, 0);
}

#[tokio::test]
async fn whom_no_message_reaches_is_a_failure_of_one() {
    let product = Product::new().await;
    let boss = somebody(&product, "boss", "admin").await;
    let ids = [
        id(&somebody(&product, "ada", "trainee").await),
        id(&somebody(&product, "bob", "trainee").await),
        id(&somebody(&product, "cyd", "trainee").await),
    ];
    product.world.execute("UPDATE users SET email_verified_at = NULL WHERE username = 'bob'").await;
    product
        .world
        .execute(
            r#"UPDATE profiles SET notification_preferences = '{"staff_message": {"email": false}}'
               WHERE user_id = (SELECT user_id FROM users WHERE username = 'cyd')"#,
        )
        .await;
    let mut body = wish("send_message");
    body["ids"] = json!(ids);
    let shown = done(&product, body, &boss).await;
    assert_eq!(counts(&shown), [3, 1, 2, 0], "{shown}");
    let failures = shown["failures"].as_array().unwrap();
    assert!(failures.iter().all(|it| it["code"] == "user.unreachable"), "{shown}");
    let lines: Vec<String> =
        sqlx::query_scalar("SELECT entity_id FROM audit WHERE action = 'user.written_to'")
            .fetch_all(&product.world.db)
            .await
            .unwrap();
    assert_eq!(lines, [ids[0].to_string()], "of whom nothing was sent to there is no line");
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn an_action_outlives_an_outage_of_some_hours() {
    let product = Product::new().await;
    let boss = somebody(&product, "boss", "admin").await;
    let ada = somebody(&product, "ada", "member").await;
    product
        .world
        .execute(
            "CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'the disk is gone'; END $$;
             CREATE CONSTRAINT TRIGGER stop AFTER UPDATE ON bulk_items DEFERRABLE INITIALLY DEFERRED
                 FOR EACH ROW EXECUTE FUNCTION stop();",
        )
        .await;
    let body = json!({ "action": "suspend", "ids": [id(&ada)], "reason": "x" });
    let (_, ordered) = order(&product, body, &boss).await;
    for _ in 0..30 {
        product.drain().await;
        product.advance(Duration::from_secs(800));
    }
    let tried = "SELECT attempt::bigint FROM jobs WHERE kind = 'bulk.run_action' AND state = 'retryable'";
    assert_eq!(product.world.count(tried).await, 30);
    let boss = product.refreshed(&boss).await;
    assert_eq!(progress(&product, &ordered, &boss).await["state"], "running");
    product.world.execute("DROP TRIGGER stop ON bulk_items").await;
    product.drain().await;
    let shown = progress(&product, &ordered, &boss).await;
    assert_eq!((counts(&shown), &shown["state"]), ([1, 1, 0, 0], &json!("finished")), "{shown}");
    assert_eq!(status(&product, &ada).await, "suspended");
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn an_action_whose_job_was_ended_says_so() {
    let product = Product::new().await;
    let boss = somebody(&product, "boss", "admin").await;
    let ada = somebody(&product, "ada", "member").await;
    let body = json!({ "action": "suspend", "ids": [id(&ada)], "reason": "x" });
    let job = async |ordered: &Value| -> Uuid {
        sqlx::query_scalar("SELECT job_id FROM bulk_actions WHERE bulk_action_id = $1::uuid")
            .bind(ordered["id"].as_str().unwrap())
            .fetch_one(&product.world.db)
            .await
            .unwrap()
    };
    let desk = async |job_id: Uuid, verb: &str| {
        product.call(Method::POST, &format!("/api/admin/jobs/{job_id}/{verb}"), &Value::Null, &boss).await
    };
    let (_, first) = order(&product, body.clone(), &boss).await;
    assert_eq!(desk(job(&first).await, "cancel").await.0, 200);
    product.drain().await;
    let shown = progress(&product, &first, &boss).await;
    assert_eq!((counts(&shown), &shown["state"]), ([1, 0, 0, 0], &json!("cancelled")), "{shown}");
    product.world.execute("DELETE FROM finished_jobs").await;
    assert_eq!(progress(&product, &first, &boss).await["state"], "cancelled", "its job is no longer kept");
    let (_, second) = order(&product, body, &boss).await;
    let dead = "UPDATE jobs SET state = 'discarded', ready = false, pushed = false, run_at = 'infinity',
                    discarded_at = now() WHERE kind = 'bulk.run_action'";
    assert_eq!(product.world.execute(dead).await, 1);
    assert_eq!(progress(&product, &second, &boss).await["state"], "discarded");
    assert_eq!(status(&product, &ada).await, "active");
    // an operator has it tried again
    assert_eq!(desk(job(&second).await, "retry").await.0, 200);
    assert_eq!(progress(&product, &second, &boss).await["state"], "running");
    product.drain().await;
    assert_eq!(progress(&product, &second, &boss).await["state"], "finished");
    assert_eq!(status(&product, &ada).await, "suspended");
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn a_body_that_starts_again_does_nobody_twice() {
    let product = Product::new().await;
    let boss = somebody(&product, "boss", "admin").await;
    for n in 0..6 {
        somebody(&product, &format!("person{n}"), "trainee").await;
    }
    let body = json!({ "action": "suspend", "filter": { "role": "trainee" }, "reason": "Again" });
    let (_, ordered) = order(&product, body, &boss).await;
    let bulk_action_id: Uuid = ordered["id"].as_str().unwrap().parse().unwrap();
    // half of it was done by a process that is gone: outcomes and effects are of one transaction
    product
        .world
        .execute(
            "CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF (SELECT count(*) FROM bulk_items WHERE outcome = 'done') >= 3 THEN RAISE 'the process is gone'; END IF;
                 RETURN NULL; END $$;
             CREATE CONSTRAINT TRIGGER stop AFTER UPDATE ON bulk_items DEFERRABLE INITIALLY DEFERRED
                 FOR EACH ROW EXECUTE FUNCTION stop();",
        )
        .await;
    product.drain().await;
    let shown = progress(&product, &ordered, &boss).await;
    assert_eq!((counts(&shown), &shown["state"]), ([6, 2, 0, 0], &json!("running")), "{shown}");
    let lines = "SELECT count(*) FROM audit WHERE action = 'user.status_changed'";
    assert_eq!(product.world.count(lines).await, 2);
    product.world.execute("DROP TRIGGER stop ON bulk_items").await;
    // the retry, and two more bodies beside it
    let engine = Engine { world: product.world.again(), ctx: product.ctx.clone() };
    for _ in 0..2 {
        engine.ask(&RunAction { bulk_action_id }, Terms::default()).await;
    }
    product.advance(Duration::from_secs(60));
    product.drain().await;
    let shown = progress(&product, &ordered, &product.refreshed(&boss).await).await;
    assert_eq!((counts(&shown), &shown["state"]), ([6, 6, 0, 0], &json!("finished")), "{shown}");
    assert_eq!(product.world.count(lines).await, 6);
    let told = "SELECT count(*) FROM deliveries WHERE kind = 'account_status_changed'";
    assert_eq!(product.world.count(told).await, 6);
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn who_lost_the_right_meanwhile_does_it_to_nobody() {
    let product = Product::new().await;
    let boss = somebody(&product, "boss", "admin").await;
    let ada = somebody(&product, "ada", "member").await;
    let body = json!({ "action": "ban", "ids": [id(&ada)], "reason": "x" });
    let (_, first) = order(&product, body.clone(), &boss).await;
    product.world.execute("UPDATE users SET role = 'hod' WHERE username = 'boss'").await;
    product.drain().await;
    let shown = progress(&product, &first, &boss).await;
    assert_eq!((counts(&shown), &shown["failures"][0]["code"]), ([1, 0, 1, 0], &json!("auth.forbidden")));
    product.world.execute("UPDATE users SET role = 'admin' WHERE username = 'boss'").await;
    let (_, second) = order(&product, body, &boss).await;
    product.world.execute("UPDATE users SET status = 'suspended' WHERE username = 'boss'").await;
    product.drain().await;
    product.world.execute("UPDATE users SET status = 'active' WHERE username = 'boss'").await;
    let shown = progress(&product, &second, &boss).await;
    assert_eq!((counts(&shown), &shown["failures"][0]["code"]), ([1, 0, 1, 0], &json!("auth.forbidden")));
    assert_eq!(status(&product, &ada).await, "active");
}

#[tokio::test]
async fn many_people_go_in_turns_and_failures_by_the_page() {
    let product = Product::new().await;
    let boss = somebody(&product, "boss", "admin").await;
    let sql = "INSERT INTO users (user_id, username, username_skeleton, email, created_at, updated_at)
               SELECT gen_random_uuid(), 'u' || n, 'u' || n, n || '@example.org', $1, $1
               FROM generate_series(1, 1200) n";
    sqlx::query(sql).bind(product.ctx.now()).execute(&product.world.db).await.unwrap();
    product.world.execute("INSERT INTO user_keys SELECT user_id, '' FROM users ON CONFLICT DO NOTHING").await;
    product.world.execute("UPDATE users SET is_superuser = true WHERE username IN ('u1', 'u2', 'u3')").await;
    let body = json!({ "action": "suspend", "filter": {}, "reason": "Everybody" });
    let shown = done(&product, body, &boss).await;
    assert_eq!(
        (counts(&shown), &shown["state"]),
        ([1201, 1197, 3, 1], &json!("finished")),
        "{}",
        shown["state"]
    );
    let path = format!("{PATH}/{}?limit=3", shown["id"].as_str().unwrap());
    let (_, first) = product.get(&path, &boss).await;
    let cursor = first["next_cursor"].as_str().unwrap();
    let (_, second) = product.get(&format!("{path}&cursor={cursor}"), &boss).await;
    assert_eq!(
        (first["failures"].as_array().unwrap().len(), second["failures"].as_array().unwrap().len()),
        (3, 1)
    );
    assert_eq!(second["next_cursor"], Value::Null);
}

#[tokio::test]
async fn the_same_key_asks_once() {
    let product = Product::new().await;
    let boss = somebody(&product, "boss", "admin").await;
    let ada = somebody(&product, "ada", "member").await;
    let bearer = format!("Bearer {}", boss["access_token"].as_str().unwrap());
    let fields = [("authorization", bearer.as_str()), ("idempotency-key", "k1")];
    let body = json!({ "action": "suspend", "ids": [id(&ada)], "reason": "x" });
    let first = read(product.send(Method::POST, PATH, &body, &fields).await).await;
    let again = read(product.send(Method::POST, PATH, &body, &fields).await).await;
    assert_eq!((first.0, &first.1), (202, &again.1));
    assert_eq!(product.world.count("SELECT count(*) FROM bulk_actions").await, 1);
    let other = json!({ "action": "ban", "ids": [id(&ada)], "reason": "x" });
    let (code, refused) = read(product.send(Method::POST, PATH, &other, &fields).await).await;
    assert_eq!((code, &refused["code"]), (422, &json!("idempotency.mismatch")));
}

#[tokio::test]
async fn what_a_day_was_not_enough_for_is_told() {
    let product = Product::new().await;
    let boss = somebody(&product, "boss", "admin").await;
    let ada = somebody(&product, "ada", "member").await;
    let body = json!({ "action": "suspend", "ids": [id(&ada)], "reason": "x" });
    let (_, ordered) = order(&product, body, &boss).await;
    product.advance(Duration::from_secs(24 * 3600));
    product.drain().await;
    let boss = product.refreshed(&boss).await;
    let shown = progress(&product, &ordered, &boss).await;
    assert_eq!((counts(&shown), &shown["state"]), ([1, 0, 0, 0], &json!("expired")), "{shown}");
    assert_eq!(status(&product, &ada).await, "active");
}

#[tokio::test]
async fn bodies_that_start_together_choose_everybody_and_the_search_is_not_kept() {
    let product = Product::new().await;
    let boss = somebody(&product, "boss", "admin").await;
    let sql = "INSERT INTO users (user_id, username, username_skeleton, email, created_at, updated_at)
               SELECT gen_random_uuid(), 'many' || n, 'many' || n, 'many' || n || '@example.org', $1, $1
               FROM generate_series(1, 12000) n";
    sqlx::query(sql).bind(product.ctx.now()).execute(&product.world.db).await.unwrap();
    // this is about the choosing: the rest is done as soon as somebody is chosen
    product
        .world
        .execute(
            "CREATE FUNCTION done() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.outcome := 'done'; RETURN NEW; END $$;
             CREATE TRIGGER done BEFORE INSERT ON bulk_items FOR EACH ROW EXECUTE FUNCTION done();",
        )
        .await;
    let body = json!({ "action": "suspend", "filter": { "search": "many" }, "reason": "Together" });
    let (code, ordered) = order(&product, body, &boss).await;
    assert_eq!(code, 202, "{ordered}");
    let bulk_action_id: Uuid = ordered["id"].as_str().unwrap().parse().unwrap();
    let engine = Engine { world: product.world.again(), ctx: product.ctx.clone() };
    for _ in 0..2 {
        engine.ask(&RunAction { bulk_action_id }, Terms::default()).await;
    }
    product.drain().await;
    let shown = progress(&product, &ordered, &boss).await;
    assert_eq!((counts(&shown), &shown["state"]), ([12_000, 12_000, 0, 0], &json!("finished")), "{shown}");
    assert_eq!(product.world.count("SELECT count(*) FROM bulk_actions WHERE filter ? 'search'").await, 0);
}

#[tokio::test]
async fn who_asked_is_known_by_their_present_rights_also_when_the_session_is_no_longer_kept() {
    let product = Product::new().await;
    let boss = somebody(&product, "boss", "admin").await;
    let ada = somebody(&product, "ada", "member").await;
    let body = json!({ "action": "suspend", "ids": [id(&ada)], "reason": "x" });
    let (_, ordered) = order(&product, body, &boss).await;
    assert!(ordered["id"].is_string(), "{ordered}");
    let gone = "DELETE FROM sessions WHERE session_id IN (SELECT session_id FROM bulk_actions)";
    assert_eq!(product.world.execute(gone).await, 1);
    product.drain().await;
    assert_eq!(status(&product, &ada).await, "suspended");
}

/// The file of an export: its status, media type and text.
async fn file(product: &Product, shown: &Value, tokens: &Value) -> (u16, String, String) {
    let path = format!("{PATH}/{}/result", shown["id"].as_str().unwrap());
    let bearer = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
    let response = product.send(Method::GET, &path, &Value::Null, &[("authorization", &bearer)]).await;
    let (status, media) = (response.status().as_u16(), field(&response, "content-type"));
    (status, media, response.text().await.unwrap())
}

#[tokio::test]
async fn people_are_exported_to_a_file_that_runs_nowhere_and_goes_after_seven_days() {
    let product = Product::new().await;
    let boss = somebody(&product, "boss", "admin").await;
    let (ada, bob) = (somebody(&product, "ada", "trainee").await, somebody(&product, "bob", "trainee").await);
    product.world.execute("UPDATE users SET first_name = '=cmd|''/c calc''!A0', last_name = 'Love, \"Ada\"' WHERE username = 'ada'").await;
    let ids = [id(&ada), id(&bob), id(&boss), Uuid::from_u128(7)];
    let body = json!({ "action": "export", "format": "csv", "ids": ids, "reason": "For the council" });
    let (code, ordered) = order(&product, body, &boss).await;
    assert_eq!(code, 202, "{ordered}");
    assert_eq!(file(&product, &ordered, &boss).await.0, 409, "it is not written yet");
    product.drain().await;
    let shown = progress(&product, &ordered, &boss).await;
    assert_eq!((counts(&shown), &shown["state"]), ([4, 2, 1, 1], &json!("finished")), "{shown}");
    assert_eq!(shown["download_url"], json!(format!("{PATH}/{}/result", ordered["id"].as_str().unwrap())));
    let (status, media, text) = file(&product, &shown, &boss).await;
    assert_eq!((status, media.as_str()), (200, "text/csv; charset=utf-8"));
    let lines: Vec<&str> = text.split_terminator("\r\n").collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].starts_with("id,username,email,phone_number,first_name"), "{text}");
    let row = lines.iter().find(|line| line.contains(",ada,")).expect("ada is there");
    assert!(
        row.contains(
            r#",ada,ada@example.org,,'=cmd|'/c calc'!A0,"Love, ""Ada""",active,trainee,true,false,"#
        ),
        "{row}"
    );
    for (action, lines) in [("bulk.ordered", 1), ("bulk.exported", 1), ("bulk.downloaded", 1)] {
        let sql = format!("SELECT count(*) FROM audit WHERE action = '{action}' AND actor IS NOT NULL");
        let found: i64 =
            sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&product.world.db).await.unwrap();
        assert_eq!(found, lines, "{action}");
    }
    // of others it is nobody's business, though they see that it was done
    let other = somebody(&product, "other", "admin").await;
    assert_eq!(progress(&product, &ordered, &other).await["state"], "finished");
    assert_eq!(file(&product, &shown, &other).await.0, 404);
    product.advance(Duration::from_secs(7 * 24 * 3600));
    let boss = product.login("boss@example.org").await;
    let (status, _, refused) = file(&product, &shown, &boss).await;
    assert!(status == 410 && refused.contains("bulk.result_gone"), "{refused}");
    product.drain().await;
    assert_eq!(product.world.count("SELECT count(*) FROM uploads").await, 0);
    assert_eq!(progress(&product, &ordered, &boss).await["download_url"], Value::Null);
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn an_export_by_ids_is_in_the_own_view_of_each_and_one_by_filter_is_one_line() {
    let product = Product::new().await;
    let boss = somebody(&product, "boss", "admin").await;
    let (ada, bob) = (somebody(&product, "ada", "trainee").await, somebody(&product, "bob", "trainee").await);
    let ids = [id(&ada), id(&bob), id(&boss), Uuid::from_u128(7)];
    let body = json!({ "action": "export", "format": "csv", "ids": ids, "reason": "For the council" });
    let shown = done(&product, body, &boss).await;
    assert_eq!(counts(&shown), [4, 2, 1, 1], "{shown}");
    let seen = async |tokens: &Value| -> Vec<Value> {
        let (status, page) = product.get("/api/users/audit?limit=200", tokens).await;
        assert_eq!(status, 200, "{page}");
        let lines = page["items"].as_array().unwrap().iter();
        lines.filter(|line| line["action"] == "user.exported").cloned().collect()
    };
    for tokens in [&ada, &bob] {
        let lines = seen(tokens).await;
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!((&lines[0]["by"], &lines[0]["entity_id"]), (&json!("staff"), &json!(id(tokens))));
    }
    let lines = seen(&boss).await;
    assert_eq!(lines.len(), 2, "what they did: {lines:?}");
    assert!(lines.iter().all(|line| line["details"]["reason"] == "For the council"), "{lines:?}");
    let body =
        json!({ "action": "export", "format": "csv", "filter": { "role": "trainee" }, "reason": "All" });
    assert_eq!(counts(&done(&product, body, &boss).await), [2, 2, 0, 0]);
    assert_eq!(seen(&ada).await.len(), 1, "the line of the order has the filter");
}

#[tokio::test]
async fn an_export_by_filter_holds_everybody_once_also_after_a_body_that_was_stopped() {
    let product = Product::new().await;
    let boss = somebody(&product, "boss", "admin").await;
    let sql = "INSERT INTO users (user_id, username, username_skeleton, email, created_at, updated_at)
               SELECT gen_random_uuid(), 'u' || n, 'u' || n, n || '@school.example', $1, $1
               FROM generate_series(1, 4500) n";
    sqlx::query(sql).bind(product.ctx.now()).execute(&product.world.db).await.unwrap();
    // the process is gone when the second of three batches is written
    product
        .world
        .execute(
            "CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF NEW.exported > 2000 THEN RAISE 'the process is gone'; END IF; RETURN NEW; END $$;
             CREATE TRIGGER stop BEFORE UPDATE ON bulk_actions FOR EACH ROW EXECUTE FUNCTION stop();",
        )
        .await;
    let body =
        json!({ "action": "export", "format": "jsonl", "filter": { "search": "school" }, "reason": "All" });
    let (_, ordered) = order(&product, body, &boss).await;
    product.drain().await;
    let shown = progress(&product, &ordered, &boss).await;
    assert_eq!((&shown["done"], &shown["state"]), (&json!(2000), &json!("running")), "{shown}");
    product.world.execute("DROP TRIGGER stop ON bulk_actions").await;
    product.advance(Duration::from_secs(60));
    product.drain().await;
    let boss = product.refreshed(&boss).await;
    let shown = progress(&product, &ordered, &boss).await;
    assert_eq!((counts(&shown), &shown["state"]), ([4500, 4500, 0, 0], &json!("finished")), "{shown}");
    let (status, media, text) = file(&product, &shown, &boss).await;
    assert_eq!((status, media.as_str()), (200, "application/jsonl; charset=utf-8"));
    let mut names: Vec<String> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["username"].as_str().unwrap().to_owned())
        .collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!((names.len(), text.lines().count()), (4500, 4500));
}

#[tokio::test]
async fn an_export_says_in_which_form_and_needs_its_right_until_it_is_written() {
    let product = Product::new().await;
    let boss = somebody(&product, "boss", "admin").await;
    let ada = somebody(&product, "ada", "member").await;
    for (body, pointer) in [
        (json!({ "action": "export", "ids": [id(&ada)], "reason": "x" }), "/format"),
        (json!({ "action": "ban", "ids": [id(&ada)], "reason": "x", "format": "csv" }), "/format"),
        (json!({ "action": "export", "ids": [id(&ada)], "reason": "x", "format": "xlsx" }), "/format"),
    ] {
        let (code, refused) = order(&product, body, &boss).await;
        assert_eq!((code, &refused["errors"][0]["pointer"]), (422, &json!(pointer)), "{refused}");
    }
    let body = json!({ "action": "export", "ids": [id(&ada)], "reason": "x", "format": "csv" });
    let (_, ordered) = order(&product, body, &boss).await;
    product.world.execute("UPDATE users SET role = 'hod' WHERE username = 'boss'").await;
    product.drain().await;
    let shown = progress(&product, &ordered, &boss).await;
    assert_eq!((counts(&shown), &shown["failures"][0]["code"]), ([1, 0, 1, 0], &json!("auth.forbidden")));
    assert_eq!(
        (&shown["download_url"], product.world.count("SELECT count(*) FROM uploads").await),
        (&Value::Null, 0)
    );
}
