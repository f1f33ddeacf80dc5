//! Passkeys with the authenticator and the browser of somebody else (1Password's `passkey-rs`): what the
//! product writes they read, and what they write the product reads.

use passkey_authenticator::{Authenticator, UiHint, UserCheck, UserValidationMethod};
use passkey_client::{Client, DefaultClientData};
use passkey_crypto::AvailableBackend;
use passkey_types::Passkey;
use passkey_types::ctap2::{Aaguid, Ctap2Error};
use passkey_types::webauthn::{
    CredentialCreationOptions, CredentialRequestOptions, PublicKeyCredentialCreationOptions,
};
use reqwest::Method;
use serde_json::{Value, json};
use url::Url;

use crate::support::Product;
use crate::totp::{post, refusal, refused};

/// Somebody who is always there.
struct Person;

#[async_trait::async_trait]
impl UserValidationMethod for Person {
    type PasskeyItem = Passkey;

    async fn check_user<'a>(
        &self,
        _: UiHint<'a, Passkey>,
        presence: bool,
        verification: bool,
    ) -> Result<UserCheck, Ctap2Error> {
        Ok(UserCheck { presence, verification })
    }

    fn is_presence_enabled(&self) -> bool {
        true
    }

    fn is_verification_enabled(&self) -> Option<bool> {
        Some(true)
    }
}

#[tokio::test]
async fn an_authenticator_of_others_registers_and_signs_in() {
    let product = Product::with(&[
        ("RATE_LIMIT_ALLOW", "127.0.0.1"),
        ("PASSKEY_RP_ID", "example.org"),
        ("PASSKEY_ORIGINS", "https://id.example.org,https://app.example.org"),
    ])
    .await;
    let tokens = product.register("ada@example.org", "ada").await;
    let authenticator = Authenticator::new(Aaguid::new_empty(), None::<Passkey>, Person, AvailableBackend);
    let mut client = Client::new(authenticator);
    let origin = Url::parse("https://app.example.org").expect("origin");

    let (_, started) = post(&product, "/api/auth/passkeys/register/start", Value::Null, &tokens).await;
    let public_key = serde_json::from_value(started["options"].clone()).expect("creation options");
    let options = CredentialCreationOptions { public_key };
    let made = client.register(&origin, options, DefaultClientData).await.expect("a passkey");
    let body = json!({
        "challenge_id": started["challenge_id"], "name": "Vault",
        "credential": serde_json::to_value(&made).expect("JSON"),
    });
    let (status, kept) = post(&product, "/api/auth/passkeys/register/finish", body, &tokens).await;
    assert_eq!(status, 201, "{kept}");

    let (_, again) = post(&product, "/api/auth/passkeys/register/start", Value::Null, &tokens).await;
    let options: PublicKeyCredentialCreationOptions =
        serde_json::from_value(again["options"].clone()).expect("creation options");
    let excluded = options.exclude_credentials.expect("those there are");
    assert_eq!(excluded.iter().map(|known| &known.id).collect::<Vec<_>>(), [&made.raw_id]);

    for _ in 0..2 {
        let (_, asked) = product.post("/api/auth/passkeys/login/start", json!({})).await;
        let public_key = serde_json::from_value(asked["options"].clone()).expect("request options");
        let options = CredentialRequestOptions { public_key };
        let answer = client.authenticate(&origin, options, DefaultClientData).await.expect("an answer");
        let body = json!({
            "challenge_id": asked["challenge_id"], "credential": serde_json::to_value(&answer).expect("JSON"),
        });
        let (status, signed_in) = product.post("/api/auth/passkeys/login/finish", body.clone()).await;
        assert_eq!(status, 200, "{signed_in}");
        assert_eq!(signed_in["user_id"], tokens["user_id"]);
        let replayed = product.post("/api/auth/passkeys/login/finish", body).await;
        assert_eq!(refusal(replayed), refused(422, "passkey.challenge"));
    }
    let listed = product.call(Method::GET, "/api/auth/passkeys", &Value::Null, &tokens).await.1;
    assert_eq!(listed["items"][0]["name"], "Vault");
}
