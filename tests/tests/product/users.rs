//! People's records as their owners and staff see and change them: rank, versions, deletion, restoring.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::support::Product;
use super::support::product::{field, read};

/// Gives somebody a role, as a superuser's command would.
async fn promote(product: &Product, tokens: &Value, role: &str) {
    let id: Uuid = tokens["user_id"].as_str().unwrap().parse().unwrap();
    sqlx::query("UPDATE users SET role = $2 WHERE user_id = $1")
        .bind(id)
        .bind(role)
        .execute(&product.world.db)
        .await
        .unwrap();
}

fn path(tokens: &Value) -> String {
    format!("/api/users/{}", tokens["user_id"].as_str().unwrap())
}

fn admin(tokens: &Value, verb: &str) -> String {
    format!("/api/admin/users/{}/{verb}", tokens["user_id"].as_str().unwrap())
}

#[tokio::test]
async fn a_person_sees_and_changes_their_own_record_and_nobody_elses() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let bob = product.register("bob@example.org", "bob").await;
    let (status, record) = product.get(&path(&ada), &ada).await;
    assert_eq!(status, 200, "{record}");
    assert_eq!(
        (&record["email"], &record["masked_email"]),
        (&json!("ada@example.org"), &json!("a***@example.org"))
    );
    let (status, refused) = product.get(&path(&ada), &bob).await;
    assert_eq!((status, &refused["code"]), (404, &json!("user.not_found")));
    let (status, refused) =
        product.call(Method::PATCH, &path(&ada), &json!({ "first_name": "Eve" }), &bob).await;
    assert_eq!((status, &refused["code"]), (404, &json!("user.not_found")));
    let change = json!({ "first_name": " Ada ", "last_name": "Lovelace", "national_id": "ab 12-345/6", "gender": "female" });
    let (status, record) = product.call(Method::PATCH, &path(&ada), &change, &ada).await;
    assert_eq!(status, 200, "{record}");
    assert_eq!((&record["first_name"], &record["national_id"]), (&json!("Ada"), &json!("***5/6")));
    let (_, record) = product.call(Method::PATCH, &path(&ada), &json!({ "last_name": null }), &ada).await;
    assert_eq!((&record["first_name"], &record["last_name"]), (&json!("Ada"), &Value::Null));
    let (_, record) = product.call(Method::PUT, &path(&ada), &json!({ "username": "ada.l" }), &ada).await;
    assert_eq!(
        (&record["username"], &record["first_name"], &record["national_id"]),
        (&json!("ada.l"), &Value::Null, &Value::Null)
    );
    for name in ["BOB", "B0B"] {
        let (status, refused) =
            product.call(Method::PUT, &path(&ada), &json!({ "username": name }), &ada).await;
        assert_eq!((status, &refused["code"]), (409, &json!("user.username_taken")), "{name}");
    }
}

#[tokio::test]
async fn every_fault_of_a_change_is_told_at_once() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let change = json!({ "username": "a", "first_name": "", "last_name": "x\u{202e}y", "national_id": "?",
                         "gender": "x", "role": "admin", "email": "no" });
    let (status, refused) = product.call(Method::PATCH, &path(&ada), &change, &ada).await;
    assert_eq!(status, 422, "{refused}");
    let mut faults: Vec<(&str, &str)> = refused["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| (fault["pointer"].as_str().unwrap(), fault["code"].as_str().unwrap()))
        .collect();
    faults.sort_unstable();
    assert_eq!(
        faults,
        [
            ("/email", "identifier.email"),
            ("/first_name", "field.length"),
            ("/gender", "field.choice"),
            ("/last_name", "field.characters"),
            ("/national_id", "field.length"),
            ("/role", "field.unknown"),
            ("/username", "username.length"),
        ]
    );
    let (status, _) = product.call(Method::PATCH, &path(&ada), &json!({ "email": "0712345678" }), &ada).await;
    assert_eq!(status, 422, "a phone number is no e-mail address");
}

