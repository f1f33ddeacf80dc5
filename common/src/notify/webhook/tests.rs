use super::*;

#[test]
fn a_reason_is_short_and_names_nobody() {
    let reason = told(Some("error 30003 for +254712345678 ada@example.org\u{7}"));
    assert!(reason.ends_with(": error 30003 for"), "{reason}");
    assert!(told(Some(&"word ".repeat(100))).len() < 120);
    assert!(told(None).ends_with("did not arrive"));
}

#[test]
fn a_gateway_names_our_message_in_many_ways() {
    let id = Uuid::from_u128(7);
    for body in [
        serde_json::json!({"id": id, "status": "delivered"}),
        serde_json::json!({"id": "their-own", "reference": id}),
        serde_json::json!({"external_id": id.simple().to_string()}),
    ] {
        assert_eq!(named(&body), Some(id), "{body}");
    }
    assert_eq!(named(&serde_json::json!({"id": "their-own"})), None);
    assert_eq!(named(&serde_json::json!([id])), None);
}
