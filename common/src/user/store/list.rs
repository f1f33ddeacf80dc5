//! The SQL of many people: who fits a filter, in which order, and how many. [`add`] is the one place that knows
//! what a filter means; as what is asked for differs by the statement, and with it the index, these few are put
//! together here from texts of this file alone, everything of the caller's bound.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::Sql;
use crate::user::list::{Filter, Order, Row, Standing};

/// Where a filter looks.
#[derive(Debug, Default)]
pub struct Among {
    /// Among these people.
    pub ids: Option<Vec<Uuid>>,
    /// Among those whose folded text is like this.
    pub text: Option<String>,
}

/// What a filter means.
fn add(query: &mut QueryBuilder<Postgres>, filter: &Filter, among: &Among) {
    match filter.standing {
        Standing::Only(status) => query.push(" WHERE status = ").push_bind(status),
        Standing::Kept => query.push(" WHERE status <> 'deleted'"),
        Standing::Any => query.push(" WHERE true"),
    };
    let (from, until) = filter.between();
    if filter.start_date.is_some() {
        query.push(" AND created_at >= ").push_bind(from);
    }
    if filter.end_date.is_some() {
        query.push(" AND created_at < ").push_bind(until);
    }
    if let Some(role) = &filter.role {
        query.push(" AND role = ").push_bind(role.clone());
    }
    let known = |is: bool| if is { " IS NOT NULL" } else { " IS NULL" };
    if let Some(is) = filter.email_verified {
        query.push(" AND email_verified_at").push(known(is));
    }
    if let Some(is) = filter.phone_verified {
        query.push(" AND phone_verified_at").push(known(is));
    }
    if let Some(ids) = &among.ids {
        query.push(" AND user_id = ANY(").push_bind(ids.clone()).push(")");
    }
    if let Some(text) = &among.text {
        query.push(" AND search_text LIKE ").push_bind(text.clone());
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

/// A page of people. Their rows are read when it is known which they are, not for those that are skipped.
pub async fn list(
    db: &mut PgConnection,
    filter: &Filter,
    among: &Among,
    order: Order,
    limit: i64,
    skip: i64,
) -> Sql<Vec<Row>> {
    let mut query = QueryBuilder::new(
        "SELECT user_id, username, status, created_at FROM users JOIN (SELECT user_id FROM users",
    );
    add(&mut query, filter, among);
    query.push(order_by(order)).push(" LIMIT ").push_bind(limit).push(" OFFSET ").push_bind(skip);
    query.push(") AS page USING (user_id)").push(order_by(order));
    query.build_query_as().fetch_all(db).await
}

/// How many people there are, counted up to `most`.
pub async fn count(db: &mut PgConnection, filter: &Filter, among: &Among, most: i64) -> Sql<i64> {
    let mut query = QueryBuilder::new("SELECT count(*) FROM (SELECT 1 FROM users");
    add(&mut query, filter, among);
    query.push(" LIMIT ").push_bind(most).push(") AS hits");
    query.build_query_scalar().fetch_one(db).await
}

/// How many people fit a filter but for its search, as the planner has it.
pub async fn estimate(db: &mut PgConnection, filter: &Filter) -> Sql<i64> {
    let mut query = QueryBuilder::new("EXPLAIN (FORMAT JSON) SELECT FROM users");
    add(&mut query, filter, &Among::default());
    let plan: serde_json::Value = query.build_query_scalar().fetch_one(db).await?;
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
    let mut query = QueryBuilder::new("SELECT user_id FROM users");
    add(&mut query, filter, among);
    query.push(" AND user_id > ").push_bind(after).push(" AND created_at <= ").push_bind(by);
    if let Some(me) = me {
        query.push(" AND user_id <> ").push_bind(me);
    }
    query.push(" ORDER BY user_id LIMIT ").push_bind(most);
    query.build_query_scalar().fetch_all(db).await
}
