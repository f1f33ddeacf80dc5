//! Many people at once: the staff's list with its filters, search and orders, and the choice of people for what
//! is done to many. A search is looked up among the words of the store; what is common is walked in the order of
//! the list, what is rare is gathered, so that no page and no total reads much more than it shows or counts.

use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::audit::line;
use super::store::{self, Among, Word};
use super::{Status, TOO_DEEP};
use crate::audit::{self, Client, Line};
use crate::context::Context;
use crate::error::{Error, Fault, Result, invalid};
use crate::role::Permission;
use crate::session::Person;

/// Totals are counted up to here.
const EXACT: i64 = 10_000;
/// An estimate of so many is believed without a count: statistics may be behind by much, not by so much.
const BELIEVED: i64 = 5 * EXACT;
/// People looked at to see whether many have a text, and how many of them make it so.
const SAMPLE: i64 = 500;
/// See [`SAMPLE`].
const DENSE: i64 = 50;
/// Pages end here: an offset is walked.
const DEEPEST: i64 = 100_000;

/// Of which status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    fn is_narrow(&self) -> bool {
        self.role.is_some() || self.email_verified.is_some() || self.phone_verified.is_some()
    }

    fn is_dated(&self) -> bool {
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
    fn skip(self) -> i64 {
        (self.page - 1).saturating_mul(self.page_size)
    }
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
        return Err(invalid(vec![Fault::at("", "user.dates", told)]).into());
    }
    if slice.skip().saturating_add(slice.page_size) > DEEPEST {
        return Err(TOO_DEEP.refuse("No page goes beyond the first 100,000 people.").into());
    }
    let mut db = ctx.db.acquire().await?;
    let found = match &filter.search {
        None => plain(&mut db, filter, slice).await?,
        Some(text) => search(&mut db, filter, slice, text).await?,
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
    audit::note(&mut db, line).await?;
    Ok(found)
}

/// Without a search.
async fn plain(db: &mut PgConnection, filter: &Filter, slice: Slice) -> Result<Page> {
    let among = Among::default();
    let items = store::list(db, filter, &among, slice.order, slice.page_size, slice.skip()).await?;
    // the share of a status is what statistics know; what narrows it further may hang together
    if !filter.is_narrow() && !filter.is_dated() {
        let total = store::estimate(db, filter).await?;
        if total >= BELIEVED {
            return Ok(Page { items, total, total_is_exact: false });
        }
    }
    let counted = store::count(db, filter, &among, EXACT + 1).await?;
    if counted <= EXACT {
        return Ok(Page { items, total: counted, total_is_exact: true });
    }
    let total = store::estimate(db, filter).await?.max(counted);
    Ok(Page { items, total, total_is_exact: false })
}

/// With a search.
async fn search(db: &mut PgConnection, filter: &Filter, slice: Slice, text: &str) -> Result<Page> {
    let sought = Sought::look_up(db, text).await?;
    let Some(first) = sought.words.first() else {
        return Ok(Page { total_is_exact: true, ..Page::default() });
    };
    let among = if sought.is_dense(db).await? {
        Among { ids: None, text: Some(sought.pattern.clone()) }
    } else {
        let rare = sought.rare(db, filter, first).await?;
        let bounded = rare.len() as i64 <= EXACT;
        if bounded && sought.is_exact && !filter.is_narrow() && slice.order == Order::Newest {
            return newest(db, filter, slice, first, &rare).await;
        }
        sought.among(db, filter, rare).await?
    };
    let items = store::list(db, filter, &among, slice.order, slice.page_size, slice.skip()).await?;
    let counted = store::count(db, filter, &among, EXACT + 1).await?;
    Ok(Page { items, total: total(counted, first), total_is_exact: counted <= EXACT })
}

/// A total that was counted up to [`EXACT`] and one.
fn total(counted: i64, word: &Word) -> i64 {
    match counted <= EXACT {
        true => counted,
        false => counted.max(word.people),
    }
}

/// People under one word, newest first: an index has them in this order.
async fn newest(
    db: &mut PgConnection,
    filter: &Filter,
    slice: Slice,
    word: &Word,
    rare: &[store::Hit],
) -> Result<Page> {
    let (skip, limit) = (slice.skip(), slice.page_size);
    if let ([common], Standing::Only(status), []) = (word.common.as_slice(), filter.standing, rare) {
        let items = store::list_word(db, common, status, filter.between(), limit, skip).await?;
        let short = (items.len() as i64) < limit && (!items.is_empty() || skip == 0);
        let counted = match short {
            true => skip + items.len() as i64,
            false => store::count_word(db, common, status, filter.between(), EXACT + 1).await?,
        };
        return Ok(Page { items, total: total(counted, word), total_is_exact: counted <= EXACT });
    }
    let (page, counted) = if word.common.is_empty() {
        // all of them are here
        let mut all: Vec<_> = rare.iter().map(|hit| (hit.created_at, hit.user_id)).collect();
        all.sort_unstable_by(|one, other| other.cmp(one));
        all.dedup();
        let page = all.iter().skip(usize::try_from(skip).unwrap_or(usize::MAX));
        let page = page.take(usize::try_from(limit).unwrap_or_default()).map(|hit| hit.1);
        (page.collect(), all.len() as i64)
    } else {
        let most = (EXACT + 1).max(skip + limit);
        let merged = store::merge(db, &word.common, rare, filter, most, limit, skip).await?;
        (merged.page, merged.count)
    };
    let everybody = Filter { standing: Standing::Any, ..Filter::default() };
    let among = Among { ids: Some(page), ..Among::default() };
    let items = match among.ids.as_ref().is_some_and(Vec::is_empty) {
        true => Vec::new(),
        false => store::list(db, &everybody, &among, slice.order, limit, 0).await?,
    };
    Ok(Page { items, total: total(counted, word), total_is_exact: counted <= EXACT })
}

