//! Rights: what a role may do is a row, seen at once; nobody reaches above their own rank.

use std::time::Duration;

use keryu_api::operation::Security;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Product;
use crate::support::product::{field, read};

/// Registers somebody and gives them a role by hand: the tokens.
async fn somebody(product: &Product, name: &str, role: &str) -> Value {
    let tokens = product.register(&format!("{name}@example.org"), name).await;
    let change = format!("UPDATE users SET role = '{role}' WHERE username = '{name}'");
    sqlx::raw_sql(sqlx::AssertSqlSafe(change)).execute(&product.world.db).await.expect("role");
    tokens
}

/// Registers a superuser: the tokens.
async fn superuser(product: &Product, name: &str) -> Value {
    let tokens = somebody(product, name, "admin").await;
    let change = format!("UPDATE users SET is_superuser = true WHERE username = '{name}'");
    sqlx::raw_sql(sqlx::AssertSqlSafe(change)).execute(&product.world.db).await.expect("superuser");
    tokens
}

async fn put(product: &Product, path: &str, body: Value, tokens: &Value) -> (u16, Value) {
    product.call(Method::PUT, path, &body, tokens).await
}

async fn give(product: &Product, to: &Value, body: Value, tokens: &Value) -> (u16, Value) {
    put(product, &format!("/api/users/{}/role", to["user_id"].as_str().expect("user_id")), body, tokens).await
}

fn code((status, body): (u16, Value)) -> (u16, String) {
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

/// Every operation of the document with its note.
fn operations() -> Vec<(String, Method, Security)> {
    let document = keryu_api::document::build().expect("document");
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("item") {
            let note = keryu_api::notes().find(|note| operation["operationId"] == note.operation);
            let method = method.to_uppercase().parse().expect("method");
            all.push((path.clone(), method, note.expect("a note").security));
        }
    }
    all
}

/// The path with ids of nothing in place of its parameters, and a word for each that the query must have.
fn filled(path: &str, method: &Method) -> String {
    let part = |part: &str| match part {
        "{role}" => "member".to_owned(),
        "{side}" => "front".to_owned(),
        part if part.starts_with('{') => "019aa9f3-17cf-7b0a-9e1c-2d3e4f506172".to_owned(),
        part => part.to_owned(),
    };
    let filled = path.split('/').map(part).collect::<Vec<_>>().join("/");
    let document = keryu_api::document::build().expect("document");
    let parameters = &document["paths"][path][method.as_str().to_lowercase()]["parameters"];
    let asked = parameters.as_array().into_iter().flatten();
    let asked = asked.filter(|parameter| parameter["in"] == "query" && parameter["required"] == true);
    let query: Vec<String> =
        asked.map(|parameter| format!("{}=because", parameter["name"].as_str().expect("name"))).collect();
    if query.is_empty() { filled } else { format!("{filled}?{}", query.join("&")) }
}

/// A body that holds, so that nothing but the caller's rights is left to refuse: its own example.
fn example(path: &str, method: &Method) -> Value {
    let document = keryu_api::document::build().expect("document");
    let operation = &document["paths"][path][method.as_str().to_lowercase()];
    operation["requestBody"]["content"]["application/json"]["example"].clone()
}

#[tokio::test]
async fn what_is_for_staff_is_refused_to_members_and_strangers() {
    let development = Product::new().await;
    let member = development.register("ada@example.org", "ada").await;
    // where what development opens to everybody is for staff
    let production = [("KERYU_ENV", "production"), ("RATE_LIMIT_ALLOW", "127.0.0.1")];
    let product = development.restarted(&production).await;
    let refresh = json!({ "refresh_token": member["refresh_token"] });
    let (status, member) = product.post("/api/auth/refresh", refresh).await;
    assert_eq!(status, 200, "{member}");
    let mut walked = 0;
    for (path, method, security) in operations() {
        let Security::Staff(right) = security else { continue };
        let at = filled(&path, &method);
        let body = example(&path, &method);
        let (status, refusal) = product.call(method.clone(), &at, &body, &member).await;
        assert_eq!((status, &refusal["code"]), (403, &json!("auth.forbidden")), "{method} {path}: {right}");
        let (status, refusal) = read(product.send(method.clone(), &at, &body, &[]).await).await;
        assert_eq!((status, &refusal["code"]), (401, &json!("auth.required")), "{method} {path}");
        walked += 1;
    }
    assert!(walked >= 5, "only {walked} operations are for staff");
}

