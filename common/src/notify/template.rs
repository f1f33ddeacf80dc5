//! The texts: minijinja templates, compiled in, overridable and extensible by a folder of the same
//! shape (`<kind>/<language>/<part>`), every one rendered with sample facts at start.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};

use super::{Message, notice};

/// What is used where the wanted language has no template.
pub const FALLBACK: &str = "en";

/// One text message goes as one, and at one price, up to here (GSM 03.38).
const MOST_SMS: usize = 160;

const SMS: &str = "sms.txt";
const SUBJECT: &str = "email.subject";
const TEXT: &str = "email.txt";
const HTML: &str = "email.html";
const TITLE: &str = "push.title";
const PUSH: &str = "push.txt";
const PARTS: [&str; 6] = [SMS, SUBJECT, TEXT, HTML, TITLE, PUSH];

/// What devices show of a title, and of a text: a message of ours stays far below the 4 KiB of FCM.
const MOST_TITLE: usize = 100;
const MOST_PUSH: usize = 240;

/// The parts a message has: only notices go to devices.
fn parts(message: Message) -> &'static [&'static str] {
    if message.is_notice() { &PARTS } else { &PARTS[..4] }
}

macro_rules! built_in {
    ($($kind:literal / $language:literal),* $(,)?) => {
        [$(
            built_in!(@part $kind, $language, "sms.txt"),
            built_in!(@part $kind, $language, "email.subject"),
            built_in!(@part $kind, $language, "email.txt"),
            built_in!(@part $kind, $language, "email.html"),
        )*]
    };
    (notices $($kind:literal / $language:literal),* $(,)?) => {
        [$(
            built_in!(@part $kind, $language, "sms.txt"),
            built_in!(@part $kind, $language, "email.subject"),
            built_in!(@part $kind, $language, "email.txt"),
            built_in!(@part $kind, $language, "email.html"),
            built_in!(@part $kind, $language, "push.title"),
            built_in!(@part $kind, $language, "push.txt"),
        )*]
    };
    (@part $kind:literal, $language:literal, $part:literal) => {(
        concat!($kind, "/", $language, "/", $part),
        include_str!(concat!("../../templates/", $kind, "/", $language, "/", $part)),
    )};
}

const CODES: [(&str, &str); 24] = built_in![
    "otp_code" / "en",
    "otp_code" / "fr",
    "account_exists" / "en",
    "account_exists" / "fr",
    "verify_email_link" / "en",
    "verify_email_link" / "fr",
];

const NOTICES: [(&str, &str); 240] = built_in![
    notices
    "welcome" / "en",
    "welcome" / "fr",
    "new_device" / "en",
    "new_device" / "fr",
    "password_changed" / "en",
    "password_changed" / "fr",
    "identifier_changed" / "en",
    "identifier_changed" / "fr",
    "mfa_changed" / "en",
    "mfa_changed" / "fr",
    "token_reuse" / "en",
    "token_reuse" / "fr",
    "role_changed" / "en",
    "role_changed" / "fr",
    "account_status_changed" / "en",
    "account_status_changed" / "fr",
    "account_restored" / "en",
    "account_restored" / "fr",
    "account_deletion_scheduled" / "en",
    "account_deletion_scheduled" / "fr",
    "inactivity_warning" / "en",
    "inactivity_warning" / "fr",
    "profile_completion_reminder" / "en",
    "profile_completion_reminder" / "fr",
    "kyc_reminder" / "en",
    "kyc_reminder" / "fr",
    "kyc_approved" / "en",
    "kyc_approved" / "fr",
    "kyc_rejected" / "en",
    "kyc_rejected" / "fr",
    "kyc_expired" / "en",
    "kyc_expired" / "fr",
    "report_ready" / "en",
    "report_ready" / "fr",
    "export_ready" / "en",
    "export_ready" / "fr",
    "referral_rewarded" / "en",
    "referral_rewarded" / "fr",
    "staff_message" / "en",
    "staff_message" / "fr",
];

/// What a text may speak of.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The product's name.
    pub name: &'a str,
    /// The code, for messages that carry one.
    pub code: &'a str,
    /// How long it works, in minutes, rounded up.
    pub minutes: i64,
    /// What the code is for.
    pub purpose: &'a str,
    /// Where help is.
    pub support: Option<&'a str>,
    /// The link, for messages that carry one.
    pub link: &'a str,
    /// What a notice says besides its kind.
    pub told: &'a notice::Facts,
}

/// A mail's three texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailText {
    /// One line.
    pub subject: String,
    /// Plain.
    pub text: String,
    /// Escaped.
    pub html: String,
}

/// A push message's two texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushText {
    /// One line.
    pub title: String,
    /// Plain.
    pub text: String,
}

/// All templates, compiled.
#[derive(Clone)]
pub struct Templates(Arc<Compiled>);