#[tokio::test]
async fn a_change_of_an_old_version_is_refused() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let bearer = format!("Bearer {}", ada["access_token"].as_str().unwrap());
    let shown = product.send(Method::GET, &path(&ada), &Value::Null, &[("authorization", &bearer)]).await;
    let tag = field(&shown, "etag");
    product.advance(Duration::from_secs(1));
    let patch = |name: &'static str, tag: String| {
        let (product, path, bearer) = (&product, path(&ada), bearer.clone());
        async move {
            let body = json!({ "first_name": name });
            read(
                product
                    .send(Method::PATCH, &path, &body, &[("authorization", &bearer), ("if-match", &tag)])
                    .await,
            )
            .await
        }
    };
    assert_eq!(patch("Ada", tag.clone()).await.0, 200);
    let (status, refused) = patch("Eve", tag).await;
    assert_eq!((status, &refused["code"]), (412, &json!("user.changed")));
    assert_eq!(patch("Eve", "nonsense".to_owned()).await.0, 412);
    assert_eq!(patch("Ida", "*".to_owned()).await.0, 200);
}

#[tokio::test]
async fn an_identifier_is_changed_to_one_that_was_proved_and_both_addresses_hear_of_it() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let (status, refused) =
        product.call(Method::PATCH, &path(&ada), &json!({ "email": "ada@new.example" }), &ada).await;
    assert_eq!((status, &refused["code"]), (422, &json!("verification.invalid")));
    let token = product.prove_as("ada@new.example", "change_identifier", &ada).await;
    let body = json!({ "email": "ada@other.example", "verification_token": token });
    assert_eq!(product.call(Method::PATCH, &path(&ada), &body, &ada).await.1["code"], "verification.invalid");
    let body = json!({ "email": "ada@new.example", "verification_token": token });
    let (status, record) = product.call(Method::PATCH, &path(&ada), &body, &ada).await;
    assert_eq!((status, &record["email_verified"]), (200, &json!(true)), "{record}");
    let history = product.get(&format!("{}/verification", path(&ada)), &ada).await.1["history"].clone();
    let of = |event: &Value| ["by", "outcome", "address"].map(|name| event[name].as_str().map(str::to_owned));
    let said = |parts: [&str; 3]| parts.map(|part| Some(part.to_owned()));
    let history: Vec<_> = history.as_array().expect("history").iter().map(of).collect();
    assert!(history.contains(&said(["change", "verified", "a***@new.example"])), "{history:?}");
    assert!(history.contains(&said(["registration", "verified", "a***@example.org"])), "{history:?}");
    product.drain().await;
    let told: Vec<String> = product
        .letters()
        .await
        .into_iter()
        .filter(|letter| letter["kind"] == "identifier_changed")
        .map(|letter| letter["to"].as_str().unwrap().to_owned())
        .collect();
    assert!(
        told.contains(&"ada@example.org".to_owned()) && told.contains(&"ada@new.example".to_owned()),
        "{told:?}"
    );
    let (status, refused) = product.call(Method::PATCH, &path(&ada), &json!({ "email": null }), &ada).await;
    assert_eq!((status, &refused["code"]), (422, &json!("user.identifier_needed")));
}

#[tokio::test]
async fn staff_do_not_come_into_an_account_by_changing_its_address() {
    let product = Product::new().await;
    let staff = product.register("staff@example.org", "staffer").await;
    promote(&product, &staff, "admin").await;
    let ada = product.register("ada@example.org", "ada").await;
    let change = json!({ "email": "mine@example.org" });
    product.advance(Duration::from_secs(601));
    let stale = product.refreshed(&staff).await;
    let (status, refused) = product.call(Method::PATCH, &path(&ada), &change, &stale).await;
    assert_eq!((status, &refused["code"]), (403, &json!("auth.step_up_required")));
    let (status, _) = product.call(Method::PATCH, &path(&ada), &json!({ "first_name": "Ada" }), &stale).await;
    assert_eq!(status, 200, "other fields need no proof anew");
    let staff = product.login("staff@example.org").await;
    assert_eq!(product.call(Method::PATCH, &path(&ada), &change, &staff).await.0, 200);
    let token = product.prove("mine@example.org", "login").await;
    let login = json!({ "identifier": "mine@example.org", "verification_token": token });
    let (status, refused) = product.post("/api/auth/login", login).await;
    assert_eq!((status, &refused["code"]), (422, &json!("auth.no_account")));
    assert_eq!(
        product.get("/api/auth/me", &product.refreshed(&ada).await).await.0,
        200,
        "nothing of hers is void"
    );
}