#[tokio::test]
async fn what_wants_a_token_is_refused_without_one() {
    let product = Product::new().await;
    for (path, method, security) in operations() {
        if !matches!(security, Security::Bearer | Security::BearerOrKey(_) | Security::Key(_)) {
            continue;
        }
        let body = example(&path, &method);
        let (status, refusal) =
            read(product.send(method.clone(), &filled(&path, &method), &body, &[]).await).await;
        assert_eq!((status, &refusal["code"]), (401, &json!("auth.required")), "{method} {path}");
    }
}

#[tokio::test]
async fn rights_are_rows_and_seen_at_once() {
    let product = Product::new().await;
    let root = superuser(&product, "root.one").await;
    let hod = somebody(&product, "hodder", "hod").await;
    assert_eq!(code(product.get("/api/admin/roles", &hod).await), refused(403, "auth.forbidden"));
    let rights = json!({ "permissions": ["users.read", "roles.read", "users.read"] });
    let (status, role) = put(&product, "/api/admin/roles/hod", rights, &root).await;
    assert_eq!(status, 200, "{role}");
    assert_eq!(role["permissions"], json!(["roles.read", "users.read"]));
    assert_eq!((&role["rank"], &role["is_staff"]), (&json!(20), &json!(true)), "what is not named stays");
    let (status, roles) = product.get("/api/admin/roles", &hod).await;
    assert_eq!(status, 200, "{roles}");
    let names: Vec<&str> =
        roles["items"].as_array().unwrap().iter().map(|role| role["role"].as_str().unwrap()).collect();
    assert_eq!(names, ["admin", "dp_academics", "hod", "trainer", "member", "trainee"]);
    let none = json!({ "permissions": [], "is_staff": false, "rank": 5 });
    assert_eq!(put(&product, "/api/admin/roles/hod", none, &root).await.0, 200);
    assert_eq!(code(product.get("/api/admin/roles", &hod).await), refused(403, "auth.forbidden"));
    let lines = "SELECT count(*) FROM audit WHERE action = 'role.changed' AND entity_id = 'hod'
                 AND old_values->'permissions' <> new_values->'permissions'";
    assert_eq!(product.world.count(lines).await, 2);
}

#[tokio::test]
async fn a_change_is_for_the_version_it_names() {
    let product = Product::new().await;
    let root = superuser(&product, "root.one").await;
    let ada = product.register("ada@example.org", "ada").await;
    let bearer = format!("Bearer {}", root["access_token"].as_str().unwrap());
    let put = async |path: &str, body: Value, version: &str| {
        product.advance(Duration::from_secs(1));
        let fields = [("authorization", bearer.as_str()), ("if-match", version)];
        let answer = product.send(Method::PUT, path, &body, &fields).await;
        let tag = field(&answer, "etag");
        (code(read(answer).await), tag)
    };
    let (one, role) = (format!("/api/users/{}", ada["user_id"].as_str().unwrap()), "/api/admin/roles/hod");
    let none = json!({ "permissions": [] });
    let (done, first) = put(role, none.clone(), "*").await;
    assert_eq!(done, refused(200, ""));
    let (done, second) = put(role, json!({ "permissions": ["users.read"] }), &first).await;
    assert!(done.0 == 200 && second != first && second.starts_with('"'), "{done:?} {second}");
    for stale in [first.as_str(), "\"1\"", "nonsense"] {
        assert_eq!(put(role, none.clone(), stale).await.0, refused(412, "user.changed"), "{stale}");
    }
    let kept = "SELECT count(*) FROM roles WHERE role = 'hod' AND permissions = '{users.read}'";
    assert_eq!(product.world.count(kept).await, 1);
    assert_eq!(put(role, none, &second).await.0, refused(200, ""));
    // somebody's role is of the version of their record
    let seen = product.send(Method::GET, &one, &Value::Null, &[("authorization", &bearer)]).await;
    let (first, path) = (field(&seen, "etag"), format!("{one}/role"));
    let (done, second) = put(&path, json!({ "role": "trainer" }), &first).await;
    assert!(done.0 == 200 && second != first, "{done:?} {second}");
    assert_eq!(put(&path, json!({ "role": "hod" }), &first).await.0, refused(412, "user.changed"));
    let (done, same) = put(&path, json!({ "role": "trainer" }), &second).await;
    assert_eq!((done, &same), (refused(200, ""), &second), "no change is no other version");
    let seen = product.send(Method::GET, &one, &Value::Null, &[("authorization", &bearer)]).await;
    assert_eq!(field(&seen, "etag"), second);
}

