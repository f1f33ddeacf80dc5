//! Registering by the classic form, and why nobody gains by doing it with somebody else's address.

use std::time::Duration;

use serde_json::json;

use super::support::Product;

const ON: [(&str, &str); 2] = [("RATE_LIMIT_ALLOW", "127.0.0.1"), ("AUTH_CLASSIC_FORM", "on")];

#[tokio::test]
async fn the_form_is_off_unless_it_is_switched_on() {
    let product = Product::new().await;
    let form = json!({ "username": "ada", "email": "ada@example.org", "password": "a river of stones" });
    let (status, refused) = product.post("/api/auth/register", form).await;
    assert_eq!((status, &refused["code"]), (403, &json!("auth.classic_form_off")));
}

#[tokio::test]
async fn a_person_registers_by_form_confirms_by_code_and_keeps_the_password() {
    let product = Product::with(&ON).await;
    let form = json!({ "username": "ada", "email": "ada@example.org", "phone_number": "0712345678",
                       "password": "a river of stones" });
    let (status, issued) = product.post("/api/auth/register", form).await;
    assert_eq!(status, 202, "{issued}");
    assert!(issued.get("access_token").is_none());
    product.drain().await;
    let code = product.code_for("+254712345678").await.expect("the code goes to the phone");
    let (status, proof) =
        product.verify("0712345678", "register", &code, issued["challenge_id"].as_str()).await;
    assert_eq!(status, 200, "{proof}");
    let body = json!({ "identifier": "0712345678", "verification_token": proof["verification_token"] });
    let (status, tokens) = product.post("/api/auth/login", body).await;
    assert_eq!(status, 200, "{tokens}");
    let (_, me) = product.get("/api/auth/me", &tokens).await;
    assert_eq!(me["verification_status"], "phone_verified");
    product.drain().await;
    assert!(product.letters().await.iter().any(|letter| letter["kind"] == "welcome"));
    let body = json!({ "identifier": "ada", "password": "a river of stones" });
    assert_eq!(product.post("/api/auth/login", body).await.0, 200);
}

#[tokio::test]
async fn who_registered_with_anothers_address_keeps_nothing_of_it() {
    let product = Product::with(&ON).await;
    let form = json!({ "username": "mallory", "email": "ada@example.org", "password": "mallory waits here" });
    assert_eq!(product.post("/api/auth/register", form).await.0, 202);
    product.advance(Duration::from_secs(61));
    // Ada asks for a code herself, and signs in to what is there
    let token = product.prove("ada@example.org", "login").await;
    let body = json!({ "identifier": "ada@example.org", "verification_token": token });
    let (status, tokens) = product.post("/api/auth/login", body).await;
    assert_eq!(status, 200, "{tokens}");
    for name in ["mallory", "ada@example.org"] {
        let body = json!({ "identifier": name, "password": "mallory waits here" });
        let (status, refused) = product.post("/api/auth/login", body).await;
        assert_eq!((status, &refused["code"]), (401, &json!("auth.invalid")), "{name}");
    }
}

#[tokio::test]
async fn a_taken_address_gets_the_same_answer_and_its_owner_is_told() {
    let product = Product::with(&ON).await;
    product.register("ada@example.org", "ada").await;
    product.advance(Duration::from_secs(61));
    let form = |name: &str, email: &str| json!({ "username": name, "email": email, "password": "a river of stones" });
    let (status, known) = product.post("/api/auth/register", form("eve", "ada@example.org")).await;
    let (other, unknown) = product.post("/api/auth/register", form("bob", "bob@example.org")).await;
    assert_eq!((status, other), (202, 202));
    let shape = |body: &serde_json::Value| body.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(shape(&known), shape(&unknown));
    product.drain().await;
    let letters = product.letters().await;
    let to_ada: Vec<_> = letters.iter().filter(|letter| letter["to"] == "ada@example.org").collect();
    assert_eq!(to_ada[0]["kind"], "account_exists");
    assert_eq!(product.world.count("SELECT count(*) FROM users").await, 3);
}

#[tokio::test]
async fn parts_of_both_ways_or_of_neither_are_faults() {
    let product = Product::with(&ON).await;
    for (form, pointers) in [
        (json!({ "username": "ada" }), vec!["/identifier", "/verification_token"]),
        (json!({ "username": "ada", "email": "ada@example.org" }), vec!["/password"]),
        (json!({ "username": "ada", "identifier": "ada@example.org" }), vec!["/verification_token"]),
        (
            json!({ "username": "ada", "identifier": "ada@example.org", "verification_token": "x",
                    "email": "ada@example.org", "password": "a river of stones" }),
            vec![""],
        ),
        (
            json!({ "username": "ada", "email": "0712345678", "password": "short" }),
            vec!["/email", "/password"],
        ),
    ] {
        let (status, refused) = product.post("/api/auth/register", form.clone()).await;
        assert_eq!(status, 422, "{form}: {refused}");
        let mut found: Vec<&str> =
            refused["errors"].as_array().unwrap().iter().map(|f| f["pointer"].as_str().unwrap()).collect();
        found.sort_unstable();
        assert_eq!(found, pointers, "{form}");
    }
}