#[tokio::test]
async fn staff_change_no_identifier_of_somebody_with_rights_they_lack() {
    let product = Product::new().await;
    let staff = product.register("staff@example.org", "staffer").await;
    let peer = product.register("peer@example.org", "peer").await;
    promote(&product, &staff, "hod").await;
    promote(&product, &peer, "admin").await;
    product
        .world
        .execute("UPDATE roles SET rank = 40, permissions = '{users.read,users.write}' WHERE role = 'hod'")
        .await;
    for change in [json!({ "email": "mine@example.org" }), json!({ "phone_number": "0712345678" })] {
        let (status, refused) = product.call(Method::PATCH, &path(&peer), &change, &staff).await;
        assert_eq!((status, &refused["code"]), (403, &json!("auth.forbidden")), "{change}");
    }
    let (status, _) = product.call(Method::PATCH, &path(&peer), &json!({ "first_name": "P" }), &staff).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn an_identifier_of_ones_own_changes_after_a_fresh_proof_and_a_proved_one_stays() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    product.world.execute("UPDATE users SET phone_number = '+254712345678'").await;
    let clear = json!({ "email": null });
    let (status, refused) = product.call(Method::PATCH, &path(&ada), &clear, &ada).await;
    assert_eq!(
        (status, &refused["code"]),
        (422, &json!("user.identifier_needed")),
        "the number is not proved"
    );
    product.advance(Duration::from_secs(601));
    let stale = product.refreshed(&ada).await;
    let token = product.prove_as("ada@new.example", "change_identifier", &stale).await;
    for change in
        [json!({ "phone_number": null }), json!({ "email": "ada@new.example", "verification_token": token })]
    {
        let (status, refused) = product.call(Method::PATCH, &path(&ada), &change, &stale).await;
        assert_eq!((status, &refused["code"]), (403, &json!("auth.step_up_required")), "{change}");
    }
    let ada = product.login("ada@example.org").await;
    let (status, record) =
        product.call(Method::PATCH, &path(&ada), &json!({ "phone_number": null }), &ada).await;
    assert_eq!((status, &record["phone_number"]), (200, &Value::Null), "{record}");
}

#[tokio::test]
async fn a_deleted_account_is_restored_before_anything_else() {
    let product = Product::new().await;
    let staff = product.register("staff@example.org", "staffer").await;
    promote(&product, &staff, "admin").await;
    let ada = product.register("ada@example.org", "ada").await;
    assert_eq!(product.delete(&path(&ada), &staff).await.0, 204);
    let (_, before) = product.get(&path(&ada), &staff).await;
    product.advance(Duration::from_secs(61));
    product.register("ada.two@example.org", "ada").await;
    for (method, path, body) in [
        (Method::POST, admin(&ada, "status"), json!({ "status": "active", "reason": "x" })),
        (Method::POST, admin(&ada, "status"), json!({ "status": "banned", "reason": "x" })),
        (Method::DELETE, path(&ada), Value::Null),
        (Method::PATCH, path(&ada), json!({ "first_name": "Ida" })),
        (Method::PUT, path(&ada), json!({ "username": "ida" })),
    ] {
        let (status, refused) = product.call(method, &path, &body, &staff).await;
        assert_eq!((status, &refused["code"]), (409, &json!("user.deleted")), "{path} {body}");
    }
    let (_, after) = product.get(&path(&ada), &staff).await;
    assert_eq!((&after["status"], &after["erase_at"]), (&before["status"], &before["erase_at"]));
    assert!(after["erase_at"].is_string());
}

#[tokio::test]
async fn notices_do_not_tell_from_where_staff_acted() {
    let product = Product::new().await;
    let staff = product.register("staff@example.org", "staffer").await;
    promote(&product, &staff, "admin").await;
    let ada = product.register("ada@example.org", "ada").await;
    product.drain().await;
    let bearer = format!("Bearer {}", staff["access_token"].as_str().unwrap());
    let fields = [("authorization", bearer.as_str()), ("user-agent", "StaffBrowser/1.0")];
    let change = json!({ "email": "ada@new.example" });
    assert_eq!(product.send(Method::PATCH, &path(&ada), &change, &fields).await.status(), 200);
    assert_eq!(product.send(Method::DELETE, &path(&ada), &Value::Null, &fields).await.status(), 204);
    product.drain().await;
    let letters = product.letters().await;
    let told: Vec<&Value> = letters.iter().filter(|letter| letter["kind"] == "identifier_changed").collect();
    assert_eq!(told.len(), 2, "{letters:?}");
    for letter in told {
        let text = letter["text"].as_str().unwrap();
        assert!(!text.contains("StaffBrowser") && !text.contains("127.0.0"), "{text}");
    }
}

