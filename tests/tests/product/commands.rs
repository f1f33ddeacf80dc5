//! The operators' commands, by the real binary: what they print, what they refuse, and what they leave
//! behind.

use std::os::unix::fs::PermissionsExt;

use keryu_common::seal::{self, Column};
use keryu_common::secret::Keyring;
use serde_json::{Value, json};

use crate::support::world::SECRET;
use crate::support::{Folder, Product, World, command};

/// What a command did: its exit code, what it said, what went wrong.
struct Done {
    code: i32,
    said: String,
    wrong: String,
}

impl Done {
    fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{}", self.wrong);
        serde_json::from_str(&self.said).expect(&self.said)
    }
}

async fn run(world: &World, args: &[&str], settings: &[(&str, &str)]) -> Done {
    let mut all = world.settings();
    for (name, value) in settings {
        all.retain(|(known, _)| known != name);
        all.push(((*name).to_owned(), (*value).to_owned()));
    }
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let ended = tokio::task::spawn_blocking(move || {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let all: Vec<(&str, &str)> = all.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        command::run("keryu-api", &args, &all)
    });
    let output = ended.await.expect("command");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Done { code: output.status.code().unwrap_or(-1), said: text(output.stdout), wrong: text(output.stderr) }
}

#[tokio::test]
async fn every_command_has_help() {
    let world = World::new().await;
    for args in [
        &["--help"][..],
        &["create-superuser", "--help"],
        &["keys", "--help"],
        &["keys", "list", "--help"],
        &["keys", "create", "--help"],
        &["keys", "revoke", "--help"],
        &["keys", "rotate-signing", "--help"],
        &["keys", "rewrap", "--help"],
        &["seed", "--help"],
    ] {
        let done = run(&world, args, &[]).await;
        assert_eq!(done.code, 0, "{args:?}");
        assert!(done.said.contains("Usage:") && done.said.lines().count() > 3, "{args:?}: {}", done.said);
    }
}

#[tokio::test]
async fn a_superuser_is_made_and_signs_in() {
    let product = Product::new().await;
    let args = [
        "create-superuser",
        "--username",
        "Grace",
        "--email",
        "Grace@Example.org",
        "--phone",
        "0712 345 678",
        "--password",
        "a ship in port is safe",
        "--json",
    ];
    let made = run(&product.world, &args, &[]).await.json();
    assert_eq!(made["username"], "Grace");
    assert!(!made.to_string().contains("grace@example.org"), "masked: {made}");
    let body = json!({ "identifier": "grace@example.org", "password": "a ship in port is safe" });
    let (status, tokens) = product.post("/api/auth/login", body).await;
    assert_eq!(status, 200, "{tokens}");
    assert_eq!(tokens["user_id"], made["id"]);
    let by_code = product.login("+254712345678").await;
    assert_eq!(by_code["user_id"], made["id"]);
    let (_, me) = product.get("/api/auth/me", &tokens).await;
    assert_eq!((&me["verification_status"], &me["role"]), (&json!("both_verified"), &json!("admin")));
    assert_eq!(product.get("/api/admin/roles", &tokens).await.0, 200);
    let line = "SELECT count(*) FROM audit WHERE action = 'user.superuser_created' AND actor IS NULL";
    assert_eq!(product.world.count(line).await, 1);
}

#[tokio::test]
async fn what_cannot_be_a_superuser_is_refused_in_clear_words() {
    let world = World::new().await;
    let make = |name: &'static str, email: &'static str, password: &'static str| {
        let args = ["create-superuser", "--username", name, "--email", email, "--password", password];
        let world = &world;
        async move { run(world, &args, &[]).await }
    };
    let good = "a ship in port is safe";
    assert_eq!(make("grace", "grace@example.org", good).await.code, 0);
    for (name, email, password, words) in [
        ("Grace", "other@example.org", good, &["taken", "user.username_taken"][..]),
        ("hopper", "GRACE@example.org", good, &["user.identifier_taken"]),
        ("hopper", "hopper@example.org", "hopper@example.org", &["password"]),
        ("1x", "nonsense", "short", &["username:", "email:", "password:"]),
        ("hopper", "+254712345678", good, &["email:"]),
    ] {
        let done = make(name, email, password).await;
        assert_eq!(done.code, 1, "{name} {email}: {}", done.said);
        for word in words {
            assert!(done.wrong.contains(word), "{word} in {}", done.wrong);
        }
        assert!(!done.wrong.contains(password), "{}", done.wrong);
    }
    for args in [&["create-superuser", "--username", "ada"][..], &["create-superuser", "--email", "a@b.org"]]
    {
        assert_eq!(run(&world, args, &[]).await.code, 2, "{args:?}");
    }
    let done = run(&world, &["create-superuser"], &[]).await;
    assert!(done.code == 1 && done.wrong.contains("--username"), "no terminal: {}", done.wrong);
    let args = ["create-superuser", "--username", "ada", "--email", "ada@example.org"];
    let done = run(&world, &args, &[("KERYU_SECRET_KEY", "")]).await;
    assert!(done.code == 1 && done.wrong.contains("KERYU_SECRET_KEY"), "{}", done.wrong);
    assert_eq!(world.count("SELECT count(*) FROM users").await, 1);
}

