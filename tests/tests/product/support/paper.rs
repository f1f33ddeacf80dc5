//! Documents that people hand in: pictures as cameras make them, forms with files, and people of the staff.

use image::{DynamicImage, ImageFormat, RgbImage};
use reqwest::{Method, Response};
use serde_json::{Value, json};

use super::Product;
use super::product::read;

/// A small picture of noise in this format; another one for another number.
pub fn picture(format: ImageFormat, number: u8) -> Vec<u8> {
    let noise = |x: u32, y: u32| image::Rgb([(x * 7 + y * 13) as u8, number, (x ^ y) as u8]);
    let mut bytes = std::io::Cursor::new(Vec::new());
    DynamicImage::from(RgbImage::from_fn(64, 48, noise)).write_to(&mut bytes, format).expect("picture");
    bytes.into_inner()
}

/// A PNG that moves, and a WebP that does.
pub fn animated() -> [Vec<u8>; 2] {
    let mut png = picture(ImageFormat::Png, 1);
    let control = [&8u32.to_be_bytes()[..], b"acTL", &[0, 0, 0, 2, 0, 0, 0, 0], &[0; 4]].concat();
    png.splice(33..33, control);
    let mut webp = picture(ImageFormat::WebP, 1);
    let extended = [b"VP8X", &10u32.to_le_bytes()[..], &[0x02, 0, 0, 0, 63, 0, 0, 47, 0, 0]].concat();
    webp.splice(12..12, extended);
    let size = u32::try_from(webp.len() - 8).expect("size");
    webp[4..8].copy_from_slice(&size.to_le_bytes());
    [png, webp]
}

/// A part of a form: its name, the name of its file (none: text), and what it holds.
pub type Part<'a> = (&'a str, Option<&'a str>, &'a [u8]);

/// A form (RFC 7578) and its media type.
pub fn form(parts: &[Part<'_>]) -> (String, Vec<u8>) {
    let boundary = "paper-4f1c9a";
    let mut body = Vec::new();
    for (name, file, bytes) in parts {
        let file = file.map(|file| format!("; filename=\"{file}\"\r\nContent-Type: image/jpeg"));
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"{}\r\n\r\n",
            file.unwrap_or_default()
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={boundary}"), body)
}

/// Sends a form as whoever these tokens are of.
pub async fn send_form(
    product: &Product,
    path: &str,
    parts: &[Part<'_>],
    tokens: &Value,
    key: Option<&str>,
) -> Response {
    form_as(Method::POST, product, path, parts, tokens, key).await
}

/// Changes something by a form: status and body.
pub async fn patch_form(product: &Product, path: &str, parts: &[Part<'_>], tokens: &Value) -> (u16, Value) {
    read(form_as(Method::PATCH, product, path, parts, tokens, None).await).await
}

async fn form_as(
    method: Method,
    product: &Product,
    path: &str,
    parts: &[Part<'_>],
    tokens: &Value,
    key: Option<&str>,
) -> Response {
    let (media, body) = form(parts);
    let request = reqwest::Client::new().request(method, format!("{}{path}", product.base)).body(body);
    let request =
        request.header("content-type", media).bearer_auth(tokens["access_token"].as_str().expect("token"));
    let request = key.into_iter().fold(request, |request, key| request.header("idempotency-key", key));
    request.send().await.expect("answer")
}

/// Sends a file for a document: status and body.
pub async fn send_file(product: &Product, bytes: &[u8], tokens: &Value) -> (u16, Value) {
    let path = "/api/users/kyc/documents";
    read(send_form(product, path, &[("file", Some("card.jpg"), bytes)], tokens, None).await).await
}

/// The URL of a new file of somebody's.
pub async fn file(product: &Product, number: u8, tokens: &Value) -> String {
    let (status, file) = send_file(product, &picture(ImageFormat::Jpeg, number), tokens).await;
    assert_eq!(status, 201, "{file}");
    file["url"].as_str().expect("url").to_owned()
}

/// A passport with this number, its picture sent already.
pub async fn passport(product: &Product, number: &str, tokens: &Value) -> Value {
    let front = file(product, 1, tokens).await;
    json!({ "document_type": "passport", "document_number": number, "document_front_url": front })
}

/// Hands a document in: its record.
pub async fn hand_in(product: &Product, body: &Value, tokens: &Value) -> Value {
    let (status, record) = product.call(Method::POST, "/api/users/kyc", body, tokens).await;
    assert_eq!(status, 201, "{record}");
    record
}

/// Registers somebody and gives them a role by hand: the tokens.
pub async fn somebody(product: &Product, name: &str, role: &str) -> Value {
    let tokens = product.register(&format!("{name}@example.org"), name).await;
    let change = "UPDATE users SET role = $2 WHERE username = $1";
    sqlx::query(change).bind(name).bind(role).execute(&product.world.db).await.expect("role");
    tokens
}
