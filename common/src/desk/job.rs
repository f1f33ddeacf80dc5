//! Jobs on the desk: list, show, try again, cancel, enqueue by hand.

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::store::{self, JobRow, Wanted};
use super::{
    Hand, JOB_EXPIRED, JOB_FINISHED, JOB_NOT_FOUND, JOB_RUNNING, JOB_SUPERSEDED, JOB_WAITING, queue,
};
use crate::context::Context;
use crate::database;
use crate::error::{Error, Result};
use crate::job::store::NewJob;
use crate::job::{Queue, store as ledger};
use crate::role::Permission;

/// The states of jobs, in the order of a job's life.
pub const STATES: [&str; 7] =
    ["scheduled", "available", "running", "retryable", "completed", "discarded", "cancelled"];

/// A job as it is shown.
#[derive(Clone, Debug, Serialize)]
pub struct Job {
    /// Which.
    pub id: Uuid,
    /// `slice.verb_noun`.
    pub kind: String,
    /// Where it waits.
    pub queue: String,
    /// `scheduled`, `available`, `running`, `retryable`, `completed`, `discarded` or `cancelled`.
    pub state: String,
    /// 0 first.
    pub priority: i16,
    /// Attempts so far.
    pub attempts: i16,
    /// Before it is a dead letter; none once it is finished.
    pub max_attempts: Option<i16>,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// Not before; none once it is dead or finished.
    pub run_at: Option<DateTime<Utc>>,
    /// When its last attempt began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it became a dead letter, or finished.
    pub ended_at: Option<DateTime<Utc>>,
    /// Dead after.
    pub expires_at: Option<DateTime<Utc>>,
    /// What its last attempt said.
    pub error: Option<String>,
    /// The request that asked.
    pub request_id: Option<String>,
}

impl From<&JobRow> for Job {
    fn from(row: &JobRow) -> Self {
        Self {
            id: row.job_id,
            kind: row.kind.clone(),
            queue: row.queue.clone(),
            state: row.state.clone(),
            priority: row.priority,
            attempts: row.attempt,
            max_attempts: row.max_attempts,
            created_at: row.created_at,
            run_at: row.run_at,
            started_at: row.started_at,
            ended_at: row.ended_at,
            expires_at: row.expires_at,
            error: row.error.clone(),
            request_id: row.request_id.clone(),
        }
    }
}

/// A job with all there is to know of it.
#[derive(Clone, Debug, Serialize)]
pub struct Detail {
    /// The job.
    #[serde(flatten)]
    pub job: Job,
    /// What it was asked to do: ids, never a secret.
    pub payload: Value,
    /// Of the payload.
    pub version: i16,
    /// One waiting job for each.
    pub unique_key: Option<String>,
    /// Never two running with one.
    pub serial_key: Option<String>,
    /// The message it delivers.
    pub delivery_id: Option<Uuid>,
    /// What happens next, or what to do.
    pub next_step: String,
}

/// Which jobs are wanted: every field narrows. By kind, queue or error, and without `since`, completed jobs are
/// those asked for in the last hour.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// In this state.
    pub state: Option<String>,
    /// Of this kind.
    pub kind: Option<String>,
    /// Of this queue.
    pub queue: Option<Queue>,
    /// Whose error holds this text, in any case.
    pub error: Option<String>,
    /// Whose id begins so.
    pub id: Option<String>,
    /// Asked for at this moment or later.
    pub since: Option<DateTime<Utc>>,
    /// Asked for before.
    pub before: Option<DateTime<Utc>>,
    /// Behind this job in the list.
    pub cursor: Option<Uuid>,
}

/// A piece of a list.
#[derive(Clone, Debug, Serialize)]
pub struct Page<T> {
    /// Newest first.
    pub items: Vec<T>,
    /// What the next piece is asked for with; none: this was the last.
    pub next_cursor: Option<String>,
}

