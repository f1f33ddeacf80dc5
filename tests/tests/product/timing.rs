//! The clock tells known from unknown by nothing. Pairs of calls, one for somebody and one for nobody, in
//! turn; the rank AUC of their times (the chance that a call for somebody took longer than one for nobody)
//! lies within 0.5 ± 0.05, and the medians within half a millisecond of each other.
//!
//! A round may be spoilt by what else the machine does. Pairs of up to five rounds are taken together, and
//! after one of them the check must hold where it would have flagged 2 ms planted in the same pairs.
//! `KERYU_TIMING_PAIRS` sets the pairs of a round; 2,000 on a quiet machine settle it in the first.

use std::time::Instant;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::support::Product;

/// Pairs of a round.
fn pairs() -> usize {
    std::env::var("KERYU_TIMING_PAIRS").ok().and_then(|pairs| pairs.parse().ok()).unwrap_or(200)
}

/// Times of a round in milliseconds.
#[derive(Default)]
struct Times {
    known: Vec<f64>,
    unknown: Vec<f64>,
}

impl Times {
    /// The chance that a call for somebody took longer than one for nobody (Mann and Whitney).
    fn auc(&self) -> f64 {
        let mut all: Vec<(f64, bool)> = self.known.iter().map(|time| (*time, true)).collect();
        all.extend(self.unknown.iter().map(|time| (*time, false)));
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        let ranks: f64 =
            all.iter().zip(1..).filter(|((_, known), _)| *known).map(|(_, rank)| f64::from(rank)).sum();
        let (known, unknown) = (self.known.len() as f64, self.unknown.len() as f64);
        (ranks - known * (known + 1.0) / 2.0) / (known * unknown)
    }

    fn medians(&self) -> (f64, f64) {
        let median = |times: &[f64]| {
            let mut times = times.to_vec();
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        };
        (median(&self.known), median(&self.unknown))
    }

    /// The same with so many milliseconds more for somebody.
    fn planted(&self, more: f64) -> Self {
        Self { known: self.known.iter().map(|time| time + more).collect(), unknown: self.unknown.clone() }
    }

    /// Why the two can be told apart, if they can.
    fn judge(&self) -> Result<(), String> {
        let (auc, (known, unknown)) = (self.auc(), self.medians());
        let told = format!("AUC {auc:.3}, medians {known:.3} ms and {unknown:.3} ms");
        if (auc - 0.5).abs() <= 0.05 && (known - unknown).abs() <= 0.5 { Ok(()) } else { Err(told) }
    }
}

/// A call for an identifier: how long it took.
async fn time(product: &Product, path: &str, body: &Value, status: u16) -> f64 {
    let started = Instant::now();
    let answer = product.send(Method::POST, path, body, &[]).await;
    let took = started.elapsed().as_secs_f64() * 1e3;
    assert_eq!(answer.status(), status, "{}", answer.text().await.expect("body"));
    took
}

/// A round: each pair is two identifiers nobody has called for yet, in an order that changes.
async fn round(product: &Product, path: &str, status: u16, body: impl Fn(&str) -> Value) -> Times {
    let mut times = Times::default();
    let name = format!("u{}", uuid::Uuid::now_v7().simple());
    let (known, unknown): (Vec<_>, Vec<_>) = (0..pairs() + 10)
        .map(|n| (format!("{name}.k{n}@example.org"), format!("{name}.u{n}@example.org")))
        .unzip();
    accounts(product, &known).await;
    for (n, (known, unknown)) in known.iter().zip(&unknown).enumerate() {
        let (mut of_known, mut of_unknown) = (0.0, 0.0);
        for turn in [n, n + 1] {
            if turn.is_multiple_of(2) {
                of_known = time(product, path, &body(known), status).await;
            } else {
                of_unknown = time(product, path, &body(unknown), status).await;
            }
        }
        // the first ones warm up
        if n >= 10 {
            times.known.push(of_known);
            times.unknown.push(of_unknown);
        }
    }
    times
}

