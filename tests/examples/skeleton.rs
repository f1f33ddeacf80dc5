//! The bare limit of `GET /api/auth/me`: the framework, an Ed25519 signature remembered by the token's hash, one
//! joined read of session, user and role on a pool of eight, and the same answer. Nothing of the product: no
//! limits, no metrics, no logs, no headers. `docs/bench/sessions.sh` runs it beside the product.

#![expect(clippy::disallowed_methods, reason = "it has neither the product's clock nor its checked queries")]

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, RwLock};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use poem::http::StatusCode;
use poem::listener::TcpListener;
use poem::web::{Data, Json};
use poem::{EndpointExt, Request, Route, Server, get, handler};
use serde_json::{Value, json};
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::{Row, query};
use uuid::Uuid;

type Fault = Box<dyn Error + Send + Sync>;

struct Skeleton {
    db: PgPool,
    keys: HashMap<String, Vec<u8>>,
    remembered: RwLock<HashMap<Vec<u8>, (Uuid, i64)>>,
}

impl Skeleton {
    /// The session and the end of a token that one of the keys signed.
    fn verify(&self, token: &str) -> Option<(Uuid, i64)> {
        let hash = digest(&SHA256, token.as_bytes()).as_ref().to_vec();
        if let Some(found) = self.remembered.read().ok()?.get(&hash) {
            return Some(*found);
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (head, claims) = signed.split_once('.')?;
        let part = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
        let head: Value = serde_json::from_slice(&part(head)?).ok()?;
        let key = self.keys.get(head.get("kid")?.as_str()?)?;
        UnparsedPublicKey::new(&ED25519, key).verify(signed.as_bytes(), &part(signature)?).ok()?;
        let claims: Value = serde_json::from_slice(&part(claims)?).ok()?;
        let found = (claims.get("sid")?.as_str()?.parse().ok()?, claims.get("exp")?.as_i64()?);
        self.remembered.write().ok()?.insert(hash, found);
        Some(found)
    }
}

#[handler]
async fn me(request: &Request, skeleton: Data<&Arc<Skeleton>>) -> poem::Result<Json<Value>> {
    let unauthorized = || poem::Error::from_status(StatusCode::UNAUTHORIZED);
    let token = request.header("authorization").and_then(|header| header.strip_prefix("Bearer "));
    let (session_id, expires_at) = token.and_then(|token| skeleton.verify(token)).ok_or_else(unauthorized)?;
    let now = chrono::Utc::now();
    if expires_at <= now.timestamp() {
        return Err(unauthorized());
    }
    let row = query(
        "SELECT u.user_id, u.username, u.status::text AS status, u.role, u.referral_code, u.social_provider,
                u.email_verified_at IS NOT NULL AS email, u.phone_verified_at IS NOT NULL AS phone, u.created_at
         FROM sessions s JOIN users u ON u.user_id = s.user_id JOIN roles r ON r.role = u.role
         WHERE s.session_id = $1 AND s.ended_at IS NULL AND s.expires_at > $2",
    )
    .bind(session_id)
    .bind(now)
    .fetch_optional(&skeleton.db)
    .await
    .map_err(poem::error::InternalServerError)?
    .ok_or_else(unauthorized)?;
    let (email, phone): (bool, bool) = (row.get("email"), row.get("phone"));
    Ok(Json(json!({
        "id": row.get::<Uuid, _>("user_id"),
        "username": row.get::<String, _>("username"),
        "profile_picture": null,
        "referral_code": row.get::<Option<String>, _>("referral_code"),
        "status": row.get::<String, _>("status"),
        "date_joined": row.get::<chrono::DateTime<chrono::Utc>, _>("created_at"),
        "profile_complete": false,
        "kyc_status": "not_submitted",
        "social_provider": row.get::<Option<String>, _>("social_provider"),
        "verification_status": match (email, phone) {
            (true, true) => "both_verified",
            (true, false) => "email_verified",
            (false, true) => "phone_verified",
            (false, false) => "not_verified",
        },
        "role": row.get::<String, _>("role"),
    })))
}

#[tokio::main]
async fn main() -> Result<(), Fault> {
    let var = |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set"));
    let db = PgPoolOptions::new()
        .max_connections(8)
        .min_connections(8)
        .test_before_acquire(false)
        .connect(&var("DATABASE_URL")?)
        .await?;
    let mut keys = HashMap::new();
    for row in query("SELECT key_id, public_key FROM signing_keys").fetch_all(&db).await? {
        let key: Value = row.get("public_key");
        let x = key.get("x").and_then(Value::as_str).ok_or("no Ed25519 key")?;
        keys.insert(row.get("key_id"), URL_SAFE_NO_PAD.decode(x)?);
    }
    let skeleton = Arc::new(Skeleton { db, keys, remembered: RwLock::default() });
    let app = Route::new().at("/api/auth/me", get(me)).data(skeleton);
    Server::new(TcpListener::bind(format!("127.0.0.1:{}", var("PORT")?))).run(app).await?;
    Ok(())
}