/// The ids a filter leaves, first and last; none where none can be. Ids are ordered by the time they were
/// made, so that age and beginning are ranges of one index.
fn range(filter: &Filter) -> Option<(Uuid, Uuid)> {
    let (mut low, mut high) = (0u128, u128::MAX);
    if let Some(text) = &filter.id {
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        let bits = u32::try_from(digits.len()).ok().filter(|count| *count <= 32)? * 4;
        let head = if digits.is_empty() { 0 } else { u128::from_str_radix(&digits, 16).ok()? };
        low = head.checked_shl(128 - bits).unwrap_or(0);
        high = low | u128::MAX.checked_shr(bits).unwrap_or(0);
    }
    if let Some(since) = filter.since {
        low = low.max(first(since));
    }
    if let Some(before) = filter.before {
        high = high.min(first(before).saturating_sub(1));
    }
    if let Some(cursor) = filter.cursor {
        high = high.min(cursor.as_u128().checked_sub(1)?);
    }
    (low <= high).then(|| (Uuid::from_u128(low), Uuid::from_u128(high)))
}

/// The first id a moment can have.
fn first(at: DateTime<Utc>) -> u128 {
    u128::try_from(at.timestamp_millis()).unwrap_or(0) << 80
}

/// The first id of the completed jobs that are looked through for the few of a kind, a queue or an error: those
/// asked for in the last hour, unless the filter says since when, or names a minute by the beginning of the id.
fn completed_since(filter: &Filter, now: DateTime<Utc>) -> Uuid {
    const MINUTE: usize = 8;
    let sifted = filter.kind.is_some() || filter.queue.is_some() || filter.error.is_some();
    let placed = filter.since.is_some() || filter.id.as_ref().is_some_and(|id| id.len() >= MINUTE);
    match sifted && !placed {
        true => Uuid::from_u128(first(now - TimeDelta::hours(1))),
        false => Uuid::nil(),
    }
}

fn names(queue: Option<Queue>) -> Vec<String> {
    let of = |queue: Queue| queue.name().to_owned();
    queue.map_or_else(|| Queue::ALL.map(of).into(), |queue| vec![of(queue)])
}

/// Jobs, live and finished, newest first.
///
/// # Errors
/// `auth.forbidden`, or the database does not answer.
pub async fn list(ctx: &Context, hand: Hand<'_>, filter: &Filter, limit: u16) -> Result<Page<Job>> {
    hand.may(Permission::JobsRead)?;
    let Some((low, high)) = range(filter) else { return Ok(Page { items: Vec::new(), next_cursor: None }) };
    let all = || STATES.iter().map(|state| (*state).to_owned()).collect();
    let states: Vec<String> = filter.state.clone().map_or_else(all, |state| vec![state]);
    let (queues, limit) = (names(filter.queue), usize::from(limit.clamp(1, 1000)));
    let wanted = Wanted {
        low,
        completed_low: low.max(completed_since(filter, ctx.now())),
        high,
        queues: &queues,
        kind: filter.kind.as_deref(),
        error: filter.error.as_deref(),
        states: &states,
        limit: i64::try_from(limit).unwrap_or(1) + 1,
    };
    let mut rows = Vec::new();
    let mut tx = ctx.db.begin().await?;
    database::plan_anew(&mut tx).await?;
    if states.iter().any(|state| state != "completed" && state != "cancelled") {
        rows = store::list_live(&mut *tx, &wanted).await?;
    }
    if states.iter().any(|state| state == "completed" || state == "cancelled") {
        rows.extend(store::list_ended(&mut *tx, &wanted).await?);
    }
    tx.commit().await?;
    rows.sort_unstable_by_key(|row| std::cmp::Reverse(row.job_id));
    // one that finished between the two looks is in both
    rows.dedup_by_key(|row| row.job_id);
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next_cursor = rows.last().filter(|_| more).map(|row| row.job_id.to_string());
    Ok(Page { items: rows.iter().map(Into::into).collect(), next_cursor })
}

/// One job.
///
/// # Errors
/// `auth.forbidden`, `job.not_found`, or the database does not answer.
pub async fn show(ctx: &Context, hand: Hand<'_>, job_id: Uuid) -> Result<Detail> {
    hand.may(Permission::JobsRead)?;
    let row = store::find(&ctx.db, job_id).await?.ok_or_else(not_found)?;
    detail(ctx, row).await
}

/// The state of a job, for what asked for it; none: it is no longer kept.
///
/// # Errors
/// The database does not answer.
pub(crate) async fn state(ctx: &Context, job_id: Uuid) -> Result<Option<String>> {
    Ok(store::find(&ctx.db, job_id).await?.map(|row| row.state))
}

