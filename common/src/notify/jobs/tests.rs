use super::*;

#[test]
fn the_payload_of_version_1_names_a_row_and_nothing_else() {
    let created_at = DateTime::from_timestamp_micros(1_767_225_600_000_001).expect("time");
    let job = DeliverMessage { delivery_id: Uuid::from_u128(7), created_at };
    let payload = serde_json::json!({
        "delivery_id": "00000000-0000-0000-0000-000000000007",
        "created_at": "2026-01-01T00:00:00.000001Z",
    });
    assert_eq!(serde_json::to_value(&job).expect("payload"), payload);
    assert_eq!(serde_json::from_value::<DeliverMessage>(payload).expect("job"), job);
    assert_eq!(DeliverMessage::VERSION, 1);
}

#[test]
fn the_payload_of_a_notice_names_a_row_too() {
    let created_at = DateTime::from_timestamp_micros(1_767_225_600_000_001).expect("time");
    let job = DeliverNotice { delivery_id: Uuid::from_u128(7), created_at };
    let payload = serde_json::json!({
        "delivery_id": "00000000-0000-0000-0000-000000000007",
        "created_at": "2026-01-01T00:00:00.000001Z",
    });
    assert_eq!(serde_json::to_value(&job).expect("payload"), payload);
    assert_eq!(serde_json::from_value::<DeliverNotice>(payload).expect("job"), job);
    assert_eq!(DeliverNotice::VERSION, 1);
}

#[test]
fn the_tries_of_a_notice_last_a_day() {
    let waits = (1..DeliverNotice::MAX_ATTEMPTS).map(|attempt| DeliverNotice::BACKOFF.after(attempt, 0));
    assert!(waits.sum::<Duration>() > Duration::from_secs(24 * 3600));
}

#[test]
fn a_notice_that_may_have_arrived_is_held() {
    assert!(!fails_over(&Answer::unknown("lost"), false));
    assert!(fails_over(&Answer::retry("busy"), false));
    assert_eq!(verdict(Answer::unknown("lost"), false), Verdict::Done);
    assert!(matches!(verdict(Answer::retry("busy"), false), Verdict::Retry { .. }));
}

#[test]
fn an_answer_decides_state_and_verdict() {
    let after = Some(Duration::from_secs(3));
    let retry = Answer::Retry { after, reason: "busy".to_owned() };
    assert_eq!(state_after(&retry, false), State::Queued);
    assert_eq!(state_after(&retry, true), State::Failed);
    assert_eq!(verdict(retry, true), Verdict::Retry { after, reason: "busy".to_owned() });
    for last in [false, true] {
        assert_eq!(state_after(&Answer::unknown("lost"), last), State::Unknown);
        assert_eq!(state_after(&Answer::give_up("no"), last), State::Failed);
    }
    assert_eq!(
        verdict(Answer::unknown("lost"), true),
        Verdict::Retry { after: None, reason: "lost".to_owned() }
    );
    assert_eq!(verdict(Answer::give_up("no"), true), Verdict::Done);
    assert_eq!(state_after(&Answer::misconfigured("key"), false), State::Queued);
}

#[test]
fn of_two_providers_the_weightier_answer_decides() {
    let (unknown, retry) = (Answer::unknown("lost"), Answer::retry("busy"));
    let (wrong, no) = (Answer::misconfigured("key"), Answer::give_up("no"));
    assert_eq!(worst_of(None, no.clone()), no);
    assert_eq!(worst_of(Some(unknown.clone()), retry.clone()), unknown);
    assert_eq!(worst_of(Some(retry.clone()), wrong.clone()), retry);
    assert_eq!(worst_of(Some(wrong.clone()), retry.clone()), retry);
    for answer in [unknown, retry, wrong] {
        assert!(fails_over(&answer, true));
    }
    assert!(!fails_over(&no, true));
    assert!(!fails_over(&Answer::Accepted { provider_id: None }, true));
}
