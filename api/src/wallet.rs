//! Wallets over HTTP: one's own, and postings by staff and services.

use chrono::{DateTime, Utc};
use keryu_common::api_key::Scope;
use keryu_common::config::Config;
use keryu_common::error::VALIDATION;
use keryu_common::wallet::{self, Kind, Page, Posting, Unit, Wallet};
use keryu_common::{Context, idempotency, session, user};
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object, OpenApi};
use uuid::Uuid;

use crate::edge::body::{Body, Input};
use crate::edge::client::Caller;
use crate::edge::field::{AmountIn, LineIn};
use crate::edge::idempotency::Idempotent;
use crate::edge::party::Party;
use crate::edge::problem::{Answer, NOT_FOUND};
use crate::edge::signed::Signed;
use crate::operation::{Created, Note, Security, Tag};

/// What the document says of the operations here.
pub const NOTES: &[Note] = &[
    Note { operation: "wallet_show", security: Security::Bearer, refusals: &[] },
    Note { operation: "wallet_statement", security: Security::Bearer, refusals: &[VALIDATION] },
    Note {
        operation: "wallet_post",
        security: Security::BearerOrKey(Scope::WalletWrite),
        refusals: &[
            session::FORBIDDEN,
            user::NOT_FOUND,
            NOT_FOUND,
            user::SELF,
            wallet::INSUFFICIENT,
            wallet::REFERENCE_TAKEN,
            idempotency::MISMATCH,
            idempotency::LOST,
        ],
    },
];

/// Which way.
#[derive(Clone, Copy, Debug, Enum)]
#[oai(rename_all = "snake_case")]
pub enum PostingKindIn {
    /// The person has more.
    Credit,
    /// The person has less.
    Debit,
}

/// Of what.
#[derive(Clone, Copy, Debug, Enum)]
#[oai(rename_all = "snake_case")]
pub enum UnitIn {
    /// In the currency of this deployment.
    Money,
    /// Whole points.
    Points,
}

impl From<UnitIn> for Unit {
    fn from(unit: UnitIn) -> Self {
        match unit {
            UnitIn::Money => Self::Money,
            UnitIn::Points => Self::Points,
        }
    }
}

/// A posting wanted.
#[derive(Debug, Object)]
#[oai(example)]
pub struct PostingIn {
    /// Your own name for the posting: it counts once, whatever key your service has by then.
    #[oai(validator(min_length = 1, max_length = 100, pattern = "^[!-~]+$"))]
    reference: String,
    /// Which way.
    kind: PostingKindIn,
    /// Of what.
    unit: UnitIn,
    /// How much: money with no more digits after the point than the currency has (ISO 4217), points whole.
    amount: AmountIn,
    /// For the person to read. It is kept for good: name nobody in it.
    reason: LineIn,
}

impl Example for PostingIn {
    fn example() -> Self {
        Self {
            reference: "rental-20261120-0042".to_owned(),
            kind: PostingKindIn::Credit,
            unit: UnitIn::Money,
            amount: AmountIn("12.50".to_owned()),
            reason: LineIn("Refund of a deposit".to_owned()),
        }
    }
}

impl Input for PostingIn {
    type Ask = wallet::Ask;
    fn ask(self, _: &Config) -> Option<wallet::Ask> {
        Some(wallet::Ask {
            reference: self.reference,
            kind: match self.kind {
                PostingKindIn::Credit => Kind::Credit,
                PostingKindIn::Debit => Kind::Debit,
            },
            unit: self.unit.into(),
            amount: self.amount.parse()?,
            reason: self.reason.parse()?,
        })
    }
}

/// A posting.
#[derive(Debug, Object)]
#[oai(example)]
pub struct PostingOut {
    /// Which.
    id: Uuid,
    /// The poster's own name for it; null of a referral.
    reference: Option<String>,
    /// `credit`, `debit`, or `referral`, which is a credit too.
    kind: String,
    /// `money` or `points`.
    unit: String,
    /// Of money.
    currency: Option<String>,
    /// How much, without a sign.
    amount: String,
    /// What there is after it.
    balance: String,
    /// Why.
    reason: String,
    /// When.
    at: DateTime<Utc>,
}

impl From<Posting> for PostingOut {
    fn from(posting: Posting) -> Self {
        Self {
            id: posting.posting_id,
            reference: posting.reference,
            kind: posting.kind,
            unit: posting.unit.name().to_owned(),
            currency: posting.currency,
            amount: posting.amount,
            balance: posting.balance,
            reason: posting.reason,
            at: posting.at,
        }
    }
}

impl Example for PostingOut {
    fn example() -> Self {
        Self {
            id: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6180),
            reference: Some("rental-20261120-0042".to_owned()),
            kind: "credit".to_owned(),
            unit: "money".to_owned(),
            currency: Some("USD".to_owned()),
            amount: "12.50".to_owned(),
            balance: "40.00".to_owned(),
            reason: "Refund of a deposit".to_owned(),
            at: DateTime::from_timestamp(1_793_000_000, 0).unwrap_or_default(),
        }
    }
}

