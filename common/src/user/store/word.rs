//! The SQL of searches: people by the words of their names, addresses and numbers. Planned once each, see
//! [`crate::database::options`].

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::Sql;
use crate::user::Status;
use crate::user::list::Filter;

/// A text as it is looked for.
pub async fn find_folded(db: impl PgExecutor<'_>, text: &str) -> Sql<String> {
    sqlx::query_scalar!(r#"SELECT fold_text($1::text) AS "folded!""#, text).fetch_one(db).await
}

/// A word of a search among those that many people have.
#[derive(Debug)]
pub struct Commons {
    /// The common words that it fits, what the most have first.
    pub words: Vec<String>,
    /// How many people have these, at the last count.
    pub people: i64,
}

/// The common words that each of these patterns fits, in the order of the patterns.
pub async fn list_commons(db: impl PgExecutor<'_>, patterns: &[String]) -> Sql<Vec<Commons>> {
    sqlx::query_as!(
        Commons,
        r#"SELECT coalesce(array_agg(c.word ORDER BY c.people DESC) FILTER (WHERE c.word IS NOT NULL), '{}')
                      AS "words!",
                  coalesce(sum(c.people), 0)::bigint AS "people!"
           FROM unnest((SELECT $1::text[])) WITH ORDINALITY AS p(pattern, n)
                LEFT JOIN common_words c ON c.word LIKE p.pattern
           GROUP BY p.n ORDER BY p.n"#,
        patterns,
    )
    .fetch_all(db)
    .await
}

/// How many of the people who joined last have a text like this.
pub async fn count_newest(db: &mut PgConnection, pattern: &str, sample: i64) -> Sql<i64> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!"
           FROM (SELECT search_text FROM users ORDER BY created_at DESC, user_id DESC LIMIT (SELECT $2::bigint))
                AS newest
           WHERE search_text LIKE (SELECT $1::text)"#,
        pattern,
        sample,
    )
    .fetch_one(db)
    .await
}

/// Somebody under a word.
#[derive(Debug)]
pub struct Hit {
    pub user_id: Uuid,
    pub created_at: DateTime<Utc>,
}

/// A word of a search, looked up: the common words that it fits, and who has others.
#[derive(Debug)]
pub struct Sought {
    /// As in [`Commons`].
    pub words: Vec<String>,
    /// As in [`Commons`].
    pub people: i64,
    ids: Vec<Uuid>,
    times: Vec<DateTime<Utc>>,
}

impl Sought {
    /// How many have words that are not common.
    pub fn rare(&self) -> i64 {
        self.ids.len() as i64
    }

    /// Who has words that are not common.
    pub fn hits(&self) -> Vec<Hit> {
        let pairs = self.ids.iter().zip(&self.times);
        pairs.map(|(user_id, created_at)| Hit { user_id: *user_id, created_at: *created_at }).collect()
    }
}

/// The common words that fit a pattern, and up to `most` people under other words that fit it and hold this text.
pub async fn find_sought(
    db: &mut PgConnection,
    text: &str,
    pattern: &str,
    filter: &Filter,
    most: i64,
) -> Sql<Sought> {
    let (from, until) = filter.between();
    sqlx::query_as!(
        Sought,
        r#"SELECT c.words AS "words!", c.people AS "people!", r.ids AS "ids!", r.times AS "times!"
           FROM (SELECT coalesce(array_agg(word ORDER BY people DESC), '{}') AS words,
                        coalesce(sum(people), 0)::bigint AS people
                 FROM common_words WHERE word LIKE (SELECT $2::text)) AS c,
                (SELECT coalesce(array_agg(user_id), '{}') AS ids, coalesce(array_agg(created_at), '{}') AS times
                 FROM (SELECT user_id, created_at FROM user_words
                       WHERE NOT common AND word_grams(word) @> word_grams((SELECT $1::text))
                         AND word LIKE (SELECT $2::text) AND status = ANY((SELECT $3::text[])::user_status[])
                         AND created_at >= (SELECT $4::timestamptz) AND created_at < (SELECT $5::timestamptz)
                       LIMIT (SELECT $6::bigint)) AS hits) AS r"#,
        text,
        pattern,
        &filter.standing.names(),
        from,
        until,
        most,
    )
    .fetch_one(db)
    .await
}

