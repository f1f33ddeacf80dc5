//! Wrong passwords in a row: who is locked, for how long, and who is not.

use std::time::Duration;

use futures::future::join_all;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::passwords::{GOOD, sign_in, someone};
use crate::support::Product;
use crate::support::product::{read, retry_after};

/// Behind a proxy, so that a test chooses its address; hashes cost nothing, so that none waits for room.
const PROXIED: [(&str, &str); 3] =
    [("KERYU_TRUSTED_PROXIES", "127.0.0.1"), ("RATE_LIMIT_ANONYMOUS", "100000"), ("PASSWORD_MEMORY", "64")];

async fn product() -> Product {
    Product::with(&PROXIED).await
}

async fn try_from(product: &Product, from: &str, name: &str, password: &str) -> Response {
    let body = json!({ "identifier": name, "password": password });
    product.send(Method::POST, "/api/auth/login", &body, &[("x-forwarded-for", from)]).await
}

async fn status(product: &Product, from: &str, name: &str, password: &str) -> u16 {
    try_from(product, from, name, password).await.status().as_u16()
}

/// Statuses of some wrong tries, one after the other.
async fn wrong(product: &Product, from: &str, name: &str, tries: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..tries {
        statuses.push(status(product, from, name, "not the password").await);
    }
    statuses
}

const A: &str = "192.0.2.1";
const B: &str = "192.0.2.2";

#[tokio::test]
async fn five_wrong_passwords_lock_account_and_address_for_five_minutes() {
    let product = product().await;
    someone(&product, "ada@example.org", "ada").await;
    assert_eq!(wrong(&product, A, "ada@example.org", 6).await, [401, 401, 401, 401, 401, 429]);
    let refused = try_from(&product, A, "ada@example.org", GOOD).await;
    assert_eq!(retry_after(&refused), Duration::from_secs(300));
    let (code, body) = read(refused).await;
    assert_eq!((code, &body["code"]), (429, &json!("auth.locked")), "the right one does not help");
    assert_eq!(status(&product, A, "ada", GOOD).await, 401, "nor by another name, which is not told");
    assert_eq!(status(&product, B, "ada@example.org", GOOD).await, 200, "from elsewhere");
    assert_eq!(status(&product, A, "ada@example.org", GOOD).await, 429, "which unlocks nothing here");
    product.advance(Duration::from_secs(299));
    assert_eq!(status(&product, A, "ada@example.org", GOOD).await, 429);
    assert_eq!(status(&product, A, "ada", GOOD).await, 401);
    product.advance(Duration::from_secs(1));
    assert_eq!(status(&product, A, "ada", GOOD).await, 200);
}

/// What a try tells, but for where it was made.
async fn told(product: &Product, name: &str, password: &str) -> String {
    let answer = try_from(product, A, name, password).await;
    let mut fields: Vec<_> = answer.headers().keys().map(ToString::to_string).collect();
    fields.sort_unstable();
    let (status, mut body) = read(answer).await;
    body["instance"] = Value::Null;
    format!("{status} {fields:?} {body}")
}

#[tokio::test]
async fn a_lockout_does_not_tell_which_names_are_one_persons() {
    let mut settings = PROXIED.to_vec();
    settings.push(("LOCKOUT_IN_A_ROW", "12"));
    let product = Product::with(&settings).await;
    someone(&product, "ada@example.org", "ada").await;
    product.register("bob@example.org", "bob").await;
    assert_eq!(wrong(&product, A, "ada", 6).await, [401, 401, 401, 401, 401, 429]);
    let candidates = ["ada@example.org", "bob@example.org", "eve@example.org"];
    for tries in 1..=6 {
        let mut answers = Vec::new();
        for name in candidates {
            answers.push(told(&product, name, "not the password").await);
        }
        assert!(answers.iter().all(|answer| *answer == answers[0]), "try {tries}: {answers:#?}");
        assert!(answers[0].starts_with(if tries < 6 { "401" } else { "429" }), "{tries}: {}", answers[0]);
    }
    // nor does the row of failures from all addresses
    for n in 0..12 {
        wrong(&product, &format!("198.51.100.{n}"), "ada", 1).await;
    }
    assert_eq!(status(&product, B, "ada", GOOD).await, 429);
    for name in candidates {
        assert_eq!(status(&product, B, name, "not the password").await, 401, "{name}");
    }
    assert_eq!(status(&product, B, "ada@example.org", GOOD).await, 401, "locked all the same");
    product.login("ada@example.org").await;
    for name in ["ada", "ada@example.org"] {
        assert_eq!(status(&product, B, name, GOOD).await, 200, "a code recovers {name}");
    }
}