#[tokio::test]
async fn faults_of_a_role_are_told_at_once() {
    let product = Product::new().await;
    let root = superuser(&product, "root.one").await;
    let body =
        json!({ "permissions": ["users.read", "users.eat", 7], "rank": 1001, "is_staff": "yes", "x": 1 });
    let (status, refusal) = put(&product, "/api/admin/roles/hod", body, &root).await;
    assert_eq!((status, &refusal["code"]), (422, &json!("request.invalid")));
    let pointers: Vec<&str> = refusal["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| fault["pointer"].as_str().unwrap())
        .collect();
    for pointer in ["/permissions/1", "/permissions/2", "/rank", "/is_staff", "/x"] {
        assert!(pointers.contains(&pointer), "{pointer} in {pointers:?}");
    }
    let body = json!({ "permissions": [] });
    for role in ["nobody", "%00", "a%0ab", "%ff", "'; DROP TABLE roles; --", &"a".repeat(2_000)] {
        let (status, refusal) = put(&product, &format!("/api/admin/roles/{role}"), body.clone(), &root).await;
        assert!(matches!(status, 404 | 422), "{role}: {status} {refusal}");
    }
    for role in ["no_such", "", "A B", "\u{7}"] {
        let ada = json!({ "user_id": "019aa9f3-17cf-7b0a-9e1c-2d3e4f506172" });
        let (status, refusal) = give(&product, &ada, json!({ "role": role }), &root).await;
        assert!(matches!(status, 404 | 422), "{role:?}: {status} {refusal}");
    }
}

#[tokio::test]
async fn nobody_gives_a_right_they_do_not_hold() {
    let product = Product::new().await;
    superuser(&product, "root.one").await;
    let admin = somebody(&product, "boss", "admin").await;
    let ada = product.register("ada@example.org", "ada").await;
    product
        .world
        .execute("UPDATE roles SET permissions = '{users.read,users.role,roles.write}' WHERE role = 'admin'")
        .await;
    let wide = json!({ "permissions": ["users.read", "users.delete", "audit.read"] });
    let (status, refusal) = put(&product, "/api/admin/roles/trainer", wide, &admin).await;
    assert_eq!((status, &refusal["code"]), (403, &json!("role.not_held")));
    assert!(refusal["detail"].as_str().unwrap().contains("users.delete, audit.read"), "{refusal}");
    let narrow = json!({ "permissions": ["users.read"] });
    assert_eq!(put(&product, "/api/admin/roles/trainer", narrow, &admin).await.0, 200);
    // what the role holds already may stay in it, and is taken away by whoever stands above
    product
        .world
        .execute("UPDATE roles SET permissions = '{audit.read,users.read}' WHERE role = 'trainer'")
        .await;
    let kept = json!({ "permissions": ["audit.read"] });
    assert_eq!(put(&product, "/api/admin/roles/trainer", kept, &admin).await.0, 200);
    // nor by giving somebody a role that holds it
    let grant = json!({ "role": "trainer" });
    assert_eq!(code(give(&product, &ada, grant, &admin).await), refused(403, "role.not_held"));
}

#[tokio::test]
async fn nobody_reaches_above_their_own_rank() {
    let product = Product::new().await;
    let root = superuser(&product, "root.one").await;
    let admin = somebody(&product, "boss", "admin").await;
    let hod = somebody(&product, "hodder", "hod").await;
    let ada = product.register("ada@example.org", "ada").await;
    product
        .world
        .execute("UPDATE roles SET permissions = '{users.read,users.role,roles.write}' WHERE role = 'hod'")
        .await;
    let none = json!({ "permissions": [] });
    // roles beside and above, and a role lifted beside oneself
    for role in ["hod", "dp_academics", "admin"] {
        let path = format!("/api/admin/roles/{role}");
        assert_eq!(code(put(&product, &path, none.clone(), &hod).await), refused(403, "role.beyond_rank"));
    }
    for (rank, status) in [(19, 200), (20, 403), (1000, 403)] {
        let lifted = json!({ "permissions": [], "rank": rank });
        assert_eq!(put(&product, "/api/admin/roles/trainer", lifted, &hod).await.0, status, "{rank}");
    }
    // people above, roles above, oneself
    for (to, role, wanted) in [
        (&admin, "member", refused(403, "role.beyond_rank")),
        (&root, "member", refused(403, "role.beyond_rank")),
        (&ada, "admin", refused(403, "role.beyond_rank")),
        (&ada, "dp_academics", refused(403, "role.beyond_rank")),
        (&hod, "hod", refused(409, "user.self")),
        (&ada, "hod", refused(200, "")),
    ] {
        let done = give(&product, to, json!({ "role": role }), &hod).await;
        assert_eq!(code(done), wanted, "{role}");
    }
    // an admin stands below superusers, and makes none
    let (was, up) = (json!({ "role": "admin" }), json!({ "role": "admin", "is_superuser": true }));
    assert_eq!(code(give(&product, &root, was, &admin).await), refused(403, "role.beyond_rank"));
    assert_eq!(code(give(&product, &ada, up.clone(), &admin).await), refused(403, "auth.forbidden"));
    assert_eq!(code(give(&product, &ada, up.clone(), &hod).await), refused(403, "auth.forbidden"));
    assert_eq!(give(&product, &ada, up, &root).await.0, 200);
    // a superuser changes any role
    assert_eq!(put(&product, "/api/admin/roles/admin", none, &root).await.0, 200);
}

#[tokio::test]
async fn the_person_is_told_of_a_new_role_and_the_audit_says_old_and_new() {
    let product = Product::new().await;
    let root = superuser(&product, "root.one").await;
    let ada = product.register("ada@example.org", "ada").await;
    product.drain().await;
    let before = product.letters().await.len();
    let (status, place) = give(&product, &ada, json!({ "role": "trainer" }), &root).await;
    assert_eq!(status, 200, "{place}");
    assert_eq!((&place["role"], &place["rank"]), (&json!("trainer"), &json!(10)));
    assert_eq!(product.get("/api/auth/me", &ada).await.1["role"], "trainer", "in the session there is");
    product.drain().await;
    let letters = product.letters().await;
    assert_eq!(letters.len(), before + 1);
    let notice = letters.iter().find(|letter| letter["kind"] == "role_changed").expect("a notice");
    assert_eq!(notice["to"], "ada@example.org");
    assert!(notice["text"].as_str().unwrap().contains("trainer"), "{notice}");
    // the same again is no change
    assert_eq!(give(&product, &ada, json!({ "role": "trainer" }), &root).await.0, 200);
    product.drain().await;
    assert_eq!(product.letters().await.len(), before + 1);
    let lines = "SELECT count(*) FROM audit WHERE action = 'user.role_changed' AND actor IS NOT NULL
                 AND old_values->>'role' = 'member' AND new_values->>'role' = 'trainer'";
    assert_eq!(product.world.count(lines).await, 1);
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn the_last_superuser_stays_also_when_two_unmake_each_other() {
    let product = Product::new().await;
    let one = superuser(&product, "root.one").await;
    let two = superuser(&product, "root.two").await;
    let down = || json!({ "role": "member", "is_superuser": false });
    let (first, second) =
        futures::future::join(give(&product, &one, down(), &two), give(&product, &two, down(), &one)).await;
    let mut statuses = [first.0, second.0];
    statuses.sort_unstable();
    assert_eq!(statuses[0], 200, "{first:?} {second:?}");
    assert_eq!(product.world.count("SELECT count(*) FROM users WHERE is_superuser").await, 1);
    // a suspended one does not count
    let three = superuser(&product, "root.three").await;
    product.world.execute("UPDATE users SET is_superuser = username IN ('root.one', 'root.three')").await;
    product.world.execute("UPDATE users SET status = 'suspended' WHERE username = 'root.three'").await;
    product.world.execute("UPDATE sessions SET ended_at = NULL").await;
    let refusal = give(&product, &one, down(), &three).await;
    assert_eq!(code(refusal), refused(401, "auth.session_ended"), "the suspended do nothing at all");
}

#[tokio::test]
async fn rights_are_changed_by_whoever_proved_just_now_who_they_are() {
    let product = Product::new().await;
    let root = superuser(&product, "root.one").await;
    let ada = product.register("ada@example.org", "ada").await;
    product.advance(Duration::from_secs(11 * 60));
    let refresh = json!({ "refresh_token": root["refresh_token"] });
    let (status, root) = product.post("/api/auth/refresh", refresh).await;
    assert_eq!(status, 200, "{root}");
    let none = json!({ "permissions": [] });
    let stale = refused(403, "auth.step_up_required");
    assert_eq!(code(put(&product, "/api/admin/roles/trainer", none, &root).await), stale);
    assert_eq!(code(give(&product, &ada, json!({ "role": "trainer" }), &root).await), stale);
}
