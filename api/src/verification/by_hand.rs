//! Verification by staff, on their word.

use keryu_common::Context;
use keryu_common::auth::verify;
use keryu_common::config::Config;
use keryu_common::user::Channel;
use poem::web::Data;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object, OpenApi};
use uuid::Uuid;

use super::VerificationOut;
use crate::edge::body::{Body, Input};
use crate::edge::client::Caller;
use crate::edge::field::LineIn;
use crate::edge::problem::Answer;
use crate::edge::signed::Signed;
use crate::operation::Tag;

/// Which identifier.
#[derive(Clone, Copy, Debug, Enum)]
#[oai(rename_all = "snake_case")]
pub enum ChannelIn {
    /// The phone number.
    Sms,
    /// The e-mail address.
    Email,
}

/// What staff vouch for.
#[derive(Debug, Object)]
#[oai(example)]
pub struct VerifyIn {
    /// Which identifier.
    channel: ChannelIn,
    /// Why; kept in the history and the audit log.
    reason: LineIn,
}

impl Example for VerifyIn {
    fn example() -> Self {
        Self { channel: ChannelIn::Sms, reason: LineIn("Called back at the number".to_owned()) }
    }
}

impl Input for VerifyIn {
    type Ask = (Channel, String);
    fn ask(self, _: &Config) -> Option<Self::Ask> {
        let channel = match self.channel {
            ChannelIn::Sms => Channel::Sms,
            ChannelIn::Email => Channel::Email,
        };
        Some((channel, self.reason.parse()?))
    }
}

/// The operation.
#[derive(Clone, Copy, Debug)]
pub struct ByHand;

#[OpenApi(prefix_path = "/api/admin/users", tag = "Tag::Admin")]
impl ByHand {
    /// Verify an identifier by hand
    ///
    /// Of somebody else, who does not stand above the caller.
    #[oai(path = "/:id/verify", method = "post", operation_id = "user_verify")]
    async fn verify(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Whose.
        id: Path<Uuid>,
        body: Body<VerifyIn>,
    ) -> Answer<Json<VerificationOut>> {
        let (channel, reason) = body.ask;
        verify::by_hand(&ctx, &from, &person, id.0, channel, &reason).await?;
        Ok(Json(verify::show(&ctx, &from, &person, id.0).await?.into()))
    }
}
