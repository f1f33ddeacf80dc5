//! The SQL of searches: people by the words of their names, addresses and numbers.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::Sql;
use crate::user::Status;
use crate::user::list::{Filter, Row};

/// What is looked for.
#[derive(Debug)]
pub struct Term {
    /// As kept texts are.
    pub folded: String,
    /// Its words, of three characters and more.
    pub words: Vec<String>,
}

/// A text as it is looked for.
pub async fn find_term(db: impl PgExecutor<'_>, text: &str) -> Sql<Term> {
    sqlx::query_as!(
        Term,
        r#"SELECT folded AS "folded!", text_words(folded) AS "words!"
           FROM (SELECT fold_text(btrim(ltrim($1::text, ' +'))) AS folded OFFSET 0) AS t"#,
        text,
    )
    .fetch_one(db)
    .await
}

/// A word of a search.
#[derive(Debug)]
pub struct Word {
    /// Itself.
    pub word: String,
    /// The common words that hold it, what the most have first.
    pub common: Vec<String>,
    /// How many people have these, at the last count.
    pub people: i64,
}

/// Words with the common ones that hold them, the one that the fewest people have first.
pub async fn list_term_words(db: impl PgExecutor<'_>, words: &[String]) -> Sql<Vec<Word>> {
    sqlx::query_as!(
        Word,
        r#"SELECT w.word AS "word!",
                  coalesce(array_agg(c.word ORDER BY c.people DESC) FILTER (WHERE c.word IS NOT NULL), '{}')
                      AS "common!",
                  coalesce(sum(c.people), 0)::bigint AS "people!"
           FROM unnest($1::text[]) AS w(word) LEFT JOIN common_words c ON c.word LIKE '%' || w.word || '%'
           GROUP BY w.word ORDER BY 3, length(w.word) DESC, 1"#,
        words,
    )
    .fetch_all(db)
    .await
}

/// How many of the people who joined last have a text like this.
pub async fn count_newest(db: &mut PgConnection, pattern: &str, sample: i64) -> Sql<i64> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!"
           FROM (SELECT search_text FROM users ORDER BY created_at DESC, user_id DESC LIMIT $2) AS newest
           WHERE search_text LIKE $1"#,
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

/// People under words that are not common and hold this text.
pub async fn list_rare(db: &mut PgConnection, text: &str, filter: &Filter, most: i64) -> Sql<Vec<Hit>> {
    let (from, until) = filter.between();
    sqlx::query_as!(
        Hit,
        "SELECT user_id, created_at FROM user_words
         WHERE NOT common AND word_grams(word) @> word_grams($1) AND word LIKE '%' || $1 || '%'
           AND status = ANY($2::text[]::user_status[]) AND created_at >= $3 AND created_at < $4 LIMIT $5",
        text,
        &filter.standing.names(),
        from,
        until,
        most,
    )
    .fetch_all(db)
    .await
}

/// A page of the people of one status under one word, newest first.
pub async fn list_word(
    db: &mut PgConnection,
    word: &str,
    status: Status,
    (from, until): (DateTime<Utc>, DateTime<Utc>),
    limit: i64,
    skip: i64,
) -> Sql<Vec<Row>> {
    sqlx::query_as!(
        Row,
        r#"SELECT user_id, username, u.status AS "status: Status", created_at
           FROM users u JOIN (SELECT user_id FROM user_words
                              WHERE word = $1 AND status = $2 AND created_at >= $3 AND created_at < $4
                              ORDER BY created_at DESC, user_id DESC LIMIT $5 OFFSET $6) AS page USING (user_id)
           ORDER BY created_at DESC, user_id DESC"#,
        word,
        status as Status,
        from,
        until,
        limit,
        skip,
    )
    .fetch_all(db)
    .await
}

/// How many people of one status there are under one word, counted up to `most`.
pub async fn count_word(
    db: &mut PgConnection,
    word: &str,
    status: Status,
    (from, until): (DateTime<Utc>, DateTime<Utc>),
    most: i64,
) -> Sql<i64> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM (
               SELECT 1 FROM user_words WHERE word = $1 AND status = $2 AND created_at >= $3 AND created_at < $4
               LIMIT $5) AS hits"#,
        word,
        status as Status,
        from,
        until,
        most,
    )
    .fetch_one(db)
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
                     AND created_at >= $3 AND created_at < $4
                   ORDER BY created_at DESC OFFSET $5::bigint - 1 LIMIT 1)) AS since
           ), hits AS MATERIALIZED (
               SELECT DISTINCT user_id, created_at FROM (
                   SELECT h.user_id, h.created_at
                   FROM edge, unnest($1::text[]) AS w(word), unnest($2::text[]::user_status[]) AS s(status),
                        LATERAL (SELECT user_id, created_at FROM user_words
                                 WHERE word = w.word AND status = s.status AND created_at >= edge.since
                                   AND created_at < $4
                                 ORDER BY created_at DESC, user_id DESC LIMIT $5) AS h
                   UNION ALL
                   SELECT * FROM unnest($6::uuid[], $7::timestamptz[])
               ) AS every
           )
           SELECT (SELECT count(*) FROM hits) AS "count!",
                  ARRAY(SELECT user_id FROM hits ORDER BY created_at DESC, user_id DESC LIMIT $8 OFFSET $9)
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
           FROM unnest($1::text[]) AS w(word), unnest($2::text[]::user_status[]) AS s(status),
                LATERAL (SELECT user_id FROM user_words
                         WHERE word = w.word AND status = s.status AND created_at >= $3 AND created_at < $4
                         LIMIT $5) AS h
           LIMIT $5"#,
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
           FROM unnest($2::text[]::user_status[]) AS s(status), user_words a, user_words b
           WHERE a.word = ANY($1) AND a.status = s.status AND a.created_at >= $3 AND a.created_at < $4
             AND b.word = ANY($5) AND b.status = a.status AND b.created_at = a.created_at AND b.user_id = a.user_id
           LIMIT $6"#,
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
        "SELECT word FROM user_words WHERE word < '^' OR word >= '_' GROUP BY word
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

/// A word is common, for everybody who has it: answers with whom this was not known of.
pub async fn set_common(tx: &mut PgConnection, word: &str) -> Sql<u64> {
    let done = sqlx::query!("UPDATE user_words SET common = true WHERE word = $1 AND NOT common", word);
    Ok(done.execute(tx).await?.rows_affected())
}

/// How many people have a common word.
pub async fn set_people(tx: &mut PgConnection, word: &str) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO common_words (word, people)
         SELECT $1, count(*) FROM user_words WHERE word = $1
         ON CONFLICT (word) DO UPDATE SET people = excluded.people",
        word,
    )
    .execute(tx)
    .await?;
    Ok(())
}
