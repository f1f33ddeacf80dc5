//! Messages to people: which there are, how one is asked for, and what became of it. SQL in `store`,
//! the sending in `jobs`, the second way in `fallback`, the texts in `compose` and `template`, settings in
//! `config`. `tell` tells people of their account, by what they want (`preference`). `receipt`, `feed`,
//! `inbox` and `desk` are the ways to look at a delivery, `webhook` takes what providers report. No HTTP
//! server here.
//!
//! A code is derived when it is sent and when development looks at it, and never kept: rows and
//! payloads hold ids.

mod compose;
pub mod config;
pub mod courier;
pub mod desk;
pub mod fallback;
pub mod feed;
pub mod inbox;
pub mod jobs;
pub mod notice;
mod pace;
pub mod preference;
pub mod receipt;
pub mod store;
mod tell;
pub mod template;
mod via;
pub mod webhook;

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Timelike, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

pub use config::Config;
pub use courier::Courier;
pub use fallback::{FallBackCode, FallBackNotice};
pub use jobs::{DeliverMessage, DeliverNotice};
pub use notice::{Change, Facts, Told};
pub use preference::{Preferences, preferences, set_preferences};
pub use receipt::{Receipt, receipt};
pub use tell::{tell, tell_at};
pub use via::Via;

use crate::audit::Client;
use crate::context::Context;
use crate::error::{Code, Result};
use crate::id;
use crate::job::{self, Terms, store::NewJob};
use crate::user::Channel;

/// No delivery has this id.
pub const NOT_FOUND: Code = Code {
    code: "delivery.not_found",
    status: 404,
    title: "No such delivery",
    advice: "Check the id; deliveries are kept for 90 days.",
};

/// A delivery whose time is over is not sent again.
pub const NOT_RESENDABLE: Code = Code {
    code: "delivery.not_resendable",
    status: 409,
    title: "The delivery cannot be sent again",
    advice: "Ask for a new message instead.",
};

/// A status report that its provider did not write.
pub const FORGED: Code = Code {
    code: "webhook.forged",
    status: 403,
    title: "The report is not the provider's",
    advice: "Check TWILIO_AUTH_TOKEN, SMS_HTTP_WEBHOOK_SECRET and KERYU_PUBLIC_URL.",
};

/// Every refusal of this slice.
pub const CODES: &[Code] = &[NOT_FOUND, NOT_RESENDABLE, FORGED];

/// What can be told. A new message is a variant here and a folder of templates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// A one-time code.
    OtpCode,
    /// To the owner of an identifier with which somebody tried to register.
    AccountExists,
    /// A link that proves an e-mail address.
    VerifyEmailLink,
    /// The account is ready.
    Welcome,
    /// A sign-in from a device not seen before.
    NewDevice,
    /// A new password.
    PasswordChanged,
    /// A new e-mail address or phone number.
    IdentifierChanged,
    /// A second factor came, went or was used up.
    MfaChanged,
    /// A refresh token was shown after its successor was used.
    TokenReuse,
    /// Other rights.
    RoleChanged,
    /// Suspended, banned, active again, ...
    AccountStatusChanged,
    /// A deletion was taken back.
    AccountRestored,
    /// Deleted, and when it is erased.
    AccountDeletionScheduled,
    /// Nobody has used the account for long, and when it becomes inactive.
    InactivityWarning,
    /// The profile lacks something.
    ProfileCompletionReminder,
    /// No document that proves who the person is has been handed in, or the last was rejected.
    KycReminder,
    /// A document was approved.
    KycApproved,
    /// A document was rejected, with the reason.
    KycRejected,
    /// A document that was approved has run out.
    KycExpired,
    /// A report can be read.
    ReportReady,
    /// Everything about the person, which was asked for, can be downloaded.
    ExportReady,
    /// Points for a referral ([`Facts::points`]).
    ReferralRewarded,
    /// Words of the staff's own ([`Facts::said`]).
    StaffMessage,
}

