//! Input that does not hold: told clearly, done nothing with.

use std::time::Instant;

use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::Product;
use crate::support::product::read;

const REQUEST: &str = "/api/auth/otp/request";
const VERIFY: &str = "/api/auth/otp/verify";

/// The faults told for a body: pointer and code, in order.
async fn faults(product: &Product, path: &str, body: &Value) -> Vec<(String, String)> {
    let (status, answer) = read(product.send(Method::POST, path, body, &[]).await).await;
    assert_eq!((status, &answer["code"]), (422, &"request.invalid".into()), "{body} {answer}");
    let told = answer["errors"].as_array().expect("errors").iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut told: Vec<_> = told.map(|fault| (text(&fault["pointer"]), text(&fault["code"]))).collect();
    told.sort_unstable();
    told
}

/// Nothing was written for what was refused.
async fn assert_untouched(product: &Product) {
    for sql in [
        "SELECT count(*) FROM audit",
        "SELECT count(*) FROM identifier_budgets",
        "SELECT count(*) FROM deliveries",
        "SELECT count(*) FROM jobs",
    ] {
        assert_eq!(product.world.count(sql).await, 0, "{sql}");
    }
}

#[tokio::test]
async fn identifiers_that_cannot_be_reached_are_refused_with_their_reason() {
    let product = Product::new().await;
    let long = format!("{}@example.org", "a".repeat(300));
    for (identifier, code) in [
        ("", "identifier.empty"),
        ("   ", "identifier.empty"),
        (long.as_str(), "identifier.too_long"),
        ("ada", "identifier.phone"),
        ("+2547", "identifier.phone"),
        ("+999712345678", "identifier.phone"),
        ("ada@", "identifier.email"),
        ("ada@localhost", "identifier.email"),
        ("ada@example.org, bob@example.org", "identifier.email"),
        ("ada@example.org\r\nBcc: bob@example.org", "identifier.control"),
        ("\u{202e}ada@example.org", "identifier.control"),
        ("ada\u{200f}@example.org", "identifier.control"),
        ("+2547\u{202c}12345678", "identifier.control"),
        ("ada@exam\u{200b}ple.org", "identifier.control"),
    ] {
        let body = json!({ "identifier": identifier, "purpose": "register" });
        assert_eq!(
            faults(&product, REQUEST, &body).await,
            [("/identifier".into(), code.into())],
            "{identifier:?}"
        );
    }
    assert_untouched(&product).await;
}

#[tokio::test]
async fn codes_that_are_none_are_refused_before_anything_is_compared() {
    let product = Product::new().await;
    let huge = "1".repeat(10_000);
    for (otp, code) in [
        (json!(""), "field.length"),
        (json!(huge), "field.length"),
        (json!("123"), "field.length"),
        (json!("12345a"), "field.format"),
        (json!(" 12345"), "field.format"),
        (json!("١٢٣٤٥٦"), "field.format"),
        (json!("123\u{202e}456"), "field.format"),
        (json!(123_456), "field.type"),
        (json!(null), "field.type"),
        (json!(["123456"]), "field.type"),
    ] {
        let body = json!({ "identifier": "ada@example.org", "purpose": "login", "otp": otp });
        let told = faults(&product, VERIFY, &body).await;
        assert!(told.contains(&("/otp".to_owned(), code.to_owned())), "{otp}: {told:?}");
        assert!(told.iter().all(|(pointer, _)| pointer == "/otp"), "{told:?}");
    }
    assert_untouched(&product).await;
}

#[tokio::test]
async fn all_faults_are_told_at_once_unknown_fields_among_them() {
    let product = Product::new().await;
    let body = json!({ "identifier": "x", "purpose": "dance", "challenge_id": "1", "extra": 1, "a/b": null });
    let told = faults(&product, VERIFY, &body).await;
    let wanted = [
        ("/a~1b", "field.unknown"),
        ("/challenge_id", "field.format"),
        ("/extra", "field.unknown"),
        ("/identifier", "identifier.phone"),
        ("/otp", "field.required"),
        ("/purpose", "field.choice"),
    ];
    assert_eq!(told, wanted.map(|(pointer, code)| (pointer.to_owned(), code.to_owned())));
    let no_purpose = json!({ "identifier": "ada@example.org", "purpose": "verify_email_link" });
    assert_eq!(faults(&product, REQUEST, &no_purpose).await, [("/purpose".into(), "field.choice".into())]);
    assert_untouched(&product).await;
}

#[tokio::test]
async fn bodies_that_cannot_be_read_are_problems() {
    let product = Product::new().await;
    let valid = r#"{"identifier":"ada@example.org","purpose":"register"}"#;
    let padded = format!("{valid}{}", " ".repeat(17_000));
    for (kind, body, status, code) in [
        ("application/json", "", 400, "request.malformed"),
        (
            "application/json",
            "{\"identifier\":\"ada\\u0000@example.org\",\"purpose\":\"register\"}",
            400,
            "request.malformed",
        ),
        (
            "application/json",
            "{\"identifier\":\"ada\0@example.org\",\"purpose\":\"register\"}",
            400,
            "request.malformed",
        ),
        ("application/json", "{\"purpose\":\"login\",\"purpose\":\"register\"}", 400, "request.malformed"),
        ("application/json", &padded, 413, "request.too_large"),
        ("text/plain", valid, 415, "request.media_type"),
        ("", valid, 415, "request.media_type"),
        ("application/json; charset=utf-16", valid, 415, "request.media_type"),
    ] {
        let request = Client::new().post(format!("{}{REQUEST}", product.base)).header("content-type", kind);
        let answer = read(request.body(body.to_owned()).send().await.expect("answer")).await;
        assert_eq!((answer.0, answer.1["code"].as_str()), (status, Some(code)), "{kind} {:.40}", body);
        // a request id may hold the letters by chance
        assert!(
            !answer.1["detail"].to_string().contains("ada"),
            "nothing of the body is repeated: {}",
            answer.1
        );
    }
    let coded =
        Client::new().post(format!("{}{REQUEST}", product.base)).header("content-type", "application/json");
    let coded = coded.header("content-encoding", "gzip").body(valid).send().await.expect("answer");
    assert_eq!(coded.status(), 415, "a coding could hide any size");
    assert_untouched(&product).await;
}