#[tokio::test]
async fn services_keys_are_made_listed_and_revoked() {
    let product = Product::new().await;
    let create = ["keys", "create", "--name", "rentals", "--scope", "roles:read", "--scope", "users:read"];
    let made = run(&product.world, &[&create[..], &["--json"]].concat(), &[]).await.json();
    let key = made["key"].as_str().expect("key").to_owned();
    let roles = || async {
        let fields = [("x-api-key", key.as_str())];
        product.send(reqwest::Method::GET, "/api/admin/roles", &Value::Null, &fields).await.status().as_u16()
    };
    assert_eq!(roles().await, 200);
    let listed = run(&product.world, &["keys", "list"], &[]).await;
    assert!(listed.said.contains("rentals") && listed.said.contains("works"), "{}", listed.said);
    assert!(!listed.said.contains(&key[4..]));
    let id = made["api_key"]["api_key_id"].as_str().expect("id");
    assert_eq!(run(&product.world, &["keys", "revoke", id], &[]).await.code, 0);
    assert_eq!(roles().await, 401);
    let again = run(&product.world, &["keys", "revoke", id], &[]).await;
    assert!(again.code == 1 && again.wrong.contains("api_key.not_found"), "{}", again.wrong);
    let listed = run(&product.world, &["keys", "list", "--json"], &[]).await.json();
    assert!(listed[0]["revoked_at"].is_string(), "{listed}");
    let wrong = run(&product.world, &["keys", "create", "--name", "x", "--scope", "users:eat"], &[]).await;
    assert!(wrong.code == 2 && wrong.wrong.contains("users:read"), "{}", wrong.wrong);
    let past =
        ["keys", "create", "--name", "x", "--scope", "roles:read", "--expires-at", "2001-01-01T00:00:00Z"];
    let past = run(&product.world, &past, &[]).await;
    assert!(past.code == 1 && past.wrong.contains("expires_at"), "{}", past.wrong);
}

#[tokio::test]
async fn a_signing_key_is_made_before_its_time_and_nobody_is_signed_out() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let made = run(&product.world, &["keys", "rotate-signing", "--json"], &[]).await.json();
    assert_eq!(made, json!({ "made": true }));
    assert_eq!(product.world.count("SELECT count(*) FROM signing_keys").await, 2);
    assert_eq!(product.get("/api/auth/me", &ada).await.0, 200);
}

const NEW: &str = "new:0f0e0d0c0b0a090807060504030201000f0e0d0c0b0a09080706050403020100";

