//! The SQL of many people: who fits a filter, in which order, and how many. [`add`] is the one place that knows
//! what a filter means; as what is asked for differs by the statement, and with it the index, these few are put
//! together here from texts of this file alone, everything of the caller's bound, and hidden from the planner
//! ([`crate::database::options`]).

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::Sql;
use crate::user::Status;
use crate::user::list::{Filter, Order, Row, Standing};

/// Where a filter looks.
#[derive(Debug, Default)]
pub struct Among {
    /// Among these people.
    pub ids: Option<Vec<Uuid>>,
    /// Among those whose folded text is like this.
    pub text: Option<String>,
}

/// A statement that is put together.
struct Text {
    query: QueryBuilder<Postgres>,
    /// Whether a plan may hang on the values.
    open: bool,
}

impl Text {
    fn new(text: &str) -> Self {
        Self { query: QueryBuilder::new(text), open: false }
    }

    fn push(&mut self, text: &str) -> &mut Self {
        self.query.push(text);
        self
    }

    fn bind<'q, T>(&mut self, value: T) -> &mut Self
    where
        T: 'q + sqlx::Encode<'q, Postgres> + sqlx::Type<Postgres>,
    {
        match self.open {
            true => self.query.push_bind(value),
            false => self.query.push("(SELECT ").push_bind(value).push(")"),
        };
        self
    }
}

/// What a filter means.
fn add(text: &mut Text, filter: &Filter, among: &Among) {
    match filter.standing {
        Standing::Only(status) => text.push(" WHERE status = ").bind(status),
        Standing::Kept => text.push(" WHERE status <> 'deleted'"),
        Standing::Any => text.push(" WHERE true"),
    };
    let (from, until) = filter.between();
    if filter.start_date.is_some() {
        text.push(" AND created_at >= ").bind(from);
    }
    if filter.end_date.is_some() {
        text.push(" AND created_at < ").bind(until);
    }
    if let Some(role) = &filter.role {
        text.push(" AND role = ").bind(role.clone());
    }
    let known = |is: bool| if is { " IS NOT NULL" } else { " IS NULL" };
    if let Some(is) = filter.email_verified {
        text.push(" AND email_verified_at").push(known(is));
    }
    if let Some(is) = filter.phone_verified {
        text.push(" AND phone_verified_at").push(known(is));
    }
    if let Some(ids) = &among.ids {
        text.push(" AND user_id = ANY(").bind(ids.clone()).push("::uuid[])");
    }
    if let Some(pattern) = &among.text {
        text.push(" AND search_text LIKE ").bind(pattern.clone());
    }
}

fn order_by(order: Order) -> &'static str {
    match order {
        Order::Newest => " ORDER BY created_at DESC, user_id DESC",
        Order::Oldest => " ORDER BY created_at, user_id",
        Order::Name => r#" ORDER BY lower(username) COLLATE "C", user_id"#,
        Order::NameBackward => r#" ORDER BY lower(username) COLLATE "C" DESC, user_id DESC"#,
        Order::SignedInLast => " ORDER BY last_login_at DESC NULLS LAST, user_id DESC",
        Order::SignedInFirst => " ORDER BY last_login_at NULLS FIRST, user_id",
    }
}

/// A page of people. Where some are skipped, rows are read when it is known which, not for those.
pub async fn list(
    db: &mut PgConnection,
    filter: &Filter,
    among: &Among,
    order: Order,
    limit: i64,
    skip: i64,
) -> Sql<Vec<Row>> {
    const ROWS: &str = "SELECT user_id, username, status, created_at FROM users";
    let mut text = Text::new(ROWS);
    if skip > 0 {
        text.push(" JOIN (SELECT user_id FROM users");
    }
    add(&mut text, filter, among);
    text.push(order_by(order)).push(" LIMIT ").bind(limit);
    if skip > 0 {
        text.push(" OFFSET ").bind(skip).push(") AS page USING (user_id)").push(order_by(order));
    }
    text.query.build_query_as().fetch_all(db).await
}

