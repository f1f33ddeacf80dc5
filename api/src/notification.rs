//! A person's own messages over HTTP.

use chrono::{DateTime, Utc};
use keryu_common::Context;
use keryu_common::error::VALIDATION;
use keryu_common::notify::feed::{self, Item, Page};
use poem::web::Data;
use poem_openapi::param::Query;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use uuid::Uuid;

use crate::delivery::StateOut;
use crate::edge::problem::Answer;
use crate::edge::signed::Signed;
use crate::operation::{Note, Security, Tag};

/// What the document says of the operations here.
pub const NOTES: &[Note] =
    &[Note { operation: "notification_list", security: Security::Bearer, refusals: &[VALIDATION] }];

/// A message to the person.
#[derive(Debug, Object)]
#[oai(example)]
pub struct NotificationOut {
    /// Which; its receipt is at `/api/deliveries/{id}`.
    id: Uuid,
    /// What it says: `otp_code`, `new_device`, `password_changed`, ...
    kind: String,
    /// `sms`, `email` or `push`.
    channel: String,
    /// When it was asked for.
    at: DateTime<Utc>,
    /// How far it is.
    state: StateOut,
}

impl From<Item> for NotificationOut {
    fn from(item: Item) -> Self {
        Self {
            id: item.delivery_id,
            kind: item.kind,
            channel: item.channel,
            at: item.created_at,
            state: item.state.into(),
        }
    }
}

impl Example for NotificationOut {
    fn example() -> Self {
        Self {
            id: Uuid::from_u128(0x0b9f_7c1e_63a5_4d28_8f10_7c2e_9d4b_6a53),
            kind: "new_device".to_owned(),
            channel: "email".to_owned(),
            at: DateTime::from_timestamp(1_793_000_000, 0).unwrap_or_default(),
            state: StateOut::Delivered,
        }
    }
}

/// A page of messages.
#[derive(Debug, Object)]
#[oai(example)]
pub struct NotificationsOut {
    /// Newest first.
    items: Vec<NotificationOut>,
    /// For the next page; null after the last.
    next_cursor: Option<String>,
}

impl From<Page> for NotificationsOut {
    fn from(page: Page) -> Self {
        let items = page.items.into_iter().map(NotificationOut::from).collect();
        Self { items, next_cursor: page.next_cursor }
    }
}

impl Example for NotificationsOut {
    fn example() -> Self {
        let next_cursor = Some("AAZet2Y9QAALn3weY6VNKI8QfC6dS2pTq0mXc1Lw9eVbHd3kZrT8yQ".to_owned());
        Self { items: vec![NotificationOut::example()], next_cursor }
    }
}

/// The operations.
#[derive(Clone, Copy, Debug)]
pub struct Notifications;

#[OpenApi(prefix_path = "/api/users", tag = "Tag::Account")]
impl Notifications {
    /// List one's own messages
    ///
    /// Those of the last 90 days, newest first: which, by which way, when, and how far.
    #[oai(path = "/notifications", method = "get", operation_id = "notification_list")]
    async fn list(
        &self,
        ctx: Data<&Context>,
        person: Signed,
        /// How many at most; 50 without it.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<Option<u16>>,
        /// `next_cursor` of the page before.
        #[oai(validator(max_length = 100))]
        cursor: Query<Option<String>>,
    ) -> Answer<Json<NotificationsOut>> {
        let limit = limit.0.unwrap_or(50);
        Ok(Json(feed::feed(&ctx, person.user_id(), limit, cursor.0.as_deref()).await?.into()))
    }
}
