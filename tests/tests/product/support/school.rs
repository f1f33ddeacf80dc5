//! A school: somebody with the rights to write its order, and people of every role.

use keryu_common::job::Terms;
use keryu_common::user::erase::EraseDue;
use reqwest::Method;
use serde_json::{Value, json};

use super::product::read;
use super::{Engine, Product};

/// Intakes.
pub const MONTHS: [&str; 2] = ["2026-09", "2026-05"];

/// The product, and a deputy principal who writes.
pub struct School {
    /// The product under test.
    pub product: Product,
    /// The tokens of the deputy principal.
    pub dean: Value,
}

/// The id of what was answered.
pub fn id(made: &Value) -> &str {
    made["id"].as_str().expect("id")
}

impl School {
    /// With nobody in it but the deputy principal.
    pub async fn new() -> Self {
        let product = Product::new().await;
        let dean = product.register("dean@example.org", "the.dean").await;
        let school = Self { product, dean };
        school.give("the.dean", "dp_academics").await;
        school
    }

    /// The deputy principal, signed in again.
    pub async fn again(&self) -> Value {
        self.product.login("dean@example.org").await
    }

    /// Gives somebody a role by hand.
    pub async fn give(&self, name: &str, role: &str) {
        sqlx::query("UPDATE users SET role = $2 WHERE username = $1")
            .bind(name)
            .bind(role)
            .execute(&self.product.world.db)
            .await
            .expect("role");
    }

    /// Registers somebody with this role: the tokens.
    pub async fn somebody(&self, name: &str, role: &str) -> Value {
        let tokens = self.product.register(&format!("{name}@example.org"), name).await;
        self.give(name, role).await;
        tokens
    }

    /// A path of somebody's.
    pub fn of(&self, tokens: &Value, what: &str) -> String {
        format!("/api/users/{}/{what}", tokens["user_id"].as_str().expect("user_id"))
    }

    /// GET by the deputy principal.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.product.get(path, &self.dean).await
    }

    /// POST by the deputy principal.
    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.product.call(Method::POST, path, body, &self.dean).await
    }

    /// PUT by the deputy principal.
    pub async fn put(&self, path: &str, body: &Value) -> (u16, Value) {
        self.product.call(Method::PUT, path, body, &self.dean).await
    }

    /// A department, a programme of it and a class group of that.
    pub async fn order(&self, name: &str, capacity: Option<i64>) -> (Value, Value, Value) {
        let make = |path: &'static str, body: Value| async move {
            let (status, made) = self.post(path, &body).await;
            assert_eq!(status, 201, "{made}");
            made
        };
        let department =
            make("/api/departments", json!({ "name": name, "description": "Rooms 1 to 9" })).await;
        let programme = make(
            "/api/programmes",
            json!({ "name": format!("{name} Diploma"), "department_id": id(&department), "level": "diploma",
                    "duration_months": 24 }),
        )
        .await;
        let group = make(
            "/api/class-groups",
            json!({ "name": format!("{name} A"), "programme_id": id(&programme), "intake": MONTHS[0],
                    "capacity": capacity }),
        )
        .await;
        (department, programme, group)
    }

    /// What a PUT would send to leave a record as it is.
    pub fn asked(&self, made: &Value) -> Value {
        let mut body = made.clone();
        for name in ["id", "created_at", "updated_at"] {
            body.as_object_mut().expect("object").remove(name);
        }
        body
    }

    /// The text of a service's key with one scope.
    pub async fn key(&self, scope: &str) -> String {
        self.product.world.execute("UPDATE users SET is_superuser = true WHERE username = 'the.dean'").await;
        let body = json!({ "name": "attendance", "scopes": [scope] });
        let (status, made) = self.post("/api/admin/api-keys", &body).await;
        assert_eq!(status, 201, "{made}");
        self.product.world.execute("UPDATE users SET is_superuser = false WHERE username = 'the.dean'").await;
        made["key"].as_str().expect("key").to_owned()
    }

    /// GET by a service.
    pub async fn as_service(&self, path: &str, key: &str) -> (u16, Value) {
        read(self.product.send(Method::GET, path, &Value::Null, &[("x-api-key", key)]).await).await
    }

    /// Erases whose grace time is over.
    pub async fn erase_due(&self) {
        let engine = Engine { world: self.product.world.again(), ctx: self.product.ctx.clone() };
        engine.ask(&EraseDue::default(), Terms::default()).await;
        engine.drain().await;
    }
}
