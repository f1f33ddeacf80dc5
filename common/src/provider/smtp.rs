//! Mail over SMTP (RFC 5321), through lettre's connection. The conversation is led step by step here,
//! not by lettre's transport, because only the step tells what a lost connection means: before the
//! content nothing was accepted, after it nobody knows.

mod settings;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail as MailFrom, Rcpt, Rset};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};
use lettre::{Address, Message};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{Answer, Mail, MailProvider, PATIENCE, install_crypto, is_certificate};
use crate::error::{Error, Result};

pub use settings::{Settings, Tls};

/// As rows call it.
pub const NAME: &str = "smtp";

/// The most connections held at once: what common relays allow one client.
const CONNECTIONS: usize = 20;
/// A connection unused for longer is not trusted to be open.
const IDLE: Duration = Duration::from_secs(20);

/// The provider, with its connections.
pub struct Smtp {
    settings: Settings,
    tls: Option<TlsParameters>,
    hello: ClientId,
    parked: Mutex<Vec<Parked>>,
    places: Semaphore,
}

struct Parked(AsyncSmtpConnection, Instant);

impl std::fmt::Debug for Smtp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Smtp").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Where the conversation was when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Connect,
    Auth,
    From,
    To,
    Data,
    Content,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Connect => "the greeting",
            Self::Auth => "AUTH",
            Self::From => "MAIL FROM",
            Self::To => "RCPT TO",
            Self::Data => "DATA",
            Self::Content => "the content",
        }
    }
}

impl Smtp {
    /// Connects when the first mail goes.
    ///
    /// # Errors
    /// The host is no name a certificate can have.
    pub fn open(settings: Settings) -> Result<Self> {
        install_crypto();
        let tls = match settings.tls {
            Tls::Plain => None,
            Tls::Implicit | Tls::StartTls => {
                Some(TlsParameters::new(settings.host.clone()).map_err(Error::internal)?)
            }
        };
        let (parked, places) = (Mutex::default(), Semaphore::new(CONNECTIONS));
        Ok(Self { settings, tls, hello: ClientId::default(), parked, places })
    }

    fn compose(&self, mail: &Mail<'_>, to: Address) -> std::result::Result<Vec<u8>, lettre::error::Error> {
        let id = format!("<{}@{}>", mail.idempotency_key, self.settings.from.email.domain());
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        let message = Message::builder()
            .message_id(Some(id))
            .date(SystemTime::from(mail.at))
            .from(self.settings.from.clone())
            .to(Mailbox::new(None, to))
            .subject(mail.subject)
            .raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()))
            .multipart(MultiPart::alternative_plain_html(mail.text.to_owned(), mail.html.to_owned()))?;
        Ok(message.formatted())
    }

    /// The youngest connection that was used a moment ago.
    fn parked(&self) -> Option<AsyncSmtpConnection> {
        let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        parked.retain(|Parked(_, since)| since.elapsed() < IDLE);
        parked.pop().map(|Parked(connection, _)| connection)
    }

    fn park(&self, connection: AsyncSmtpConnection) {
        let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        parked.push(Parked(connection, Instant::now()));
    }

    async fn connect(&self) -> std::result::Result<AsyncSmtpConnection, (Step, SmtpError)> {
        let at = |step| move |error| (step, error);
        let server = (self.settings.host.as_str(), self.settings.port);
        let implicit = self.tls.clone().filter(|_| self.settings.tls == Tls::Implicit);
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(server, Some(PATIENCE / 2), &self.hello, implicit, None)
                .await
                .map_err(at(Step::Connect))?;
        if let (Tls::StartTls, Some(tls)) = (self.settings.tls, self.tls.clone()) {
            connection.starttls(tls, &self.hello).await.map_err(at(Step::Connect))?;
        }
        if let Some((user, password)) = &self.settings.credentials {
            let credentials = Credentials::new(user.reveal().to_owned(), password.reveal().to_owned());
            let mechanisms = [Mechanism::Plain, Mechanism::Login];
            connection.auth(&mechanisms, &credentials).await.map_err(at(Step::Auth))?;
        }
        Ok(connection)
    }

    /// One mail over one connection. `sent` is set before the first byte of content.
    async fn converse(
        &self,
        connection: &mut AsyncSmtpConnection,
        to: &Address,
        content: &[u8],
        sent: &AtomicBool,
    ) -> std::result::Result<(), (Step, SmtpError)> {
        let from = &self.settings.from.email;
        let wide = [from, to].iter().any(|address| !AsRef::<str>::as_ref(address).is_ascii());
        let parameters = if wide && connection.server_info().supports_feature(Extension::SmtpUtfEight) {
            vec![MailParameter::SmtpUtfEight]
        } else {
            Vec::new()
        };
        connection
            .command(MailFrom::new(Some(from.clone()), parameters))
            .await
            .map_err(|e| (Step::From, e))?;
        connection.command(Rcpt::new(to.clone(), Vec::new())).await.map_err(|e| (Step::To, e))?;
        connection.command(Data).await.map_err(|e| (Step::Data, e))?;
        sent.store(true, Ordering::Relaxed);
        connection.message(content).await.map(|_| ()).map_err(|e| (Step::Content, e))
    }

    async fn deliver(&self, to: &Address, content: &[u8], sent: &AtomicBool) -> Answer {
        let Ok(_place) = self.places.acquire().await else {
            return Answer::retry("the connections were closed");
        };
        let mut reused = self.parked();
        loop {
            let was_reused = reused.is_some();
            let mut connection = match reused.take() {
                Some(connection) => connection,
                None => match self.connect().await {
                    Ok(connection) => connection,
                    Err((step, error)) => return judge(step, &error),
                },
            };
            match self.converse(&mut connection, to, content, sent).await {
                Ok(()) => {
                    self.park(connection);
                    return Answer::Accepted { provider_id: None };
                }
                // the server closed an idle connection: nothing was said yet, so say it on a new one
                Err((Step::From, error))
                    if was_reused && (error.status().is_none() || is_closing(&error)) => {}
                Err((step, error)) => {
                    let answered = error.status().is_some() && !is_closing(&error);
                    if answered && connection.command(Rset).await.is_ok() {
                        self.park(connection);
                    }
                    return judge(step, &error);
                }
            }
        }
    }
}

