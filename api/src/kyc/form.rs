//! A document as it is handed in: JSON with the URLs of files that were sent before, or a form with the files.

use keryu_common::audit::Client;
use keryu_common::error::invalid;
use keryu_common::kyc::{self, Submission, file};
use keryu_common::secret::sha256;
use keryu_common::session::Person;
use keryu_common::{Context, Error, Fault, Result};
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaMediaType, MetaRequest, MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use serde_json::{Map, Value, json};

use super::wire::{KycFormIn, KycIn, Named};
use crate::edge::State;
use crate::edge::body::{self, Body};
use crate::edge::form::{FORM, Place, is_form, parts};
use crate::edge::problem::Problem;

/// The parts that are files, and what may stand in place of each.
const SIDES: [(&str, &str); 2] =
    [("document_front", "document_front_url"), ("document_back", "document_back_url")];

/// What was handed in.
pub struct Handed {
    named: Named,
    files: [Option<bytes::Bytes>; 2],
    _place: Option<Place>,
    /// What an idempotency key is bound to: a form has another boundary each time.
    pub digest: Vec<u8>,
}

/// Keeps the files of a form.
///
/// # Errors
/// The refusals of [`kyc::keep`]; `request.invalid` where the front is neither named nor sent, or is both.
pub async fn keep(ctx: &Context, client: &Client, person: &Person, handed: Handed) -> Result<Submission> {
    let Handed { named, files, _place, .. } = handed;
    let urls = [named.front, named.back];
    let mut faults = Vec::new();
    for (n, (file, url)) in SIDES.into_iter().enumerate() {
        if files[n].is_some() && urls[n].is_some() {
            let told = format!("Give either {file} or {url}.");
            faults.push(Fault::at(format!("/{file}"), "field.one_of", told));
        }
    }
    if files[0].is_none() && urls[0].is_none() {
        faults.push(Fault::at("/document_front", "field.required", "This field is needed."));
    }
    if !faults.is_empty() {
        return Err(invalid(faults).into());
    }
    let mut kept = urls;
    for (n, bytes) in files.into_iter().enumerate() {
        if let Some(bytes) = bytes {
            kept[n] = Some(kyc::keep(ctx, client, person, None, bytes).await?.upload_id);
        }
    }
    let [front, back] = kept;
    let front = front.ok_or_else(|| Error::internal("a document without a front"))?;
    Ok(Submission { document_type: named.document_type, number: named.number, front, back })
}

impl<'a> ApiExtractor<'a> for Handed {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        KycIn::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
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
            required: vec!["document_type", "document_number"],
            example: Some(json!({ "document_type": "passport", "document_number": "AK0123456",
                                  "document_front": "(the bytes of the file)" })),
            ..MetaSchema::new("object")
        };
        let content = vec![
            MetaMediaType { content_type: "application/json", schema: KycIn::schema_ref() },
            MetaMediaType { content_type: FORM, schema: MetaSchemaRef::Inline(Box::new(form)) },
        ];
        Some(MetaRequest { description: None, content, required: true })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        if !is_form(request) {
            let Body { ask, raw } = Body::<KycIn>::from_request(request, body, options).await?;
            return Ok(Self { named: ask, files: [None, None], _place: None, digest: raw });
        }
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
        let named = body::parse::<KycFormIn>(Value::Object(fields).to_string().as_bytes(), state);
        Ok(Self { named: named.map_err(Problem)?, files, _place: Some(place), digest })
    }
}
