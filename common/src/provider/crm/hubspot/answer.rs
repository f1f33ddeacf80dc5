//! What HubSpot's answers mean.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::ID;
use crate::provider::crm::{Contact, Fate, Reply, Setback, TOO_MANY, Taking};
use crate::provider::http;

/// The wait when the requests of a day are used up, where HubSpot does not say how long.
pub(super) const DAILY: Duration = Duration::from_secs(3600);

/// The answer to a batch.
#[derive(Debug, Deserialize)]
struct Batch {
    status: String,
    #[serde(default)]
    results: Vec<Taken>,
    #[serde(default)]
    errors: Vec<Trouble>,
}

/// A contact that was taken.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Taken {
    object_write_trace_id: Option<String>,
    #[serde(default)]
    properties: HashMap<String, Value>,
}

/// An error of a call, or of one input in it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Trouble {
    id: Option<String>,
    category: Option<String>,
    sub_category: Option<Value>,
    message: Option<String>,
    correlation_id: Option<String>,
    policy_name: Option<String>,
    context: HashMap<String, Value>,
    errors: Vec<Detail>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Detail {
    code: Option<String>,
    #[serde(rename = "in")]
    at: Option<String>,
    // what a message holds of values that were not valid
    error: Option<String>,
    name: Option<String>,
}

/// Who was taken.
pub(super) fn taken(reply: &Reply, people: &[Contact]) -> Result<Taking, Setback> {
    if !reply.status.is_success() {
        return fault(reply);
    }
    let batch: Batch = match serde_json::from_slice(&reply.body) {
        Ok(batch) => batch,
        Err(_) => return Err(no_json(reply)),
    };
    if batch.status == "error" {
        return fault(reply);
    }
    let asked: HashSet<Uuid> = people.iter().map(|person| person.user_id).collect();
    let known = |text: &str| text.parse::<Uuid>().ok().filter(|id| asked.contains(id));
    let mut fates: HashMap<Uuid, Fate> = HashMap::new();
    let mut nameless: Option<Fate> = None;
    for error in &batch.errors {
        if error.is_setup() {
            return Err(Setback::misconfigured(error.told(reply)));
        }
        match error.names().find_map(known) {
            Some(id) => drop(fates.insert(id, error.fate(reply))),
            None if error.category.as_deref() == Some("RATE_LIMITS") => return Err(error.wait(reply)),
            None => nameless = Some(error.fate(reply)),
        }
    }
    let named = batch.results.iter().map(|one| {
        let id = one.properties.get(ID).and_then(Value::as_str);
        one.object_write_trace_id.as_deref().or(id).and_then(known)
    });
    let named: Option<HashSet<Uuid>> = named.collect();
    match (named, nameless) {
        // nobody is left to be named
        (_, None) if batch.results.len() + fates.len() == people.len() => {}
        (Some(named), nameless) => {
            for id in asked.iter().filter(|id| !named.contains(id)) {
                let unsaid = || {
                    Fate::Later(format!(
                        "HubSpot answered {} and does not name this contact",
                        reply.status.as_u16()
                    ))
                };
                fates.entry(*id).or_insert_with(|| match (&nameless, people.len()) {
                    (Some(fate), 1) => fate.clone(),
                    _ => unsaid(),
                });
            }
        }
        (None, nameless) => {
            let unsaid = || {
                Fate::Later(format!(
                    "HubSpot answered {} without saying who was taken",
                    reply.status.as_u16()
                ))
            };
            return Ok(Taking::Refused { fate: nameless.unwrap_or_else(unsaid), certain: false });
        }
    }
    Ok(Taking::Taken(fates.into_iter().collect()))
}

/// Whether somebody is erased: not being there is as good.
pub(super) fn erased(reply: &Reply) -> Result<Taking, Setback> {
    let trouble: Option<Trouble> = serde_json::from_slice(&reply.body).ok();
    match (reply.status.as_u16(), trouble) {
        (200..=299, _) if reply.body.iter().all(u8::is_ascii_whitespace) => Ok(Taking::Taken(Vec::new())),
        (200..=299, Some(said)) if said.category.is_none() => Ok(Taking::Taken(Vec::new())),
        // said by HubSpot itself, and not by something on the way to it
        (404, Some(said)) if !said.is_setup() => Ok(Taking::Taken(Vec::new())),
        _ => fault(reply),
    }
}

fn no_json(reply: &Reply) -> Setback {
    Setback::fail(format!(
        "HubSpot answered {} with what is not its JSON ({})",
        reply.status.as_u16(),
        reply.kind()
    ))
}