impl Message {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::OtpCode,
        Self::AccountExists,
        Self::VerifyEmailLink,
        Self::Welcome,
        Self::NewDevice,
        Self::PasswordChanged,
        Self::IdentifierChanged,
        Self::MfaChanged,
        Self::TokenReuse,
        Self::RoleChanged,
        Self::AccountStatusChanged,
        Self::AccountRestored,
        Self::AccountDeletionScheduled,
        Self::InactivityWarning,
        Self::ProfileCompletionReminder,
        Self::KycReminder,
        Self::KycApproved,
        Self::KycRejected,
        Self::KycExpired,
        Self::ReportReady,
        Self::ExportReady,
        Self::ReferralRewarded,
        Self::StaffMessage,
    ];

    /// As rows and template folders call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::OtpCode => "otp_code",
            Self::AccountExists => "account_exists",
            Self::VerifyEmailLink => "verify_email_link",
            Self::Welcome => "welcome",
            Self::NewDevice => "new_device",
            Self::PasswordChanged => "password_changed",
            Self::IdentifierChanged => "identifier_changed",
            Self::MfaChanged => "mfa_changed",
            Self::TokenReuse => "token_reuse",
            Self::RoleChanged => "role_changed",
            Self::AccountStatusChanged => "account_status_changed",
            Self::AccountRestored => "account_restored",
            Self::AccountDeletionScheduled => "account_deletion_scheduled",
            Self::InactivityWarning => "inactivity_warning",
            Self::ProfileCompletionReminder => "profile_completion_reminder",
            Self::KycReminder => "kyc_reminder",
            Self::KycApproved => "kyc_approved",
            Self::KycRejected => "kyc_rejected",
            Self::KycExpired => "kyc_expired",
            Self::ReportReady => "report_ready",
            Self::ExportReady => "export_ready",
            Self::ReferralRewarded => "referral_rewarded",
            Self::StaffMessage => "staff_message",
        }
    }

    /// Whether it is a notice: nobody waits for it at a screen, and it is not sent twice by itself.
    pub fn is_notice(self) -> bool {
        !matches!(self, Self::OtpCode | Self::AccountExists | Self::VerifyEmailLink)
    }

    /// Whether a person may switch it off: what is of their account's safety they may not.
    pub fn is_optional(self) -> bool {
        matches!(
            self,
            Self::Welcome
                | Self::ProfileCompletionReminder
                | Self::KycReminder
                | Self::KycApproved
                | Self::KycRejected
                | Self::KycExpired
                | Self::ReportReady
                | Self::ExportReady
                | Self::ReferralRewarded
                | Self::StaffMessage
        )
    }

    /// Whether it may go by this way: a text message is too dear for a report's, and for a reward's.
    pub fn goes_by(self, via: Via) -> bool {
        !matches!((self, via), (Self::ReportReady | Self::ReferralRewarded, Via::Sms))
    }

    /// The message with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|message| message.name() == name)
    }
}

/// How far a delivery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Waits for its job, or for its next try.
    Queued,
    /// With a provider just now.
    Sending,
    /// A provider has it.
    Accepted,
    /// The provider says that it arrived.
    Delivered,
    /// It will not arrive.
    Failed,
    /// Its time went by.
    Expired,
    /// A provider may have it. A code is sent again; a notice is held.
    Unknown,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Queued,
        Self::Sending,
        Self::Accepted,
        Self::Delivered,
        Self::Failed,
        Self::Expired,
        Self::Unknown,
    ];

    /// As rows and receipts say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sending => "sending",
            Self::Accepted => "accepted",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Unknown => "unknown",
        }
    }

    /// The state as it is now: what still waits after its time has expired, whether or not a row says so.
    pub fn at(self, now: DateTime<Utc>, expires_at: DateTime<Utc>) -> Self {
        match self {
            Self::Queued | Self::Sending | Self::Unknown if now >= expires_at => Self::Expired,
            other => other,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for State {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|state| state.name() == name);
        known.ok_or_else(|| format!("{name} is not a state of a delivery"))
    }
}

