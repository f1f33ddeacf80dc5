//! The settings of messages. Credentials are kept where nothing prints them.

use std::path::PathBuf;
use std::time::Duration;

use super::template::Templates;
use crate::config::{Source, Stage};
use crate::provider::{Secret, fake, fcm, gateway, http, inbox, smtp, twilio};

/// Settings of messages.
#[derive(Clone, Debug)]
pub struct Config {
    /// `KERYU_NAME`: how the product calls itself in messages.
    pub name: String,
    /// `SMTP_URL`, `MAIL_FROM`.
    pub smtp: Option<smtp::Settings>,
    /// `TWILIO_…`.
    pub twilio: Option<twilio::Settings>,
    /// `SMS_HTTP_…`.
    pub gateway: Option<gateway::Settings>,
    /// `SMS_HTTP_WEBHOOK_SECRET`: the last part of the path on which the gateway reports.
    pub gateway_secret: Option<Secret>,
    /// `SMS_PROVIDERS`: in which order they are tried.
    pub sms_order: Vec<&'static str>,
    /// `FCM_…`.
    pub fcm: Option<fcm::Settings>,
    /// `FALLBACK_CODE`: how long a code for signing in may wait for a provider before it goes by the
    /// person's other verified channel too.
    pub fallback_code: Duration,
    /// `FALLBACK_NOTICE`: the same for notices.
    pub fallback_notice: Duration,
    /// Whether a channel without a provider goes to the development inbox.
    pub inbox: bool,
    /// Built in, and from `TEMPLATES_DIR`.
    pub templates: Templates,
    /// For tests: in place of every provider.
    pub stand_in: Option<fake::Recorder>,
}

impl Config {
    pub(crate) fn read(source: &mut Source, stage: Stage) -> Self {
        let (smtp, twilio, gateway) = (smtp(source, stage), twilio(source), gateway(source));
        let configured: Vec<&'static str> =
            [twilio.is_some().then_some(twilio::NAME), gateway.is_some().then_some(gateway::NAME)]
                .into_iter()
                .flatten()
                .collect();
        Self {
            name: name(source),
            smtp,
            twilio,
            gateway,
            gateway_secret: webhook_secret(source, stage),
            sms_order: order(source, stage, configured),
            fcm: push(source),
            fallback_code: source.span("FALLBACK_CODE", Duration::from_secs(60)),
            fallback_notice: source.span("FALLBACK_NOTICE", Duration::from_secs(15 * 60)),
            inbox: stage == Stage::Development,
            templates: templates(source),
            stand_in: None,
        }
    }
}

fn name(source: &mut Source) -> String {
    let name = source.get("KERYU_NAME", "Keryu".to_owned());
    if name.chars().count() > 20 || name.chars().any(char::is_control) {
        source.fault("KERYU_NAME: longer than 20 characters, or with characters that cannot be seen");
    }
    name
}

fn smtp(source: &mut Source, stage: Stage) -> Option<smtp::Settings> {
    let from: Option<String> = source.find("MAIL_FROM");
    let url: String = source.find("SMTP_URL")?;
    let from = match (from, stage) {
        (Some(from), _) => from,
        (None, Stage::Development) => "Keryu <keryu@localhost>".to_owned(),
        (None, Stage::Production) => {
            source.fault("MAIL_FROM is not set (from whom SMTP_URL sends: Keryu <no-reply@example.org>)");
            "Keryu <keryu@localhost>".to_owned()
        }
    };
    smtp::Settings::parse(&url, &from).map_err(|fault| source.fault(fault)).ok()
}