#[tokio::test]
async fn what_is_sealed_is_sealed_anew_until_the_old_key_is_needed_for_nothing() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    product.register("bob@example.org", "bob").await;
    let ring = |text: &str| Keyring::parse(text).expect("ring");
    let (old, new) = (ring(SECRET), ring(NEW));
    let id: uuid::Uuid = ada["user_id"].as_str().unwrap().parse().expect("id");
    let factor = keryu_common::id::unguessable();
    let totp = seal::seal(&old, Column::TotpFactors.purpose(), factor.as_bytes(), b"twenty secret bytes.");
    sqlx::query(
        "INSERT INTO totp_factors (factor_id, user_id, sealed, created_at) VALUES ($1, $2, $3, now())",
    )
    .bind(factor)
    .bind(id)
    .bind(totp.expect("sealed"))
    .execute(&product.world.db)
    .await
    .expect("factor");
    let national = seal::seal(&old, Column::NationalIds.purpose(), id.as_bytes(), b"12345678");
    sqlx::query("UPDATE users SET national_id_sealed = $2, national_id_hash = $3 WHERE user_id = $1")
        .bind(id)
        .bind(national.expect("sealed"))
        .bind(&old.derive("national_id").mac(&[b"12345678"])[..])
        .execute(&product.world.db)
        .await
        .expect("national id");
    let file = keryu_common::id::unguessable();
    let key =
        seal::seal(&old, Column::Uploads.purpose(), file.as_bytes(), b"the key of one file alone, sealed");
    sqlx::query(
        "INSERT INTO uploads (upload_id, user_id, purpose, content_type, size, object, sealed_key, created_at)
         VALUES ($1, $2, 'kyc_document', 'image/jpeg', 1, 'kyc_document/x', $3, now())",
    )
    .bind(file)
    .bind(id)
    .bind(key.expect("sealed"))
    .execute(&product.world.db)
    .await
    .expect("upload");
    let number = seal::seal(&old, Column::DocumentNumbers.purpose(), file.as_bytes(), b"AK0123456");
    sqlx::query(
        "INSERT INTO kyc_submissions (submission_id, user_id, document_type, number_sealed, number_hash, front_upload_id,
                                      state, created_at, updated_at)
         VALUES ($1, $2, 'passport', $3, $4, $1, 'pending', now(), now())",
    )
    .bind(file)
    .bind(id)
    .bind(number.expect("sealed"))
    .bind(&old.derive("document_number").mac(&[b"AK0123456"])[..])
    .execute(&product.world.db)
    .await
    .expect("document");
    let both = format!("{NEW},{SECRET}");
    let done =
        run(&product.world, &["keys", "rewrap", "--json"], &[("KERYU_SECRET_KEY", &both)]).await.json();
    let counts: Vec<(&str, u64)> = done
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["column"].as_str().unwrap(), one["rewrapped"].as_u64().unwrap()))
        .collect();
    assert_eq!(
        counts,
        [
            ("signing_keys.sealed", 1),
            ("user_keys.sealed", 2),
            ("totp_factors.sealed", 1),
            ("users.national_id_sealed", 1),
            ("uploads.sealed_key", 1),
            ("kyc_submissions.number_sealed", 1)
        ]
    );
    let (sealed, hash): (Vec<u8>, Vec<u8>) =
        sqlx::query_as("SELECT national_id_sealed, national_id_hash FROM users WHERE user_id = $1")
            .bind(id)
            .fetch_one(&product.world.db)
            .await
            .expect("row");
    assert_eq!(seal::open(&new, "national_id", id.as_bytes(), &sealed).as_deref(), Some(&b"12345678"[..]));
    assert_eq!(hash, new.derive("national_id").mac(&[b"12345678"]), "and is found by the new key");
    // again: nothing to do, with the new key alone
    let again = run(&product.world, &["keys", "rewrap"], &[("KERYU_SECRET_KEY", NEW)]).await;
    assert_eq!(again.code, 0, "{}", again.wrong);
    let rows: Vec<&str> = again.said.lines().skip(1).collect();
    assert!(rows.len() == 6 && rows.iter().all(|row| row.ends_with("0        0")), "{}", again.said);
    // nobody is signed out, and the signing key signs
    let renewed = product.restarted(&[("KERYU_SECRET_KEY", &both)]).await;
    let refresh = json!({ "refresh_token": ada["refresh_token"] });
    let (status, tokens) = renewed.post("/api/auth/refresh", refresh).await;
    assert_eq!(status, 200, "{tokens}");
    assert_eq!(renewed.get("/api/auth/me", &tokens).await.0, 200);
    assert_eq!(product.world.count("SELECT count(*) FROM signing_keys").await, 1);
    let lost = run(&product.world, &["keys", "rewrap"], &[("KERYU_SECRET_KEY", SECRET)]).await;
    assert!(lost.code == 1 && lost.wrong.contains("7 values"), "{}", lost.wrong);
}

