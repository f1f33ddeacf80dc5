//! What documents look like on the wire.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use keryu_common::Context;
use keryu_common::config::Config;
use keryu_common::kyc::file::Kind;
use keryu_common::kyc::{self, Document, Edit, State, Submission};
use keryu_common::session::Person;
use keryu_common::user::Change;
use poem::http::header;
use poem::{IntoResponse, Response};
use poem_openapi::registry::{
    MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry,
};
use poem_openapi::types::{Example, MaybeUndefined};
use poem_openapi::{ApiResponse, Object};
use serde_json::json;
use uuid::Uuid;

use crate::edge::body::Input;
use crate::edge::field::{FileUrlIn, LineIn, NationalIdIn};
use crate::edge::version::Tagged;

const EXAMPLE_FILE: &str =
    "https://id.example.org/api/users/kyc/documents/019a9f31-7cf2-7b0a-9e1c-2d3e4f506181";

/// A document that names files which were sent before.
#[derive(Debug, Object)]
#[oai(example)]
pub struct KycIn {
    /// `national_id`, `passport`, `driving_licence`, `alien_id`, or another one of this deployment.
    document_type: LineIn,
    /// As it stands on the document; each kind has its rule.
    document_number: NationalIdIn,
    /// The file of its front.
    document_front_url: FileUrlIn,
    /// The file of its back, where the document has two sides.
    document_back_url: Option<FileUrlIn>,
}

impl Example for KycIn {
    fn example() -> Self {
        Self {
            document_type: LineIn("passport".to_owned()),
            document_number: NationalIdIn("AK0123456".to_owned()),
            document_front_url: FileUrlIn(EXAMPLE_FILE.to_owned()),
            document_back_url: None,
        }
    }
}

/// The short fields of a form.
#[derive(Debug, Object)]
pub struct KycFormIn {
    /// As in [`KycIn`].
    document_type: LineIn,
    /// As in [`KycIn`].
    document_number: NationalIdIn,
    /// In place of the file `document_front`.
    document_front_url: Option<FileUrlIn>,
    /// In place of the file `document_back`.
    document_back_url: Option<FileUrlIn>,
}

/// The short fields of a form that changes a document: fields that are left out stay.
#[derive(Debug, Object)]
pub struct KycPatchFormIn {
    /// To another kind.
    document_type: Option<LineIn>,
    /// To another number.
    document_number: Option<NationalIdIn>,
    /// In place of the file `document_front`.
    document_front_url: Option<FileUrlIn>,
    /// In place of the file `document_back`.
    document_back_url: Option<FileUrlIn>,
}

/// The short fields of a form, and the files they name.
pub struct Named<Text> {
    /// Which kind.
    pub document_type: Text,
    /// Normalised.
    pub number: Text,
    /// Front and back; none: it comes as a file, or not at all.
    pub urls: [Option<Uuid>; 2],
}

/// A URL that may be left out.
fn url(given: Option<FileUrlIn>, config: &Config) -> Option<Option<Uuid>> {
    match given {
        None => Some(None),
        Some(url) => url.parse(config).map(Some),
    }
}

impl Input for KycIn {
    type Ask = Submission;
    fn ask(self, config: &Config) -> Option<Submission> {
        Some(Submission {
            document_type: self.document_type.parse()?,
            number: self.document_number.parse()?,
            front: self.document_front_url.parse(config)?,
            back: url(self.document_back_url, config)?,
        })
    }
}

impl Input for KycFormIn {
    type Ask = Named<String>;
    fn ask(self, config: &Config) -> Option<Named<String>> {
        Some(Named {
            document_type: self.document_type.parse()?,
            number: self.document_number.parse()?,
            urls: [url(self.document_front_url, config)?, url(self.document_back_url, config)?],
        })
    }
}

impl Input for KycPatchFormIn {
    type Ask = Named<Option<String>>;
    fn ask(self, config: &Config) -> Option<Named<Option<String>>> {
        Some(Named {
            document_type: match self.document_type {
                None => None,
                Some(given) => Some(given.parse()?),
            },
            number: match self.document_number {
                None => None,
                Some(given) => Some(given.parse()?),
            },
            urls: [url(self.document_front_url, config)?, url(self.document_back_url, config)?],
        })
    }
}