async fn detail(ctx: &Context, row: JobRow) -> Result<Detail> {
    let next_step = next_step(ctx, &row).await?;
    let delivery_id = row.payload.get("delivery_id").and_then(Value::as_str);
    Ok(Detail {
        job: (&row).into(),
        delivery_id: delivery_id.and_then(|text| text.parse().ok()),
        payload: row.payload,
        version: row.version,
        unique_key: row.unique_key,
        serial_key: row.serial_key,
        next_step,
    })
}

fn not_found() -> Error {
    JOB_NOT_FOUND.refuse("There is no job with this id.").into()
}

/// A moment for people.
pub(crate) fn at(moment: DateTime<Utc>) -> String {
    moment.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// What happens next with a job, in words.
pub(crate) async fn next_step(ctx: &Context, row: &JobRow) -> Result<String> {
    let when = row.run_at.map(at).unwrap_or_default();
    Ok(match row.state.as_str() {
        "scheduled" => match queue::obstacle(ctx, &row.queue).await? {
            Some(obstacle) => format!("It is due at {when}; but {obstacle}"),
            None => format!("It runs at {when}."),
        },
        "retryable" => match queue::obstacle(ctx, &row.queue).await? {
            Some(obstacle) => format!("Its next try is due at {when}; but {obstacle}"),
            None => format!("Its next try is at {when}; `jobs retry {}` tries now.", row.job_id),
        },
        "available" => match queue::obstacle(ctx, &row.queue).await? {
            Some(obstacle) => obstacle,
            None => {
                let (jobs, oldest) = store::count_due(&ctx.db, &row.queue).await?;
                let since = oldest.map(at).unwrap_or_default();
                format!(
                    "It waits for a free slot: {jobs} jobs of the queue {} are due, the oldest since {since}.",
                    row.queue
                )
            }
        },
        "running" => {
            let workers = store::list_workers(&ctx.db).await?;
            let since = row.started_at.map(at).unwrap_or_default();
            match workers.iter().find(|worker| Some(worker.lease_id) == row.lease_id) {
                Some(worker) => {
                    format!("Worker {} on {} has run it since {since}.", worker.pid, worker.host)
                }
                None => format!("The worker that has run it since {since} is lost: it starts anew shortly."),
            }
        }
        "discarded" if row.expires_at.is_some_and(|end| end <= ctx.now()) => {
            "Nothing: its time is over. Ask for the work anew where it is still wanted.".to_owned()
        }
        "discarded" => format!("Mend the cause, then `jobs retry {}`; or `jobs cancel` it.", row.job_id),
        _ => "Nothing: it is finished.".to_owned(),
    })
}

/// Tries a job again now: a dead letter, or one that waits for its next try.
///
/// # Errors
/// `auth.forbidden`, `job.not_found`, `job.running`, `job.finished`, `job.waiting`, `job.expired`,
/// `job.superseded`, or the database does not answer.
pub async fn retry(ctx: &Context, hand: Hand<'_>, job_id: Uuid) -> Result<Detail> {
    hand.may(Permission::JobsWrite)?;
    let now = ctx.now();
    let mut tx = ctx.db.begin().await?;
    let Some(job) = store::lock(&mut tx, job_id).await? else { return Err(gone(ctx, job_id).await) };
    match job.state.as_str() {
        "running" => return Err(JOB_RUNNING.refuse("A worker runs this job just now.").into()),
        "discarded" | "retryable" => {}
        state => return Err(JOB_WAITING.refuse(format!("This job is {state}: it runs by itself.")).into()),
    }
    if let Some(end) = job.expires_at.filter(|end| *end <= now) {
        return Err(JOB_EXPIRED.refuse(format!("Its time was over at {}.", at(end))).into());
    }
    if let Some(key) = &job.unique_key
        && let Some(other) = store::find_waiting(&mut tx, &job.kind, key).await?
        && other != job_id
    {
        return Err(superseded(Some(other)));
    }
    // somebody asked for the same work between the look and here
    let queues = match store::set_available(&mut tx, &[job_id], now).await {
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => return Err(superseded(None)),
        other => other?,
    };
    let details = json!({ "kind": job.kind, "was": job.state });
    hand.note(&mut tx, "job.retried", ("job", job_id.to_string()), details, now).await?;
    tx.commit().await?;
    wake(ctx, &queues);
    show_again(ctx, job_id).await
}

fn superseded(by: Option<Uuid>) -> Error {
    let by = by.map_or_else(|| "Another job".to_owned(), |id| format!("The job {id}"));
    JOB_SUPERSEDED.refuse(format!("{by} waits with the same unique key.")).into()
}

/// The refusal for a job that is not live.
async fn gone(ctx: &Context, job_id: Uuid) -> Error {
    match store::find(&ctx.db, job_id).await {
        Ok(Some(row)) => JOB_FINISHED.refuse(format!("This job is {}.", row.state)).into(),
        Ok(None) => not_found(),
        Err(error) => error.into(),
    }
}

fn wake(ctx: &Context, queues: &[String]) {
    queues.iter().filter_map(|name| name.parse().ok()).for_each(|queue| ctx.wake.queue(queue));
}

/// As it is after a change, for whoever made it.
async fn show_again(ctx: &Context, job_id: Uuid) -> Result<Detail> {
    let row = store::find(&ctx.db, job_id).await?.ok_or_else(not_found)?;
    detail(ctx, row).await
}

/// Cancels a job that waits, or puts a dead letter away.
///
/// # Errors
/// `auth.forbidden`, `job.not_found`, `job.running`, `job.finished`, or the database does not answer.
pub async fn cancel(ctx: &Context, hand: Hand<'_>, job_id: Uuid) -> Result<Detail> {
    hand.may(Permission::JobsWrite)?;
    let now = ctx.now();
    let mut tx = ctx.db.begin().await?;
    let Some(job) = store::lock(&mut tx, job_id).await? else { return Err(gone(ctx, job_id).await) };
    if job.state == "running" {
        return Err(JOB_RUNNING.refuse("A worker runs this job just now.").into());
    }
    let by = if hand.person.is_some() { "cancelled by staff" } else { "cancelled by an operator" };
    store::cancel(&mut tx, job_id, now, by).await?;
    let details = json!({ "kind": job.kind, "was": job.state });
    hand.note(&mut tx, "job.cancelled", ("job", job_id.to_string()), details, now).await?;
    tx.commit().await?;
    show_again(ctx, job_id).await
}

/// Which dead letters are to be tried again: every field narrows.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DeadFilter {
    /// Of this kind.
    pub kind: Option<String>,
    /// Of this queue.
    #[serde(serialize_with = "by_name")]
    pub queue: Option<Queue>,
    /// Whose error holds this text, in any case.
    pub error: Option<String>,
    /// Dead since this moment or later.
    pub since: Option<DateTime<Utc>>,
}