/// How many people there are, counted up to `most`.
pub async fn count(db: &mut PgConnection, filter: &Filter, among: &Among, most: i64) -> Sql<i64> {
    let mut text = Text::new("SELECT count(*) FROM (SELECT 1 FROM users");
    add(&mut text, filter, among);
    text.push(" LIMIT ").bind(most).push(") AS hits");
    text.query.build_query_scalar().fetch_one(db).await
}

/// Of one status under one word.
fn add_under(text: &mut Text, word: &str, status: Status, filter: &Filter) {
    text.push(" FROM user_words WHERE word = ").bind(word.to_owned()).push(" AND status = ").bind(status);
    if filter.is_dated() {
        let (from, until) = filter.between();
        text.push(" AND created_at >= ").bind(from).push(" AND created_at < ").bind(until);
    }
}

/// People under a word.
#[derive(Debug, sqlx::FromRow)]
pub struct Under {
    #[sqlx(flatten)]
    pub row: Row,
    /// How many there are in all, where that was asked, counted up to so many.
    #[sqlx(default)]
    pub counted: Option<i64>,
}

/// A page of the people of one status under one word, newest first; `count` up to so many with it.
pub async fn list_under(
    db: &mut PgConnection,
    word: &str,
    status: Status,
    filter: &Filter,
    (limit, skip): (i64, i64),
    count: Option<i64>,
) -> Sql<Vec<Under>> {
    let mut text = Text::new("SELECT user_id, username, u.status, created_at");
    if let Some(most) = count {
        text.push(", (SELECT count(*) FROM (SELECT 1");
        add_under(&mut text, word, status, filter);
        text.push(" LIMIT ").bind(most).push(") AS hits) AS counted");
    }
    text.push(" FROM users u JOIN (SELECT user_id");
    add_under(&mut text, word, status, filter);
    text.push(order_by(Order::Newest)).push(" LIMIT ").bind(limit).push(" OFFSET ").bind(skip);
    text.push(") AS page USING (user_id)").push(order_by(Order::Newest));
    text.query.build_query_as().fetch_all(db).await
}

/// How many people of one status there are under one word, counted up to `most`.
pub async fn count_under(
    db: &mut PgConnection,
    word: &str,
    status: Status,
    filter: &Filter,
    most: i64,
) -> Sql<i64> {
    let mut text = Text::new("SELECT count(*) FROM (SELECT 1");
    add_under(&mut text, word, status, filter);
    text.push(" LIMIT ").bind(most).push(") AS hits");
    text.query.build_query_scalar().fetch_one(db).await
}

/// How many people fit a filter but for its search, as the planner has it.
pub async fn estimate(db: &mut PgConnection, filter: &Filter) -> Sql<i64> {
    let mut text = Text { open: true, ..Text::new("EXPLAIN (FORMAT JSON) SELECT FROM users") };
    add(&mut text, filter, &Among::default());
    let plan: serde_json::Value = text.query.build_query_scalar().fetch_one(db).await?;
    Ok(plan.pointer("/0/Plan/Plan Rows").and_then(serde_json::Value::as_i64).unwrap_or(0))
}

/// The ids of the next people who joined by then, but for `me`, by id.
pub async fn list_ids(
    db: &mut PgConnection,
    filter: &Filter,
    among: &Among,
    by: DateTime<Utc>,
    me: Option<Uuid>,
    after: Uuid,
    most: i64,
) -> Sql<Vec<Uuid>> {
    let mut text = Text::new("SELECT user_id FROM users");
    add(&mut text, filter, among);
    text.push(" AND user_id > ").bind(after).push(" AND created_at <= ").bind(by);
    if let Some(me) = me {
        text.push(" AND user_id <> ").bind(me);
    }
    text.push(" ORDER BY user_id LIMIT ").bind(most);
    text.query.build_query_scalar().fetch_all(db).await
}