#[tokio::test]
async fn every_sealed_column_is_on_the_list() {
    let world = World::new().await;
    let columns: Vec<String> = sqlx::query_scalar(
        "SELECT c.table_name || '.' || c.column_name FROM information_schema.columns c
         JOIN information_schema.tables t USING (table_schema, table_name)
         WHERE c.table_schema = 'public' AND c.data_type = 'bytea' AND c.column_name ~ '(sealed$|^sealed)'
           AND c.table_name NOT LIKE 'audit%' AND c.table_name <> 'profile_changes' ORDER BY 1",
    )
    .fetch_all(&world.db)
    .await
    .expect("columns");
    let mut listed = Column::ALL.map(Column::name).to_vec();
    listed.sort_unstable();
    assert_eq!(
        columns, listed,
        "audit lines and changes of profiles alone are sealed under their person's key"
    );
}

#[tokio::test]
async fn a_seed_plants_the_same_people_everywhere_and_signs_them_in() {
    let product = Product::new().await;
    let folder = Folder::new("seed");
    let file = format!("{}/tokens.tsv", folder.path());
    let args = ["seed", "--users", "300", "--seed", "7", "--sessions", "5", "--tokens-to", &file, "--json"];
    let done = run(&product.world, &args, &[]).await.json();
    assert_eq!((&done["made"], &done["sessions"]), (&json!(300), &json!(5)));
    for table in ["users", "profiles", "user_keys", "passwords"] {
        let sql = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        let count: i64 = sqlx::query_scalar(sql).fetch_one(&product.world.db).await.expect(table);
        assert_eq!(count, 300, "{table}");
    }
    assert_eq!(product.world.count("SELECT count(DISTINCT hash) FROM passwords").await, 1);
    assert!(product.world.count("SELECT count(DISTINCT role) FROM users").await >= 3);
    // and belong to a school
    for (table, least) in [
        ("departments", 8),
        ("programmes", 48),
        ("class_groups", 144),
        ("trainee_profiles", 50),
        ("trainer_profiles", 5),
        ("hod_profiles", 1),
        ("assignments", 5),
    ] {
        let sql = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        let count: i64 = sqlx::query_scalar(sql).fetch_one(&product.world.db).await.expect(table);
        assert!(count >= least, "{count} {table}");
    }
    // everybody is signed in who was to be
    let mode = std::fs::metadata(&file).expect("file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let lines = std::fs::read_to_string(&file).expect("tokens");
    assert_eq!(lines.lines().count(), 5);
    for line in lines.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let tokens = json!({ "access_token": fields[1] });
        let (status, me) = product.get("/api/auth/me", &tokens).await;
        assert!(status == 200 || me["code"] == "auth.invalid_token", "{me}");
        let (status, next) = product.post("/api/auth/refresh", json!({ "refresh_token": fields[2] })).await;
        assert_eq!(status, 200, "{next}");
        assert_eq!(next["user_id"], fields[0]);
    }
    // and signs in with the password of all
    let email: String = sqlx::query_scalar("SELECT email FROM users WHERE email IS NOT NULL LIMIT 1")
        .fetch_one(&product.world.db)
        .await
        .expect("somebody");
    let body = json!({ "identifier": email, "password": "keryu-seed-password" });
    let (status, tokens) = product.post("/api/auth/login", body).await;
    assert_eq!(status, 200, "{tokens}");
    // the same again makes nobody; more of the same makes the rest
    let more = run(&product.world, &["seed", "--users", "310", "--seed", "7", "--json"], &[]).await.json();
    assert_eq!(more["made"], 10);
    // elsewhere the same people
    let names =
        "SELECT string_agg(user_id || username || coalesce(email, '') || coalesce(phone_number, ''), ' '
                                   ORDER BY user_id) FROM users";
    let other = World::new().await;
    run(&other, &["seed", "--users", "310", "--seed", "7"], &[]).await;
    let all = |world: &World| {
        let db = world.db.clone();
        async move { sqlx::query_scalar::<_, String>(names).fetch_one(&db).await.expect("names") }
    };
    assert_eq!(all(&product.world).await, all(&other).await);
}

#[tokio::test]
async fn production_is_not_seeded_by_mistake() {
    let world = World::new().await;
    let production = [("KERYU_ENV", "production"), ("KERYU_PUBLIC_URL", "https://keryu.example.org")];
    let done = run(&world, &["seed", "--users", "1"], &production).await;
    assert_eq!(world.count("SELECT count(*) FROM users").await, 0, "{}", done.said);
    assert_ne!(done.code, 0);
    assert!(done.wrong.contains("--yes"), "{}", done.wrong);
}
