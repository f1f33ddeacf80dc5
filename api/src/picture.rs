//! Pictures of people over HTTP.

use bytes::Bytes;
use keryu_common::api_key::Scope;
use keryu_common::error::{Code, VALIDATION};
use keryu_common::picture::{self, CONTENT_TYPE, MOST_BYTES, Size};
use keryu_common::provider::storage;
use keryu_common::{Context, idempotency, session, upload, user};
use poem::http::{StatusCode, header};
use poem::web::Data;
use poem::{IntoResponse, Request, Response};
use poem_openapi::param::{Path, Query};
use poem_openapi::registry::{
    MetaHeader, MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry,
};
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use serde_json::json;
use uuid::Uuid;

use crate::edge::client::Caller;
use crate::edge::fixed::knows;
use crate::edge::form::OneFile;
use crate::edge::idempotency::Idempotent;
use crate::edge::party::Party;
use crate::edge::problem::{Answer, MEDIA, NOT_FOUND, TIMEOUT, TOO_LARGE};
use crate::edge::signed::Signed;
use crate::operation::{Accepted, Gone, Note, Security, Tag};
use crate::profile::wire::picture_url;

/// What the document says of the operations here.
pub const NOTES: &[Note] = &[
    Note { operation: "picture_send", security: Security::Bearer, refusals: SEND_REFUSALS },
    Note {
        operation: "picture_show",
        security: Security::BearerOrKey(Scope::UsersRead),
        refusals: &[picture::NOT_FOUND, user::NOT_FOUND, NOT_FOUND, storage::UNAVAILABLE, VALIDATION],
    },
    Note {
        operation: "picture_delete",
        security: Security::Bearer,
        refusals: &[picture::NOT_FOUND, user::NOT_FOUND, NOT_FOUND, session::FORBIDDEN],
    },
];
const SEND_REFUSALS: &[Code] = &[
    user::NOT_FOUND,
    NOT_FOUND,
    session::FORBIDDEN,
    picture::TYPE,
    picture::PIXELS,
    picture::ANIMATED,
    picture::BROKEN,
    upload::QUOTA,
    storage::UNAVAILABLE,
    TOO_LARGE,
    TIMEOUT,
    MEDIA,
    VALIDATION,
    idempotency::MISMATCH,
    idempotency::LOST,
];

/// A picture that was taken.
#[derive(Debug, Object)]
#[oai(example)]
pub struct PictureOut {
    /// `processing`: the profile's `avatar_status` says how it goes on.
    status: String,
    /// Where it will be.
    url: String,
}

impl From<picture::Sent> for PictureOut {
    fn from(sent: picture::Sent) -> Self {
        Self { status: "processing".to_owned(), url: picture_url(sent.user_id) }
    }
}

impl Example for PictureOut {
    fn example() -> Self {
        picture::Sent { user_id: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6172) }.into()
    }
}

/// Pixels of the longer side, at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum PictureSize {
    /// 512.
    #[oai(rename = "512")]
    Large,
    /// 128.
    #[oai(rename = "128")]
    Small,
}

/// A picture, or word that the caller has it already.
#[derive(Debug)]
pub struct Shown {
    tag: String,
    bytes: Option<Bytes>,
}

impl IntoResponse for Shown {
    fn into_response(self) -> Response {
        // theirs alone to keep, and another one may take its place
        let response = Response::builder()
            .header(header::ETAG, self.tag)
            .header(header::CACHE_CONTROL, "private, max-age=300")
            .header(header::VARY, "authorization, x-api-key");
        match self.bytes {
            None => response.status(StatusCode::NOT_MODIFIED).finish(),
            Some(bytes) => response
                .content_type(CONTENT_TYPE)
                .header(header::CONTENT_DISPOSITION, "inline; filename=\"picture.jpg\"")
                .header(header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox")
                .body(bytes),
        }
    }
}

impl ApiResponse for Shown {
    fn meta() -> MetaResponses {
        let schema = MetaSchema {
            example: Some(json!("(a JPEG file)")),
            ..MetaSchema::new_with_format("string", "binary")
        };
        let schema = MetaSchemaRef::Inline(Box::new(schema));
        let content = vec![MetaMediaType { content_type: CONTENT_TYPE, schema }];
        let headers = || {
            vec![MetaHeader {
                name: "ETag".to_owned(),
                description: Some("Of this picture, for `If-None-Match`.".to_owned()),
                required: true,
                deprecated: false,
                schema: MetaSchemaRef::Inline(Box::new(MetaSchema::new("string"))),
            }]
        };
        let answer = |status, content, description| MetaResponse {
            description,
            status: Some(status),
            status_range: None,
            content,
            headers: headers(),
        };
        let responses =
            vec![answer(200, content, "The picture."), answer(304, Vec::new(), "The caller has it already.")];
        MetaResponses { responses }
    }
    fn register(_: &mut Registry) {}
}

/// The operations.
#[derive(Clone, Copy, Debug)]
pub struct Pictures;

#[OpenApi(prefix_path = "/api/users", tag = "Tag::Account")]
impl Pictures {
    /// Send a picture
    ///
    /// One's own, or as staff (`users.write`) that of nobody above one's rank. What counts is the file's content:
    /// JPEG, PNG or WebP, still, of 5 MiB and 40 megapixels at most. A job makes it upright and into two sizes,
    /// without what the camera wrote beside it; the one before is shown until then.
    #[oai(path = "/:id/profile/picture", method = "post", operation_id = "picture_send")]
    async fn send(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Of whom.
        id: Path<Uuid>,
        /// The same key and file within a day gets the saved answer.
        #[oai(name = "Idempotency-Key")]
        key: Idempotent,
        picture: OneFile<MOST_BYTES>,
    ) -> Answer<Accepted<PictureOut>> {
        let operation = format!("picture_send:{}", id.0);
        let key = key.bind_as(&ctx.config, &person, &operation, &picture.0)?;
        if picture.0.len() > MOST_BYTES {
            return Err(TOO_LARGE.refuse(format!("A picture has {MOST_BYTES} bytes at most.")).into());
        }
        let OneFile(bytes, _place) = picture;
        Ok(Accepted(picture::send(&ctx, &from, &person, id.0, bytes, key.as_ref()).await?.into()))
    }

    /// See a picture
    ///
    /// One's own, as staff (`users.read`) anybody's, and for services with the scope `users:read`. A JPEG file;
    /// caches of whoever asked may keep it for five minutes.
    #[oai(path = "/:id/profile/picture", method = "get", operation_id = "picture_show")]
    async fn show(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        party: Party,
        request: &Request,
        /// Of whom.
        id: Path<Uuid>,
        /// `512` without it.
        size: Query<Option<PictureSize>>,
    ) -> Answer<Shown> {
        let size = match size.0.unwrap_or(PictureSize::Large) {
            PictureSize::Large => Size::Large,
            PictureSize::Small => Size::Small,
        };
        let upload_id = picture::show(&ctx, &from, party.reader(), id.0, size).await?;
        let tag = format!("\"{}\"", upload_id.simple());
        if knows(request, &tag) {
            return Ok(Shown { tag, bytes: None });
        }
        Ok(Shown { tag, bytes: Some(picture::read(&ctx, id.0, upload_id).await?) })
    }

    /// Delete a picture
    ///
    /// One's own, or as staff (`users.write`) that of nobody above one's rank.
    #[oai(path = "/:id/profile/picture", method = "delete", operation_id = "picture_delete")]
    async fn delete(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Of whom.
        id: Path<Uuid>,
    ) -> Answer<Gone> {
        picture::delete(&ctx, &from, &person, id.0).await?;
        Ok(Gone)
    }
}
