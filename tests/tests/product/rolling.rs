//! A rolling deploy: new processes start beside the old ones, which are then told to stop, while people ask for
//! codes. A balancer sends requests to whoever says `ready`. Nothing is refused, lost or sent twice.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Client;
use serde_json::json;

use crate::support::gateway::Answer;
use crate::support::process::Api;
use crate::support::{Gateway, World, eventually, process};

/// How often a balancer asks who is ready.
const ASK: Duration = Duration::from_millis(100);

/// Sends to those who said lately that they are ready.
#[derive(Clone, Default)]
struct Balancer {
    bases: Arc<Mutex<Vec<(String, bool)>>>,
}

impl Balancer {
    fn add(&self, base: &str) {
        self.bases.lock().expect("bases").push((base.to_owned(), true));
    }

    fn pick(&self, n: usize) -> String {
        let bases = self.bases.lock().expect("bases");
        let ready: Vec<&String> = bases.iter().filter(|(_, ready)| *ready).map(|(base, _)| base).collect();
        ready[n % ready.len()].clone()
    }

    fn is_out(&self, base: &str) -> bool {
        self.bases.lock().expect("bases").iter().any(|(known, ready)| known == base && !ready)
    }

    async fn watch(self, http: Client) {
        loop {
            let bases: Vec<String> =
                self.bases.lock().expect("bases").iter().map(|(base, _)| base.clone()).collect();
            for base in bases {
                let ready = http.get(format!("{base}/readyz")).send().await;
                let ready = ready.is_ok_and(|answer| answer.status().is_success());
                let mut bases = self.bases.lock().expect("bases");
                bases.iter_mut().filter(|(known, _)| *known == base).for_each(|(_, is)| *is = ready);
            }
            tokio::time::sleep(ASK).await;
        }
    }
}

/// Asks for codes without a pause until told to stop; answers with how many. Each must be granted.
async fn ask(http: Client, balancer: Balancer, stop: Arc<AtomicBool>, caller: usize) -> usize {
    let mut asked = 0;
    while !stop.load(Ordering::Relaxed) {
        let number = format!("+2547{caller:02}{asked:06}");
        let url = format!("{}/api/auth/otp/request", balancer.pick(caller + asked));
        let body = json!({ "identifier": number, "purpose": "register" });
        let answer = http.post(&url).json(&body).send().await.expect("an answer");
        assert_eq!(answer.status(), 202, "{number} at {url}");
        asked += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    asked
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_deploy_refuses_loses_and_doubles_nothing() {
    let world = World::new().await;
    let gateway = Gateway::start().await;
    // long enough that a worker has some in its hands when it is told to stop
    gateway.always(Some(Answer::Slow(Duration::from_millis(150))));
    let mut settings = gateway.settings();
    settings.extend([("RATE_LIMIT_ALLOW", "127.0.0.1"), ("HTTP_SHUTDOWN_DELAY", "2s")]);
    let (http, balancer, stop) = (Client::new(), Balancer::default(), Arc::<AtomicBool>::default());
    let start = || async {
        let api = process::api(&world, process::free_port(), &settings).await;
        balancer.add(&api.base);
        (api, process::worker(&world, &["--queues", "critical"], &settings))
    };
    let mut old = start().await;
    let watching = tokio::spawn(balancer.clone().watch(http.clone()));
    let asking: Vec<_> =
        (0..6).map(|n| tokio::spawn(ask(http.clone(), balancer.clone(), Arc::clone(&stop), n))).collect();
    for _ in 0..2 {
        let new = start().await;
        let (Api { process, base }, worker) = std::mem::replace(&mut old, new);
        let sent = gateway.received().len();
        let stopped = tokio::join!(process.terminate(Duration::from_secs(30)), async {
            eventually("the balancer has seen it", Duration::from_secs(10), || async {
                balancer.is_out(&base)
            })
            .await;
        });
        assert!(stopped.0 >= Duration::from_secs(2), "it took requests until balancers had seen it");
        worker.terminate(Duration::from_secs(30)).await;
        eventually("the new ones deliver", Duration::from_secs(20), || async {
            gateway.received().len() > sent + 20
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut asked = 0;
    for one in asking {
        asked += one.await.expect("every request is granted");
    }
    watching.abort();
    eventually("every code is accepted", Duration::from_secs(30), || async {
        world.count("SELECT count(*) FROM deliveries WHERE state <> 'accepted'").await == 0
    })
    .await;
    assert_eq!(world.count("SELECT count(*) FROM deliveries").await, asked as i64);
    assert_eq!(gateway.received().len(), asked, "one message each");
}