fn twilio(source: &mut Source) -> Option<twilio::Settings> {
    let base = source.get("TWILIO_BASE_URL", "https://api.twilio.com".to_owned());
    let base = http::address(&base).map_err(|fault| source.fault(format!("TWILIO_BASE_URL: {fault}"))).ok();
    let names = ["TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_FROM"];
    let given: Vec<Option<String>> = names.iter().map(|name| source.find(name)).collect();
    if given.iter().all(Option::is_none) {
        return None;
    }
    for (name, _) in names.iter().zip(&given).filter(|(_, value)| value.is_none()) {
        source.fault(format!("{name} is not set, but other settings of Twilio are"));
    }
    let [Some(account_sid), Some(auth_token), Some(from)] = <[Option<String>; 3]>::try_from(given).ok()?
    else {
        return None;
    };
    if !account_sid.chars().all(|c| c.is_ascii_alphanumeric()) {
        source.fault("TWILIO_ACCOUNT_SID: letters and digits only");
        return None;
    }
    Some(twilio::Settings { base_url: base?, account_sid, auth_token: Secret::new(auth_token), from })
}

fn gateway(source: &mut Source) -> Option<gateway::Settings> {
    let body = source.get("SMS_HTTP_BODY", gateway::BODY.to_owned());
    let headers: Option<String> = source.find("SMS_HTTP_HEADERS");
    let url: String = source.find("SMS_HTTP_URL")?;
    match gateway::Settings::parse(&url, &body, &headers.unwrap_or_default()) {
        Ok(settings) => Some(settings),
        Err(faults) => {
            faults.into_iter().for_each(|fault| source.fault(fault));
            None
        }
    }
}

fn push(source: &mut Source) -> Option<fcm::Settings> {
    let base = source.get("FCM_BASE_URL", "https://fcm.googleapis.com".to_owned());
    let base =
        fcm::account::secure(&base).map_err(|fault| source.fault(format!("FCM_BASE_URL: {fault}"))).ok();
    let account: String = source.find("FCM_SERVICE_ACCOUNT")?;
    let account = fcm::Account::read(&account);
    let account = account.map_err(|fault| source.fault(format!("FCM_SERVICE_ACCOUNT: {fault}"))).ok();
    Some(fcm::Settings { base_url: base?, account: account? })
}

/// It stands in a path and is the only proof of who reports.
fn webhook_secret(source: &mut Source, stage: Stage) -> Option<Secret> {
    let secret: String = source.find("SMS_HTTP_WEBHOOK_SECRET")?;
    if !secret.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~".contains(&b)) {
        source.fault("SMS_HTTP_WEBHOOK_SECRET: letters, digits and - _ . ~ only, for it stands in a path");
    }
    if stage == Stage::Production && secret.len() < 16 {
        source.fault("SMS_HTTP_WEBHOOK_SECRET: shorter than 16 characters (openssl rand -hex 16)");
    }
    Some(Secret::new(secret))
}

fn order(source: &mut Source, stage: Stage, configured: Vec<&'static str>) -> Vec<&'static str> {
    let Some(text) = source.find::<String>("SMS_PROVIDERS") else { return configured };
    let mut order = Vec::new();
    for wanted in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let known = [twilio::NAME, gateway::NAME, inbox::NAME].into_iter().find(|name| *name == wanted);
        match known {
            None => source.fault(format!("SMS_PROVIDERS: {wanted} is none of twilio, http, inbox")),
            Some(name) if order.contains(&name) => source.fault(format!("SMS_PROVIDERS: names {name} twice")),
            Some(inbox::NAME) if stage == Stage::Production => {
                source.fault("SMS_PROVIDERS: the inbox is for development");
            }
            Some(name) if name != inbox::NAME && !configured.contains(&name) => {
                source.fault(format!("SMS_PROVIDERS: names {name}, which is not configured"));
            }
            Some(name) => order.push(name),
        }
    }
    order
}

fn templates(source: &mut Source) -> Templates {
    let folder: Option<PathBuf> = source.find("TEMPLATES_DIR");
    Templates::load(folder.as_deref()).unwrap_or_else(|faults| {
        faults.into_iter().for_each(|fault| source.fault(fault));
        // the faults end the start; what is built in is held true by a test
        Templates::load(None).unwrap_or_else(|_| std::process::abort())
    })
}