/// What the server says to these bytes, sent as they are.
async fn raw(product: &Product, head: &str, chunks: &[&str]) -> String {
    let mut stream =
        tokio::net::TcpStream::connect(product.base.trim_start_matches("http://")).await.expect("connect");
    stream.write_all(head.as_bytes()).await.expect("head");
    for chunk in chunks {
        // the server may have answered and closed already
        let _ = stream.write_all(chunk.as_bytes()).await;
    }
    let mut answer = vec![0; 4096];
    let read = stream.read(&mut answer).await.expect("an answer");
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

const HEAD: &str =
    "POST /api/auth/otp/request HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";

#[tokio::test]
async fn a_body_without_an_announced_length_ends_at_the_limit() {
    let product = Product::new().await;
    let chunk = format!("1000\r\n{}\r\n", "[".repeat(0x1000));
    let answer =
        raw(&product, &format!("{HEAD}transfer-encoding: chunked\r\n\r\n"), &[chunk.as_str(); 8]).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.contains("request.too_large"));
    assert!(
        answer.to_lowercase().contains("connection: close"),
        "what is left of the body is not read: {answer}"
    );
}

#[tokio::test]
async fn whoever_sent_too_much_learns_so_and_goes_on_with_a_new_connection() {
    let product = Product::new().await;
    let http = Client::new();
    for n in 0..40 {
        let (kind, body, status) = match n % 4 {
            0 => ("application/json", "[".repeat(200_000), 413),
            1 => ("text/plain", "[".repeat(200_000), 415),
            _ => ("text/plain", "x".to_owned(), 415),
        };
        let request = http.post(format!("{}{REQUEST}", product.base)).header("content-type", kind);
        assert_eq!(request.body(body).send().await.expect("an answer").status(), status, "call {n}");
    }
}

#[tokio::test]
async fn a_body_that_never_ends_is_waited_for_ten_seconds() {
    let product = Product::new().await;
    let began = Instant::now();
    let answer = raw(&product, &format!("{HEAD}content-length: 60\r\n\r\n"), &["{\"identifier\":"]).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("request.timeout"), "{answer}");
    assert!((9..15).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[tokio::test]
async fn odd_paths_and_queries_name_nothing() {
    let product = Product::new().await;
    for path in [
        "/api/deliveries/%00",
        "/api/deliveries/..%2f..%2fetc",
        "/api/%e2%80%ae",
        "/api/deliveries/",
        "//",
        "/api/auth/otp/request/x",
    ] {
        let (status, body) = read(product.send(Method::GET, path, &Value::Null, &[]).await).await;
        assert_eq!(status, 404, "{path} {body}");
        assert_eq!(body["status"], 404);
    }
    let path = "/api/webhooks/sms/http/secret?id=nope";
    let (status, body) =
        read(product.send(Method::POST, path, &json!({ "status": "sent" }), &[]).await).await;
    assert_eq!((status, &body["code"]), (422, &"request.invalid".into()));
}

#[tokio::test]
async fn a_zero_byte_in_a_path_or_a_query_is_refused_everywhere() {
    let product = Product::new().await;
    let tokens = product.register("ada@example.org", "ada").await;
    product.world.execute("UPDATE users SET is_superuser = true").await;
    let bearer = format!("Bearer {}", tokens["access_token"].as_str().expect("token"));
    let document = keryu_api::document::build().expect("document");
    let mut walked = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("item") {
            let all = operation["parameters"].as_array().into_iter().flatten();
            let all: Vec<(&str, &str)> =
                all.filter_map(|one| Some((one["in"].as_str()?, one["name"].as_str()?))).collect();
            for (at, name) in all.iter().filter(|(at, _)| matches!(*at, "path" | "query")) {
                for text in ["%00", "a%00b"] {
                    let mut url = path.clone();
                    for (_, other) in all.iter().filter(|(at, _)| *at == "path") {
                        let filled = match *other {
                            other if other == *name => text,
                            "role" => "member",
                            "side" => "front",
                            _ => "019aa9f3-17cf-7b0a-9e1c-2d3e4f506172",
                        };
                        url = url.replace(&format!("{{{other}}}"), filled);
                    }
                    if *at == "query" {
                        url = format!("{url}?{name}={text}");
                    }
                    let body = &operation["requestBody"]["content"]["application/json"]["example"];
                    let method = method.to_uppercase().parse().expect("method");
                    let (status, told) =
                        read(product.send(method, &url, body, &[("authorization", &bearer)]).await).await;
                    assert!((400..500).contains(&status), "{url}: {status} {told}");
                    walked += 1;
                }
            }
        }
    }
    assert!(walked >= 200, "{walked} were walked");
}
