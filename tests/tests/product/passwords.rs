//! Passwords as a client sees them: signing in, forgetting, changing, and which are taken.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use poem::{EndpointExt, Route, handler};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::product::{read, retry_after};
use crate::support::{Product, dump};

/// A password nobody else has.
pub const GOOD: &str = "a river of small stones";
const BETTER: &str = "a river of smaller stones";

/// Somebody with a proved address and the password [`GOOD`].
pub async fn someone(product: &Product, identifier: &str, username: &str) -> Value {
    let tokens = product.register(identifier, username).await;
    product.advance(Duration::from_secs(61));
    let hash = product.ctx.hasher.hash(GOOD).await.expect("hash");
    sqlx::query("INSERT INTO passwords (user_id, hash, changed_at) SELECT user_id, $2, created_at FROM users WHERE username = $1")
        .bind(username)
        .bind(hash)
        .execute(&product.world.db)
        .await
        .expect("password");
    tokens
}

/// Tries a password: status and body.
pub async fn login(product: &Product, name: &str, password: &str) -> (u16, Value) {
    product.post("/api/auth/login", json!({ "identifier": name, "password": password })).await
}

/// Signs in with a password: the tokens.
pub async fn sign_in(product: &Product, name: &str, password: &str) -> Value {
    let (status, tokens) = login(product, name, password).await;
    assert_eq!(status, 200, "{tokens}");
    tokens
}

/// Asks for a code for a new password and reads it.
async fn forgot(product: &Product, identifier: &str) -> (String, Value) {
    product.advance(Duration::from_secs(61));
    let (status, issued) =
        product.post("/api/auth/password/forgot", json!({ "identifier": identifier })).await;
    assert_eq!(status, 202, "{issued}");
    product.drain().await;
    (product.code_for(identifier).await.expect("a code"), issued)
}

async fn reset(product: &Product, identifier: &str, otp: &str, new: &str) -> (u16, Value) {
    let body = json!({ "identifier": identifier, "otp": otp, "new_password": new });
    product.post("/api/auth/password/reset", body).await
}

async fn change(product: &Product, tokens: &Value, current: &str, new: &str) -> (u16, Value) {
    let body = json!({ "current_password": current, "new_password": new });
    product.call(Method::POST, "/api/auth/password/change", &body, tokens).await
}

/// The faults of a refusal by pointer.
fn faults(body: &Value) -> BTreeMap<String, String> {
    let faults = body["errors"].as_array().expect("errors");
    let text = |fault: &Value, name: &str| fault[name].as_str().expect("text").to_owned();
    faults.iter().map(|fault| (text(fault, "pointer"), text(fault, "code"))).collect()
}

