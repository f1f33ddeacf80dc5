//! People by what is looked for. The words of a search are looked up among those of the store; what is common is
//! walked in the order of the list, what is rare is gathered, so that no page and no total reads much more than it
//! shows or counts.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::list::{EXACT, Filter, Order, Page, Slice, Standing, Tally};
use super::store::{self, Among, Commons, Hit};
use super::term::{self, Fit, LAST, NEXT, Pair, Part, Term};
use crate::error::{Error, Result};

/// People looked at to see whether many have a text, and how many of them make it so.
const SAMPLE: i64 = 500;
/// See [`SAMPLE`].
const DENSE: i64 = 50;
/// More people are narrowed down before they are looked at one by one.
const FEW: i64 = 100;
/// Words and pairs of a search that are tried: of each kind so many.
const TRIED: usize = 4;

/// Where the people of a search are.
enum Found {
    /// All who have one of these common words, and these others.
    Under { common: Vec<String>, rare: Vec<Hit>, people: i64 },
    /// Just these.
    These(Vec<Hit>),
    /// Among these, or all: those whose text is like the pattern.
    Like(Among),
}

/// A page of the people who fit a filter and a search.
pub(super) async fn search(db: &mut PgConnection, filter: &Filter, slice: Slice, text: &str) -> Result<Page> {
    let found = look_up(db, filter, text).await?;
    let newest = !filter.is_narrow() && slice.order == Order::Newest;
    let among = match found {
        Found::Under { common, rare, people } if newest => {
            return under(db, filter, slice, &common, &rare, people).await;
        }
        Found::These(hits) if newest => return these(db, slice, hits).await,
        // each is looked at once, for the page and for the total
        Found::Like(Among { ids: Some(ids), text: Some(text) }) if newest && ids.len() as i64 > FEW => {
            let hits = store::list_like(db, &ids, &text).await?;
            return these(db, slice, hits).await;
        }
        other => other.among(db, filter, text).await?,
    };
    let mut items = store::list(db, filter, &among, slice.order, slice.ask(), slice.skip()).await?;
    let counted = match slice.tally(&mut items) {
        Tally::All(total) | Tally::More(total) => total,
        Tally::Unknown => store::count(db, filter, &among, EXACT + 1).await?,
    };
    Ok(Page { items, total: counted, total_is_exact: counted <= EXACT })
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
        Some(text) => look_up(tx, filter, text).await?.among(tx, filter, text).await?,
    };
    store::list_ids(tx, filter, &among, by, me, after, most).await.map_err(Error::from)
}

async fn folded(db: &mut PgConnection, text: &str) -> Result<String> {
    Ok(match term::fold(text) {
        Some(folded) => folded,
        None => store::find_folded(&mut *db, term::trimmed(text)).await?,
    })
}

/// Those whose text holds this.
fn like(folded: &str) -> Among {
    Among { ids: None, text: Some(pattern(folded)) }
}

fn pattern(folded: &str) -> String {
    format!("%{}%", term::literal(folded))
}

async fn look_up(db: &mut PgConnection, filter: &Filter, text: &str) -> Result<Found> {
    let folded = folded(db, text).await?;
    match term::read(&folded) {
        Term::Nothing => Ok(Found::These(Vec::new())),
        Term::Beginning(word) => Ok(Found::Under { common: vec![word], rare: Vec::new(), people: 0 }),
        Term::Word(word) => under_word(db, filter, word).await,
        Term::Pair(pair) => under_pair(db, filter, &folded, &pair).await,
        Term::Words { parts, pairs } => under_words(db, filter, &folded, parts, &pairs).await,
        Term::Text => Ok(Found::Like(like(&folded))),
    }
}

