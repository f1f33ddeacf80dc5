//! A database and a Redis prefix of a test's own.

use std::sync::Arc;

use keryu_common::database;
use keryu_tests::services;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool};

use super::Folder;

/// The key that codes of tests are derived with.
pub const SECRET: &str = "test:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// Where a test happens.
pub struct World {
    /// The test's own database.
    pub database_url: String,
    /// Shared; [`World::prefix`] keeps tests apart.
    pub redis_url: String,
    /// Leads every key and channel.
    pub prefix: String,
    /// For looking at rows.
    pub db: PgPool,
    /// Where files are kept.
    pub files: Arc<Folder>,
}

impl World {
    /// A fresh database on the shared pair of servers.
    pub async fn new() -> Self {
        let pair = services::shared().expect("services");
        Self::on(pair.database_url(), pair.redis_url()).await
    }

    /// A fresh database on these servers.
    pub async fn on(database_url: &str, redis_url: &str) -> Self {
        let name = format!("t_{}", keryu_common::secret::hex(&keryu_common::secret::random::<8>()));
        let options: PgConnectOptions = database_url.parse().expect("DATABASE_URL");
        let mut admin = PgConnection::connect_with(&options).await.expect("postgres");
        let template = template(&options, &mut admin).await;
        let create = format!("CREATE DATABASE {name} TEMPLATE {template}");
        sqlx::query(sqlx::AssertSqlSafe(create)).execute(&mut admin).await.expect("database");
        let database_url = with_database(database_url, &name);
        let db = PgPoolOptions::new().max_connections(4).connect(&database_url).await.expect("pool");
        let files = Arc::new(Folder::new(&name));
        Self { database_url, redis_url: redis_url.to_owned(), prefix: name, db, files }
    }

    /// The same world for one more process.
    pub fn again(&self) -> Self {
        Self {
            database_url: self.database_url.clone(),
            redis_url: self.redis_url.clone(),
            prefix: self.prefix.clone(),
            db: self.db.clone(),
            files: Arc::clone(&self.files),
        }
    }

    /// What every process and context of this world is told.
    pub fn settings(&self) -> Vec<(String, String)> {
        [
            ("DATABASE_URL", self.database_url.as_str()),
            ("REDIS_URL", self.redis_url.as_str()),
            ("REDIS_PREFIX", self.prefix.as_str()),
            ("KERYU_ENV", "development"),
            ("KERYU_SECRET_KEY", SECRET),
            ("KERYU_DEFAULT_REGION", "KE"),
            ("HTTP_SHUTDOWN_DELAY", "0"),
            ("STORAGE_URL", &format!("file://{}", self.files.path())),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }

    /// One number from the database.
    pub async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.db).await.expect(sql)
    }

    /// One statement.
    pub async fn execute(&self, sql: &'static str) -> u64 {
        sqlx::raw_sql(sql).execute(&self.db).await.expect(sql).rows_affected()
    }

    /// Somebody who has proved this identifier (an e-mail address, or a phone number in E.164).
    pub async fn user(&self, identifier: &str) -> uuid::Uuid {
        let id = keryu_common::id::unguessable();
        sqlx::query(
            "INSERT INTO users (user_id, username, username_skeleton, email, phone_number, email_verified_at, phone_verified_at,
                                ever_verified_at, created_at, updated_at)
             SELECT $1, $1::text, $1::text, e, p, CASE WHEN e IS NOT NULL THEN now() END, CASE WHEN p IS NOT NULL THEN now() END,
                    now(), now(), now()
             FROM (SELECT CASE WHEN $2 LIKE '%@%' THEN $2 END AS e, CASE WHEN $2 NOT LIKE '%@%' THEN $2 END AS p) i",
        )
        .bind(id)
        .bind(identifier)
        .execute(&self.db)
        .await
        .expect("user");
        id
    }
}

/// The database name in a URL of either form (`postgres://host/name`, `postgres:///name?host=/dir`).
fn with_database(url: &str, name: &str) -> String {
    let (head, query) = url.split_once('?').map_or((url, None), |(head, query)| (head, Some(query)));
    let cut = head.rfind('/').expect("a path");
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}/{name}{query}", &head[..cut])
}

/// A database with all migrations applied, made once per server and schema; others copy it.
async fn template(options: &PgConnectOptions, admin: &mut PgConnection) -> String {
    let mut all = Vec::new();
    for step in database::MIGRATIONS.iter() {
        all.extend_from_slice(&step.checksum);
    }
    let name =
        format!("keryu_template_{}", &keryu_common::secret::hex(&keryu_common::secret::sha256(&all))[..16]);
    // test processes run side by side, and one of them makes it
    sqlx::query("SELECT pg_advisory_lock(hashtext('keryu.template'))")
        .execute(&mut *admin)
        .await
        .expect("lock");
    let made: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1 AND datistemplate)")
            .bind(&name)
            .fetch_one(&mut *admin)
            .await
            .expect("template");
    if !made {
        for sql in [format!("DROP DATABASE IF EXISTS {name}"), format!("CREATE DATABASE {name}")] {
            sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut *admin).await.expect("template");
        }
        let mut inside =
            PgConnection::connect_with(&options.clone().database(&name)).await.expect("template");
        database::MIGRATIONS.run(&mut inside).await.expect("migrations");
        inside.close().await.expect("close");
        let mark = format!("ALTER DATABASE {name} WITH is_template true");
        sqlx::query(sqlx::AssertSqlSafe(mark)).execute(&mut *admin).await.expect("template");
    }
    sqlx::query("SELECT pg_advisory_unlock(hashtext('keryu.template'))")
        .execute(admin)
        .await
        .expect("unlock");
    name
}
