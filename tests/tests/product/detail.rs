//! What staff see of one person: the account, and the profile, document, points and money beside it.

use reqwest::Method;
use serde_json::{Value, json};

use super::support::Product;
use super::support::paper::{hand_in, passport, somebody};

async fn post(product: &Product, path: &str, unit: &str, amount: &str, staff: &Value) {
    let posting =
        json!({ "reference": unit, "kind": "credit", "unit": unit, "amount": amount, "reason": "A gift" });
    let (status, told) = product.call(Method::POST, path, &posting, staff).await;
    assert_eq!(status, 201, "{told}");
}

#[tokio::test]
async fn staff_see_profile_document_points_and_money_and_the_person_their_record_alone() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let (boss, head) = (somebody(&product, "boss", "admin").await, somebody(&product, "head", "hod").await);
    let path = format!("/api/users/{}", ada["user_id"].as_str().unwrap());
    let profile = json!({ "full_name": "Augusta Ada King", "date_of_birth": "1990-12-10" });
    let (status, told) = product.call(Method::PATCH, "/api/users/profile", &profile, &ada).await;
    assert_eq!(status, 200, "{told}");
    let submission = passport(&product, "AK0123456", &ada).await;
    hand_in(&product, &submission, &ada).await;
    let wallet = format!("{path}/wallet/postings");
    post(&product, &wallet, "money", "12.50", &boss).await;
    post(&product, &wallet, "points", "40", &boss).await;
    let (status, seen) = product.get(&path, &boss).await;
    assert_eq!(status, 200, "{seen}");
    assert_eq!(seen["profile"]["full_name"], "Augusta Ada King");
    assert_eq!(seen["profile"]["missing"], json!(["address", "emergency_contact", "emergency_phone"]));
    assert_eq!(
        (&seen["kyc"]["status"], &seen["kyc"]["document_type"]),
        (&json!("pending"), &json!("passport"))
    );
    assert!(!seen.to_string().contains("0123456"), "no number of a document: {seen}");
    assert_eq!(
        (&seen["points"], &seen["wallet_balance"]),
        (&json!({ "current": "40", "total": "40" }), &json!("12.50"))
    );
    let (_, partly) = product.get(&path, &head).await;
    assert_eq!((&partly["kyc"], &partly["wallet_balance"]), (&Value::Null, &json!("12.50")), "{partly}");
    assert_eq!(seen.get("social_profile_data"), Some(&Value::Null), "nobody signs in by another service yet");
    let (_, own) = product.get(&path, &ada).await;
    for group in ["profile", "kyc", "points", "wallet_balance"] {
        assert_eq!(own[group], Value::Null, "{own}");
    }
}

#[tokio::test]
async fn documents_and_factors_of_people_above_are_not_shown() {
    let product = Product::new().await;
    let (ada, chief) =
        (somebody(&product, "ada", "member").await, somebody(&product, "chief", "admin").await);
    let head = somebody(&product, "head", "hod").await;
    product
        .world
        .execute("UPDATE roles SET permissions = '{users.read,kyc.read,factors.reset}' WHERE role = 'hod'")
        .await;
    for (number, tokens) in [("AK0123456", &ada), ("AK0123457", &chief)] {
        hand_in(&product, &passport(&product, number, tokens).await, tokens).await;
    }
    let path = |tokens: &Value| format!("/api/users/{}", tokens["user_id"].as_str().unwrap());
    let (_, below) = product.get(&path(&ada), &head).await;
    assert_eq!((&below["kyc"]["status"], &below["factors"]), (&json!("pending"), &json!([])), "{below}");
    let (status, above) = product.get(&path(&chief), &head).await;
    assert_eq!((status, &above["username"]), (200, &json!("chief")));
    assert_eq!((&above["kyc"], &above["factors"]), (&Value::Null, &Value::Null), "{above}");
    product.world.execute("UPDATE users SET is_superuser = true WHERE username = 'ada'").await;
    assert_eq!(product.get(&path(&ada), &head).await.1["kyc"], Value::Null, "nor those of superusers");
}