/// Who has a word that holds this one.
async fn under_word(db: &mut PgConnection, filter: &Filter, word: String) -> Result<Found> {
    if is_dense(db, &word).await? {
        return Ok(Found::Like(like(&word)));
    }
    let part = Part { word, fit: Fit::Part };
    let sought = store::find_sought(db, &part.word, &part.pattern(), filter, EXACT + 1).await?;
    if sought.rare() > EXACT {
        return Ok(Found::Like(like(&part.word)));
    }
    let rare = sought.hits();
    match sought.words.is_empty() {
        true => Ok(Found::These(rare)),
        false => Ok(Found::Under { common: sought.words, rare, people: sought.people }),
    }
}

/// Whether so many have it that a walk through the list meets enough of them soon. Of few digits it is looked
/// for: most numbers of a country begin alike, and no word of theirs is common.
async fn is_dense(db: &mut PgConnection, word: &str) -> Result<bool> {
    let few = word.len() <= 5 && word.bytes().all(|c| c.is_ascii_digit());
    Ok(few && store::count_newest(db, &pattern(word), SAMPLE).await? >= DENSE)
}

/// Who has this pair.
async fn under_pair(db: &mut PgConnection, filter: &Filter, folded: &str, pair: &Pair) -> Result<Found> {
    let Some(Paired { mut pairs, rare }) = paired(db, filter, pair).await? else {
        return Ok(Found::Like(like(folded)));
    };
    if !rare.is_empty() {
        let ids: Vec<Uuid> = rare.iter().map(|hit| hit.user_id).collect();
        pairs.extend(store::list_like(db, &ids, &pattern(folded)).await?);
    }
    Ok(Found::These(pairs))
}

/// People by a pair.
struct Paired {
    /// Who has it.
    pairs: Vec<Hit>,
    /// Who has a word that ends like its first and that few have, and perhaps the pair.
    rare: Vec<Hit>,
}

/// None: there are more than [`EXACT`].
async fn paired(db: &mut PgConnection, filter: &Filter, pair: &Pair) -> Result<Option<Paired>> {
    let first = &pair.first;
    let (firsts, rare) = match first.fit {
        Fit::Whole => (vec![first.word.clone()], Vec::new()),
        _ => {
            let sought = store::find_sought(db, &first.word, &first.pattern(), filter, EXACT + 1).await?;
            if sought.rare() > EXACT {
                return Ok(None);
            }
            let rare = sought.hits();
            (sought.words, rare)
        }
    };
    if firsts.is_empty() {
        return Ok(Some(Paired { pairs: Vec::new(), rare }));
    }
    let (low, high): (Vec<_>, Vec<_>) = firsts.iter().map(|first| pair.range(first)).unzip();
    let pairs = store::list_ranges(db, &low, &high, filter, EXACT + 1).await?;
    Ok((pairs.len() as i64 <= EXACT).then_some(Paired { pairs, rare }))
}

/// Whose text holds all of it, among those who have what the fewest have of it: a name with its number, a word, or
/// a pair. Where these are still many, among those of them who have another, and another.
async fn under_words(
    db: &mut PgConnection,
    filter: &Filter,
    folded: &str,
    parts: Vec<Part>,
    pairs: &[Pair],
) -> Result<Found> {
    let mut among = Narrowed(None);
    let (numbers, names): (Vec<_>, Vec<_>) = pairs.iter().partition(|pair| pair.is_numbered());
    for pair in numbers.into_iter().take(TRIED) {
        among.narrow_by(db, filter, pair).await?;
    }
    if !among.is_wide() {
        return Ok(among.like(folded));
    }
    let patterns: Vec<String> = parts.iter().map(Part::pattern).collect();
    let commons = store::list_commons(&mut *db, &patterns).await?;
    let mut tried: Vec<(Part, Commons)> = parts.into_iter().zip(commons).collect();
    tried.sort_by(|(one, ones), (other, others)| {
        let key = |part: &Part, found: &Commons| (found.people, part.fit, std::cmp::Reverse(part.word.len()));
        key(one, ones).cmp(&key(other, others))
    });
    let few = tried.iter().take_while(|(_, found)| found.people <= FEW).count();
    for (part, found) in tried.iter().take(few.min(TRIED)) {
        if among.is_wide() {
            among.narrow(all(db, filter, part, found).await?);
        }
    }
    for pair in names.into_iter().take(TRIED) {
        among.narrow_by(db, filter, pair).await?;
    }
    for (part, found) in tried.iter().skip(few).take(TRIED) {
        if among.is_wide() && found.people <= EXACT {
            among.narrow(all(db, filter, part, found).await?);
        }
    }
    if among.0.is_none()
        && let [(first, these), (second, those), ..] = tried.as_slice()
    {
        let mut ids = Vec::new();
        for part in [first, second] {
            let rare = store::list_rare(db, &part.word, &part.pattern(), filter, EXACT + 1).await?;
            ids.extend(rare.iter().map(|hit| hit.user_id));
        }
        ids.extend(store::list_both(db, &these.words, &those.words, filter, EXACT + 1).await?);
        among.narrow((ids.len() as i64 <= EXACT).then(|| sorted(ids)));
    }
    Ok(among.like(folded))
}

