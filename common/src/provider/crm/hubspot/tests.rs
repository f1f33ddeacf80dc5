use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};

use super::answer::{DAILY, erased, taken};
use super::*;
use crate::provider::crm::Fate;

fn person(number: u128) -> Contact {
    Contact {
        user_id: Uuid::from_u128(number),
        change: 1,
        username: "jane".to_owned(),
        email: Some("jane@example.org".to_owned()),
        email_verified: true,
        phone_number: Some("+254712345678".to_owned()),
        phone_verified: false,
        first_name: None,
        last_name: Some("Doe".to_owned()),
        status: "active",
        verification: "email_verified",
        role: "member".to_owned(),
        language: "en".to_owned(),
        created_at: DateTime::UNIX_EPOCH,
    }
}

fn people() -> Vec<Contact> {
    (1..=3).map(person).collect()
}

fn reply(status: u16, body: &str) -> Reply {
    let kind = if body.starts_with('<') { "text/html; charset=utf-8" } else { "application/json" };
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]);
    Reply { status: StatusCode::from_u16(status).expect("status"), headers, body: body.as_bytes().to_vec() }
}

fn judge(status: u16, body: &str) -> Result<Taking, Setback> {
    taken(&reply(status, body), &people())
}

fn id(number: u128) -> String {
    Uuid::from_u128(number).to_string()
}

#[test]
fn only_proved_identifiers_are_told_and_what_is_not_there_is_cleared() {
    let told = input(&person(7));
    assert_eq!((&told["id"], &told["idProperty"]), (&json!(id(7)), &json!("keryu_id")));
    let properties = &told["properties"];
    assert_eq!((&properties["email"], &properties["phone"]), (&json!("jane@example.org"), &json!("")));
    assert_eq!((&properties["firstname"], &properties["lastname"]), (&json!(""), &json!("Doe")));
    assert!(properties.as_object().expect("object").values().all(Value::is_string));
}

#[test]
fn a_batch_taken_whole_needs_no_names() {
    let whole = r#"{"status": "COMPLETE", "results": [{"id": "1"}, {"id": "2"}, {"id": "3"}]}"#;
    assert_eq!(judge(200, whole), Ok(Taking::Taken(vec![])));
}

#[test]
fn whom_an_answer_in_part_names_is_told_apart_from_the_others() {
    let body = json!({
        "status": "COMPLETE", "numErrors": 2,
        "results": [{"id": "9", "objectWriteTraceId": id(1)}],
        "errors": [
            {"status": "error", "category": "VALIDATION_ERROR", "message": "x", "context": {"objectWriteTraceId": [id(2)]}},
            {"status": "error", "category": "INTERNAL_ERROR", "message": "x", "id": id(3)},
        ],
    });
    let Ok(Taking::Taken(mut fates)) = judge(207, &body.to_string()) else { panic!("in part") };
    fates.sort_by_key(|(id, _)| *id);
    let [(two, Fate::Refused(_)), (three, Fate::Later(_))] = &fates[..] else { panic!("{fates:?}") };
    assert_eq!((two.as_u128(), three.as_u128()), (2, 3));
}

#[test]
fn who_is_not_spoken_of_is_told_again() {
    let body = json!({ "status": "COMPLETE", "results": [
        {"properties": {"keryu_id": id(1)}}, {"properties": {"keryu_id": id(3)}}] });
    let Ok(Taking::Taken(fates)) = judge(200, &body.to_string()) else { panic!("in part") };
    assert!(matches!(&fates[..], [(who, Fate::Later(_))] if who.as_u128() == 2), "{fates:?}");
    // without names nobody knows who it is
    let body = r#"{"status": "COMPLETE", "results": [{"id": "1"}, {"id": "2"}]}"#;
    assert!(matches!(judge(200, body), Ok(Taking::Refused { fate: Fate::Later(_), certain: false })));
}