struct Compiled {
    environment: Environment<'static>,
    languages: HashMap<Message, BTreeSet<String>>,
}

impl fmt::Debug for Templates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Templates").field("languages", &self.0.languages).finish_non_exhaustive()
    }
}

impl Templates {
    /// Compiles what is built in and what the folder gives in its place, and tries every one.
    ///
    /// # Errors
    /// Every fault, with file and line.
    pub fn load(folder: Option<&Path>) -> Result<Self, Vec<String>> {
        let mut faults = Vec::new();
        let mut sources: BTreeMap<String, (String, String)> = CODES
            .into_iter()
            .chain(NOTICES)
            .map(|(name, text)| (name.to_owned(), (format!("built-in template {name}"), text.to_owned())))
            .collect();
        if let Some(folder) = folder {
            read(folder, &mut sources, &mut faults);
        }
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|name| match name.ends_with(".html") {
            true => AutoEscape::Html,
            false => AutoEscape::None,
        });
        let mut languages: HashMap<Message, BTreeSet<String>> = HashMap::new();
        let mut broken = BTreeSet::new();
        for (name, (origin, text)) in &sources {
            if let Err(error) = environment.add_template_owned(name.clone(), text.clone()) {
                faults.push(told(origin, &error));
                broken.insert(name.clone());
            }
            let mut path = name.split('/');
            if let (Some(message), Some(language)) = (path.next().and_then(Message::named), path.next()) {
                languages.entry(message).or_default().insert(language.to_owned());
            }
        }
        let templates = Self(Arc::new(Compiled { environment, languages }));
        templates.check(&sources, &broken, &mut faults);
        if faults.is_empty() { Ok(templates) } else { Err(faults) }
    }

    /// Renders everything once, but for what does not compile: that is told already.
    fn check(
        &self,
        sources: &BTreeMap<String, (String, String)>,
        broken: &BTreeSet<String>,
        faults: &mut Vec<String>,
    ) {
        for (message, language) in self.0.languages.iter().flat_map(|(m, all)| all.iter().map(|l| (*m, l))) {
            let parts = parts(message);
            for part in parts.iter().copied() {
                let name = format!("{}/{language}/{part}", message.name());
                let Some((origin, _)) = sources.get(&name) else {
                    faults.push(format!(
                        "template {name} is missing: a language has all of {}",
                        parts.join(", ")
                    ));
                    continue;
                };
                if broken.contains(&name) {
                    continue;
                }
                let fault = samples().iter().find_map(|facts| match self.render(&name, facts) {
                    Err(error) => Some(told(origin, &error)),
                    Ok(text) => unfit(part, &text).map(|why| format!("{origin}: {why}")),
                });
                faults.extend(fault);
            }
        }
    }

    /// The languages a message has.
    pub fn languages(&self, message: Message) -> impl Iterator<Item = &str> {
        self.0.languages.get(&message).into_iter().flatten().map(String::as_str)
    }

    /// Every language that some message has, English first.
    pub fn all_languages(&self) -> Vec<String> {
        let others: BTreeSet<&String> =
            self.0.languages.values().flatten().filter(|language| *language != FALLBACK).collect();
        [FALLBACK.to_owned()].into_iter().chain(others.into_iter().cloned()).collect()
    }

    /// The best language there is: the one wanted, its primary tag (`fr` for `fr-CA`), or English.
    pub fn language<'a>(&self, message: Message, wanted: &'a str) -> &'a str {
        let has = |language: &str| self.0.languages.get(&message).is_some_and(|all| all.contains(language));
        let primary = wanted.split(['-', '_']).next().unwrap_or(wanted);
        if has(wanted) {
            wanted
        } else if has(primary) {
            primary
        } else {
            FALLBACK
        }
    }

    /// A text message.
    ///
    /// # Errors
    /// The template fails with these facts.
    pub fn sms(
        &self,
        message: Message,
        language: &str,
        facts: &Facts<'_>,
    ) -> Result<String, minijinja::Error> {
        self.part(message, language, SMS, facts)
    }

    /// A mail.
    ///
    /// # Errors
    /// A template fails with these facts.
    pub fn mail(
        &self,
        message: Message,
        language: &str,
        facts: &Facts<'_>,
    ) -> Result<MailText, minijinja::Error> {
        Ok(MailText {
            subject: self.part(message, language, SUBJECT, facts)?.trim().to_owned(),
            text: self.part(message, language, TEXT, facts)?,
            html: self.part(message, language, HTML, facts)?,
        })
    }

    /// A push message, cut to what devices show.
    ///
    /// # Errors
    /// A template fails with these facts.
    pub fn push(
        &self,
        message: Message,
        language: &str,
        facts: &Facts<'_>,
    ) -> Result<PushText, minijinja::Error> {
        Ok(PushText {
            title: cut(self.part(message, language, TITLE, facts)?.trim(), MOST_TITLE),
            text: cut(self.part(message, language, PUSH, facts)?.trim(), MOST_PUSH),
        })
    }

    fn part(
        &self,
        message: Message,
        language: &str,
        part: &str,
        facts: &Facts<'_>,
    ) -> Result<String, minijinja::Error> {
        let language = self.language(message, language);
        self.render(&format!("{}/{language}/{part}", message.name()), facts)
    }

    fn render(&self, name: &str, facts: &Facts<'_>) -> Result<String, minijinja::Error> {
        let Facts { name: product, code, minutes, purpose, support, link, told } = *facts;
        let hours = (minutes + 59) / 60;
        let at = told.at.map(|at| at.format("%Y-%m-%d %H:%M UTC").to_string()).unwrap_or_default();
        let date = told.date.map(|date| date.to_string()).unwrap_or_default();
        let notice::Facts { device, place, what, new, role, status, username, subject, text, points, .. } =
            told;
        let what = what.map(notice::Change::name);
        let (subject, text) = (subject.as_deref().unwrap_or_default(), text.as_deref().unwrap_or_default());
        self.0.environment.get_template(name)?.render(context! {
            name => product, code, minutes, hours, purpose, support, link,
            at, date, device, place, what, new, role, status, username, subject, text, points,
        })
    }
}