/// People, as far as narrowed down; none: all.
struct Narrowed(Option<Vec<Uuid>>);

impl Narrowed {
    /// Whether there are too many of them to look at one by one.
    fn is_wide(&self) -> bool {
        self.0.as_ref().is_none_or(|ids| ids.len() as i64 > FEW)
    }

    /// To those who have this pair, if they are still many.
    async fn narrow_by(&mut self, db: &mut PgConnection, filter: &Filter, pair: &Pair) -> Result<()> {
        if self.is_wide()
            && let Some(Paired { pairs, rare }) = paired(db, filter, pair).await?
        {
            self.narrow(Some(sorted(pairs.into_iter().chain(rare).map(|hit| hit.user_id).collect())));
        }
        Ok(())
    }

    /// To those who are among these, in order, too.
    fn narrow(&mut self, others: Option<Vec<Uuid>>) {
        let Some(others) = others else { return };
        match &mut self.0 {
            Some(ids) => ids.retain(|id| others.binary_search(id).is_ok()),
            none => *none = Some(others),
        }
    }

    /// Those of them whose text holds this.
    fn like(self, folded: &str) -> Found {
        Found::Like(Among { ids: self.0, text: Some(pattern(folded)) })
    }
}

/// People under the words that a word of a search fits, up to [`EXACT`] and one: all that are not common, and of
/// those that begin with it the common ones too.
async fn gather(db: &mut PgConnection, filter: &Filter, part: &Part) -> Result<Vec<Hit>> {
    let word = &part.word;
    let end = match part.fit {
        Fit::Part | Fit::End => {
            return Ok(store::list_rare(db, word, &part.pattern(), filter, EXACT + 1).await?);
        }
        Fit::Whole => format!("{word}{NEXT}"),
        Fit::Beginning => format!("{word}{LAST}"),
    };
    Ok(store::list_ranges(db, std::slice::from_ref(word), &[end], filter, EXACT + 1).await?)
}

/// Who has a word that this one fits; None: more than [`EXACT`].
async fn all(
    db: &mut PgConnection,
    filter: &Filter,
    part: &Part,
    found: &Commons,
) -> Result<Option<Vec<Uuid>>> {
    let hits = gather(db, filter, part).await?;
    let common = match part.fit {
        Fit::Part | Fit::End => found.words.as_slice(),
        // they were gathered
        Fit::Whole | Fit::Beginning => &[],
    };
    both(db, filter, common, &hits).await
}

/// The people of these words and hits; None: more than [`EXACT`], or more rows than that of one of both, which are
/// cut off.
async fn both(
    db: &mut PgConnection,
    filter: &Filter,
    common: &[String],
    rare: &[Hit],
) -> Result<Option<Vec<Uuid>>> {
    let is_cut = |rows: usize| rows as i64 > EXACT;
    if is_cut(rare.len()) {
        return Ok(None);
    }
    let mut ids: Vec<Uuid> = rare.iter().map(|hit| hit.user_id).collect();
    if !common.is_empty() {
        let others = store::list_common(db, common, filter, EXACT + 1).await?;
        if is_cut(others.len()) {
            return Ok(None);
        }
        ids.extend(others);
    }
    let ids = sorted(ids);
    Ok((ids.len() as i64 <= EXACT).then_some(ids))
}

