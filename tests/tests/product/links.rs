//! Links that prove an e-mail address.

use std::time::Duration;

use futures::future::join_all;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::support::Product;
use crate::support::product::{field, read};

const MAIL: &str = "ada@example.org";
const PHONE: &str = "+254712345678";
const JSON: [(&str, &str); 1] = [("accept", "application/json")];
const BROWSER: [(&str, &str); 1] =
    [("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")];

/// Ada, registered by phone, with an address that she has not proved.
async fn ada(product: &Product) -> Value {
    let tokens = product.register(PHONE, "ada").await;
    product.world.execute("UPDATE users SET email = 'ada@example.org' WHERE username = 'ada'").await;
    tokens
}

fn path(tokens: &Value) -> String {
    format!("/api/users/{}/verify/email", tokens["user_id"].as_str().expect("user_id"))
}

/// The link in the newest mail.
async fn link(product: &Product) -> String {
    product.drain().await;
    let letters = product.letters().await;
    let letter = letters.iter().find(|letter| letter["to"] == MAIL).expect("a mail");
    assert_eq!(letter["kind"], "verify_email_link");
    let text = letter["text"].as_str().expect("text");
    text.split_whitespace().find(|word| word.starts_with("http")).expect("a link").to_owned()
}

async fn send(product: &Product, tokens: &Value) -> String {
    let (status, issued) = product.call(Method::POST, &path(tokens), &Value::Null, tokens).await;
    assert_eq!((status, issued["expires_in"].as_u64()), (202, Some(86_400)), "{issued}");
    link(product).await
}

async fn get(product: &Product, link: &str, fields: &[(&str, &str)]) -> Response {
    product.send(Method::GET, link, &Value::Null, fields).await
}

async fn status(product: &Product, tokens: &Value) -> Value {
    product.get("/api/auth/me", tokens).await.1["verification_status"].clone()
}

