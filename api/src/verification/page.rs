//! The page that a mailed link opens in a browser: a question with a button, or how it ended. It loads
//! nothing, runs no script, and its form posts to its own address only.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keryu_common::config::Config;
use keryu_common::secret::sha256;
use keryu_common::{Error, Result};
use poem::http::{StatusCode, header};
use poem::{IntoResponse, Request, Response};
use poem_openapi::ApiResponse;
use poem_openapi::registry::{
    MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry,
};
use poem_openapi::types::ToJSON;

/// The media type of pages.
const HTML: &str = "text/html; charset=utf-8";

/// A JSON answer, or a page for a browser.
pub enum Opened<T> {
    /// To a program.
    Told(T),
    /// To a person.
    Page(Response),
}

impl<T: ToJSON> IntoResponse for Opened<T> {
    fn into_response(self) -> Response {
        self.response()
    }
}

impl<T: ToJSON> ApiResponse for Opened<T> {
    fn meta() -> MetaResponses {
        let page = MetaSchema {
            description: Some("A page for a person."),
            example: Some("<!doctype html>…".into()),
            ..MetaSchema::new("string")
        };
        let content = vec![
            MetaMediaType { content_type: "application/json; charset=utf-8", schema: T::schema_ref() },
            MetaMediaType { content_type: HTML, schema: MetaSchemaRef::Inline(Box::new(page)) },
        ];
        let response =
            MetaResponse { description: "", status: Some(200), status_range: None, content, headers: vec![] };
        MetaResponses { responses: vec![response] }
    }
    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

/// Whether a browser asks.
pub fn is_wanted(request: &Request) -> bool {
    wanted(request).as_deref() == Some("text/html")
}

/// Whether a program asks for JSON by name. Programs that look at mail take anything, or say nothing.
pub fn is_program(request: &Request) -> bool {
    wanted(request).as_deref() == Some("application/json")
}

/// Which of the two kinds of answer is named first.
fn wanted(request: &Request) -> Option<String> {
    let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let kinds = accept.unwrap_or_default().split(',').map(|kind| kind.split(';').next().unwrap_or_default());
    let mut kinds = kinds.map(|kind| kind.trim().to_ascii_lowercase());
    kinds.find(|kind| matches!(kind.as_str(), "text/html" | "application/json"))
}

const STYLE: &str = "body{font:1.1rem/1.5 sans-serif;color:#1a1a1a;max-width:32rem;margin:4rem auto;padding:0 1rem}\
                     button{font:inherit;padding:.6rem 1.2rem}";

static POLICY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "default-src 'none'; style-src 'sha256-{}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        STANDARD.encode(sha256(STYLE.as_bytes()))
    )
});

/// What is said, in one language.
struct Words {
    language: &'static str,
    title: &'static str,
    question: &'static str,
    button: &'static str,
    done: &'static str,
    over: &'static str,
    taken: &'static str,
    wrong: &'static str,
    help: &'static str,
}

const ENGLISH: Words = Words {
    language: "en",
    title: "Confirm your e-mail address",
    question: "Press the button to confirm that this e-mail address is yours.",
    button: "Confirm",
    done: "Your e-mail address is confirmed. You can close this page.",
    over: "This link was used already, is too old, or is for an address the account no longer has. Ask for a new one.",
    taken: "Another account has confirmed this address already.",
    wrong: "This link is not valid. Open it as it is in the mail.",
    help: "Help",
};
const FRENCH: Words = Words {
    language: "fr",
    title: "Confirmez votre adresse e-mail",
    question: "Appuyez sur le bouton pour confirmer que cette adresse e-mail est la vôtre.",
    button: "Confirmer",
    done: "Votre adresse e-mail est confirmée. Vous pouvez fermer cette page.",
    over: "Ce lien a déjà servi, est trop ancien, ou vaut pour une adresse que le compte n'a plus. Demandez-en un autre.",
    taken: "Un autre compte a déjà confirmé cette adresse.",
    wrong: "Ce lien n'est pas valable. Ouvrez-le tel qu'il est dans le message.",
    help: "Aide",
};

/// The question, if the link would work.
///
/// # Errors
/// What is no refusal.
pub fn ask(config: &Config, language: &str, outcome: Result<()>) -> Result<Response> {
    let words = words(language);
    let form = format!(
        "<p>{}</p><form method=\"post\"><button type=\"submit\">{}</button></form>",
        words.question, words.button
    );
    show(config, words, outcome.map(|()| form))
}

/// How it ended.
///
/// # Errors
/// What is no refusal.
pub fn tell(config: &Config, language: &str, outcome: Result<()>) -> Result<Response> {
    let words = words(language);
    show(config, words, outcome.map(|()| format!("<p role=\"status\">{}</p>", words.done)))
}

fn words(language: &str) -> &'static Words {
    if language.starts_with("fr") { &FRENCH } else { &ENGLISH }
}

fn show(config: &Config, words: &Words, outcome: Result<String>) -> Result<Response> {
    let (status, body) = match outcome {
        Ok(body) => (StatusCode::OK, body),
        Err(Error::Refusal(refusal)) => {
            let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST);
            let text = match status {
                StatusCode::GONE => words.over,
                StatusCode::CONFLICT => words.taken,
                _ => words.wrong,
            };
            (status, format!("<p role=\"alert\">{text}</p>"))
        }
        Err(error) => return Err(error),
    };
    let help = config.support_url.as_deref().map(|url| {
        let url = url.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
        format!("<p><a href=\"{url}\">{}</a></p>", words.help)
    });
    let Words { language, title, .. } = words;
    let html = format!(
        "<!doctype html><html lang=\"{language}\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style></head>\
         <body><main><h1>{title}</h1>{body}{}</main></body></html>",
        help.unwrap_or_default()
    );
    Ok(Response::builder()
        .status(status)
        .content_type(HTML)
        .header(header::CONTENT_SECURITY_POLICY, POLICY.as_str())
        .body(html))
}