/// Adds a folder's files to the sources, in place of those with the same name.
fn read(folder: &Path, sources: &mut BTreeMap<String, (String, String)>, faults: &mut Vec<String>) {
    let mut list = |path: &Path| -> Vec<String> {
        match std::fs::read_dir(path) {
            Ok(entries) => {
                let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
                names.filter(|name| !name.starts_with('.')).collect()
            }
            Err(error) => {
                faults.push(format!("TEMPLATES_DIR: {}: {error}", path.display()));
                Vec::new()
            }
        }
    };
    let mut files = Vec::new();
    let mut strange = Vec::new();
    for kind in list(folder) {
        let Some(message) = Message::named(&kind) else {
            strange.push(folder.join(kind));
            continue;
        };
        for language in list(&folder.join(&kind)) {
            for part in list(&folder.join(&kind).join(&language)) {
                let path = folder.join(&kind).join(&language).join(&part);
                match parts(message).contains(&part.as_str()) {
                    true => files.push((format!("{kind}/{language}/{part}"), path)),
                    false => strange.push(path),
                }
            }
        }
    }
    for path in strange {
        faults.push(format!("TEMPLATES_DIR: {} is no message or part of one", path.display()));
    }
    for (name, path) in files {
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                sources.insert(name, (path.display().to_string(), text));
            }
            Err(error) => faults.push(format!("TEMPLATES_DIR: {}: {error}", path.display())),
        }
    }
}

/// Facts that reach every branch.
fn samples() -> Vec<Facts<'static>> {
    const LINK: &str =
        "https://id.example.org/api/users/verify/email/aZ09_-aZ09_-aZ09_-aZ09_-aZ09_-aZ09_-aZ0";
    let purposes = [
        "register",
        "login",
        "reset_password",
        "verify_phone",
        "verify_email",
        "change_identifier",
        "delete_account",
        "step_up",
        "",
    ];
    let facts = |purpose, support, minutes, told| Facts {
        name: "Keryu",
        code: "12345678",
        minutes,
        purpose,
        support,
        link: LINK,
        told,
    };
    let bare = notice::Facts::none();
    let with_help =
        purposes.map(|purpose| facts(purpose, Some("https://example.org/help?a=b&c=d"), 10, bare));
    let without = [facts("login", None, 1, bare), facts("reset_password", None, 0, bare)];
    let told = notice::samples().into_iter().map(|told| facts("", None, 1440, told));
    with_help.into_iter().chain(without).chain(told).collect()
}

/// Why a rendered part would not do.
fn unfit(part: &str, text: &str) -> Option<String> {
    let length = text.chars().count();
    match part {
        _ if text.trim().is_empty() => Some("is empty".to_owned()),
        SMS if length > MOST_SMS => {
            Some(format!("makes a text of {length} characters; {MOST_SMS} is the most"))
        }
        SUBJECT if text.trim().contains(['\n', '\r']) => Some("a subject has one line".to_owned()),
        TITLE if text.trim().contains(['\n', '\r']) => Some("a title has one line".to_owned()),
        TITLE if text.trim().chars().count() > MOST_TITLE => {
            Some(format!("makes a title of {length} characters; {MOST_TITLE} is the most"))
        }
        PUSH if length > MOST_PUSH => {
            Some(format!("makes a text of {length} characters; {MOST_PUSH} is the most"))
        }
        _ => None,
    }
}

/// The beginning of a text, with a mark where something was left out.
fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most - 1).chain(['…']).collect(),
    }
}

fn told(origin: &str, error: &minijinja::Error) -> String {
    format!("{origin}: line {}: {error}", error.line().unwrap_or(1))
}

#[cfg(test)]
mod tests;
