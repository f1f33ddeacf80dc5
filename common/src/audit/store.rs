//! The SQL of the audit log: one statement a function, rows out, no decisions.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::{Line, Values};

type Sql<T> = Result<T, sqlx::Error>;

/// Inserts a line.
pub async fn insert(tx: &mut PgConnection, line: Line<'_>, values: Values, owner: Option<Uuid>) -> Sql<()> {
    let some = |value: Value| if value.is_null() { None } else { Some(value) };
    sqlx::query!(
        "INSERT INTO audit (audit_id, at, action, entity_type, entity_id, actor, session_id, details,
                            old_values, new_values, sealed, ip_address, user_agent, request_id, owner)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
        crate::id::ordered(line.at),
        line.at,
        line.action,
        line.entity_type,
        line.entity_id,
        line.actor,
        line.session_id,
        line.details,
        some(values.old),
        some(values.new),
        values.sealed,
        line.client.ip.to_string(),
        line.client.user_agent,
        line.client.request_id,
        owner,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// A line of a read, to be inserted with others.
#[derive(Debug)]
pub struct New {
    audit_id: Uuid,
    at: DateTime<Utc>,
    action: &'static str,
    entity_type: &'static str,
    entity_id: String,
    actor: Option<Uuid>,
    session_id: Option<Uuid>,
    details: Value,
    ip_address: String,
    user_agent: Option<String>,
    request_id: String,
}

impl New {
    /// Without what it borrows.
    pub fn of(line: Line<'_>) -> Self {
        Self {
            audit_id: crate::id::ordered(line.at),
            at: line.at,
            action: line.action,
            entity_type: line.entity_type,
            entity_id: line.entity_id,
            actor: line.actor,
            session_id: line.session_id,
            details: line.details,
            ip_address: line.client.ip.to_string(),
            user_agent: line.client.user_agent.clone(),
            request_id: line.client.request_id.clone(),
        }
    }
}

/// Inserts lines of reads.
pub async fn insert_all(db: impl PgExecutor<'_>, lines: Vec<New>) -> Sql<()> {
    let mut columns = Columns::default();
    lines.into_iter().for_each(|line| columns.push(line));
    sqlx::query!(
        "INSERT INTO audit (audit_id, at, action, entity_type, entity_id, actor, session_id, details, ip_address,
                            user_agent, request_id)
         SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::uuid[],
                              $7::uuid[], $8::jsonb[], $9::text[], $10::text[], $11::text[])",
        &columns.audit_id,
        &columns.at,
        &columns.action as _,
        &columns.entity_type as _,
        &columns.entity_id,
        &columns.actor as _,
        &columns.session_id as _,
        &columns.details,
        &columns.ip_address,
        &columns.user_agent as _,
        &columns.request_id,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Inserts a line for each of these people.
pub async fn insert_each(tx: &mut PgConnection, line: Line<'_>, lines: &[Uuid], people: &[Uuid]) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO audit (audit_id, at, action, entity_type, entity_id, actor, session_id, details, ip_address,
                            user_agent, request_id)
         SELECT l.audit_id, $3, $4, $5, l.user_id::text, $6, $7, $8, $9, $10, $11
         FROM unnest($1::uuid[], $2::uuid[]) AS l(audit_id, user_id)",
        lines,
        people,
        line.at,
        line.action,
        line.entity_type,
        line.actor,
        line.session_id,
        line.details,
        line.client.ip.to_string(),
        line.client.user_agent,
        line.client.request_id,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Lines by column.
#[derive(Default)]
struct Columns {
    audit_id: Vec<Uuid>,
    at: Vec<DateTime<Utc>>,
    action: Vec<&'static str>,
    entity_type: Vec<&'static str>,
    entity_id: Vec<String>,
    actor: Vec<Option<Uuid>>,
    session_id: Vec<Option<Uuid>>,
    details: Vec<Value>,
    ip_address: Vec<String>,
    user_agent: Vec<Option<String>>,
    request_id: Vec<String>,
}

impl Columns {
    fn push(&mut self, line: New) {
        self.audit_id.push(line.audit_id);
        self.at.push(line.at);
        self.action.push(line.action);
        self.entity_type.push(line.entity_type);
        self.entity_id.push(line.entity_id);
        self.actor.push(line.actor);
        self.session_id.push(line.session_id);
        self.details.push(line.details);
        self.ip_address.push(line.ip_address);
        self.user_agent.push(line.user_agent);
        self.request_id.push(line.request_id);
    }
}

/// A line as it is kept.
#[derive(Debug)]
pub struct Row {
    pub audit_id: Uuid,
    pub at: DateTime<Utc>,
    pub action: String,
    pub entity_type: String,
    pub entity_id: String,
    pub actor: Option<Uuid>,
    pub owner: Option<Uuid>,
    pub session_id: Option<Uuid>,
    pub details: Value,
    pub old_values: Option<Value>,
    pub new_values: Option<Value>,
    pub sealed: Option<Vec<u8>>,
    pub ip_address: Option<String>,
    pub user_agent: Option<String>,
    pub request_id: Option<String>,
    /// Whether it is one that was searched for; else it is the last one looked at.
    pub hit: bool,
    /// How many lines were looked at.
    pub looked: i64,
}

/// What is searched for. `kinds` are pairs of `types` and `actions`.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// Only lines before this place.
    pub at: DateTime<Utc>,
    pub id: Uuid,
    /// None before this moment.
    pub since: DateTime<Utc>,
    /// How many lines are looked at, and how many of these wanted, at most.
    pub step: i64,
    pub most: i64,
    pub actor: Option<Uuid>,
    pub types: Option<&'a [String]>,
    pub entity_id: Option<&'a str>,
    pub actions: Option<&'a [String]>,
    pub ip_address: Option<&'a str>,
    pub request_id: Option<&'a str>,
}