#[tokio::test]
async fn the_right_password_ends_the_row() {
    let product = product().await;
    someone(&product, "ada@example.org", "ada").await;
    for _ in 0..3 {
        assert_eq!(wrong(&product, A, "ada", 4).await, [401; 4]);
        assert_eq!(status(&product, A, "ada@example.org", GOOD).await, 200);
    }
    let left = product.world.count("SELECT coalesce(max(in_a_row), 0)::bigint FROM login_failures").await;
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_name_nobody_has_locks_alike() {
    let product = product().await;
    someone(&product, "ada@example.org", "ada").await;
    let mut told = Vec::new();
    for name in ["ada@example.org", "bob@example.org", "ada", "bob", "+254712345678"] {
        product.advance(Duration::from_secs(600));
        let mut answers = Vec::new();
        for _ in 0..7 {
            let answer = try_from(&product, A, name, "not the password").await;
            let mut fields: Vec<_> = answer.headers().keys().map(ToString::to_string).collect();
            fields.sort_unstable();
            let (status, mut body) = read(answer).await;
            body["instance"] = Value::Null;
            answers.push(format!("{status} {fields:?} {body}"));
        }
        told.push(answers);
    }
    assert!(told.iter().all(|answers| *answers == told[0]), "{told:#?}");
}

#[tokio::test]
async fn of_sixty_four_parallel_wrong_passwords_five_are_looked_at() {
    let product = product().await;
    someone(&product, "ada@example.org", "ada").await;
    for name in ["ada", "nobody"] {
        let all = (0..64).map(|_| status(&product, A, name, "not the password"));
        let mut statuses = join_all(all).await;
        statuses.sort_unstable();
        assert_eq!(statuses, [vec![401; 5], vec![429; 59]].concat(), "{name}");
    }
    let lines = "SELECT count(*) FROM audit WHERE action = 'auth.sign_in_refused'";
    assert_eq!(product.world.count(lines).await, 128, "each is in the books");
}

#[tokio::test]
async fn strangers_do_not_lock_out_a_device_that_was_here_before() {
    let product = product().await;
    someone(&product, "ada@example.org", "ada").await;
    let tokens = sign_in(&product, "ada", GOOD).await;
    let device = tokens["device_token"].as_str().expect("device_token");
    let known = async |from: &str, password: &str| {
        let body = json!({ "identifier": "ada", "password": password, "device_token": device });
        let answer = product.send(Method::POST, "/api/auth/login", &body, &[("x-forwarded-for", from)]).await;
        answer.status().as_u16()
    };
    wrong(&product, A, "ada", 6).await;
    assert_eq!(status(&product, A, "ada", GOOD).await, 429);
    assert_eq!(known(A, GOOD).await, 200);
    for n in 0..5 {
        assert_eq!(known(&format!("192.0.2.{n}"), "not the password").await, 401);
    }
    assert_eq!(known(B, GOOD).await, 429, "its own tries are counted wherever it is");
    assert_eq!(status(&product, B, "ada", GOOD).await, 200, "and lock nobody else out");
    let body = json!({ "identifier": "ada", "password": GOOD, "device_token": "made up" });
    let made_up = product.send(Method::POST, "/api/auth/login", &body, &[("x-forwarded-for", A)]).await;
    assert_eq!(made_up.status(), 429, "a made-up device is none");
}

#[tokio::test]
async fn too_many_in_a_row_from_everywhere_leave_a_code_as_the_way_in() {
    let mut settings = PROXIED.to_vec();
    settings.push(("LOCKOUT_IN_A_ROW", "12"));
    let product = Product::with(&settings).await;
    someone(&product, "ada@example.org", "ada").await;
    for name in ["ada", "nobody"] {
        let froms: Vec<String> = (0..64).map(|n| format!("198.51.100.{n}")).collect();
        let all = froms.iter().map(|from| status(&product, from, name, "not the password"));
        let mut statuses = join_all(all).await;
        statuses.sort_unstable();
        assert_eq!(statuses, [vec![401; 12], vec![429; 52]].concat(), "{name}");
    }
    assert_eq!(status(&product, A, "ada", GOOD).await, 429);
    product.advance(Duration::from_secs(24 * 3600));
    assert_eq!(status(&product, A, "ada", GOOD).await, 429, "waiting does not help");
    product.login("ada@example.org").await;
    assert_eq!(status(&product, A, "ada", GOOD).await, 200);
}

#[tokio::test]
async fn two_processes_count_together() {
    let first = product().await;
    someone(&first, "ada@example.org", "ada").await;
    let second = first.restarted(&PROXIED).await;
    assert_eq!(wrong(&first, A, "ada", 3).await, [401; 3]);
    assert_eq!(wrong(&second, A, "ada", 3).await, [401, 401, 429]);
    assert_eq!(status(&first, A, "ada", GOOD).await, 429);
}

#[tokio::test]
async fn without_redis_each_process_locks_by_itself() {
    let mut settings = PROXIED.to_vec();
    settings.push(("REDIS_URL", "redis://127.0.0.1:9"));
    let product = Product::with(&settings).await;
    someone(&product, "ada@example.org", "ada").await;
    assert_eq!(wrong(&product, A, "ada", 4).await, [401; 4]);
    assert_eq!(status(&product, A, "ada", GOOD).await, 200);
    assert_eq!(wrong(&product, A, "ada", 6).await, [401, 401, 401, 401, 401, 429]);
    product.advance(Duration::from_secs(300));
    assert_eq!(status(&product, A, "ada", GOOD).await, 200);
}