#[tokio::test]
async fn the_estimate_of_a_status_is_not_that_of_all() {
    let product = Product::new().await;
    let staff = product.register("staff@example.org", "staffer").await;
    promote(&product, &staff, "admin").await;
    product
        .world
        .execute(
            "INSERT INTO users (user_id, username, username_skeleton, email, status, created_at, updated_at)
             SELECT gen_random_uuid(), 'u' || n, 'u' || n, 'u' || n || '@example.org',
                    CASE WHEN n <= 10400 THEN 'suspended' ELSE 'inactive' END::user_status, now(), now()
             FROM generate_series(1, 15000) n",
        )
        .await;
    product.world.execute("ANALYZE users").await;
    let (status, page) = product.get("/api/users?status=suspended", &staff).await;
    assert_eq!((status, &page["total_is_exact"]), (200, &json!(false)), "{page}");
    let total = page["total"].as_i64().unwrap();
    assert!((10_300..10_500).contains(&total), "{total}");
}

#[tokio::test]
async fn staff_make_change_and_list_people_within_their_rank() {
    let product = Product::new().await;
    let staff = product.register("staff@example.org", "staffer").await;
    let boss = product.register("boss@example.org", "the.boss").await;
    let (status, refused) = product.get("/api/users", &staff).await;
    assert_eq!((status, &refused["code"]), (403, &json!("auth.forbidden")));
    promote(&product, &staff, "admin").await;
    promote(&product, &boss, "admin").await;
    product.world.execute("UPDATE users SET is_superuser = true WHERE username = 'the.boss'").await;
    let new = json!({ "username": "ada", "email": "ada@example.org", "phone_number": "0712345678", "first_name": "Ada" });
    let (status, made) = product.call(Method::POST, "/api/users", &new, &staff).await;
    assert_eq!(status, 201, "{made}");
    assert_eq!(
        (&made["verification_status"], &made["phone_number"]),
        (&json!("not_verified"), &json!("+254712345678"))
    );
    let (status, page) = product.get("/api/users?search=AD&page_size=10", &staff).await;
    assert_eq!(
        (status, &page["total"], &page["items"][0]["username"]),
        (200, &json!(1), &json!("ada")),
        "{page}"
    );
    for (query, total) in [
        ("search=%2B25471", 1),
        ("search=ada%40", 1),
        ("search=%25", 0),
        ("status=suspended", 0),
        ("status=all", 3),
    ] {
        let (_, page) = product.get(&format!("/api/users?{query}"), &staff).await;
        assert_eq!(page["total"], total, "{query}: {page}");
    }
    for query in ["page=0", "page_size=201", "status=x", "page=x"] {
        let (status, refused) = product.get(&format!("/api/users?{query}"), &staff).await;
        assert_eq!((status, &refused["code"]), (422, &json!("request.invalid")), "{query}");
    }
    // staff set an address: it is not proved
    let one = format!("/api/users/{}", made["id"].as_str().unwrap());
    let (status, record) =
        product.call(Method::PATCH, &one, &json!({ "email": "ada@new.example" }), &staff).await;
    assert_eq!((status, &record["email_verified"]), (200, &json!(false)), "{record}");
    // and nobody reaches above their rank
    for (method, path, body) in [
        (Method::PATCH, path(&boss), json!({ "first_name": "x" })),
        (Method::DELETE, path(&boss), Value::Null),
        (Method::POST, admin(&boss, "status"), json!({ "status": "banned", "reason": "x" })),
        (Method::POST, admin(&boss, "restore"), json!({ "reason": "x" })),
        (Method::DELETE, admin(&boss, "sessions"), Value::Null),
    ] {
        let (status, refused) = product.call(method.clone(), &path, &body, &staff).await;
        assert_eq!((status, &refused["code"]), (403, &json!("auth.forbidden")), "{method} {path}");
    }
    let reads = "SELECT count(*) FROM audit WHERE action = 'user.listed'";
    assert_eq!(product.world.count(reads).await, 6);
}