#[tokio::test]
async fn a_forgotten_password_is_chosen_anew_with_a_code() {
    let product = Product::new().await;
    let before = product.register("ada@example.org", "Ada.Lovelace").await;
    let (code, _) = forgot(&product, "ada@example.org").await;
    let (status, said) = reset(&product, "ada@example.org", &code, GOOD).await;
    assert_eq!(status, 200, "{said}");
    assert_eq!(said.get("access_token"), None, "nobody is signed in");
    assert_eq!(product.get("/api/auth/me", &before).await.1["code"], "auth.session_ended");
    for name in ["ada@example.org", "ADA@Example.org", "Ada.Lovelace", "ada.lovelace"] {
        let tokens = sign_in(&product, name, GOOD).await;
        assert_eq!(tokens["user_id"], before["user_id"]);
        assert_eq!(product.get("/api/auth/me", &tokens).await.0, 200);
    }
    let (status, refused) = reset(&product, "ada@example.org", &code, BETTER).await;
    assert_eq!((status, &refused["code"]), (422, &json!("otp.expired")), "a code works once");
    assert_eq!(login(&product, "ada", BETTER).await.0, 401);
    product.drain().await;
    let told = product.letters().await;
    assert!(
        told.iter().any(|letter| letter["kind"] == "password_changed" && letter["to"] == "ada@example.org")
    );
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn a_password_can_be_chosen_at_registration() {
    let product = Product::new().await;
    let token = product.prove("ada@example.org", "register").await;
    let register = |password: &str| {
        let body = json!({
            "identifier": "ada@example.org", "username": "ada.lovelace", "verification_token": token, "password": password,
        });
        product.post("/api/auth/register", body)
    };
    for (password, code) in [
        ("short", "password.too_short"),
        ("Ada.Lovelace", "password.common"),
        ("12345678", "password.common"),
    ] {
        let (status, refused) = register(password).await;
        assert_eq!((status, faults(&refused)["/password"].as_str()), (422, code), "{refused}");
    }
    let (status, made) = register(GOOD).await;
    assert_eq!(status, 201, "{made}");
    assert_eq!(sign_in(&product, "ada.lovelace", GOOD).await["user_id"], made["user_id"]);
}

#[tokio::test]
async fn a_wrong_password_and_a_wrong_name_are_told_apart_by_nothing() {
    let product = Product::new().await;
    someone(&product, "ada@example.org", "ada").await;
    product.register("bob@example.org", "bob").await;
    let mut told = Vec::new();
    // the right name, a name without a password, names nobody has
    for name in ["ada@example.org", "ada", "bob", "eve@example.org", "eve", "+254712345678"] {
        let before = dump::counts(&product.world).await;
        let (status, mut body) = login(&product, name, "not the password").await;
        body["instance"] = Value::Null;
        let after = dump::counts(&product.world).await;
        let gained: BTreeMap<_, _> =
            after.iter().map(|(table, rows)| (table, rows - before[table])).collect();
        // a row of the name and one of the account, which the second name of one finds there
        let failures = gained[&"login_failures".to_owned()] + i64::from(name == "ada");
        told.push(format!("{status} {body} {} {failures}", gained[&"audit".to_owned()]));
    }
    assert!(told.iter().all(|answer| *answer == told[0]), "{told:#?}");
    assert!(told[0].starts_with("401 ") && told[0].contains("auth.invalid") && told[0].ends_with(" 1 2"));
}

#[tokio::test]
async fn changing_a_password_takes_the_present_one_and_ends_other_sessions() {
    let product = Product::new().await;
    let other = someone(&product, "ada@example.org", "ada").await;
    let tokens = sign_in(&product, "ada", GOOD).await;
    let (status, refused) = change(&product, &tokens, "not the password", BETTER).await;
    assert_eq!((status, &refused["code"]), (422, &json!("password.wrong")));
    assert_eq!(product.get("/api/auth/me", &other).await.0, 200);
    let (status, said) = change(&product, &tokens, GOOD, BETTER).await;
    assert_eq!(status, 200, "{said}");
    assert_eq!(product.get("/api/auth/me", &tokens).await.0, 200, "one's own session stays");
    assert_eq!(product.get("/api/auth/me", &other).await.1["code"], "auth.session_ended");
    assert_eq!(login(&product, "ada", GOOD).await.0, 401);
    sign_in(&product, "ada", BETTER).await;
    let body = json!({ "current_password": BETTER, "new_password": GOOD });
    let (status, refused) = product.post("/api/auth/password/change", body).await;
    assert_eq!((status, &refused["code"]), (401, &json!("auth.required")));
    let bob = product.register("bob@example.org", "bob").await;
    assert_eq!(change(&product, &bob, GOOD, BETTER).await.1["code"], "password.none");
}

#[tokio::test]
async fn a_row_of_failures_from_everywhere_refuses_a_change_too() {
    let product = Product::with(&[("LOCKOUT_IN_A_ROW", "10"), ("KERYU_TRUSTED_PROXIES", "127.0.0.1")]).await;
    someone(&product, "ada@example.org", "ada").await;
    let tokens = sign_in(&product, "ada", GOOD).await;
    for n in 0..10 {
        let body = json!({ "identifier": "ada", "password": "not the password" });
        let from = format!("198.51.100.{n}");
        let answer =
            product.send(Method::POST, "/api/auth/login", &body, &[("x-forwarded-for", &from)]).await;
        assert_eq!(answer.status(), 401);
    }
    for present in ["not the password", GOOD] {
        let (status, refused) = change(&product, &tokens, present, BETTER).await;
        assert_eq!((status, &refused["code"]), (429, &json!("auth.locked")), "{present}");
    }
    let noted = "SELECT count(*) FROM audit WHERE action = 'password.change_refused'
                 AND details->>'refused' = 'auth.locked'";
    assert_eq!(product.world.count(noted).await, 2);
    product.advance(Duration::from_secs(61));
    product.login("ada@example.org").await;
    assert_eq!(change(&product, &tokens, GOOD, BETTER).await.0, 200, "a code recovers");
}

#[tokio::test]
async fn a_change_that_is_locked_is_noted() {
    let product = Product::new().await;
    someone(&product, "ada@example.org", "ada").await;
    let tokens = sign_in(&product, "ada", GOOD).await;
    for n in 0..8 {
        let (status, _) = change(&product, &tokens, "not the password", BETTER).await;
        assert_eq!(status, if n < 5 { 422 } else { 429 });
    }
    let noted = "SELECT count(*) FROM audit WHERE action = 'password.change_refused'";
    assert_eq!(product.world.count(noted).await, 8);
}

#[tokio::test]
async fn parallel_sign_ins_hash_anew_side_by_side() {
    let settings = |memory| [("RATE_LIMIT_ALLOW", "127.0.0.1"), ("PASSWORD_MEMORY", memory)];
    let cheap = Product::with(&settings("64")).await;
    someone(&cheap, "ada@example.org", "ada").await;
    let product = cheap.restarted(&settings("128")).await;
    for round in 0..4 {
        let again = cheap.ctx.hasher.hash(GOOD).await.expect("hash");
        sqlx::query("UPDATE passwords SET hash = $1")
            .bind(again)
            .execute(&product.world.db)
            .await
            .expect("hash");
        let all = join_all((0..4).map(|_| login(&product, "ada", GOOD))).await;
        assert!(all.iter().all(|(status, _)| *status == 200), "round {round}: {all:?}");
    }
}

#[tokio::test]
async fn a_stolen_session_does_not_get_to_guess_the_password() {
    let product = Product::new().await;
    someone(&product, "ada@example.org", "ada").await;
    let tokens = sign_in(&product, "ada", GOOD).await;
    let all = (0..20).map(|_| change(&product, &tokens, "not the password", BETTER));
    let mut statuses: Vec<u16> = join_all(all).await.into_iter().map(|(status, _)| status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [vec![422; 5], vec![429; 15]].concat());
    assert_eq!(change(&product, &tokens, GOOD, BETTER).await.1["code"], "auth.locked");
}

#[tokio::test]
async fn every_fault_of_a_new_password_is_told_with_the_others() {
    let product = Product::new().await;
    let tokens = someone(&product, "ada@example.org", "ada.lovelace").await;
    for (new, code) in [
        ("short", "password.too_short"),
        (&"x".repeat(129), "password.too_long"),
        ("PassWord", "password.common"),
        ("tabs\tand more", "password.characters"),
        ("\u{fdfa}\u{fdfa}\u{fdfa}\u{fdfa}\u{fdfa}\u{fdfa}\u{fdfa}\u{fdfa}", "password.too_long"),
    ] {
        let (status, refused) = reset(&product, "not an identifier", "12", new).await;
        assert_eq!(status, 422, "{refused}");
        let faults = faults(&refused);
        assert_eq!(faults["/new_password"], code, "{new:?}");
        assert_eq!(faults.len(), 3, "{faults:?}");
    }
    for own in ["ada.lovelace", "Ada@Example.org"] {
        let (status, refused) = change(&product, &tokens, GOOD, own).await;
        assert_eq!((status, &refused["code"]), (422, &json!("request.invalid")));
        assert_eq!(faults(&refused)["/new_password"], "password.common", "{own}");
    }
    for odd in [json!(null), json!(12345678), json!(["a river of stones"]), json!({})] {
        let body = json!({ "current_password": GOOD, "new_password": odd });
        let (status, refused) = product.call(Method::POST, "/api/auth/password/change", &body, &tokens).await;
        assert_eq!(status, 422, "{odd}: {refused}");
    }
    let body = json!({ "current_password": GOOD, "new_password": "nul\0 in the middle" });
    assert_eq!(product.call(Method::POST, "/api/auth/password/change", &body, &tokens).await.0, 400);
}

#[tokio::test]
async fn passwords_of_any_script_work_however_they_are_typed() {
    let product = Product::new().await;
    let tokens = someone(&product, "ada@example.org", "ada").await;
    for (chosen, typed) in [
        ("cafe\u{301} au lait", "café au lait"),
        ("密码密码密码密码", "密码密码密码密码"),
        ("ｆｕｌｌ ｗｉｄｔｈ", "full width"),
        (" spaces  at both ends ", " spaces  at both ends "),
    ] {
        sqlx::query("UPDATE passwords SET hash = $1")
            .bind(product.ctx.hasher.hash(GOOD).await.expect("hash"))
            .execute(&product.world.db)
            .await
            .expect("password");
        let tokens = sign_in(&product, "ada", GOOD).await;
        let (status, said) = change(&product, &tokens, GOOD, chosen).await;
        assert_eq!(status, 200, "{said}");
        sign_in(&product, "ada", typed).await;
    }
    assert_eq!(login(&product, "ada", "spaces  at both ends").await.0, 401, "nothing is trimmed");
    assert_eq!(product.get("/api/auth/me", &tokens).await.0, 401);
}

#[tokio::test]
async fn a_password_is_hashed_anew_when_the_setting_rose() {
    let product = Product::with(&[("RATE_LIMIT_ALLOW", "127.0.0.1"), ("PASSWORD_MEMORY", "1024")]).await;
    someone(&product, "ada@example.org", "ada").await;
    let kept = async || -> String {
        sqlx::query_scalar("SELECT hash FROM passwords").fetch_one(&product.world.db).await.expect("hash")
    };
    assert!(kept().await.starts_with("$argon2id$v=19$m=1024,t=2,p=1$"));
    let later = product.restarted(&[("RATE_LIMIT_ALLOW", "127.0.0.1"), ("PASSWORD_MEMORY", "2048")]).await;
    assert_eq!(login(&later, "ada", "not the password").await.0, 401);
    assert!(kept().await.contains("m=1024"));
    sign_in(&later, "ada", GOOD).await;
    let anew = kept().await;
    assert!(anew.starts_with("$argon2id$v=19$m=2048,t=2,p=1$"), "{anew}");
    sign_in(&later, "ada", GOOD).await;
    assert_eq!(kept().await, anew, "once");
}

#[tokio::test]
async fn who_is_not_active_learns_it_by_the_right_password_alone() {
    let product = Product::new().await;
    someone(&product, "ada@example.org", "ada").await;
    for (status, code) in
        [("inactive", "account.inactive"), ("suspended", "account.suspended"), ("banned", "account.banned")]
    {
        sqlx::query("UPDATE users SET status = $1::user_status")
            .bind(status)
            .execute(&product.world.db)
            .await
            .expect("status");
        assert_eq!(login(&product, "ada", "not the password").await.1["code"], "auth.invalid");
        let (refused, body) = login(&product, "ada", GOOD).await;
        assert_eq!((refused, &body["code"]), (403, &json!(code)));
    }
    let lines = "SELECT count(*) FROM audit WHERE action = 'auth.sign_in_refused'";
    assert_eq!(product.world.count(lines).await, 6);
    assert_eq!(product.world.count("SELECT count(*) FROM sessions").await, 1);
}

#[tokio::test]
async fn a_second_factor_is_asked_for_after_the_right_password_and_not_passed_by_a_new_one() {
    let product = Product::new().await;
    someone(&product, "ada@example.org", "ada").await;
    product
        .world
        .execute(
            "INSERT INTO totp_factors (factor_id, user_id, sealed, created_at, confirmed_at)
             SELECT gen_random_uuid(), user_id, 'x', now(), now() FROM users",
        )
        .await;
    assert_eq!(login(&product, "ada", "not the password").await.1["code"], "auth.invalid");
    let demanded = async |password: &str| {
        let (status, refused) = login(&product, "ada", password).await;
        assert_eq!((status, &refused["code"]), (401, &json!("mfa.required")));
        assert_eq!(refused["methods"], json!(["totp"]));
        refused["mfa_token"].clone()
    };
    let waiting = demanded(GOOD).await;
    let (code, _) = forgot(&product, "ada@example.org").await;
    assert_eq!(reset(&product, "ada@example.org", &code, BETTER).await.0, 200);
    demanded(BETTER).await;
    let body = json!({ "mfa_token": waiting, "method": "totp", "code": "000000" });
    let (_, refused) = product.post("/api/auth/mfa/verify", body).await;
    assert_eq!(refused["code"], "mfa.expired", "what waited with the old password waits no longer");
    assert_eq!(product.world.count("SELECT count(*) FROM sessions WHERE ended_at IS NULL").await, 0);
}

#[tokio::test]
async fn an_account_nobody_has_proved_is_told_so_after_the_right_password_and_gets_a_code() {
    let product = Product::new().await;
    let tokens = someone(&product, "ada@example.org", "ada").await;
    product.world.execute("UPDATE users SET email_verified_at = NULL, ever_verified_at = NULL").await;
    assert_eq!(login(&product, "ada", "not the password").await.1["code"], "auth.invalid");
    let (status, refused) = login(&product, "ada", GOOD).await;
    assert_eq!((status, &refused["code"]), (403, &json!("account.unverified")));
    let challenge = refused["challenge_id"].as_str().expect("challenge_id");
    product.drain().await;
    let code = product.code_for("ada@example.org").await.expect("a code");
    let (status, verified) = product.verify("ada@example.org", "login", &code, Some(challenge)).await;
    assert_eq!(status, 200, "{verified}");
    let body =
        json!({ "identifier": "ada@example.org", "verification_token": verified["verification_token"] });
    let (status, again) = product.post("/api/auth/login", body).await;
    assert_eq!((status, &again["user_id"]), (200, &tokens["user_id"]), "{again}");
    // proved by who had the password: it stays
    sign_in(&product, "ada", GOOD).await;
    product.world.execute("UPDATE users SET email_verified_at = NULL, ever_verified_at = NULL").await;
    let lax = product.restarted(&[("RATE_LIMIT_ALLOW", "127.0.0.1"), ("AUTH_REQUIRE_VERIFIED", "off")]).await;
    assert_eq!(sign_in(&lax, "ada", GOOD).await["user_id"], tokens["user_id"]);
}

#[tokio::test]
async fn a_product_without_passwords_takes_none() {
    let product = Product::with(&[("RATE_LIMIT_ALLOW", "127.0.0.1"), ("AUTH_PASSWORD", "off")]).await;
    let tokens = someone(&product, "ada@example.org", "ada").await;
    let off = |(status, body): (u16, Value)| {
        assert_eq!((status, &body["code"]), (403, &json!("auth.password_off")))
    };
    off(login(&product, "ada", GOOD).await);
    off(product.post("/api/auth/password/forgot", json!({ "identifier": "ada@example.org" })).await);
    off(reset(&product, "ada@example.org", "123456", BETTER).await);
    off(change(&product, &tokens, GOOD, BETTER).await);
    product.login("ada@example.org").await;
}

#[tokio::test]
async fn a_sign_in_is_by_password_or_by_token() {
    let product = Product::new().await;
    for body in [
        json!({ "identifier": "ada@example.org" }),
        json!({ "identifier": "ada@example.org", "password": GOOD, "verification_token": "x" }),
    ] {
        let (status, refused) = product.post("/api/auth/login", body).await;
        assert_eq!((status, &refused["code"]), (422, &json!("request.invalid")), "{refused}");
        assert_eq!(faults(&refused)[""], "field.one_of");
    }
    let (status, refused) = login(&product, "1 is no name", GOOD).await;
    assert_eq!(status, 422, "{refused}");
    assert!(faults(&refused).contains_key("/identifier"));
    let (status, refused) = login(&product, "ada", &"x".repeat(1025)).await;
    assert_eq!(status, 422, "{refused}");
}

#[tokio::test]
async fn of_parallel_resets_with_one_code_one_counts() {
    let product = Product::new().await;
    product.register("ada@example.org", "ada").await;
    let (code, _) = forgot(&product, "ada@example.org").await;
    let passwords: Vec<String> = (0..8).map(|n| format!("{GOOD} {n}")).collect();
    let answers = join_all(passwords.iter().map(|new| reset(&product, "ada@example.org", &code, new))).await;
    let done: Vec<_> = answers.iter().zip(&passwords).filter(|((status, _), _)| *status == 200).collect();
    assert_eq!(done.len(), 1, "{answers:?}");
    sign_in(&product, "ada", done[0].1).await;
}

#[tokio::test]
async fn wrong_codes_for_a_new_password_count_with_all_others() {
    let product = Product::new().await;
    product.register("ada@example.org", "ada").await;
    let (code, issued) = forgot(&product, "ada@example.org").await;
    let challenge = issued["challenge_id"].as_str();
    let wrong = crate::support::product::wrong(&code);
    for _ in 0..2 {
        let body = json!({ "identifier": "ada@example.org", "otp": wrong, "new_password": GOOD, "challenge_id": challenge });
        assert_eq!(product.post("/api/auth/password/reset", body).await.1["code"], "otp.invalid");
    }
    product.verify("ada@example.org", "reset_password", wrong, challenge).await;
    let (status, refused) = reset(&product, "ada@example.org", &code, GOOD).await;
    assert_eq!((status, &refused["code"]), (422, &json!("otp.invalid")), "three wrong tries in all");
    let body = json!({ "identifier": "eve@example.org", "otp": wrong, "new_password": GOOD });
    assert_eq!(product.post("/api/auth/password/reset", body).await.1["code"], "otp.invalid", "nobody's");
}

/// A list of leaked passwords that knows one.
struct List {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

#[handler]
fn range(
    poem::web::Path(prefix): poem::web::Path<String>,
    request: &poem::Request,
    asked: poem::web::Data<&Arc<Mutex<Vec<String>>>>,
) -> String {
    assert_eq!(request.header("add-padding"), Some("true"));
    assert!(
        prefix.len() == 5 && prefix.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F')),
        "{prefix}"
    );
    asked.lock().expect("lock").push(prefix);
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, BETTER.as_bytes());
    let hash = keryu_common::secret::hex(hash.as_ref()).to_uppercase();
    format!("0018A45C4D1DEF81644B54AB7F969B88D65:0\r\n{}:3\r\n", &hash[5..])
}

impl List {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("port");
        let url = format!("http://{}/range", listener.local_addr().expect("address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let app = Route::new().at("/range/:prefix", range).data(Arc::clone(&asked));
        let acceptor = poem::listener::TcpAcceptor::from_tokio(listener).expect("listener");
        tokio::spawn(async move { poem::Server::new_with_acceptor(acceptor).run(app).await });
        Self { url, asked }
    }
}

#[tokio::test]
async fn a_leaked_password_is_refused_and_a_list_that_is_away_refuses_none() {
    let list = List::start().await;
    let product =
        Product::with(&[("RATE_LIMIT_ALLOW", "127.0.0.1"), ("PASSWORD_BREACH_URL", &list.url)]).await;
    let tokens = someone(&product, "ada@example.org", "ada").await;
    let (status, refused) = change(&product, &tokens, GOOD, BETTER).await;
    assert_eq!(status, 422, "{refused}");
    assert_eq!(faults(&refused)["/new_password"], "password.breached");
    assert_eq!(change(&product, &tokens, GOOD, "a river of big stones").await.0, 200);
    assert_eq!(list.asked.lock().expect("lock").len(), 2);
    let away = product
        .restarted(&[("RATE_LIMIT_ALLOW", "127.0.0.1"), ("PASSWORD_BREACH_URL", "http://127.0.0.1:9/range")])
        .await;
    let tokens = sign_in(&away, "ada", "a river of big stones").await;
    assert_eq!(change(&away, &tokens, "a river of big stones", BETTER).await.0, 200);
    let (_, metrics) = read(away.send(Method::GET, "/metrics", &Value::Null, &[]).await).await;
    assert!(metrics.as_str().expect("text").contains(r#"keryu_password_lookups_total{found="no_answer"} 1"#));
}

#[tokio::test]
async fn with_no_room_for_another_password_the_answer_says_when_to_come_back() {
    let product = Product::with(&[
        ("RATE_LIMIT_ALLOW", "127.0.0.1"),
        ("PASSWORD_THREADS", "1"),
        ("PASSWORD_MEMORY", "65536"),
        ("PASSWORD_PASSES", "4"),
    ])
    .await;
    let names: Vec<String> = (0..100).map(|n| format!("nobody{n}")).collect();
    let tries = |name: &String| {
        let body = json!({ "identifier": name, "password": GOOD });
        let product = &product;
        async move { product.send(Method::POST, "/api/auth/login", &body, &[]).await }
    };
    // the first tells how slow this machine is
    assert_eq!(tries(&names[0]).await.status(), 401);
    let answers = join_all(names[1..].iter().map(tries)).await;
    let busy: Vec<_> = answers.into_iter().filter(|answer| answer.status() == 503).collect();
    assert!(!busy.is_empty());
    // the name and the address
    let counted = 2 * (100 - i64::try_from(busy.len()).unwrap());
    for answer in busy {
        assert_eq!(retry_after(&answer), Duration::from_secs(2));
        assert_eq!(read(answer).await.1["code"], "auth.busy");
    }
    // who was sent away has no try counted against them
    let tried = product.world.count("SELECT count(*) FROM login_failures").await;
    assert!(tried <= counted, "{tried} of {counted}");
}

#[tokio::test]
async fn no_password_is_kept_anywhere() {
    let product = Product::new().await;
    product.register("ada@example.org", "ada").await;
    let (code, _) = forgot(&product, "ada@example.org").await;
    assert_eq!(reset(&product, "ada@example.org", &code, GOOD).await.0, 200);
    sign_in(&product, "ada", GOOD).await;
    login(&product, "ada", BETTER).await;
    let tokens = sign_in(&product, "ada", GOOD).await;
    change(&product, &tokens, GOOD, BETTER).await;
    product.drain().await;
    let rows: Vec<String> = dump::tables(&product.world).await.into_values().flatten().collect();
    let all = rows.join("\n") + &dump::redis(&product.world).await;
    for secret in [GOOD, BETTER] {
        assert!(!all.contains(secret), "{secret}");
    }
}
