//! The sync when something is wrong: with one person, with the settings, with the other side.

use std::time::Duration;

use keryu_common::crm::{desk, register};
use keryu_common::desk::Hand;

use super::crm::{ASIDE, DAY, OPEN, linked, people, run, settle, state};
use super::support::Crm;
use super::support::crm::{Act, NAMED, NAMELESS};

#[tokio::test]
async fn somebody_who_is_refused_is_set_aside_with_the_reason_and_the_others_go_on() {
    let (hubspot, hook) = (Crm::start().await, Crm::start().await);
    let product = linked(&[hubspot.hubspot(), hook.webhook()].concat()).await;
    people(&product, 1, 150, "Sound").await;
    run(&product, "UPDATE users SET last_name = 'Refused-by-name' WHERE username = 'p7'").await;
    run(&product, "UPDATE users SET last_name = 'Refused-with-all' WHERE username IN ('p60', 'p61')").await;
    settle(&product).await;
    assert_eq!(product.world.count(ASIDE).await, 3 + 2);
    assert_eq!((hubspot.tape().people.len(), hook.tape().people.len()), (147, 148));
    let reasons: Vec<String> = [state(&product, "hubspot").await, state(&product, "webhook").await]
        .iter()
        .flat_map(|state| state.refused.iter().map(|one| one.reason.clone().expect("a reason")))
        .collect();
    for reason in &reasons {
        let known = [
            "HubSpot answered 400, VALIDATION_ERROR, lastname: INVALID_NAME (correlation id c-1)",
            "HubSpot answered 207, VALIDATION_ERROR",
            "the webhook answered 422",
        ];
        assert!(known.contains(&reason.as_str()), "{reason}");
        assert!(!reason.contains(NAMED) && !reason.contains(NAMELESS), "no value of theirs: {reason}");
    }
    let calls = hubspot.calls();
    // the next change is a new chance, and so is an operator's word
    run(&product, "UPDATE users SET last_name = 'Sound' WHERE username IN ('p7', 'p60')").await;
    settle(&product).await;
    assert_eq!(hubspot.calls(), calls + 1);
    assert_eq!(product.world.count(ASIDE).await, 2);
    let operator = Hand { client: &product.operator(), person: None };
    assert_eq!(desk::retry(&product.ctx, operator, Some("webhook")).await.expect("retried"), 1);
    settle(&product).await;
    assert_eq!(product.world.count(ASIDE).await, 2, "it is still refused");
    assert_eq!(hubspot.tape().wrong, [""; 0]);
}

