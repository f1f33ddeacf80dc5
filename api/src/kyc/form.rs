//! A document as it is handed in or changed: JSON with the URLs of files that were sent before, or a form with the
//! files.

use bytes::Bytes;
use keryu_common::error::invalid;
use keryu_common::kyc::{Edit, FilesEdit, Given, Submission, WithFiles, file};
use keryu_common::secret::sha256;
use keryu_common::{Error, Fault, Result};
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaMediaType, MetaRequest, MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::wire::{KycFormIn, KycIn, KycPatchFormIn, KycPatchIn, Named};
use crate::edge::State;
use crate::edge::body::{self, Body, Input};
use crate::edge::form::{FORM, Place, is_form, parts};
use crate::edge::problem::Problem;

/// The parts that are files, and what may stand in place of each.
const SIDES: [(&str, &str); 2] =
    [("document_front", "document_front_url"), ("document_back", "document_back_url")];

/// A document that is handed in.
pub enum Handed {
    /// With the URLs of its files, and what an idempotency key is bound to.
    Urls(Submission, Vec<u8>),
    /// With its files.
    Form(Form<String>),
}

/// What is to change of a document.
pub enum Amended {
    /// With URLs of files.
    Urls(Edit),
    /// With files.
    Form(Form<Option<String>>),
}

/// A form that was read.
pub struct Form<Text> {
    named: Named<Text>,
    files: [Option<Bytes>; 2],
    /// To be held as long as the files are.
    pub place: Place,
    /// What an idempotency key is bound to: a form has another boundary each time.
    pub digest: Vec<u8>,
}

impl Form<String> {
    /// As a verb wants it, and the place of its files.
    ///
    /// # Errors
    /// `request.invalid` where the front is neither named nor sent, or a side is both.
    pub fn document(self) -> Result<(WithFiles, Place)> {
        let Named { document_type, number, urls } = self.named;
        let (sides, mut faults) = given(self.files, urls);
        if let [None, _] = &sides {
            faults.push(Fault::at("/document_front", "field.required", "This field is needed."));
        }
        match sides {
            [Some(front), back] if faults.is_empty() => {
                Ok((WithFiles { document_type, number, front, back }, self.place))
            }
            _ => Err(invalid(faults).into()),
        }
    }
}

impl Form<Option<String>> {
    /// As a verb wants it, and the place of its files.
    ///
    /// # Errors
    /// `request.invalid` where a side is named and sent.
    pub fn edit(self) -> Result<(FilesEdit, Place)> {
        let Named { document_type, number, urls } = self.named;
        let ([front, back], faults) = given(self.files, urls);
        match faults.is_empty() {
            true => Ok((FilesEdit { document_type, number, front, back }, self.place)),
            false => Err(invalid(faults).into()),
        }
    }
}

/// Each side, by its file or its URL.
fn given(files: [Option<Bytes>; 2], urls: [Option<Uuid>; 2]) -> ([Option<Given>; 2], Vec<Fault>) {
    let mut faults = Vec::new();
    let mut n = 0;
    let sides = files.map(|file| {
        let ((part, field), url) = (SIDES[n], urls[n]);
        n += 1;
        if file.is_some() && url.is_some() {
            faults.push(Fault::at(
                format!("/{part}"),
                "field.one_of",
                format!("Give either {part} or {field}."),
            ));
        }
        file.map(Given::Sent).or(url.map(Given::Kept))
    });
    (sides, faults)
}

/// Reads a form with the short fields of `Short`.
async fn read<Short, Text>(request: &Request, body: &mut RequestBody) -> poem::Result<Form<Text>>
where
    Short: Input<Ask = Named<Text>>,
{
    let Some(state) = request.data::<State>() else {
        return Err(Problem(Error::internal("the edge is not there")).into());
    };
    let (mut fields, mut files, mut digest) = (Map::new(), [None, None], Vec::new());
    let mut faults = Vec::new();
    let (parts, place) = parts(request, body, 2 * file::MOST_BYTES).await?;
    for part in parts {
        let side = SIDES.iter().position(|(file, _)| *file == part.name);
        for held in [part.name.as_bytes(), &part.bytes] {
            digest.extend_from_slice(&sha256(held));
        }
        let twice = match side {
            Some(side) => files[side].replace(part.bytes).is_some(),
            None => {
                let text = String::from_utf8_lossy(&part.bytes).into_owned();
                fields.insert(part.name.clone(), Value::String(text)).is_some()
            }
        };
        if twice {
            let told = "The form names this field twice.";
            faults.push(Fault::at(format!("/{}", part.name), "field.invalid", told));
        }
    }
    if !faults.is_empty() {
        return Err(Problem::from(invalid(faults)).into());
    }
    let named = body::parse::<Short>(Value::Object(fields).to_string().as_bytes(), state);
    Ok(Form { named: named.map_err(Problem)?, files, place, digest })
}

/// What the document says of such a request.
fn meta(json: MetaSchemaRef, required: Vec<&'static str>) -> MetaRequest {
    let text = || MetaSchemaRef::Inline(Box::new(MetaSchema::new("string")));
    let binary = || MetaSchemaRef::Inline(Box::new(MetaSchema::new_with_format("string", "binary")));
    let form = MetaSchema {
        properties: vec![
            ("document_type", text()),
            ("document_number", text()),
            ("document_front", binary()),
            ("document_back", binary()),
            ("document_front_url", text()),
            ("document_back_url", text()),
        ],
        required,
        example: Some(json!({ "document_type": "passport", "document_number": "AK0123456",
                              "document_front": "(the bytes of the file)" })),
        ..MetaSchema::new("object")
    };
    let content = vec![
        MetaMediaType { content_type: "application/json", schema: json },
        MetaMediaType { content_type: FORM, schema: MetaSchemaRef::Inline(Box::new(form)) },
    ];
    MetaRequest { description: None, content, required: true }
}

impl<'a> ApiExtractor<'a> for Handed {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        KycIn::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        Some(meta(KycIn::schema_ref(), vec!["document_type", "document_number"]))
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        if is_form(request) {
            return Ok(Self::Form(read::<KycFormIn, _>(request, body).await?));
        }
        let Body { ask, raw } = Body::<KycIn>::from_request(request, body, options).await?;
        Ok(Self::Urls(ask, raw))
    }
}

impl<'a> ApiExtractor<'a> for Amended {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        KycPatchIn::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        Some(meta(KycPatchIn::schema_ref(), Vec::new()))
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        if is_form(request) {
            return Ok(Self::Form(read::<KycPatchFormIn, _>(request, body).await?));
        }
        Ok(Self::Urls(Body::<KycPatchIn>::from_request(request, body, options).await?.ask))
    }
}