/// A walk from one index: looks at the next lines that `from` and `which` lead to, newest first, and says which
/// of them are wanted by all of the filter. The last one looked at comes along: the next step begins there.
macro_rules! walk {
    ($name:ident, $doc:literal, $from:literal, $which:literal) => {
        #[doc = $doc]
        pub async fn $name(db: impl PgExecutor<'_>, wanted: &Wanted<'_>) -> Sql<Vec<Row>> {
            sqlx::query_as!(
                Row,
                r#"WITH scan AS MATERIALIZED (
                       SELECT a.* FROM "#
                    + $from
                    + r#" WHERE "#
                    + $which
                    + r#" AND a.at <= $1 AND (a.at, a.audit_id) < ($1, $2) AND a.at >= $3
                       ORDER BY a.at DESC, a.audit_id DESC LIMIT $4
                   ), judged AS (
                       SELECT s.*, coalesce(
                           ($6::uuid IS NULL OR s.actor = $6)
                           AND ($7::text[] IS NULL OR s.entity_type = ANY($7))
                           AND ($8::text IS NULL OR s.entity_id = $8)
                           AND ($9::text[] IS NULL OR s.action = ANY($9))
                           AND ($10::text IS NULL OR s.ip_address = $10)
                           AND ($11::text IS NULL OR s.request_id = $11), false) AS hit
                       FROM scan s
                   )
                   SELECT audit_id AS "audit_id!", at AS "at!", action AS "action!", entity_type AS "entity_type!",
                          entity_id AS "entity_id!", actor, owner, session_id, details AS "details!", old_values,
                          new_values, sealed, ip_address, user_agent, request_id, hit AS "hit!",
                          (SELECT count(*) FROM scan) AS "looked!"
                   FROM judged
                   WHERE hit OR (at, audit_id) = (SELECT at, audit_id FROM scan ORDER BY at, audit_id LIMIT 1)
                   ORDER BY at DESC, audit_id DESC LIMIT $5"#,
                wanted.at,
                wanted.id,
                wanted.since,
                wanted.step,
                wanted.most,
                wanted.actor,
                wanted.types,
                wanted.entity_id,
                wanted.actions,
                wanted.ip_address,
                wanted.request_id,
            )
            .fetch_all(db)
            .await
        }
    };
}

