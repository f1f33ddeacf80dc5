//! Address blocks over HTTP, for staff.

use chrono::{DateTime, Utc};
use keryu_common::config::Config;
use keryu_common::error::Code;
use keryu_common::role::Permission;
use keryu_common::{Context, idempotency, ip_block};
use poem::web::Data;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use uuid::Uuid;

use crate::edge::body::{Body, Input};
use crate::edge::client::Caller;
use crate::edge::field::NetworkIn;
use crate::edge::idempotency::Idempotent;
use crate::edge::problem::{Answer, NOT_FOUND};
use crate::edge::signed::Signed;
use crate::operation::{Created, Gone, Note, Security, Tag};

/// What the document says of the operations here.
pub const NOTES: &[Note] = &[
    Note { operation: "ip_block_list", security: Security::Staff(Permission::IpBlocksRead), refusals: &[] },
    Note {
        operation: "ip_block_create",
        security: Security::Staff(Permission::IpBlocksWrite),
        refusals: CREATE_REFUSALS,
    },
    Note {
        operation: "ip_block_delete",
        security: Security::Staff(Permission::IpBlocksWrite),
        refusals: &[ip_block::NOT_FOUND, NOT_FOUND],
    },
];
const CREATE_REFUSALS: &[Code] = &[ip_block::PROTECTED, idempotency::MISMATCH, idempotency::LOST];

/// A block to make.
#[derive(Debug, Object)]
#[oai(example)]
pub struct IpBlockIn {
    /// From where nobody shall be served.
    network: NetworkIn,
    /// Why, for staff.
    #[oai(validator(min_length = 1, max_length = 500))]
    reason: String,
    /// When it ends; without it, when it is lifted.
    until: Option<DateTime<Utc>>,
}

impl Example for IpBlockIn {
    fn example() -> Self {
        Self {
            network: NetworkIn("203.0.113.0/24".to_owned()),
            reason: "Tries passwords.".to_owned(),
            until: DateTime::from_timestamp(1_793_086_400, 0),
        }
    }
}

impl Input for IpBlockIn {
    type Ask = ip_block::Ask;
    fn ask(self, _: &Config) -> Option<ip_block::Ask> {
        Some(ip_block::Ask { network: self.network.parse()?, reason: self.reason, until: self.until })
    }
}

/// A block.
#[derive(Debug, Object)]
#[oai(example)]
pub struct IpBlockOut {
    /// Which.
    id: Uuid,
    /// From where nobody is served.
    network: String,
    /// Why.
    reason: String,
    /// When it ends; null: when it is lifted.
    until: Option<DateTime<Utc>>,
    /// By whom; null: by itself, after too many lockouts.
    created_by: Option<Uuid>,
    /// Since when.
    created_at: DateTime<Utc>,
}

impl From<ip_block::IpBlock> for IpBlockOut {
    fn from(block: ip_block::IpBlock) -> Self {
        Self {
            id: block.ip_block_id,
            network: block.network.to_string(),
            reason: block.reason,
            until: block.until,
            created_by: block.created_by,
            created_at: block.created_at,
        }
    }
}

impl Example for IpBlockOut {
    fn example() -> Self {
        Self {
            id: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6174),
            network: "203.0.113.0/24".to_owned(),
            reason: "Tries passwords.".to_owned(),
            until: DateTime::from_timestamp(1_793_086_400, 0),
            created_by: Some(Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6172)),
            created_at: DateTime::from_timestamp(1_793_000_000, 0).unwrap_or_default(),
        }
    }
}

/// The blocks that are not over.
#[derive(Debug, Object)]
#[oai(example)]
pub struct IpBlocksOut {
    /// Newest first.
    items: Vec<IpBlockOut>,
}

impl Example for IpBlocksOut {
    fn example() -> Self {
        Self { items: vec![IpBlockOut::example()] }
    }
}

/// The operations.
#[derive(Clone, Copy, Debug)]
pub struct IpBlocks;

#[OpenApi(prefix_path = "/api/admin", tag = "Tag::Admin")]
impl IpBlocks {
    /// List address blocks
    #[oai(path = "/ip-blocks", method = "get", operation_id = "ip_block_list")]
    async fn list(&self, ctx: Data<&Context>, person: Signed) -> Answer<Json<IpBlocksOut>> {
        let blocks = ip_block::list(&ctx, &person).await?;
        Ok(Json(IpBlocksOut { items: blocks.into_iter().map(Into::into).collect() }))
    }

    /// Block addresses
    ///
    /// Every process refuses them within two seconds. Neither trusted proxies nor one's own address can be
    /// blocked.
    #[oai(path = "/ip-blocks", method = "post", operation_id = "ip_block_create")]
    async fn create(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// The same key and body within a day gets the saved answer.
        #[oai(name = "Idempotency-Key")]
        key: Idempotent,
        body: Body<IpBlockIn>,
    ) -> Answer<Created<IpBlockOut>> {
        let key = key.bind_as(&ctx.config, &person, "ip_block_create", &body.raw)?;
        let block = ip_block::create(&ctx, &from, &person, body.ask, key.as_ref()).await?;
        Ok(Created(block.into()))
    }

    /// Lift a block
    #[oai(path = "/ip-blocks/:id", method = "delete", operation_id = "ip_block_delete")]
    async fn delete(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// From the list.
        id: Path<Uuid>,
    ) -> Answer<Gone> {
        ip_block::delete(&ctx, &from, &person, id.0).await?;
        Ok(Gone)
    }
}
