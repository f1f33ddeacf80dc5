//! Many people at once: the staff's list with its filters and orders. Searches are in `search`.

use std::collections::HashMap;
use std::sync::Mutex;

use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeDelta, Utc};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::audit::line;
use super::search::search;
use super::store::{self, Among};
use super::{Status, TOO_DEEP};
use crate::audit::{self, Client, Line};
use crate::context::Context;
use crate::error::{Fault, Result, invalid};
use crate::role::Permission;
use crate::session::Person;

/// Totals are counted up to here.
pub(super) const EXACT: i64 = 10_000;
/// An estimate of so many is believed without a count: statistics may be behind by much, not by so much.
const BELIEVED: i64 = 5 * EXACT;
/// An estimate is asked for anew after this time: statistics change by the minute.
const ESTIMATE_LIFE: TimeDelta = TimeDelta::seconds(10);
/// Pages end here: an offset is walked.
const DEEPEST: i64 = 100_000;

/// Of which status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Of this one.
    Only(Status),
    /// Of any but `deleted`.
    #[default]
    Kept,
    /// Of any.
    Any,
}

impl Standing {
    /// The names of the statuses.
    pub(super) fn names(self) -> Vec<String> {
        let all = Status::ALL.into_iter();
        let fits = all.filter(|status| match self {
            Self::Only(one) => *status == one,
            Self::Kept => *status != Status::Deleted,
            Self::Any => true,
        });
        fits.map(|status| status.name().to_owned()).collect()
    }

    fn told(self) -> &'static str {
        match self {
            Self::Only(status) => status.name(),
            Self::Kept => "kept",
            Self::Any => "all",
        }
    }
}

/// Which people; what is left out does not count.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of which status.
    pub standing: Standing,
    /// With this role.
    pub role: Option<String>,
    /// From three letters or digits in a row: any part of a username, a name, an address or a number. Else: how
    /// one of them begins.
    pub search: Option<String>,
    /// Whether the e-mail address is proved.
    pub email_verified: Option<bool>,
    /// Whether the phone number is proved.
    pub phone_verified: Option<bool>,
    /// The first day of joining (UTC).
    pub start_date: Option<NaiveDate>,
    /// The last day of joining (UTC).
    pub end_date: Option<NaiveDate>,
}

impl Filter {
    /// The moments between which they joined: from the first, before the second.
    pub(super) fn between(&self) -> (DateTime<Utc>, DateTime<Utc>) {
        let from = self.start_date.map(|day| day.and_time(NaiveTime::MIN).and_utc());
        let until = self.end_date.and_then(|day| day.checked_add_days(Days::new(1)));
        let until = until.map(|day| day.and_time(NaiveTime::MIN).and_utc());
        // the year 10000: days of a filter are of earlier ones
        let end = DateTime::from_timestamp(253_402_300_800, 0).unwrap_or_default();
        (from.unwrap_or(DateTime::UNIX_EPOCH), until.unwrap_or(end))
    }

    /// Whether more than the status, the days and the search counts.
    pub(super) fn is_narrow(&self) -> bool {
        self.role.is_some() || self.email_verified.is_some() || self.phone_verified.is_some()
    }

    pub(super) fn is_dated(&self) -> bool {
        self.start_date.is_some() || self.end_date.is_some()
    }
}

/// In which order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// By when they joined, the last first.
    #[default]
    Newest,
    /// By when they joined, the first first.
    Oldest,
    /// By username.
    Name,
    /// By username, from the end.
    NameBackward,
    /// By when they last signed in, the last first; those who never did come last.
    SignedInLast,
    /// The other way round.
    SignedInFirst,
}

impl Order {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Newest, Self::Oldest, Self::Name, Self::NameBackward, Self::SignedInLast, Self::SignedInFirst];

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Newest => "-date_joined",
            Self::Oldest => "date_joined",
            Self::Name => "username",
            Self::NameBackward => "-username",
            Self::SignedInLast => "-last_login",
            Self::SignedInFirst => "last_login",
        }
    }
}

/// Which page, in which order.
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    /// In which order.
    pub order: Order,
    /// From 1.
    pub page: i64,
    /// How many people a page has.
    pub page_size: i64,
}

impl Slice {
    pub(super) fn skip(self) -> i64 {
        (self.page - 1).saturating_mul(self.page_size)
    }

    /// One more than a page has: whether there is a next page tells without a count.
    pub(super) fn ask(self) -> i64 {
        self.page_size + 1
    }

    /// What a page asked for in this way tells of how many there are in all; the one too many is dropped.
    pub(super) fn tally<T>(self, items: &mut Vec<T>) -> Tally {
        let asked = items.len() as i64;
        items.truncate(usize::try_from(self.page_size).unwrap_or(usize::MAX));
        let known = self.skip() + asked;
        if asked <= self.page_size && (asked > 0 || self.page == 1) {
            return Tally::All(known);
        }
        match asked > self.page_size && known > EXACT {
            true => Tally::More(known),
            false => Tally::Unknown,
        }
    }
}

/// How many people there are, as far as one page tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tally {
    /// So many.
    All(i64),
    /// At least so many, which is more than are counted.
    More(i64),
    /// It takes a count.
    Unknown,
}

/// A page of people.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// In the order asked for.
    pub items: Vec<Row>,
    /// How many there are in all.
    pub total: i64,
    /// Whether that is exact: up to 10,000 it is; above it is an estimate, and more than 10,000.
    pub total_is_exact: bool,
}