#[async_trait]
impl MailProvider for Smtp {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn send(&self, mail: &Mail<'_>) -> Answer {
        let Ok(to) = mail.to.parse::<Address>() else {
            return Answer::give_up("the recipient is not an address");
        };
        let content = match self.compose(mail, to.clone()) {
            Ok(content) => content,
            Err(_) => return Answer::give_up("no mail can be made of it"),
        };
        let sent = AtomicBool::new(false);
        match timeout(PATIENCE, self.deliver(&to, &content, &sent)).await {
            Ok(answer) => answer,
            Err(_) if sent.load(Ordering::Relaxed) => Answer::unknown("no answer to the content in time"),
            Err(_) => Answer::retry("the server did not get to the content in time"),
        }
    }
}

fn is_closing(error: &SmtpError) -> bool {
    error.status().is_some_and(|code| code.to_string() == "421")
}

/// What a failed step means. The server's words are not repeated: they quote the recipient.
fn judge(step: Step, error: &SmtpError) -> Answer {
    let Some(code) = error.status().map(|code| code.to_string()) else {
        return lost(step, error);
    };
    let enhanced = enhanced_code(error).map(|code| format!(" {code}")).unwrap_or_default();
    let said = format!("the server answered {code}{enhanced} to {}", step.name());
    match (step, code.as_str()) {
        // RFC 4954: authentication required, failed, too weak, encryption required
        (_, "530" | "534" | "535" | "538") => {
            Answer::misconfigured(format!("{said}: credentials not accepted"))
        }
        (_, transient) if transient.starts_with('4') => Answer::retry(said),
        (Step::Connect | Step::Auth, _) => Answer::misconfigured(said),
        (Step::From, _) => Answer::misconfigured(format!("{said}: MAIL_FROM not accepted")),
        (Step::To | Step::Data | Step::Content, _) => Answer::give_up(said),
    }
}

/// A step without a reply.
fn lost(step: Step, error: &SmtpError) -> Answer {
    if is_certificate(error) {
        return Answer::misconfigured(
            "the server's certificate is not valid for its name, or not trusted here",
        );
    }
    match step {
        Step::Content => Answer::unknown("the connection was lost after the content"),
        Step::Connect if error.is_client() => Answer::misconfigured("the server offers no STARTTLS"),
        Step::Auth if error.is_client() => {
            Answer::misconfigured("the server offers no way to sign in that we know")
        }
        Step::Connect if error.is_timeout() => Answer::retry("no connection in time"),
        Step::Connect => Answer::retry("no connection to the server"),
        _ => Answer::retry(format!("the connection was lost at {}", step.name())),
    }
}

/// The enhanced status code (RFC 3463) that begins a reply's text.
fn enhanced_code(error: &SmtpError) -> Option<String> {
    let text = std::error::Error::source(error)?.to_string();
    let word = text.split_whitespace().next()?.to_owned();
    let numbers: Vec<&str> = word.split('.').collect();
    let holds = numbers.len() == 3
        && numbers.iter().all(|n| (1..=3).contains(&n.len()) && n.bytes().all(|b| b.is_ascii_digit()));
    holds.then_some(word)
}

#[cfg(test)]
mod tests;