/// A change of the document that waits: fields that are left out stay, `null` takes the back away.
#[derive(Debug, Object)]
#[oai(example)]
pub struct KycPatchIn {
    /// To another kind.
    document_type: Option<LineIn>,
    /// To another number.
    document_number: Option<NationalIdIn>,
    /// To another file.
    document_front_url: Option<FileUrlIn>,
    /// To another file.
    document_back_url: MaybeUndefined<FileUrlIn>,
}

impl Example for KycPatchIn {
    fn example() -> Self {
        Self {
            document_type: None,
            document_number: Some(NationalIdIn("AK0123457".to_owned())),
            document_front_url: None,
            document_back_url: MaybeUndefined::Undefined,
        }
    }
}

impl Input for KycPatchIn {
    type Ask = Edit;
    fn ask(self, config: &Config) -> Option<Edit> {
        Some(Edit {
            document_type: match self.document_type {
                None => None,
                Some(given) => Some(given.parse()?),
            },
            number: match self.document_number {
                None => None,
                Some(given) => Some(given.parse()?),
            },
            front: url(self.document_front_url, config)?,
            back: match self.document_back_url {
                MaybeUndefined::Undefined => Change::Keep,
                MaybeUndefined::Null => Change::Set(None),
                MaybeUndefined::Value(url) => Change::Set(Some(url.parse(config)?)),
            },
        })
    }
}

/// A file that was kept.
#[derive(Debug, Object)]
#[oai(example, rename = "KycFileOut")]
pub struct FileOut {
    /// Which.
    id: Uuid,
    /// What a document names it by; its owner reads it there.
    url: String,
    /// By its content.
    content_type: String,
    /// Bytes.
    size: i64,
    /// When it came.
    created_at: DateTime<Utc>,
}

impl FileOut {
    /// On the wire.
    pub fn of(ctx: &Context, file: kyc::File) -> Self {
        Self {
            url: kyc::file_url(&ctx.config.public_url, file.upload_id),
            id: file.upload_id,
            content_type: file.content_type,
            size: file.size,
            created_at: file.created_at,
        }
    }
}

impl Example for FileOut {
    fn example() -> Self {
        Self {
            id: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6181),
            url: EXAMPLE_FILE.to_owned(),
            content_type: "image/jpeg".to_owned(),
            size: 482_113,
            created_at: DateTime::from_timestamp(1_793_000_000, 0).unwrap_or_default(),
        }
    }
}

/// A document.
#[derive(Debug, Object)]
#[oai(example)]
pub struct KycOut {
    /// Which.
    id: Uuid,
    /// `passport`, ...
    document_type: String,
    /// Masked.
    document_number: String,
    /// Its front.
    document_front_url: String,
    /// Its back.
    document_back_url: Option<String>,
    /// `pending`, `approved`, `rejected` or `expired`.
    status: String,
    /// When it was approved.
    verified_at: Option<DateTime<Utc>>,
    /// Why it was rejected.
    rejection_reason: Option<String>,
    /// When it expires, or when it did.
    expires_at: Option<DateTime<Utc>>,
    /// When it was handed in.
    created_at: DateTime<Utc>,
    /// When it last changed.
    updated_at: DateTime<Utc>,
}

impl KycOut {
    /// On the wire.
    pub fn of(ctx: &Context, document: Document) -> Self {
        let url = |file| kyc::file_url(&ctx.config.public_url, file);
        Self {
            id: document.submission_id,
            verified_at: document.verified_at(),
            document_type: document.document_type,
            document_number: document.masked_number,
            document_front_url: url(document.front),
            document_back_url: document.back.map(url),
            status: document.state.name().to_owned(),
            rejection_reason: document.rejection_reason,
            expires_at: document.expires_at,
            created_at: document.created_at,
            updated_at: document.updated_at,
        }
    }