/// A search, looked up.
struct Sought {
    /// Its words, the one that the fewest have first.
    words: Vec<Word>,
    /// Who has the word is who is sought; else their text is looked at too.
    is_exact: bool,
    /// What their text holds.
    pattern: String,
    /// The word is how a field begins.
    is_beginning: bool,
}

impl Sought {
    async fn look_up(db: &mut PgConnection, text: &str) -> Result<Self> {
        let term = store::find_term(&mut *db, text).await?;
        if term.folded.is_empty() {
            return Ok(Self { words: vec![], is_exact: true, pattern: String::new(), is_beginning: true });
        }
        let words = store::list_term_words(db, &term.words).await?;
        let Some(first) = words.first() else {
            let beginning: String = std::iter::once('^').chain(term.folded.chars().take(2)).collect();
            let word = Word { word: beginning.clone(), common: vec![beginning], people: 0 };
            return Ok(Self {
                words: vec![word],
                is_exact: term.folded.chars().count() <= 2,
                pattern: format!("%\n{}%", literal(&term.folded)),
                is_beginning: true,
            });
        };
        let is_exact = words.len() == 1 && first.word == term.folded;
        Ok(Self { is_exact, pattern: format!("%{}%", literal(&term.folded)), is_beginning: false, words })
    }

    /// People under words that are not common and hold this one, up to [`EXACT`] and one.
    async fn rare(&self, db: &mut PgConnection, filter: &Filter, word: &Word) -> Result<Vec<store::Hit>> {
        match self.is_beginning {
            true => Ok(Vec::new()),
            false => Ok(store::list_rare(db, &word.word, filter, EXACT + 1).await?),
        }
    }

    /// Whether so many have it that a walk through the list meets enough of them soon. Of few digits it is looked
    /// for: most numbers of a country begin alike, and no word of theirs is common.
    async fn is_dense(&self, db: &mut PgConnection) -> Result<bool> {
        const FEW: std::ops::RangeInclusive<usize> = 3..=5;
        let Some(first) = self.words.first() else { return Ok(false) };
        let doubted = FEW.contains(&first.word.len()) && first.word.bytes().all(|c| c.is_ascii_digit());
        Ok(doubted && store::count_newest(db, &self.pattern, SAMPLE).await? >= DENSE)
    }

    /// The people to look among: those under the words where these are few, else all whose text fits.
    async fn among(&self, db: &mut PgConnection, filter: &Filter, rare: Vec<store::Hit>) -> Result<Among> {
        let text = Some(self.pattern.clone());
        let whole = Among { ids: None, text: text.clone() };
        let [first, others @ ..] = self.words.as_slice() else { return Ok(whole) };
        if rare.len() as i64 > EXACT {
            return Ok(whole);
        }
        let mut ids: Vec<Uuid> = rare.iter().map(|hit| hit.user_id).collect();
        let mut common = match first.common.is_empty() {
            true => Vec::new(),
            false => store::list_common(db, &first.common, filter, EXACT + 1).await?,
        };
        if common.len() as i64 > EXACT
            && let Some(second) = others.first()
        {
            let more = self.rare(db, filter, second).await?;
            if more.len() as i64 > EXACT {
                return Ok(whole);
            }
            ids.extend(more.iter().map(|hit| hit.user_id));
            common = store::list_both(db, &first.common, &second.common, filter, EXACT + 1).await?;
        }
        if common.len() as i64 > EXACT {
            return Ok(whole);
        }
        ids.extend(common);
        ids.sort_unstable();
        ids.dedup();
        Ok(Among { ids: Some(ids), text: text.filter(|_| !self.is_exact) })
    }
}

/// A text in a `LIKE` pattern: nothing in it is a wildcard.
pub(crate) fn literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

/// The next people who fit a filter and joined by then, but for `me`, by id after `after`.
///
/// # Errors
/// The database does not answer.
pub(crate) async fn choose(
    tx: &mut PgConnection,
    filter: &Filter,
    by: DateTime<Utc>,
    me: Option<Uuid>,
    after: Uuid,
    most: i64,
) -> Result<Vec<Uuid>> {
    let among = match &filter.search {
        None => Among::default(),
        Some(text) => {
            let sought = Sought::look_up(tx, text).await?;
            let Some(first) = sought.words.first() else { return Ok(Vec::new()) };
            let rare = sought.rare(tx, filter, first).await?;
            sought.among(tx, filter, rare).await?
        }
    };
    store::list_ids(tx, filter, &among, by, me, after, most).await.map_err(Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_a_wildcard() {
        assert_eq!(literal("ada_%\\"), "ada\\_\\%\\\\");
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