/// A message somebody is to get.
#[derive(Clone, Debug)]
pub struct Order {
    /// Which.
    pub message: Message,
    /// By which way.
    pub channel: Channel,
    /// To whom: normalised.
    pub recipient: String,
    /// The language wanted; English where there is no such template.
    pub language: String,
    /// Whose account it concerns.
    pub user_id: Option<Uuid>,
    /// What the code is derived from.
    pub challenge_id: Option<Uuid>,
    /// What the code is for: `login`, ...; decides what a receipt may show.
    pub purpose: Option<&'static str>,
    /// False for an unknown identifier: the same rows and receipt, and no provider call.
    pub sends: bool,
    /// Of no use after.
    pub expires_at: DateTime<Utc>,
}

/// The rows an order becomes: for verbs that fold them into a statement of their own.
///
/// # Errors
/// The payload does not serialise.
pub fn rows(now: DateTime<Utc>, client: &Client, order: Order) -> Result<(store::NewDelivery, NewJob)> {
    let delivery_id = id::unguessable();
    let terms = Terms { expires_at: Some(order.expires_at), ..Terms::of(client) };
    let job = job::row(now, &DeliverMessage { delivery_id, created_at: now }, terms)?;
    let delivery = store::NewDelivery {
        delivery_id,
        created_at: now,
        kind: order.message.name(),
        channel: order.channel.name(),
        recipient: order.recipient,
        language: order.language,
        user_id: order.user_id,
        challenge_id: order.challenge_id,
        purpose: order.purpose,
        sends: order.sends,
        facts: serde_json::json!({}),
        fell_back_at: None,
        expires_at: order.expires_at,
        request_id: Some(client.request_id.clone()),
        traceparent: client.traceparent.clone(),
    };
    Ok((delivery, job))
}

/// Asks for a message with the caller's transaction: delivery and job exist if and only if that
/// commits. Answers with the delivery's id; holding it is the right to the receipt. The caller wakes
/// the critical queue after the commit.
///
/// # Errors
/// The database does not answer.
pub async fn queue(tx: &mut PgConnection, ctx: &Context, client: &Client, order: Order) -> Result<Uuid> {
    let (delivery, job) = rows(ctx.now(), client, order)?;
    store::insert(tx, &delivery, &job).await?;
    Ok(delivery.delivery_id)
}

/// Marks deliveries whose time went by before a provider took them: of the last minutes at each call, of the
/// last day at those in the first minute of an hour. In slices of time and batches, so that no statement
/// reads or locks much; reads tell the time by themselves, so that what is not marked yet is told right.
///
/// # Errors
/// The database does not answer.
pub async fn expire(ctx: &Context) -> Result<()> {
    const SLICE: chrono::TimeDelta = chrono::TimeDelta::minutes(10);
    const MOST: i64 = 2_000;
    let now = ctx.now();
    let slices = if now.minute() == 0 { 26 * 6 } else { 1 };
    for n in 0..slices {
        let until = now - SLICE * n;
        while store::set_expired(&ctx.db, (until - SLICE, until), now, MOST).await? == MOST as u64 {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for state in State::ALL {
            assert_eq!(state.name().parse(), Ok(state));
        }
        for message in Message::ALL {
            assert_eq!(Message::named(message.name()), Some(message));
        }
    }

    #[test]
    fn what_waits_too_long_has_expired_and_what_arrived_has_not() {
        let at = DateTime::from_timestamp(1_000, 0).expect("time");
        let later = DateTime::from_timestamp(1_001, 0).expect("time");
        for state in State::ALL {
            assert_eq!(state.at(at, later), state);
        }
        for state in [State::Queued, State::Sending, State::Unknown] {
            assert_eq!(state.at(at, at), State::Expired);
        }
        for state in [State::Accepted, State::Delivered, State::Failed] {
            assert_eq!(state.at(later, at), state);
        }
    }
}