#[tokio::test]
async fn where_everybody_is_refused_it_is_not_their_doing() {
    let hook = Crm::start().await;
    let product = linked(&hook.webhook()).await;
    people(&product, 1, 8, "Sound").await;
    hook.always(Some(Act::Say(400, r#"{"message": "no such field"}"#)));
    product.advance(Duration::from_secs(6));
    product.drain().await;
    assert_eq!((product.world.count(OPEN).await, product.world.count(ASIDE).await), (8, 0));
    let told = state(&product, "webhook").await;
    let reason = told.target.reason.expect("a reason");
    assert_eq!(reason, "the webhook answered 400 for each of 8 people by themselves");
    hook.always(None);
    settle(&product).await;
    assert_eq!(hook.tape().people.len(), 8);
}

#[tokio::test]
async fn a_whole_batch_that_is_refused_does_not_hold_up_who_comes_behind() {
    let hook = Crm::start().await;
    let product = linked(&hook.webhook()).await;
    people(&product, 1, 100, "Refused-with-all").await;
    people(&product, 101, 103, "Sound").await;
    settle(&product).await;
    assert_eq!((product.world.count(OPEN).await, product.world.count(ASIDE).await), (0, 100));
    assert_eq!(hook.tape().people.len(), 3);
}

#[tokio::test]
async fn an_erasure_that_is_refused_is_tried_for_good_and_holds_nobody_up() {
    let hubspot = Crm::start().await;
    let product = linked(&hubspot.hubspot()).await;
    people(&product, 1, 3, "Sound").await;
    settle(&product).await;
    let no = r#"{"status": "error", "category": "MISSING_SCOPES", "message": "no"}"#;
    hubspot.answers([Some(Act::Say(403, no)), None]);
    run(
        &product,
        "INSERT INTO crm_changes (target, user_id, change, changed_at)
                   SELECT 'hubspot', md5('gone')::uuid, nextval('crm_change_seq'), now()",
    )
    .await;
    run(&product, "UPDATE users SET last_name = 'Other' WHERE username = 'p1'").await;
    product.advance(Duration::from_secs(6));
    product.drain().await;
    assert_eq!((product.world.count(OPEN).await, product.world.count(ASIDE).await), (1, 0));
    let told = state(&product, "hubspot").await;
    assert!(told.target.held_until.is_none() && told.target.reason.is_none());
    let [one] = &told.refused[..] else { panic!("{:?}", told.refused) };
    assert!(one.reason.as_deref().is_some_and(|reason| reason.starts_with("HubSpot answered 403")));
    for _ in 0..20 {
        hubspot.answers([Some(Act::Say(405, "<html>"))]);
        product.advance(Duration::from_secs(3600));
        product.drain().await;
    }
    assert_eq!(
        (product.world.count(OPEN).await, product.world.count(ASIDE).await),
        (1, 0),
        "never set aside"
    );
    settle(&product).await;
    let erased = hubspot.tape().erased.len();
    assert_eq!((erased, product.world.count(OPEN).await), (1, 0));
}

#[tokio::test]
async fn an_address_that_goes_from_one_to_another_arrives() {
    let hubspot = Crm::start().await;
    let product = linked(&hubspot.hubspot()).await;
    people(&product, 1, 2, "Sound").await;
    settle(&product).await;
    // HubSpot hears of the new owner first: to it the address belongs to the other one still
    run(&product, "UPDATE users SET email = 'spare@example.org' WHERE username = 'p1'").await;
    run(&product, "UPDATE users SET email = 'p1@example.org' WHERE username = 'p2'").await;
    let swap = "UPDATE crm_changes SET change = nextval('crm_change_seq') WHERE user_id = md5('1')::uuid";
    run(&product, swap).await;
    settle(&product).await;
    let tape = hubspot.tape();
    assert_eq!(tape.wrong, [""; 0]);
    let mut emails: Vec<&str> =
        tape.people.values().map(|one| one["email"].as_str().expect("email")).collect();
    emails.sort_unstable();
    assert_eq!(emails, ["p1@example.org", "spare@example.org"]);
}

#[tokio::test]
async fn wrong_credentials_are_told_lose_nothing_and_hold_nobody_else_up() {
    let (hubspot, hook) = (Crm::start().await, Crm::start().await);
    let settings = [hubspot.hubspot(), hook.webhook()].concat();
    hubspot.always(Some(Act::Say(401, r#"{"status": "error", "category": "INVALID_AUTHENTICATION"}"#)));
    let product = linked(&settings).await;
    people(&product, 1, 120, "Sound").await;
    for _ in 0..6 {
        product.drain().await;
        product.advance(Duration::from_secs(600));
    }
    assert_eq!(hook.tape().people.len(), 120);
    let told = state(&product, "hubspot").await;
    assert_eq!((told.waiting, told.set_aside), (120, 0));
    assert_eq!(
        told.target.reason.as_deref(),
        Some("HubSpot answered 401: the credentials were not accepted")
    );
    assert!((4..=6).contains(&hubspot.calls()), "one call a try, slowly: {}", hubspot.calls());
    // mended, and started anew: at once
    hubspot.always(None);
    let product = product.restarted(&settings).await;
    register(&product.ctx).await.expect("registered");
    product.drain().await;
    assert_eq!(hubspot.tape().people.len(), 120);
    settle(&product).await;
}

#[tokio::test]
async fn an_outage_of_a_week_is_a_dead_letter_and_the_next_change_brings_all_of_it() {
    let hook = Crm::start().await;
    let product = linked(&hook.webhook()).await;
    people(&product, 1, 3, "Sound").await;
    hook.always(Some(Act::Say(500, "")));
    for _ in 0..9 {
        product.advance(DAY);
        product.drain().await;
    }
    let dead: String =
        sqlx::query_scalar("SELECT error FROM jobs WHERE kind = 'crm.sync_users' AND state = 'discarded'")
            .fetch_one(&product.world.db)
            .await
            .expect("a dead letter");
    assert!(
        dead.starts_with("the webhook answered 500") && dead.contains("nothing was taken since"),
        "{dead}"
    );
    assert_eq!(product.world.count(OPEN).await, 3, "nothing is lost");
    hook.always(None);
    people(&product, 4, 4, "Sound").await;
    settle(&product).await;
    assert_eq!(hook.tape().people.len(), 4);
}

#[tokio::test]
async fn a_delivery_that_is_made_again_has_the_same_id() {
    let hook = Crm::start().await;
    let product = linked(&hook.webhook()).await;
    people(&product, 1, 5, "Sound").await;
    hook.answers([
        Some(Act::Say(500, "")),
        Some(Act::Slow(Duration::from_secs(60))),
        Some(Act::Say(200, "<p>in</p>")),
        None,
    ]);
    settle(&product).await;
    run(&product, "UPDATE users SET last_name = 'Other' WHERE username = 'p1'").await;
    settle(&product).await;
    let tape = hook.tape();
    assert_eq!(tape.wrong, [""; 0]);
    let ids: Vec<&str> = tape.calls.iter().map(|call| call.id.as_str()).collect();
    assert_eq!(ids.len(), 5);
    assert!(ids[..4].iter().all(|id| *id == ids[0] && id.starts_with("msg_")), "{ids:?}");
    assert_ne!(ids[4], ids[0], "what is new has an id of its own");
}

#[tokio::test]
async fn a_rate_holds_between_calls() {
    let hook = Crm::start().await;
    let product = linked(&[&hook.webhook()[..], &[("PROVIDER_RATES", "webhook=0.5")]].concat()).await;
    people(&product, 1, 250, "Sound").await;
    product.advance(Duration::from_secs(6));
    product.drain().await;
    assert_eq!(hook.calls(), 1, "one in two seconds");
    settle(&product).await;
    assert_eq!((hook.calls(), hook.tape().people.len()), (3, 250));
}