walk!(walk_all, "Of the whole log.", "audit a", "true");
walk!(walk_request, "Of one request.", "audit a", "a.request_id = $11");
walk!(walk_actor, "Of what one person or service did.", "audit a", "a.actor = $6");
walk!(walk_address, "Of what was done from one address.", "audit a", "a.ip_address = $10");
walk!(
    walk_entity,
    "Of what happened to one thing, whichever of these kinds it is of.",
    "(SELECT DISTINCT * FROM unnest($7::text[])) AS k(entity_type) CROSS JOIN LATERAL (
         SELECT * FROM audit l
         WHERE l.entity_type = k.entity_type AND l.entity_id = $8
           AND l.at <= $1 AND (l.at, l.audit_id) < ($1, $2) AND l.at >= $3
         ORDER BY l.at DESC, l.audit_id DESC LIMIT $4) a",
    "true"
);
walk!(
    walk_kinds,
    "Of these kinds of things and actions, in pairs.",
    "unnest($7::text[], $9::text[]) AS k(entity_type, action) CROSS JOIN LATERAL (
         SELECT * FROM audit l
         WHERE l.entity_type = k.entity_type AND l.action = k.action
           AND l.at <= $1 AND (l.at, l.audit_id) < ($1, $2) AND l.at >= $3
         ORDER BY l.at DESC, l.audit_id DESC LIMIT $4) a",
    "true"
);

/// A kind of lines.
#[derive(Debug)]
pub struct Kind {
    pub entity_type: String,
    pub action: String,
}

/// Which kinds of lines there are: a probe of the index for each, however many lines there are.
pub async fn list_kinds(db: impl PgExecutor<'_>) -> Sql<Vec<Kind>> {
    sqlx::query_as!(
        Kind,
        r#"WITH RECURSIVE kinds AS (
               (SELECT entity_type, action FROM audit ORDER BY entity_type, action LIMIT 1)
               UNION ALL
               SELECT n.entity_type, n.action FROM kinds k CROSS JOIN LATERAL (
                   SELECT a.entity_type, a.action FROM audit a
                   WHERE (a.entity_type, a.action) > (k.entity_type, k.action)
                   ORDER BY a.entity_type, a.action LIMIT 1) n
           )
           SELECT entity_type AS "entity_type!", action AS "action!" FROM kinds"#,
    )
    .fetch_all(db)
    .await
}

/// What happened to somebody, to what is theirs, and what they did: newest first.
pub async fn list_own(
    db: impl PgExecutor<'_>,
    user_id: Uuid,
    at: DateTime<Utc>,
    id: Uuid,
    most: i64,
) -> Sql<Vec<Row>> {
    sqlx::query_as!(
        Row,
        r#"WITH lines AS (
               (SELECT * FROM audit a
                WHERE a.entity_type = 'user' AND a.entity_id = $1::uuid::text
                  AND a.at <= $2 AND (a.at, a.audit_id) < ($2, $3)
                ORDER BY a.at DESC, a.audit_id DESC LIMIT $4)
               UNION
               (SELECT * FROM audit a
                WHERE a.owner = $1 AND a.at <= $2 AND (a.at, a.audit_id) < ($2, $3)
                ORDER BY a.at DESC, a.audit_id DESC LIMIT $4)
               UNION
               (SELECT * FROM audit a
                WHERE a.actor = $1 AND a.at <= $2 AND (a.at, a.audit_id) < ($2, $3)
                ORDER BY a.at DESC, a.audit_id DESC LIMIT $4)
           )
           SELECT audit_id AS "audit_id!", at AS "at!", action AS "action!", entity_type AS "entity_type!",
                  entity_id AS "entity_id!", actor, owner, session_id, details AS "details!", old_values, new_values,
                  sealed, ip_address, user_agent, request_id, true AS "hit!", 0::bigint AS "looked!"
           FROM lines ORDER BY at DESC, audit_id DESC LIMIT $4"#,
        user_id,
        at,
        id,
        most,
    )
    .fetch_all(db)
    .await
}