#[expect(clippy::ref_option, reason = "as serde wants it")]
fn by_name<S: serde::Serializer>(queue: &Option<Queue>, to: S) -> Result<S::Ok, S::Error> {
    queue.map(Queue::name).serialize(to)
}

/// What a retry of many did.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Retried {
    /// So many are available now.
    pub retried: u64,
    /// Whether there may be more: ask again.
    pub more: bool,
}

/// Tries dead letters again, newest first, up to about `most`; in batches of a transaction each, so that none
/// locks long and what was done stays done. Left out: what is over, and what a waiting job already does.
///
/// # Errors
/// `auth.forbidden`, or the database does not answer.
pub async fn retry_dead(ctx: &Context, hand: Hand<'_>, filter: &DeadFilter, most: u64) -> Result<Retried> {
    const BATCH: i64 = 500;
    hand.may(Permission::JobsWrite)?;
    let queues = names(filter.queue);
    let mut before = Uuid::max();
    let mut seen: HashSet<(String, String)> = HashSet::new();
    let mut retried = 0;
    while retried < most {
        let now = ctx.now();
        let mut tx = ctx.db.begin().await?;
        let dead = store::lock_dead(
            &mut tx,
            before,
            now,
            &queues,
            filter.kind.as_deref(),
            filter.error.as_deref(),
            filter.since.map(|since| since.max(DateTime::UNIX_EPOCH)),
            BATCH,
        )
        .await?;
        let Some(last) = dead.last() else { return Ok(Retried { retried, more: false }) };
        let next = last.job_id;
        let whole = dead.len() as i64 == BATCH;
        // of several with one key the newest does the work
        let mut keys: HashSet<(String, String)> = HashSet::new();
        let ids: Vec<Uuid> = dead
            .into_iter()
            .filter(|job| {
                let key = job.unique_key.clone().map(|key| (job.kind.clone(), key));
                key.is_none_or(|key| !seen.contains(&key) && keys.insert(key))
            })
            .map(|job| job.job_id)
            .collect();
        let woken = match store::set_available(&mut tx, &ids, now).await {
            // somebody asked for the same work between the look and here: the next look leaves it out
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {
                tx.rollback().await?;
                continue;
            }
            other => other?,
        };
        if !woken.is_empty() {
            let details = json!({ "filter": filter, "retried": woken.len() });
            hand.note(&mut tx, "job.retried_many", ("job", "dead".to_owned()), details, now).await?;
        }
        tx.commit().await?;
        before = next;
        seen.extend(keys);
        wake(ctx, &woken);
        retried += woken.len() as u64;
        if !whole {
            return Ok(Retried { retried, more: false });
        }
    }
    Ok(Retried { retried, more: true })
}