#[tokio::test]
async fn a_suspended_person_is_signed_out_at_once_and_told() {
    let product = Product::new().await;
    let staff = product.register("staff@example.org", "staffer").await;
    promote(&product, &staff, "admin").await;
    let ada = product.register("ada@example.org", "ada").await;
    let body = json!({ "status": "suspended", "reason": "two reports" });
    let (status, record) = product.call(Method::POST, &admin(&ada, "status"), &body, &staff).await;
    assert_eq!(
        (status, &record["status"], &record["status_reason"]),
        (200, &json!("suspended"), &json!("two reports"))
    );
    assert_eq!(product.get("/api/auth/me", &ada).await.1["code"], "auth.session_ended");
    product.drain().await;
    assert!(product.letters().await.iter().any(|letter| letter["kind"] == "account_status_changed"));
    product.advance(Duration::from_secs(61));
    let token = product.prove("ada@example.org", "login").await;
    let login = json!({ "identifier": "ada@example.org", "verification_token": token });
    let (status, refused) = product.post("/api/auth/login", login).await;
    assert_eq!((status, &refused["code"]), (403, &json!("account.suspended")));
    let (status, refused) = product.call(Method::POST, &admin(&staff, "status"), &body, &staff).await;
    assert_eq!((status, &refused["code"]), (409, &json!("user.self")));
    let body = json!({ "status": "active", "reason": "cleared" });
    assert_eq!(product.call(Method::POST, &admin(&ada, "status"), &body, &staff).await.0, 200);
    product.advance(Duration::from_secs(61));
    product.login("ada@example.org").await;
}

#[tokio::test]
async fn the_last_superuser_stays() {
    let product = Product::new().await;
    let root = product.register("root@example.org", "rootlike").await;
    product.world.execute("UPDATE users SET is_superuser = true").await;
    let (status, refused) = product.delete("/api/auth/account", &root).await;
    assert_eq!((status, &refused["code"]), (409, &json!("user.last_superuser")));
    let other = product.register("other@example.org", "another").await;
    product.world.execute("UPDATE users SET is_superuser = true").await;
    assert_eq!(product.delete("/api/auth/account", &root).await.0, 202);
    assert_eq!(product.delete(&path(&other), &other).await.1["code"], "user.last_superuser");
}

#[tokio::test]
async fn a_deleted_account_can_be_restored_unless_somebody_has_its_identifier() {
    let product = Product::new().await;
    let staff = product.register("staff@example.org", "staffer").await;
    promote(&product, &staff, "admin").await;
    let ada = product.register("ada@example.org", "ada").await;
    product.advance(Duration::from_secs(601));
    let stale = product.refreshed(&ada).await;
    let (status, refused) = product.delete("/api/auth/account", &stale).await;
    assert_eq!((status, &refused["code"]), (403, &json!("auth.step_up_required")));
    let ada = product.login("ada@example.org").await;
    let (status, gone) = product.delete("/api/auth/account", &ada).await;
    assert_eq!(status, 202, "{gone}");
    assert_eq!(product.get("/api/auth/me", &ada).await.0, 401);
    let staff = product.refreshed(&staff).await;
    let body = json!({ "reason": "a mistake" });
    let (status, record) = product.call(Method::POST, &admin(&ada, "restore"), &body, &staff).await;
    assert_eq!((status, &record["status"], &record["erase_at"]), (200, &json!("active"), &Value::Null));
    assert_eq!(
        product.call(Method::POST, &admin(&ada, "restore"), &body, &staff).await.1["code"],
        "user.not_deleted"
    );
    product.drain().await;
    let kinds: Vec<Value> =
        product.letters().await.into_iter().map(|letter| letter["kind"].clone()).collect();
    assert!(
        kinds.contains(&json!("account_deletion_scheduled")) && kinds.contains(&json!("account_restored"))
    );
    // deleted again, and somebody else proves the address meanwhile
    assert_eq!(product.delete(&path(&ada), &staff).await.0, 204);
    product.advance(Duration::from_secs(61));
    product.register("ada@example.org", "ada.two").await;
    let staff = product.refreshed(&staff).await;
    let (status, refused) = product.call(Method::POST, &admin(&ada, "restore"), &body, &staff).await;
    assert_eq!((status, &refused["code"]), (409, &json!("user.identifier_taken")));
}

