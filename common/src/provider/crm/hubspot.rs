//! HubSpot: contacts by batch upsert (CRM API v3) under the unique property `keryu_id`, and its GDPR delete.
//!
//! A batch may be taken in part: then the answer (207) names who was not, by the trace id that each input
//! carries. Or it is refused whole (400) for one value of one contact, and names nobody.

mod answer;

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, SecondsFormat, Utc};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;

use super::{Contact, CrmProvider, Reply, Setback, Taking};
use crate::error::{Error, Result};
use crate::provider::{Secret, http};

/// As rows call it.
pub const NAME: &str = "hubspot";
/// The property that names a person there. It must be there, with unique values.
pub const ID: &str = "keryu_id";

/// `HUBSPOT_…`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `HUBSPOT_BASE_URL`.
    pub base_url: Url,
    /// `HUBSPOT_TOKEN`: of a private app with the right to write contacts.
    pub token: Secret,
}

/// The provider.
#[derive(Debug)]
pub struct HubSpot {
    client: Client,
    upsert: Url,
    delete: Url,
    token: Secret,
    patience: Duration,
}

impl HubSpot {
    /// A call ends within `patience`.
    ///
    /// # Errors
    /// No client can be made.
    pub fn open(settings: &Settings, patience: Duration) -> Result<Self> {
        let base = settings.base_url.as_str().trim_end_matches('/');
        let at = |path: &str| format!("{base}/crm/v3/objects/contacts/{path}").parse::<Url>();
        Ok(Self {
            client: http::client(&settings.base_url)?,
            upsert: at("batch/upsert").map_err(Error::internal)?,
            delete: at("gdpr-delete").map_err(Error::internal)?,
            token: settings.token.clone(),
            patience,
        })
    }

    fn post(&self, url: &Url, body: &Value) -> RequestBuilder {
        self.client.post(url.clone()).bearer_auth(self.token.reveal()).timeout(self.patience).json(body)
    }
}

#[async_trait]
impl CrmProvider for HubSpot {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn tell(&self, people: &[Contact], _: DateTime<Utc>) -> Result<Taking, Setback> {
        let inputs: Vec<Value> = people.iter().map(input).collect();
        let reply = Reply::to(self.post(&self.upsert, &json!({ "inputs": inputs }))).await?;
        answer::taken(&reply, people)
    }

    async fn erase(&self, user_id: Uuid, _: i64, _: DateTime<Utc>) -> Result<Taking, Setback> {
        let body = json!({ "objectId": user_id.to_string(), "idProperty": ID });
        let reply = Reply::to(self.post(&self.delete, &body)).await?;
        answer::erased(&reply)
    }
}

/// A contact as HubSpot takes it: only proved identifiers (its e-mail addresses are unique), and an empty text
/// where there is nothing, which clears the property.
fn input(person: &Contact) -> Value {
    let proved = |value: &Option<String>, is: bool| value.clone().filter(|_| is).unwrap_or_default();
    let id = person.user_id.to_string();
    json!({
        "id": id,
        "idProperty": ID,
        "objectWriteTraceId": id,
        "properties": {
            "email": proved(&person.email, person.email_verified),
            "phone": proved(&person.phone_number, person.phone_verified),
            "firstname": person.first_name.as_deref().unwrap_or_default(),
            "lastname": person.last_name.as_deref().unwrap_or_default(),
            "keryu_username": person.username,
            "keryu_status": person.status,
            "keryu_role": person.role,
            "keryu_verification": person.verification,
            "keryu_language": person.language,
            "keryu_created_at": person.created_at.to_rfc3339_opts(SecondsFormat::Secs, true),
        },
    })
}

#[cfg(test)]
mod tests;