/// A person in a list.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Row {
    /// Which.
    pub user_id: Uuid,
    /// As chosen.
    pub username: String,
    /// Whether they may sign in.
    pub status: Status,
    /// When they joined.
    pub created_at: DateTime<Utc>,
}

/// A page of people. Leaves one audit line with the filter.
///
/// # Errors
/// `auth.forbidden`; `request.invalid` where the last day is before the first; `user.page_too_deep`.
pub async fn list(
    ctx: &Context,
    client: &Client,
    person: &Person,
    filter: &Filter,
    slice: Slice,
) -> Result<Page> {
    person.may(Permission::UsersRead)?;
    if let (Some(start), Some(end)) = (filter.start_date, filter.end_date)
        && start > end
    {
        let told = "The parameter end_date is before start_date.";
        return Err(invalid(vec![Fault::at("/end_date", "user.dates", told)]).into());
    }
    if slice.skip().saturating_add(slice.page_size) > DEEPEST {
        return Err(TOO_DEEP.refuse("No page goes beyond the first 100,000 people.").into());
    }
    let found = match &filter.search {
        None => plain(ctx, filter, slice).await?,
        Some(text) => search(&mut *ctx.db.acquire().await?, filter, slice, text).await?,
    };
    let details = json!({
        "status": filter.standing.told(), "role": filter.role, "email_verified": filter.email_verified,
        "phone_verified": filter.phone_verified, "start_date": filter.start_date, "end_date": filter.end_date,
        // it may be somebody's address
        "search": filter.search.as_ref().map(|_| "given"), "ordering": slice.order.name(), "page": slice.page,
    });
    let line = Line {
        entity_id: "*".to_owned(),
        ..line(client, person, Uuid::nil(), "user.listed", details, ctx.now())
    };
    audit::note_read(ctx, line).await?;
    Ok(found)
}

/// Without a search.
async fn plain(ctx: &Context, filter: &Filter, slice: Slice) -> Result<Page> {
    let mut db = ctx.db.acquire().await?;
    let among = Among::default();
    let mut items = store::list(&mut db, filter, &among, slice.order, slice.ask(), slice.skip()).await?;
    if let Tally::All(total) = slice.tally(&mut items) {
        return Ok(Page { items, total, total_is_exact: true });
    }
    // the share of a status is what statistics know; what narrows it further may hang together
    if !filter.is_narrow()
        && !filter.is_dated()
        && let Some(total) = ctx.estimates.find(&mut db, filter, ctx.now()).await?
    {
        return Ok(Page { items, total, total_is_exact: false });
    }
    let counted = store::count(&mut db, filter, &among, EXACT + 1).await?;
    if counted <= EXACT {
        return Ok(Page { items, total: counted, total_is_exact: true });
    }
    let total = store::estimate(&mut db, filter).await?.max(counted);
    Ok(Page { items, total, total_is_exact: false })
}

/// How many people have a status, as the statistics of the database have it, where these are so many that nobody
/// counts them: what was read last, for some seconds.
#[derive(Debug, Default)]
pub struct Estimates(Mutex<HashMap<Standing, (DateTime<Utc>, i64)>>);

impl Estimates {
    /// None: fewer than are believed.
    async fn find(&self, db: &mut PgConnection, filter: &Filter, now: DateTime<Utc>) -> Result<Option<i64>> {
        let kept = self.0.lock().ok().and_then(|kept| kept.get(&filter.standing).copied());
        if let Some((at, total)) = kept
            && (at..at + ESTIMATE_LIFE).contains(&now)
        {
            return Ok(Some(total));
        }
        let total = store::estimate(db, filter).await?;
        if total < BELIEVED {
            return Ok(None);
        }
        if let Ok(mut kept) = self.0.lock() {
            kept.insert(filter.standing, (now, total));
        }
        Ok(Some(total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_tells_how_many_there_are_if_it_is_the_last_or_a_deep_one() {
        let tally = |page, found: usize| {
            let slice = Slice { order: Order::Newest, page, page_size: 20 };
            let mut items = vec![(); found];
            (slice.tally(&mut items), items.len())
        };
        assert_eq!(tally(1, 0), (Tally::All(0), 0));
        assert_eq!(tally(1, 20), (Tally::All(20), 20));
        assert_eq!(tally(1, 21), (Tally::Unknown, 20));
        assert_eq!(tally(2, 1), (Tally::All(21), 1));
        // beyond the end
        assert_eq!(tally(3, 0), (Tally::Unknown, 0));
        assert_eq!(tally(500, 20), (Tally::All(10_000), 20));
        assert_eq!(tally(500, 21), (Tally::More(10_001), 20));
        assert_eq!(tally(499, 21), (Tally::Unknown, 20));
    }

    #[test]
    fn days_are_whole() {
        let day = NaiveDate::from_ymd_opt(2026, 2, 28).expect("a day");
        let filter = Filter { start_date: Some(day), end_date: Some(day), ..Filter::default() };
        let (from, until) = filter.between();
        assert_eq!((until - from).num_hours(), 24);
        let last = NaiveDate::from_ymd_opt(9999, 12, 31).expect("a day");
        let filter = Filter { start_date: Some(last), end_date: Some(last), ..Filter::default() };
        assert!(filter.between().0 < filter.between().1);
    }
}