#[tokio::test]
async fn a_link_proves_the_address_once() {
    let product = Product::new().await;
    let tokens = ada(&product).await;
    let link = send(&product, &tokens).await;
    assert!(link.starts_with(&product.base), "{link}");
    let (code, told) = read(get(&product, &link, &JSON).await).await;
    assert_eq!(code, 200, "{told}");
    assert_eq!(status(&product, &tokens).await, "both_verified");
    let (code, refused) = read(get(&product, &link, &JSON).await).await;
    assert_eq!((code, &refused["code"]), (410, &json!("verification.link_expired")));
    let (code, refused) = product.call(Method::POST, &path(&tokens), &Value::Null, &tokens).await;
    assert_eq!((code, &refused["code"]), (409, &json!("user.already_verified")));
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn opening_a_link_in_a_browser_confirms_nothing_and_its_button_does() {
    let product = Product::new().await;
    let tokens = ada(&product).await;
    let link = send(&product, &tokens).await;
    for _ in 0..3 {
        let page = get(&product, &link, &BROWSER).await;
        assert_eq!(
            (page.status().as_u16(), field(&page, "content-type").as_str()),
            (200, "text/html; charset=utf-8")
        );
        let policy = field(&page, "content-security-policy");
        assert!(policy.contains("default-src 'none'") && policy.contains("form-action 'self'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(field(&page, "referrer-policy"), "no-referrer");
        let html = page.text().await.expect("page");
        assert!(
            html.contains("<form method=\"post\">") && !html.contains("<script") && !html.contains("http"),
            "{html}"
        );
    }
    assert_eq!(status(&product, &tokens).await, "phone_verified", "nothing was confirmed");
    let form = [BROWSER[0], ("content-type", "application/x-www-form-urlencoded")];
    let page = product.send(Method::POST, &link, &Value::Null, &form).await;
    assert_eq!(page.status(), 200);
    assert!(page.text().await.expect("page").contains("is confirmed"));
    assert_eq!(status(&product, &tokens).await, "both_verified");
    let again = get(&product, &link, &[BROWSER[0], ("accept-language", "fr")]).await;
    assert_eq!(again.status(), 410);
    assert!(again.text().await.expect("page").contains("Demandez-en un autre"));
}

#[tokio::test]
async fn programs_that_look_at_mail_confirm_nothing() {
    let product = Product::new().await;
    let tokens = ada(&product).await;
    let link = send(&product, &tokens).await;
    for accept in ["*/*", "", "image/webp,*/*;q=0.8", "text/plain", "text/html, application/json"] {
        let page = get(&product, &link, &[("accept", accept)]).await;
        assert_eq!(page.status(), 200, "{accept}");
        assert!(page.text().await.expect("page").contains("<form"), "{accept}");
    }
    let bare = bare(&link).await;
    assert!(bare.starts_with("HTTP/1.1 200") && bare.contains("<form"), "{bare}");
    for fields in [JSON, BROWSER] {
        let head = product.send(Method::HEAD, &link, &Value::Null, &fields).await;
        assert_eq!(head.status(), 200);
    }
    assert_eq!(status(&product, &tokens).await, "phone_verified", "nothing was confirmed");
    assert_eq!(get(&product, &link, &[("accept", "Application/JSON")]).await.status(), 200);
    assert_eq!(status(&product, &tokens).await, "both_verified");
}

/// The answer to a GET that names no kind of answer at all.
async fn bare(link: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (host, path) = link.strip_prefix("http://").and_then(|rest| rest.split_once('/')).expect("a link");
    let mut stream = tokio::net::TcpStream::connect(host).await.expect("connect");
    let request = format!("GET /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("write");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answer");
    answer
}

#[tokio::test]
async fn of_parallel_clicks_one_counts() {
    let product = Product::new().await;
    let tokens = ada(&product).await;
    let link = send(&product, &tokens).await;
    let clicks = (0..16).map(|_| async { get(&product, &link, &JSON).await.status().as_u16() });
    let mut codes = join_all(clicks).await;
    codes.sort_unstable();
    assert_eq!((codes[0], codes[1]), (200, 410), "{codes:?}");
    let lines = "SELECT count(*) FROM audit WHERE action = 'verification.proved'";
    assert_eq!(product.world.count(lines).await, 1);
}

#[tokio::test]
async fn a_link_is_void_after_a_day_and_when_the_address_changes() {
    let product = Product::new().await;
    let tokens = ada(&product).await;
    let old = send(&product, &tokens).await;
    product.world.execute("UPDATE users SET email = 'other@example.org'").await;
    let (code, refused) = read(get(&product, &old, &JSON).await).await;
    assert_eq!((code, &refused["code"]), (410, &json!("verification.link_expired")));
    product.world.execute("UPDATE users SET email = 'ada@example.org'").await;
    product.advance(Duration::from_secs(86_399));
    assert_eq!(get(&product, &old, &BROWSER).await.status(), 200);
    product.advance(Duration::from_secs(1));
    for fields in [JSON, BROWSER] {
        assert_eq!(get(&product, &old, &fields).await.status(), 410);
    }
}

#[tokio::test]
async fn what_is_no_link_of_ours_confirms_nothing() {
    let product = Product::new().await;
    let tokens = ada(&product).await;
    let link = send(&product, &tokens).await;
    let (head, token) = link.rsplit_once('/').expect("token");
    let mut turned: Vec<char> = token.chars().collect();
    turned.reverse();
    let other = if token.starts_with('A') { "B" } else { "A" };
    let (short, swapped, long) = (&token[..42], format!("{other}{}", &token[1..]), "a".repeat(4000));
    let last = format!("{}{}", &token[..40], if token.ends_with("AAA") { "BBB" } else { "AAA" });
    for odd in ["x", "%00", "..%2f", short, &swapped, &last, &long, &turned.iter().collect::<String>()] {
        for fields in [JSON, BROWSER] {
            let answer = get(&product, &format!("{head}/{odd}"), &fields).await;
            assert_eq!(answer.status(), 404, "{odd}");
        }
    }
    assert_eq!(status(&product, &tokens).await, "phone_verified");
    // a code's challenge is no link's
    let id: uuid::Uuid =
        sqlx::query_scalar("SELECT challenge_id FROM challenges WHERE purpose = 'register' LIMIT 1")
            .fetch_one(&product.world.db)
            .await
            .expect("id");
    let forged = keryu_common::auth::otp::link::token(
        &product.ctx.config.keys,
        id,
        &keryu_common::auth::otp::Seed {
            key_id: product.ctx.config.keys.current().to_owned(),
            nonce: vec![0; 16],
            purpose: "register".to_owned(),
            identifier: PHONE.to_owned(),
            digits: 6,
        },
    );
    let answer = get(&product, &format!("{head}/{}", forged.expect("token")), &JSON).await;
    assert_eq!(answer.status(), 404);
}

#[tokio::test]
async fn the_first_to_prove_an_address_has_it() {
    let product = Product::new().await;
    let tokens = ada(&product).await;
    let link = send(&product, &tokens).await;
    product.world.user(MAIL).await;
    let (code, refused) = read(get(&product, &link, &JSON).await).await;
    assert_eq!((code, &refused["code"]), (409, &json!("user.identifier_taken")));
    assert_eq!(status(&product, &tokens).await, "phone_verified");
    let remembered = "SELECT count(*) FROM audit WHERE action = 'verification.proved'
                      AND details->>'outcome' = 'user.identifier_taken'";
    assert_eq!(product.world.count(remembered).await, 1);
    product.advance(Duration::from_secs(61));
    let (code, _) = product.call(Method::POST, &path(&tokens), &Value::Null, &tokens).await;
    assert_eq!(code, 202);
    product.drain().await;
    assert_eq!(
        product.letters().await[0]["kind"],
        "account_exists",
        "the owner is told, and no link is sent"
    );
}

#[tokio::test]
async fn a_link_to_an_account_with_nothing_proved_voids_what_was_set_before() {
    let product = Product::new().await;
    let tokens = ada(&product).await;
    let link = send(&product, &tokens).await;
    product
        .world
        .execute(
            "UPDATE users SET phone_verified_at = NULL, ever_verified_at = NULL;
             INSERT INTO passwords SELECT user_id, 'x', now() FROM users",
        )
        .await;
    assert_eq!(get(&product, &link, &JSON).await.status(), 200);
    assert_eq!(product.world.count("SELECT count(*) FROM passwords").await, 0);
    assert_eq!(product.world.count("SELECT count(*) FROM device_tokens").await, 0);
    assert_eq!(product.get("/api/auth/me", &tokens).await.1["code"], "auth.session_ended");
}

#[tokio::test]
async fn links_are_sent_as_often_as_codes() {
    let product = Product::new().await;
    let tokens = ada(&product).await;
    send(&product, &tokens).await;
    let (code, refused) = product.call(Method::POST, &path(&tokens), &Value::Null, &tokens).await;
    assert_eq!((code, &refused["code"]), (429, &json!("otp.cooldown")));
    assert_eq!(product.ask(MAIL, "login").await.0, 429, "they share the budget");
}

#[tokio::test]
async fn no_table_holds_a_link() {
    let product = Product::new().await;
    let tokens = ada(&product).await;
    let link = send(&product, &tokens).await;
    let token = link.rsplit('/').next().expect("token");
    get(&product, &link, &JSON).await;
    for (table, rows) in crate::support::dump::tables(&product.world).await {
        assert!(!rows.iter().any(|row| row.contains(token)), "{table} holds a link");
    }
}