#[tokio::test]
async fn a_deletion_that_is_taken_back_leaves_an_account_as_it_was() {
    let product = Product::new().await;
    let staff = product.register("staff@example.org", "staffer").await;
    promote(&product, &staff, "admin").await;
    let ada = product.register("ada@example.org", "ada").await;
    let ban = json!({ "status": "banned", "reason": "Three reports" });
    assert_eq!(product.call(Method::POST, &admin(&ada, "status"), &ban, &staff).await.0, 200);
    let delete = json!({ "action": "delete", "ids": [ada["user_id"]], "reason": "Asked for by mail" });
    assert_eq!(product.call(Method::POST, "/api/admin/users/bulk", &delete, &staff).await.0, 202);
    product.drain().await;
    let state = |record: &Value| ["status", "status_reason"].map(|name| record[name].clone());
    let (_, record) = product.get(&path(&ada), &staff).await;
    assert_eq!(state(&record), [json!("deleted"), json!("Asked for by mail")]);
    let back = json!({ "reason": "A mistake" });
    let (status, record) = product.call(Method::POST, &admin(&ada, "restore"), &back, &staff).await;
    assert_eq!(status, 200, "{record}");
    assert_eq!(state(&record), [json!("banned"), json!("Three reports")]);
    assert_eq!((&record["deleted_at"], &record["erase_at"]), (&Value::Null, &Value::Null));
    product.drain().await;
    let letters = product.letters().await;
    let letter = letters.iter().find(|letter| letter["kind"] == "account_restored").unwrap();
    assert!(!letter["text"].as_str().unwrap().contains("you can sign in again"), "{letter}");
    let line =
        "SELECT count(*) FROM audit WHERE action = 'user.restored' AND details->>'reason' = 'A mistake'
                AND old_values->>'status' = 'deleted' AND new_values->>'status' = 'banned'";
    assert_eq!(product.world.count(line).await, 1);
    product.advance(Duration::from_secs(61));
    let token = product.prove("ada@example.org", "login").await;
    let login = json!({ "identifier": "ada@example.org", "verification_token": token });
    assert_eq!(product.post("/api/auth/login", login).await.1["code"], "account.banned");
    // whom the schedule set aside comes back by signing in, as before
    let bob = product.register("bob@example.org", "bob").await;
    product
        .world
        .execute("UPDATE users SET status = 'inactive', lapsed_at = now() WHERE username = 'bob'")
        .await;
    assert_eq!(product.delete(&path(&bob), &staff).await.0, 204);
    let (status, record) = product.call(Method::POST, &admin(&bob, "restore"), &back, &staff).await;
    assert_eq!((status, &record["status"]), (200, &json!("inactive")), "{record}");
    product.advance(Duration::from_secs(61));
    product.login("bob@example.org").await;
    // and one of an older build, of which nothing is known, is active
    let cyd = product.register("cyd@example.org", "cyd").await;
    assert_eq!(product.delete(&path(&cyd), &staff).await.0, 204);
    product.world.execute("UPDATE users SET before_deletion = NULL").await;
    let (_, record) = product.call(Method::POST, &admin(&cyd, "restore"), &back, &staff).await;
    assert_eq!(state(&record), [json!("active"), json!("A mistake")]);
}