    /// With its version.
    pub fn tagged(ctx: &Context, document: Document) -> Tagged<Self> {
        let version = document.updated_at;
        Tagged(Self::of(ctx, document), version)
    }
}

impl Example for KycOut {
    fn example() -> Self {
        let at = DateTime::from_timestamp(1_793_000_000, 0).unwrap_or_default();
        Self {
            id: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6182),
            document_type: "passport".to_owned(),
            document_number: "***456".to_owned(),
            document_front_url: EXAMPLE_FILE.to_owned(),
            document_back_url: None,
            status: State::Pending.name().to_owned(),
            verified_at: None,
            rejection_reason: None,
            expires_at: None,
            created_at: at,
            updated_at: at,
        }
    }
}

/// One's newest document.
#[derive(Debug, Object)]
#[oai(example)]
pub struct KycOwnOut {
    #[oai(flatten)]
    newest: KycOut,
    /// Those before it, newest first: 20 at most.
    history: Vec<KycOut>,
}

impl KycOwnOut {
    /// With the version of the newest.
    pub fn tagged(ctx: &Context, newest: Document, history: Vec<Document>) -> Tagged<Self> {
        let Tagged(newest, version) = KycOut::tagged(ctx, newest);
        let history = history.into_iter().map(|document| KycOut::of(ctx, document)).collect();
        Tagged(Self { newest, history }, version)
    }
}

impl Example for KycOwnOut {
    fn example() -> Self {
        Self { newest: KycOut::example(), history: Vec::new() }
    }
}

/// How far the check of one's documents is.
#[derive(Debug, Object)]
#[oai(example)]
pub struct KycStatusOut {
    /// `not_submitted`, `pending`, `approved`, `rejected` or `expired`: approved as long as any document is.
    status: String,
    /// Of the newest document, which may wait while an earlier one is approved.
    document_status: Option<String>,
    /// Why the newest document was rejected.
    rejection_reason: Option<String>,
    /// When the newest document expires, or when it did.
    expires_at: Option<DateTime<Utc>>,
}

impl KycStatusOut {
    /// On the wire.
    pub fn of(person: &Person, newest: Option<Document>) -> Self {
        Self {
            status: person.account.kyc_status.clone(),
            document_status: newest.as_ref().map(|document| document.state.name().to_owned()),
            rejection_reason: newest.as_ref().and_then(|document| document.rejection_reason.clone()),
            expires_at: newest.and_then(|document| document.expires_at),
        }
    }
}

impl Example for KycStatusOut {
    fn example() -> Self {
        Self {
            status: "pending".to_owned(),
            document_status: Some("pending".to_owned()),
            rejection_reason: None,
            expires_at: None,
        }
    }
}

/// A file, as it was sent: never shown in our own origin, and kept by nobody on the way.
#[derive(Debug)]
pub struct Shown {
    /// What it is called, without its ending.
    pub name: String,
    /// By its content.
    pub kind: Kind,
    /// As they were sent.
    pub bytes: Bytes,
}

impl IntoResponse for Shown {
    fn into_response(self) -> Response {
        let file = format!("attachment; filename=\"{}.{}\"", self.name, self.kind.ending());
        Response::builder()
            .content_type(self.kind.media_type())
            .header(header::CONTENT_DISPOSITION, file)
            .header(header::CACHE_CONTROL, "no-store")
            .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
            .body(self.bytes)
    }
}

impl ApiResponse for Shown {
    fn meta() -> MetaResponses {
        let media = |kind: Kind| MetaMediaType {
            content_type: kind.media_type(),
            schema: MetaSchemaRef::Inline(Box::new(MetaSchema {
                example: Some(json!("(the bytes of the file)")),
                ..MetaSchema::new_with_format("string", "binary")
            })),
        };
        let content = Kind::all().map(media).collect();
        let response =
            MetaResponse { description: "", status: Some(200), status_range: None, content, headers: vec![] };
        MetaResponses { responses: vec![response] }
    }
    fn register(_: &mut Registry) {}
}