/// What an error of a whole call means.
fn fault(reply: &Reply) -> Result<Taking, Setback> {
    let trouble: Option<Trouble> = serde_json::from_slice(&reply.body).ok();
    let status = reply.status.as_u16();
    let Some(trouble) = trouble.filter(|_| status < 500) else {
        return Err(match status {
            // a proxy's page, not HubSpot's word
            200..=299 | 400 | 404 | 409 | 413 | 422 => no_json(reply),
            _ => reply.setback("HubSpot"),
        });
    };
    match (status, trouble.category.as_deref().unwrap_or_default()) {
        _ if trouble.policy_name.as_deref() == Some("DAILY") => {
            let after = http::retry_after(&reply.headers).unwrap_or(DAILY);
            Err(Setback::Wait { after, reason: trouble.told(reply) })
        }
        (200..=299, "RATE_LIMITS") => Err(trouble.wait(reply)),
        (401 | 403 | 404 | 405 | 429 | 300..=399, _) => Err(reply.setback("HubSpot")),
        _ if trouble.is_setup() => Err(Setback::misconfigured(trouble.told(reply))),
        (400 | 409 | 413 | 422, _) | (200..=299, "VALIDATION_ERROR" | "CONFLICT") => {
            Ok(Taking::Refused { fate: trouble.fate(reply), certain: trouble.is_of_a_value() })
        }
        (200..=299, _) => Err(Setback::fail(trouble.told(reply))),
        _ => Err(reply.setback("HubSpot")),
    }
}

impl Trouble {
    /// What may name an input: the error's id, and all texts of its context.
    fn names(&self) -> impl Iterator<Item = &str> {
        let texts = self.context.values().flat_map(|value| match value {
            Value::Array(all) => all.iter().filter_map(Value::as_str).collect::<Vec<_>>(),
            other => other.as_str().into_iter().collect(),
        });
        self.id.as_deref().into_iter().chain(texts)
    }

    /// Codes and the properties they are about, also where only the message holds them: `Property values were
    /// not valid: [{"name": "email", "error": "INVALID_EMAIL", ...}]`.
    fn details(&self) -> Vec<(String, String)> {
        let text = self.message.as_deref().unwrap_or_default();
        let inner = text.find('[').and_then(|from| text.get(from..));
        let inner: Vec<Detail> = inner.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let all = self.errors.iter().chain(&inner);
        let pairs = all.map(|detail| {
            let word = |text: &Option<String>| {
                text.as_deref().filter(|text| is_word(text)).unwrap_or_default().to_owned()
            };
            let code = if detail.code.is_some() { word(&detail.code) } else { word(&detail.error) };
            let name = if detail.name.is_some() { word(&detail.name) } else { word(&detail.at) };
            (code, name)
        });
        pairs.filter(|(code, _)| !code.is_empty()).take(3).collect()
    }

    /// Whether the portal lacks what [`input`] names, or has it otherwise.
    fn is_setup(&self) -> bool {
        const SETUP: [&str; 4] =
            ["PROPERTY_DOESNT_EXIST", "PROPERTY_NOT_FOUND", "INVALID_OPTION", "READ_ONLY_VALUE"];
        let message = self.message.as_deref().unwrap_or_default();
        let missing = message.contains("does not exist") && message.contains("ropert");
        missing
            || message.contains("idProperty")
            || message.contains("not a unique")
            || self.details().iter().any(|(code, _)| SETUP.contains(&code.as_str()))
    }

    fn is_of_a_value(&self) -> bool {
        self.details().iter().any(|(code, _)| code.starts_with("INVALID_"))
    }

    /// A conflict is over when the other contact is told of.
    fn fate(&self, reply: &Reply) -> Fate {
        let told = self.told(reply);
        match self.category.as_deref() {
            Some("VALIDATION_ERROR" | "INVALID_EMAIL" | "BAD_REQUEST") => Fate::Refused(told),
            None if reply.status.as_u16() == 400 => Fate::Refused(told),
            _ => Fate::Later(told),
        }
    }

    fn wait(&self, reply: &Reply) -> Setback {
        let after = http::retry_after(&reply.headers).unwrap_or(TOO_MANY);
        Setback::Wait { after, reason: self.told(reply) }
    }

    /// For a person, without HubSpot's prose: that repeats values.
    fn told(&self, reply: &Reply) -> String {
        let word = |text: &Option<String>| text.as_deref().filter(|text| is_word(text)).map(str::to_owned);
        let mut said = format!("HubSpot answered {}", reply.status.as_u16());
        let category = word(&self.category);
        let sub = self.sub_category.as_ref().and_then(Value::as_str).filter(|text| is_word(text));
        let policy = word(&self.policy_name).map(|name| format!("policy {name}"));
        for part in [category, sub.map(str::to_owned), policy].into_iter().flatten() {
            said.push_str(", ");
            said.push_str(&part);
        }
        for (code, name) in self.details() {
            said.push_str(&if name.is_empty() { format!(", {code}") } else { format!(", {name}: {code}") });
        }
        if let Some(id) = word(&self.correlation_id) {
            said.push_str(&format!(" (correlation id {id})"));
        }
        said
    }
}

/// A name or code of HubSpot's, never a value.
fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
}