#[tokio::test]
async fn who_may_not_read_records_is_given_none_for_changing_them() {
    let product = Product::new().await;
    let staff = product.register("staff@example.org", "staffer").await;
    promote(&product, &staff, "hod").await;
    let ada = product.register("ada@example.org", "ada").await;
    product
        .world
        .execute("UPDATE roles SET permissions = '{users.write,users.status}' WHERE role = 'hod'")
        .await;
    let calls = [
        (Method::PATCH, path(&ada), json!({}), 404, "user.not_found"),
        (Method::PUT, path(&ada), json!({ "username": "ada" }), 404, "user.not_found"),
        (
            Method::POST,
            admin(&ada, "status"),
            json!({ "status": "active", "reason": "x" }),
            403,
            "auth.forbidden",
        ),
        (Method::POST, admin(&ada, "restore"), json!({ "reason": "x" }), 403, "auth.forbidden"),
    ];
    for (method, path, body, status, code) in &calls {
        let (told, refused) = product.call(method.clone(), path, body, &staff).await;
        assert_eq!((told, &refused["code"]), (*status, &json!(code)), "{method} {path}");
        assert_eq!(refused["email"], Value::Null);
    }
    assert_eq!(product.call(Method::PATCH, &path(&staff), &json!({}), &staff).await.0, 200, "one's own");
    product
        .world
        .execute("UPDATE roles SET permissions = '{users.read,users.write,users.status}' WHERE role = 'hod'")
        .await;
    for (method, path, body, ..) in &calls[..3] {
        assert_eq!(product.call(method.clone(), path, body, &staff).await.0, 200, "{method} {path}");
    }
}

#[tokio::test]
async fn staff_end_all_sessions_of_somebody() {
    let product = Product::new().await;
    let staff = product.register("staff@example.org", "staffer").await;
    promote(&product, &staff, "admin").await;
    let ada = product.register("ada@example.org", "ada").await;
    product.advance(Duration::from_secs(61));
    let other = product.login("ada@example.org").await;
    assert_eq!(product.get(&admin(&ada, "sessions"), &staff).await.1["items"].as_array().unwrap().len(), 2);
    assert_eq!(product.delete(&admin(&ada, "sessions"), &staff).await, (204, json!("")));
    for tokens in [&ada, &other] {
        let (status, refused) = product.get("/api/auth/me", tokens).await;
        assert_eq!((status, &refused["code"]), (401, &json!("auth.session_ended")));
        let refresh = json!({ "refresh_token": tokens["refresh_token"] });
        assert_eq!(product.post("/api/auth/refresh", refresh).await.0, 401);
    }
    assert_eq!(product.get(&admin(&ada, "sessions"), &staff).await.1["items"], json!([]));
    let line = "SELECT count(*) FROM audit a JOIN users u ON u.user_id::text = a.entity_id
                WHERE a.action = 'session.all_ended' AND a.details->>'ended' = '2' AND u.username = 'ada'
                  AND a.actor = (SELECT user_id FROM users WHERE username = 'staffer')";
    assert_eq!(product.world.count(line).await, 1);
    let nobody = "/api/admin/users/019aa9f3-17cf-7b0a-9e1c-2d3e4f506172/sessions";
    assert_eq!(product.delete(nobody, &staff).await.1["code"], "user.not_found");
    product.advance(Duration::from_secs(61));
    product.login("ada@example.org").await;
}

#[tokio::test]
async fn a_request_is_shown_without_its_credentials() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let (status, shown) = product.get("/api/auth/debug/headers", &ada).await;
    assert_eq!(status, 200, "{shown}");
    let fields = shown["headers"].as_array().unwrap();
    let authorization = fields.iter().find(|field| field["name"] == "authorization").unwrap();
    assert_eq!(authorization["value"], "[redacted]");
    assert!(fields.iter().any(|field| field["name"] == "host"));
}

#[tokio::test]
async fn the_last_activity_is_the_newest_use_of_a_session() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    product.advance(Duration::from_secs(600));
    let ada = product.refreshed(&ada).await;
    let at = product.ctx.now();
    product.advance(Duration::from_secs(60));
    let (status, record) = product.get(&path(&ada), &ada).await;
    assert_eq!(status, 200, "{record}");
    let told: chrono::DateTime<chrono::Utc> =
        record["last_activity_at"].as_str().expect("a time").parse().expect("a time");
    assert_eq!(told, at);
}

#[tokio::test]
async fn a_search_holds_no_hidden_characters() {
    let product = Product::new().await;
    let staff = product.register("ada@example.org", "ada").await;
    promote(&product, &staff, "admin").await;
    for search in ["a%00", "a%E2%80%8Bd", "%20", "", &"x".repeat(101)] {
        let (status, refused) = product.get(&format!("/api/users?search={search}"), &staff).await;
        assert_eq!((status, &refused["code"]), (422, &json!("request.invalid")), "{search}");
    }
    assert_eq!(product.get("/api/users?search=%20ad%20", &staff).await.1["total"], 1);
}