/// People who have proved these addresses, all with one password.
async fn accounts(product: &Product, emails: &[String]) {
    let hash = product.ctx.hasher.hash("correct horse battery staple").await.expect("hash");
    sqlx::query(
        "WITH person AS (
             INSERT INTO users (user_id, username, username_skeleton, email, email_verified_at, ever_verified_at,
                                created_at, updated_at)
             SELECT id, id::text, id::text, email, now(), now(), now(), now()
             FROM (SELECT gen_random_uuid() AS id, email FROM unnest($1::text[]) AS e(email)) p
             RETURNING user_id
         )
         INSERT INTO passwords (user_id, hash, changed_at) SELECT user_id, $2, now() FROM person",
    )
    .bind(emails)
    .bind(hash)
    .execute(&product.world.db)
    .await
    .expect("people");
    product.world.execute("ANALYZE users; ANALYZE passwords").await;
}

/// One at a time: they would spoil each other's rounds.
static TURN: Mutex<()> = Mutex::const_new(());

async fn tells_nothing(what: &str, path: &str, status: u16, body: impl Fn(&str) -> Value) {
    let _turn = TURN.lock().await;
    let product = Product::new().await;
    let (mut times, mut told) = (Times::default(), Vec::new());
    for _ in 0..5 {
        let Times { known, unknown } = round(&product, path, status, &body).await;
        times.known.extend(known);
        times.unknown.extend(unknown);
        match (times.judge(), times.planted(2.0).judge()) {
            (Ok(()), Err(_)) => return,
            (Ok(()), Ok(())) => told.push("too noisy to see 2 ms".to_owned()),
            (Err(why), _) => told.push(why),
        }
    }
    panic!("{what}: known and unknown can be told apart: {told:#?}");
}

#[tokio::test]
async fn asking_for_a_code_takes_as_long_for_nobody_as_for_somebody() {
    for purpose in ["login", "register"] {
        let body = |identifier: &str| json!({ "identifier": identifier, "purpose": purpose });
        tells_nothing(purpose, "/api/auth/otp/request", 202, body).await;
    }
}

#[tokio::test]
async fn a_wrong_password_takes_as_long_for_nobody_as_for_somebody() {
    let body = |identifier: &str| json!({ "identifier": identifier, "password": "not the password" });
    tells_nothing("login", "/api/auth/login", 401, body).await;
}

#[tokio::test]
async fn forgetting_a_password_takes_as_long_for_nobody_as_for_somebody() {
    let body = |identifier: &str| json!({ "identifier": identifier });
    tells_nothing("forgot", "/api/auth/password/forgot", 202, body).await;
    let body = |identifier: &str| json!({ "identifier": identifier, "otp": "000000", "new_password": "a river of small stones" });
    tells_nothing("reset", "/api/auth/password/reset", 422, body).await;
}

#[test]
fn the_check_sees_what_there_is_to_see() {
    let times = |known: &[f64], unknown: &[f64]| Times { known: known.to_vec(), unknown: unknown.to_vec() };
    assert_eq!(times(&[1.0, 2.0], &[3.0, 4.0]).auc(), 0.0);
    assert_eq!(times(&[3.0, 4.0], &[1.0, 2.0]).auc(), 1.0);
    assert_eq!(times(&[1.0, 4.0], &[2.0, 3.0]).auc(), 0.5);
    let even: Vec<f64> = (0..300).map(f64::from).collect();
    let odd: Vec<f64> = (0..300).map(|n| f64::from(n) + 0.4).collect();
    assert_eq!(times(&even, &odd).judge(), Ok(()));
    assert!(times(&even, &odd).planted(2.0).judge().is_err());
    assert!(times(&even, &even.iter().map(|time| time * 1.5).collect::<Vec<_>>()).judge().is_err());
}