/// Points.
#[derive(Debug, Object)]
#[oai(example)]
pub struct PointsOut {
    /// Those there are.
    current: String,
    /// Those ever earned.
    total: String,
}

impl From<Wallet> for PointsOut {
    fn from(held: Wallet) -> Self {
        Self { current: held.points, total: held.points_total }
    }
}

impl Example for PointsOut {
    fn example() -> Self {
        Self { current: "120".to_owned(), total: "300".to_owned() }
    }
}

/// A wallet.
#[derive(Debug, Object)]
#[oai(example)]
pub struct WalletOut {
    /// Money.
    balance: String,
    /// Of the money (ISO 4217).
    currency: String,
    /// Points.
    points: PointsOut,
    /// When anything was last posted.
    last_updated: Option<DateTime<Utc>>,
}

impl From<Wallet> for WalletOut {
    fn from(wallet: Wallet) -> Self {
        Self {
            balance: wallet.balance,
            currency: wallet.currency,
            points: PointsOut { current: wallet.points, total: wallet.points_total },
            last_updated: wallet.last_updated,
        }
    }
}

impl Example for WalletOut {
    fn example() -> Self {
        Self {
            balance: "40.00".to_owned(),
            currency: "USD".to_owned(),
            points: PointsOut::example(),
            last_updated: DateTime::from_timestamp(1_793_000_000, 0),
        }
    }
}

/// A page of a statement.
#[derive(Debug, Object)]
#[oai(example)]
pub struct StatementOut {
    /// Newest first.
    items: Vec<PostingOut>,
    /// For the next page; null after the last.
    next_cursor: Option<String>,
}

impl From<Page> for StatementOut {
    fn from(page: Page) -> Self {
        let items = page.items.into_iter().map(PostingOut::from).collect();
        Self { items, next_cursor: page.next_cursor }
    }
}

impl Example for StatementOut {
    fn example() -> Self {
        let next_cursor = Some("AAZet2Y9QAALn3weY6VNKI8QfC6dS2pTq0mXc1Lw9eVbHd3kZrT8yQ".to_owned());
        Self { items: vec![PostingOut::example()], next_cursor }
    }
}

/// The operations.
#[derive(Clone, Copy, Debug)]
pub struct Wallets;

#[OpenApi(prefix_path = "/api/users", tag = "Tag::Account")]
impl Wallets {
    /// See one's own wallet
    #[oai(path = "/wallet", method = "get", operation_id = "wallet_show")]
    async fn show(&self, ctx: Data<&Context>, person: Signed) -> Answer<Json<WalletOut>> {
        Ok(Json(wallet::show(&ctx, person.user_id()).await?.into()))
    }

    /// See what was posted to one's own wallet
    ///
    /// Newest first, with the balance after each posting.
    #[oai(path = "/wallet/statement", method = "get", operation_id = "wallet_statement")]
    async fn statement(
        &self,
        ctx: Data<&Context>,
        person: Signed,
        /// Of what; all without it.
        unit: Query<Option<UnitIn>>,
        /// How many at most; 50 without it.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<Option<u16>>,
        /// `next_cursor` of the page before, of the same `unit`.
        #[oai(validator(max_length = 100))]
        cursor: Query<Option<String>>,
    ) -> Answer<Json<StatementOut>> {
        let (unit, limit) = (unit.0.map(Unit::from), limit.0.unwrap_or(50));
        let page = wallet::statement(&ctx, person.user_id(), unit, limit, cursor.0.as_deref()).await?;
        Ok(Json(page.into()))
    }

    /// Post to somebody's wallet
    ///
    /// For staff with the right `wallet.write`, to nobody above their rank and never to themselves, and for
    /// services with the scope `wallet:write`. The same reference with the same content gets the same posting, also
    /// after the account was deleted; no balance goes below zero.
    #[oai(path = "/:id/wallet/postings", method = "post", operation_id = "wallet_post", tag = "Tag::Admin")]
    async fn post(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        party: Party,
        /// Whose.
        id: Path<Uuid>,
        /// The same key and body within a day gets the saved answer.
        #[oai(name = "Idempotency-Key")]
        key: Idempotent,
        body: Body<PostingIn>,
    ) -> Answer<Created<PostingOut>> {
        let asked = [id.0.as_bytes(), &body.raw[..]].concat();
        let key = key.bind_by(&ctx.config, party.reader().actor(), "wallet_post", &asked)?;
        let posting = wallet::post(&ctx, &from, party.reader(), id.0, body.ask, key.as_ref()).await?;
        Ok(Created(posting.into()))
    }
}
