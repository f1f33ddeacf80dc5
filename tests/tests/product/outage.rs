//! Postgres and Redis go away under the real binaries and come back. A pair of servers of the test's own.

use std::time::Duration;

use keryu_tests::services::{Options, Services};
use reqwest::{Client, Response};
use serde_json::Value;

use crate::support::process::{api, free_port, worker};
use crate::support::product::{read, retry_after};
use crate::support::{Folder, Gateway, World, eventually};

async fn get(http: &Client, url: &str) -> (u16, Value) {
    read(http.get(url).send().await.expect("an answer")).await
}

/// Asks for a code for one more number.
async fn ask(http: &Client, base: &str, n: u32) -> Response {
    let body = format!(r#"{{"identifier":"+2547123456{n:02}","purpose":"register"}}"#);
    let request =
        http.post(format!("{base}/api/auth/otp/request")).header("content-type", "application/json");
    request.body(body).send().await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_tells_what_is_away_and_calls_go_on_when_it_is_back() {
    let folder = Folder::new("outage");
    let mut services = Services::find_or_start(&Options::fleeting(folder.path()).own()).expect("services");
    let world = World::on(services.database_url(), services.redis_url()).await;
    let gateway = Gateway::start().await;
    let listen = format!("127.0.0.1:{}", free_port());
    let mut settings = gateway.settings();
    settings.push(("KERYU_WORKER_LISTEN", &listen));
    let worker = worker(&world, &[], &settings);
    let api = api(&world, free_port(), &gateway.settings()).await;
    let (http, theirs) = (Client::new(), format!("http://{listen}"));
    let ready = format!("{}/readyz", api.base);
    let arrives = async |n: u32| {
        assert_eq!(ask(&http, &api.base, n).await.status(), 202, "code {n}");
        let number = format!("+2547123456{n:02}");
        eventually("the code arrives", Duration::from_secs(15), || async {
            !gateway.accepted_for(&number).is_empty()
        })
        .await;
    };
    let says = async |url: &str, status: u16, word: &str| {
        eventually(&format!("{url} says {word}"), Duration::from_secs(15), || async {
            let (is, body) = get(&http, url).await;
            is == status && (body["status"] == word || body["code"] == word)
        })
        .await;
    };
    says(&format!("{theirs}/readyz"), 200, "ok").await;
    assert_eq!(
        get(&http, &ready).await,
        (200, serde_json::json!({ "status": "ok", "postgres": true, "redis": true }))
    );
    arrives(1).await;
    eventually("the worker counts the job", Duration::from_secs(10), || async {
        let metrics = http.get(format!("{theirs}/metrics")).send().await.expect("metrics");
        let text = metrics.text().await.expect("text");
        text.contains(r#"{queue="critical",kind="notify.deliver_message",outcome="completed"} 1"#)
    })
    .await;

    services.redis.stop().expect("stop");
    says(&ready, 200, "degraded").await;
    says(&format!("{theirs}/readyz"), 200, "degraded").await;
    arrives(2).await;
    services.redis.start().expect("start");
    says(&ready, 200, "ok").await;
    says(&format!("{theirs}/readyz"), 200, "ok").await;

    services.postgres.stop().expect("stop");
    says(&ready, 503, "server.unavailable").await;
    says(&format!("{theirs}/readyz"), 503, "unavailable").await;
    let refused = ask(&http, &api.base, 3).await;
    assert!(retry_after(&refused) > Duration::ZERO);
    assert_eq!(
        (refused.status().as_u16(), &read(refused).await.1["code"]),
        (503, &"server.unavailable".into())
    );
    for url in [format!("{}/healthz", api.base), format!("{theirs}/healthz")] {
        assert_eq!(get(&http, &url).await.0, 200, "{url}: alive");
    }
    services.postgres.start().expect("start");
    says(&ready, 200, "ok").await;
    says(&format!("{theirs}/readyz"), 200, "ok").await;
    arrives(3).await;
    assert_eq!(gateway.received().len(), 3, "nothing twice");
    drop((worker, api));
}