fn sorted(mut ids: Vec<Uuid>) -> Vec<Uuid> {
    ids.sort_unstable();
    ids.dedup();
    ids
}

impl Found {
    /// Where a list of any order looks for them.
    async fn among(self, db: &mut PgConnection, filter: &Filter, text: &str) -> Result<Among> {
        match self {
            Self::Like(among) => Ok(among),
            Self::These(hits) => {
                let ids = sorted(hits.into_iter().map(|hit| hit.user_id).collect());
                Ok(Among { ids: Some(ids), text: None })
            }
            Self::Under { common, rare, .. } => match both(db, filter, &common, &rare).await? {
                Some(ids) => Ok(Among { ids: Some(ids), text: None }),
                None => {
                    let folded = folded(db, text).await?;
                    Ok(match term::read(&folded) {
                        Term::Beginning(_) => {
                            let beginning = format!("%\n{}%", term::literal(&folded));
                            Among { ids: None, text: Some(beginning) }
                        }
                        _ => like(&folded),
                    })
                }
            },
        }
    }
}

/// A total that was counted up to [`EXACT`] and one, where so many were counted at night.
fn total(counted: i64, people: i64) -> i64 {
    match counted <= EXACT {
        true => counted,
        false => counted.max(people),
    }
}

/// People under common words, newest first: an index has them in this order.
async fn under(
    db: &mut PgConnection,
    filter: &Filter,
    slice: Slice,
    common: &[String],
    rare: &[Hit],
    people: i64,
) -> Result<Page> {
    let (skip, limit) = (slice.skip(), slice.page_size);
    if let ([word], Standing::Only(status), []) = (common, filter.standing, rare) {
        let count = (skip == 0).then_some(EXACT + 1);
        let mut under = store::list_under(db, word, status, filter, (slice.ask(), skip), count).await?;
        let told = under.first().and_then(|first| first.counted);
        let counted = match (slice.tally(&mut under), told) {
            (Tally::All(total) | Tally::More(total), _) | (Tally::Unknown, Some(total)) => total,
            (Tally::Unknown, None) => store::count_under(db, word, status, filter, EXACT + 1).await?,
        };
        let items = under.into_iter().map(|under| under.row).collect();
        return Ok(Page { items, total: total(counted, people), total_is_exact: counted <= EXACT });
    }
    let most = (EXACT + 1).max(skip + limit);
    let merged = store::merge(db, common, rare, filter, most, limit, skip).await?;
    let items = in_order(db, slice, merged.page).await?;
    Ok(Page { items, total: total(merged.count, people), total_is_exact: merged.count <= EXACT })
}

/// These people, newest first.
async fn these(db: &mut PgConnection, slice: Slice, hits: Vec<Hit>) -> Result<Page> {
    let mut all: Vec<_> = hits.into_iter().map(|hit| (hit.created_at, hit.user_id)).collect();
    all.sort_unstable_by(|one, other| other.cmp(one));
    all.dedup();
    let total = all.len() as i64;
    let page = all.into_iter().skip(usize::try_from(slice.skip()).unwrap_or(usize::MAX));
    let page = page.take(usize::try_from(slice.page_size).unwrap_or_default()).map(|hit| hit.1);
    let items = in_order(db, slice, page.collect()).await?;
    Ok(Page { items, total, total_is_exact: true })
}

/// The rows of a page.
async fn in_order(db: &mut PgConnection, slice: Slice, page: Vec<Uuid>) -> Result<Vec<super::Row>> {
    if page.is_empty() {
        return Ok(Vec::new());
    }
    let everybody = Filter { standing: Standing::Any, ..Filter::default() };
    let among = Among { ids: Some(page), ..Among::default() };
    Ok(store::list(db, &everybody, &among, slice.order, slice.page_size, 0).await?)
}