#[test]
fn a_refused_value_is_named_by_property_and_code_and_never_by_itself() {
    let message = r#"Property values were not valid: [{\"isValid\":false,\"message\":\"Email address jane@nowhere is invalid\",\"error\":\"INVALID_EMAIL\",\"name\":\"email\"}]"#;
    let body = format!(
        r#"{{"status": "error", "message": "{message}", "correlationId": "aa-bb", "category": "VALIDATION_ERROR"}}"#
    );
    let wanted = "HubSpot answered 400, VALIDATION_ERROR, email: INVALID_EMAIL (correlation id aa-bb)";
    let fate = Fate::Refused(wanted.to_owned());
    assert_eq!(judge(400, &body), Ok(Taking::Refused { fate, certain: true }));
}

#[test]
fn a_property_that_is_not_there_is_the_settings_fault() {
    for body in [
        r#"{"status": "error", "category": "VALIDATION_ERROR", "message": "Property values were not valid: [{\"error\":\"PROPERTY_DOESNT_EXIST\",\"name\":\"keryu_role\"}]"}"#,
        r#"{"status": "error", "category": "VALIDATION_ERROR", "message": "Property \"keryu_id\" does not exist"}"#,
    ] {
        assert!(matches!(judge(400, body), Err(Setback::Misconfigured { .. })), "{body}");
    }
}

#[test]
fn what_is_wrong_with_the_whole_is_told_apart() {
    let name = |status, body| {
        judge(status, body).map_err(|setback| match setback {
            Setback::Wait { .. } => "wait",
            other => other.name(),
        })
    };
    assert_eq!(name(401, "{}"), Err("misconfigured"));
    assert_eq!(name(403, r#"{"category": "MISSING_SCOPES"}"#), Err("misconfigured"));
    assert_eq!(name(302, ""), Err("misconfigured"));
    assert_eq!(name(404, "{}"), Err("misconfigured"));
    assert_eq!(name(429, r#"{"policyName": "TEN_SECONDLY_ROLLING"}"#), Err("wait"));
    assert_eq!(name(500, "{}"), Err("retry"));
    assert_eq!(name(502, "<html>"), Err("retry"));
    assert_eq!(name(200, "<html>"), Err("retry"));
    assert_eq!(name(400, "<html>"), Err("retry"));
    assert_eq!(name(200, ""), Err("retry"));
    assert_eq!(name(200, r#"{"status": "error", "category": "INTERNAL_ERROR"}"#), Err("retry"));
    assert_eq!(name(200, r#"{"status": "error", "category": "RATE_LIMITS"}"#), Err("wait"));
}

#[test]
fn a_wait_is_as_long_as_they_say() {
    let mut told = reply(429, "{}");
    assert!(matches!(taken(&told, &people()), Err(Setback::Wait { after, .. }) if after.as_secs() == 10));
    told.headers.insert(RETRY_AFTER, HeaderValue::from_static("7"));
    assert!(matches!(taken(&told, &people()), Err(Setback::Wait { after, .. }) if after.as_secs() == 7));
    let daily = r#"{"status": "error", "errorType": "RATE_LIMIT", "policyName": "DAILY"}"#;
    assert!(matches!(judge(429, daily), Err(Setback::Wait { after, .. }) if after == DAILY));
}

#[test]
fn who_is_not_there_is_erased_unless_the_address_is_wrong() {
    let name = |status, body| erased(&reply(status, body)).map_err(|setback| setback.name());
    let done = Ok(Taking::Taken(vec![]));
    assert_eq!(name(204, ""), done);
    assert_eq!(name(404, r#"{"status": "error", "category": "OBJECT_NOT_FOUND"}"#), done);
    assert_eq!(name(404, "<html>"), Err("retry"));
    assert_eq!(name(200, "<html>"), Err("retry"));
    assert_eq!(
        name(404, r#"{"category": "VALIDATION_ERROR", "message": "Property \"keryu_id\" does not exist"}"#),
        Err("misconfigured")
    );
    assert_eq!(name(401, "{}"), Err("misconfigured"));
    assert_eq!(name(500, "{}"), Err("retry"));
}