/// People under words that are not common, hold this text and are like this.
pub async fn list_rare(
    db: &mut PgConnection,
    text: &str,
    pattern: &str,
    filter: &Filter,
    most: i64,
) -> Sql<Vec<Hit>> {
    let (from, until) = filter.between();
    sqlx::query_as!(
        Hit,
        "SELECT user_id, created_at FROM user_words
         WHERE NOT common AND word_grams(word) @> word_grams((SELECT $1::text)) AND word LIKE (SELECT $2::text)
           AND status = ANY((SELECT $3::text[])::user_status[])
           AND created_at >= (SELECT $4::timestamptz) AND created_at < (SELECT $5::timestamptz)
         LIMIT (SELECT $6::bigint)",
        text,
        pattern,
        &filter.standing.names(),
        from,
        until,
        most,
    )
    .fetch_all(db)
    .await
}

/// People under words from `low` and before `high`, of any of these ranges.
pub async fn list_ranges(
    db: &mut PgConnection,
    low: &[String],
    high: &[String],
    filter: &Filter,
    most: i64,
) -> Sql<Vec<Hit>> {
    let (from, until) = filter.between();
    sqlx::query_as!(
        Hit,
        r#"SELECT h.user_id AS "user_id!", h.created_at AS "created_at!"
           FROM unnest((SELECT $1::text[]), (SELECT $2::text[])) AS r(low, high),
                LATERAL (SELECT user_id, created_at FROM user_words
                         WHERE word >= r.low AND word < r.high AND status = ANY((SELECT $3::text[])::user_status[])
                           AND created_at >= (SELECT $4::timestamptz) AND created_at < (SELECT $5::timestamptz)
                         LIMIT (SELECT $6::bigint)) AS h
           LIMIT (SELECT $6::bigint)"#,
        low,
        high,
        &filter.standing.names(),
        from,
        until,
        most,
    )
    .fetch_all(db)
    .await
}

/// Those of these people whose text is like this.
pub async fn list_like(db: &mut PgConnection, ids: &[Uuid], pattern: &str) -> Sql<Vec<Hit>> {
    sqlx::query_as!(
        Hit,
        "SELECT user_id, created_at FROM users
         WHERE user_id = ANY((SELECT $1::uuid[])::uuid[]) AND search_text LIKE (SELECT $2::text)",
        ids,
        pattern,
    )
    .fetch_all(db)
    .await
}

/// People under several words.
#[derive(Debug)]
pub struct Merged {
    /// How many there are, at least: each word's newest were counted.
    pub count: i64,
    /// A page of them, newest first.
    pub page: Vec<Uuid>,
}

/// People under any of these words, or among `rare`: of each word the newest `most`, and none who joined before
/// the last of these of the first word, for those are on no page that ends within `most`.
pub async fn merge(
    db: &mut PgConnection,
    words: &[String],
    rare: &[Hit],
    filter: &Filter,
    most: i64,
    limit: i64,
    skip: i64,
) -> Sql<Merged> {
    let (from, until) = filter.between();
    let (ids, times): (Vec<_>, Vec<_>) = rare.iter().map(|hit| (hit.user_id, hit.created_at)).unzip();
    sqlx::query_as!(
        Merged,
        r#"WITH edge AS MATERIALIZED (
               SELECT greatest($3, (
                   SELECT created_at FROM user_words
                   WHERE word = ($1::text[])[1] AND status = ($2::text[]::user_status[])[1]
                     AND created_at >= (SELECT $3::timestamptz) AND created_at < (SELECT $4::timestamptz)
                   ORDER BY created_at DESC OFFSET $5::bigint - 1 LIMIT 1)) AS since
           ), hits AS MATERIALIZED (
               SELECT DISTINCT user_id, created_at FROM (
                   SELECT h.user_id, h.created_at
                   FROM edge, unnest((SELECT $1::text[])) AS w(word), unnest((SELECT $2::text[])::user_status[]) AS s(status),
                        LATERAL (SELECT user_id, created_at FROM user_words
                                 WHERE word = w.word AND status = s.status AND created_at >= edge.since
                                   AND created_at < (SELECT $4::timestamptz)
                                 ORDER BY created_at DESC, user_id DESC LIMIT (SELECT $5::bigint)) AS h
                   UNION ALL
                   SELECT * FROM unnest((SELECT $6::uuid[]), (SELECT $7::timestamptz[]))
               ) AS every
           )
           SELECT (SELECT count(*) FROM hits) AS "count!",
                  ARRAY(SELECT user_id FROM hits ORDER BY created_at DESC, user_id DESC LIMIT (SELECT $8::bigint) OFFSET (SELECT $9::bigint))
                      AS "page!""#,
        words,
        &filter.standing.names(),
        from,
        until,
        most,
        &ids,
        &times,
        limit,
        skip,
    )
    .fetch_one(db)
    .await
}

