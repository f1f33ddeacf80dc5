//! For tests: a provider's HTTP server on loopback. What it is asked is kept, what it answers is given.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub headers: hyper::HeaderMap,
    pub body: String,
}

impl Asked {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("ascii"))
    }

    pub fn form(&self) -> Vec<(String, String)> {
        assert_eq!(self.header("content-type"), "application/x-www-form-urlencoded");
        url::form_urlencoded::parse(self.body.as_bytes()).into_owned().collect()
    }
}

/// What the server does with a request.
#[derive(Clone, Debug)]
pub enum Reply {
    Status(u16, Vec<(&'static str, String)>, String),
    /// Reads the request and never answers.
    Silence,
    /// Reads the request and closes the connection.
    Hangup,
}

impl Reply {
    pub fn json(status: u16, body: &str) -> Self {
        Self::Status(status, vec![("content-type", "application/json".to_owned())], body.to_owned())
    }
}

pub struct Server {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// Answers every request with what `answer` makes of it.
    pub async fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
        let url = format!("http://{}", listener.local_addr().expect("address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (kept, answer) = (Arc::clone(&asked), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
                let service =
                    service_fn(move |request| serve(request, Arc::clone(&kept), Arc::clone(&answer)));
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Self { url, asked }
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("lock").clone()
    }
}

/// A hang-up is a service error, which makes the server drop the connection unanswered.
async fn serve(
    request: Request<Incoming>,
    kept: Arc<Mutex<Vec<Asked>>>,
    answer: Arc<impl Fn(&Asked) -> Reply>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let asked = Asked {
        method: head.method.to_string(),
        path: head.uri.to_string(),
        headers: head.headers,
        body: String::from_utf8(body.to_vec()).expect("utf-8"),
    };
    let reply = answer(&asked);
    kept.lock().expect("lock").push(asked);
    match reply {
        Reply::Status(status, headers, body) => {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            Ok(response.body(Full::from(body)).expect("response"))
        }
        Reply::Silence => {
            let never: Result<Infallible, _> =
                tokio::time::timeout(Duration::from_secs(60), std::future::pending()).await;
            Err(std::io::Error::other(format!("{never:?}")))
        }
        Reply::Hangup => Err(std::io::Error::other("hung up")),
    }
}
