//! Access tokens that are none: forged with other keys, by other algorithms, for other times, issuers and
//! audiences. Those forged here with the service's own key and nothing changed are let in, so that the
//! others are refused for what they are.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keryu_common::seal;
use keryu_common::secret::Keyring;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Product;
use crate::support::product::read;
use crate::support::world::SECRET;

/// A token's parts and the key that signed it.
struct Mint {
    header: Value,
    claims: Value,
    key: Ed25519KeyPair,
}

impl Mint {
    /// Takes a token apart and the key out of the database.
    async fn of(product: &Product, tokens: &Value) -> Self {
        let parts: Vec<Value> = tokens["access_token"]
            .as_str()
            .expect("token")
            .split('.')
            .take(2)
            .map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("json"))
            .collect();
        let (header, claims) = (parts[0].clone(), parts[1].clone());
        let kid = header["kid"].as_str().expect("kid").to_owned();
        let sealed: Vec<u8> = sqlx::query_scalar("SELECT sealed FROM signing_keys WHERE key_id = $1")
            .bind(&kid)
            .fetch_one(&product.world.db)
            .await
            .expect("key");
        let ring = Keyring::parse(SECRET).expect("ring");
        let pkcs8 = seal::open(&ring, "signing_key", kid.as_bytes(), &sealed).expect("opened");
        Self { header, claims, key: Ed25519KeyPair::from_pkcs8(&pkcs8).expect("pair") }
    }

    /// Signed by the service's own key, with these members of header and claims in place of what was.
    fn own(&self, header: Value, claims: Value) -> String {
        self.by(header, claims, |text| self.key.sign(text).as_ref().to_vec())
    }

    /// Signed by whatever.
    fn by(&self, header: Value, claims: Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
        let part = |was: &Value, change: Value| {
            let mut now = was.clone();
            for (name, value) in change.as_object().expect("members") {
                match value {
                    Value::Null => now.as_object_mut().expect("object").remove(name),
                    value => now.as_object_mut().expect("object").insert(name.clone(), value.clone()),
                };
            }
            URL_SAFE_NO_PAD.encode(now.to_string())
        };
        let text = format!("{}.{}", part(&self.header, header), part(&self.claims, claims));
        let signature = URL_SAFE_NO_PAD.encode(sign(text.as_bytes()));
        format!("{text}.{signature}")
    }
}

async fn me(product: &Product, token: &str) -> (u16, String) {
    let bearer = format!("Bearer {token}");
    let answer = product.send(Method::GET, "/api/auth/me", &Value::Null, &[("authorization", &bearer)]).await;
    let (status, body) = read(answer).await;
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

async fn refused(product: &Product, what: &str, token: &str) {
    assert_eq!(me(product, token).await, (401, "auth.invalid_token".to_owned()), "{what}");
}

#[tokio::test]
async fn what_is_no_token_of_ours_is_refused() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let mint = Mint::of(&product, &ada).await;
    assert_eq!(me(&product, &mint.own(json!({}), json!({}))).await.0, 200, "nothing changed");
    for none in ["none", "None", "NONE", ""] {
        refused(&product, none, &mint.by(json!({ "alg": none }), json!({}), |_| Vec::new())).await;
        refused(&product, none, &mint.own(json!({ "alg": none }), json!({}))).await;
    }
    // the public key as the secret of a MAC, in the forms somebody might have it
    let public = mint.key.public_key().as_ref().to_vec();
    let text = URL_SAFE_NO_PAD.encode(&public).into_bytes();
    for secret in [public, text, Vec::new()] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let token =
            mint.by(json!({ "alg": "HS256" }), json!({}), |text| hmac::sign(&key, text).as_ref().to_vec());
        refused(&product, "HS256 by the public key", &token).await;
    }
    for alg in ["ES256", "RS256", "PS256", "EdDSA2"] {
        refused(&product, alg, &mint.own(json!({ "alg": alg }), json!({}))).await;
    }
    // a key that the token itself brings
    let other = Ed25519KeyPair::generate().expect("pair");
    let x = URL_SAFE_NO_PAD.encode(other.public_key().as_ref());
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": x });
    let keys = format!("{}/dev/inbox.json", product.base);
    for header in [
        json!({}),
        json!({ "jwk": jwk }),
        json!({ "jwk": jwk, "kid": null }),
        json!({ "jku": keys, "kid": "theirs" }),
        json!({ "x5u": keys, "kid": "theirs" }),
        json!({ "x5c": ["AAAA"] }),
    ] {
        let token = mint.by(header.clone(), json!({}), |text| other.sign(text).as_ref().to_vec());
        refused(&product, &header.to_string(), &token).await;
    }
    // names of keys that are paths, statements, nothing
    for kid in ["../../../../dev/null", "' OR true --", "", "\u{0}", &"a".repeat(1_000)] {
        refused(&product, kid, &mint.own(json!({ "kid": kid }), json!({}))).await;
    }
    for kid in [json!(7), json!([]), Value::Null] {
        refused(&product, "kid", &mint.own(json!({ "kid": kid }), json!({}))).await;
    }
    // cut, changed, not a token at all
    let whole = mint.own(json!({}), json!({}));
    let parts: Vec<&str> = whole.split('.').collect();
    let admin = URL_SAFE_NO_PAD.encode(mint.claims.to_string().replace("member", "admin"));
    for token in [
        whole[..whole.len() - 2].to_owned(),
        format!("{}.{}", parts[0], parts[1]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{admin}.{}", parts[0], parts[2]),
        format!("{whole}.{}", parts[2]),
        "a.b.c".to_owned(),
        "...".to_owned(),
        "x".repeat(6_000),
    ] {
        refused(&product, &token, &token).await;
    }
}

#[tokio::test]
async fn a_token_is_for_its_time_its_type_its_issuer_and_its_audience() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let bob = product.register("bob@example.org", "bob").await;
    let mint = Mint::of(&product, &ada).await;
    let now = product.ctx.now().timestamp();
    for (what, header, claims) in [
        ("expired", json!({}), json!({ "exp": now })),
        ("of the future", json!({}), json!({ "nbf": now + 60 })),
        ("without an end", json!({}), json!({ "exp": null })),
        ("without a beginning", json!({}), json!({ "nbf": null })),
        ("an end that is no time", json!({}), json!({ "exp": "never" })),
        ("another issuer's", json!({}), json!({ "iss": "https://evil.example" })),
        ("nobody's", json!({}), json!({ "iss": null })),
        ("for another audience", json!({}), json!({ "aud": "https://evil.example" })),
        ("for nobody", json!({}), json!({ "aud": null })),
        ("of another type", json!({ "typ": "JWT" }), json!({})),
        ("an id token", json!({ "typ": "id+jwt" }), json!({})),
        ("of no type", json!({ "typ": null }), json!({})),
        ("without a session", json!({}), json!({ "sid": null })),
        ("a subject that is no id", json!({}), json!({ "sub": "ada" })),
    ] {
        refused(&product, what, &mint.own(header, claims)).await;
    }
    // one person's name on another's session
    let borrowed = mint.own(json!({}), json!({ "sub": bob["user_id"] }));
    assert_eq!(me(&product, &borrowed).await, (401, "auth.session_ended".to_owned()));
    // what the token says of a role gives none: rights are read from the row
    let admin = mint.own(json!({}), json!({ "role": "admin" }));
    let bearer = format!("Bearer {admin}");
    let roles =
        product.send(Method::GET, "/api/admin/roles", &Value::Null, &[("authorization", &bearer)]).await;
    assert_eq!(roles.status(), 403);
}