/// People under any of these words, `most` of each at most.
pub async fn list_common(
    db: &mut PgConnection,
    words: &[String],
    filter: &Filter,
    most: i64,
) -> Sql<Vec<Uuid>> {
    let (from, until) = filter.between();
    sqlx::query_scalar!(
        r#"SELECT h.user_id AS "user_id!"
           FROM unnest((SELECT $1::text[])) AS w(word), unnest((SELECT $2::text[])::user_status[]) AS s(status),
                LATERAL (SELECT user_id FROM user_words
                         WHERE word = w.word AND status = s.status AND created_at >= (SELECT $3::timestamptz) AND created_at < (SELECT $4::timestamptz)
                         LIMIT (SELECT $5::bigint)) AS h
           LIMIT (SELECT $5::bigint)"#,
        words,
        &filter.standing.names(),
        from,
        until,
        most,
    )
    .fetch_all(db)
    .await
}

/// People under one of these words and one of those.
pub async fn list_both(
    db: &mut PgConnection,
    these: &[String],
    those: &[String],
    filter: &Filter,
    most: i64,
) -> Sql<Vec<Uuid>> {
    let (from, until) = filter.between();
    sqlx::query_scalar!(
        r#"SELECT DISTINCT a.user_id AS "user_id!"
           FROM unnest((SELECT $2::text[])::user_status[]) AS s(status), user_words a, user_words b
           WHERE a.word = ANY((SELECT $1::text[])::text[]) AND a.status = s.status AND a.created_at >= (SELECT $3::timestamptz) AND a.created_at < (SELECT $4::timestamptz)
             AND b.word = ANY((SELECT $5::text[])::text[]) AND b.status = a.status AND b.created_at = a.created_at AND b.user_id = a.user_id
           LIMIT (SELECT $6::bigint)"#,
        these,
        &filter.standing.names(),
        from,
        until,
        those,
        most,
    )
    .fetch_all(db)
    .await
}

/// The words that at least so many people have and that are not known to be common.
pub async fn list_new_common(db: impl PgExecutor<'_>, fewest: i64) -> Sql<Vec<String>> {
    sqlx::query_scalar!(
        "SELECT word FROM user_words WHERE (word > '!' AND word < '^') OR word >= '_' GROUP BY word
         HAVING count(*) >= $1 AND NOT EXISTS (SELECT 1 FROM common_words c WHERE c.word = user_words.word)",
        fewest,
    )
    .fetch_all(db)
    .await
}

/// All common words.
pub async fn list_common_words(db: impl PgExecutor<'_>) -> Sql<Vec<String>> {
    sqlx::query_scalar!("SELECT word FROM common_words ORDER BY word").fetch_all(db).await
}

/// Statements of this transaction may take minutes: they read all words.
pub async fn set_patient(tx: &mut PgConnection) -> Sql<()> {
    sqlx::query!("SET LOCAL statement_timeout = '20min'").execute(tx).await?;
    Ok(())
}

/// A place among the people of a word, in the order of its index.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub status: Status,
    pub created_at: DateTime<Utc>,
    pub user_id: Uuid,
}

impl Place {
    /// Before everybody.
    pub const FIRST: Self =
        Self { status: Status::Active, created_at: DateTime::UNIX_EPOCH, user_id: Uuid::nil() };
}

/// A word is common, for the next `most` people who have it. Answers with the last of them; none: there are no more.
pub async fn set_common(db: impl PgExecutor<'_>, word: &str, after: Place, most: i64) -> Sql<Option<Place>> {
    sqlx::query_as!(
        Place,
        r#"WITH nearest AS MATERIALIZED (
               SELECT status, created_at, user_id FROM user_words
               WHERE word = $1 AND (status, created_at, user_id) > ($2, $3, $4)
               ORDER BY status, created_at, user_id LIMIT $5
           ), marked AS (
               UPDATE user_words w SET common = true FROM nearest s
               WHERE w.word = $1 AND w.status = s.status AND w.created_at = s.created_at AND w.user_id = s.user_id
                 AND NOT w.common
           )
           SELECT status AS "status!: Status", created_at AS "created_at!", user_id AS "user_id!" FROM nearest
           ORDER BY status DESC, created_at DESC, user_id DESC LIMIT 1"#,
        word,
        after.status as Status,
        after.created_at,
        after.user_id,
        most,
    )
    .fetch_optional(db)
    .await
}

/// How many people have a common word.
pub async fn set_people(db: impl PgExecutor<'_>, word: &str) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO common_words (word, people)
         SELECT $1, count(*) FROM user_words WHERE word = $1
         ON CONFLICT (word) DO UPDATE SET people = excluded.people",
        word,
    )
    .execute(db)
    .await?;
    Ok(())
}