/// Asks for a job by hand.
///
/// # Errors
/// `auth.forbidden`, or the database does not answer.
pub async fn enqueue(ctx: &Context, hand: Hand<'_>, job: &NewJob) -> Result<Detail> {
    hand.may(Permission::JobsWrite)?;
    let mut tx = ctx.db.begin().await?;
    let job_id = ledger::insert(&mut tx, job).await?;
    let details = json!({ "kind": job.kind, "run_at": job.run_at });
    hand.note(&mut tx, "job.enqueued", ("job", job_id.to_string()), details, ctx.now()).await?;
    tx.commit().await?;
    ctx.wake.queue(job.queue);
    show_again(ctx, job_id).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).expect("time")
    }

    #[test]
    fn completed_jobs_are_looked_through_for_an_hour_unless_a_time_is_said() {
        let now = time(1_800_000_000);
        let kind = || Filter { kind: Some("job.noop".into()), ..Filter::default() };
        let hour = Uuid::from_u128(first(time(1_800_000_000 - 3_600)));
        assert_eq!(completed_since(&kind(), now), hour);
        assert_eq!(completed_since(&Filter { id: Some("01".into()), ..kind() }, now), hour);
        for all in [
            Filter { state: Some("completed".into()), ..Filter::default() },
            Filter { since: Some(time(0)), ..kind() },
            Filter { id: Some("019a9f31".into()), ..kind() },
        ] {
            assert_eq!(completed_since(&all, now), Uuid::nil(), "{all:?}");
        }
    }

    #[test]
    fn age_beginning_and_place_are_one_range_of_ids() {
        let id = crate::id::ordered(time(1_800_000_000));
        let has = |filter: Filter| range(&filter).is_some_and(|(low, high)| low <= id && id <= high);
        let text = id.to_string();
        assert!(has(Filter::default()));
        for length in 0..=text.len() {
            assert!(has(Filter { id: Some(text[..length].to_owned()), ..Filter::default() }), "{length}");
        }
        assert!(!has(Filter { id: Some("ffff".into()), ..Filter::default() }));
        assert!(has(Filter { since: Some(time(1_800_000_000)), ..Filter::default() }));
        assert!(!has(Filter { since: Some(time(1_800_000_001)), ..Filter::default() }));
        assert!(!has(Filter { before: Some(time(1_800_000_000)), ..Filter::default() }));
        assert!(has(Filter { before: Some(time(1_800_000_001)), ..Filter::default() }));
        assert!(!has(Filter { cursor: Some(id), ..Filter::default() }));
        assert!(has(Filter { cursor: Some(Uuid::max()), ..Filter::default() }));
        for odd in ["xyz", "0123456789abcdef0123456789abcdef0"] {
            assert!(range(&Filter { id: Some(odd.into()), ..Filter::default() }).is_none(), "{odd}");
        }
        assert!(range(&Filter { cursor: Some(Uuid::nil()), ..Filter::default() }).is_none());
    }
}
