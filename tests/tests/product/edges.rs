//! Walks every route of the OpenAPI document over HTTP and holds it to the rules all routes share:
//! every error is a problem, faults are told at once, a trailing slash changes nothing. Limits must be
//! out of the walk's way.

use std::time::Duration;

use reqwest::header::{ALLOW, CONTENT_TYPE};
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::support::{Product, World, process};

/// A running API.
struct Api {
    base: String,
    http: Client,
    /// Of a superuser; without it, what wants one is refused before its body is looked at.
    token: Option<String>,
}

/// One path of the document, its parameters filled in with something that names nothing.
struct Route {
    path: String,
    operations: Vec<Operation>,
}

/// One operation of a route.
struct Operation {
    method: Method,
    /// Example and schema of a JSON body that must be there.
    body: Option<(Value, Value)>,
    /// Whether it wants an access token.
    guarded: bool,
    /// Whether it wants the key of a service, which no person's token stands for.
    keyed: bool,
}

/// Walks the API at `base`, such as `http://127.0.0.1:8080`.
async fn walk(base: &str, token: Option<String>) {
    let api = Api { base: base.to_owned(), http: Client::new(), token };
    let document = api.send(Method::GET, "/api/openapi.json").await.json().await.expect("document");
    let routes = routes(&document);
    assert!(routes.len() >= 5, "the document has routes");
    for path in
        ["/", "/api", "/nope", "/api/nope/", "/api/auth/otp", "/api/%ff", "/%00", "/api//docs", "/..%2f"]
    {
        problem(api.send(Method::GET, path).await, 404, path).await;
    }
    for route in &routes {
        api.wrong_methods(route).await;
        for operation in &route.operations {
            api.trailing_slash(&route.path, operation).await;
            if operation.keyed || (operation.guarded && api.token.is_none()) {
                let answer = api.give(&route.path, operation, "application/json", vec![b'['; 200_000]).await;
                problem(answer, 401, &route.path).await;
                continue;
            }
            api.too_large(&route.path, operation).await;
            if let Some((example, schema)) = &operation.body {
                api.unreadable(&route.path, operation, example).await;
                api.three_faults(&route.path, operation, example, schema).await;
            }
        }
    }
    for path in ["/healthz", "/readyz", "/metrics", "/api/docs", "/api/openapi.json"] {
        let plain = api.send(Method::GET, path).await.status();
        assert_eq!(plain, api.send(Method::GET, &format!("{path}/")).await.status(), "{path}/");
        assert_eq!(plain, api.send(Method::HEAD, path).await.status(), "HEAD {path}");
        problem(api.send(Method::DELETE, path).await, 405, path).await;
    }
}

fn routes(document: &Value) -> Vec<Route> {
    let paths = document["paths"].as_object().expect("paths");
    let route = |(path, item): (&String, &Value)| Route {
        path: path
            .split('/')
            .map(|part| match part {
                "{role}" => "nobody",
                part if part.starts_with('{') => "00000000-0000-4000-8000-000000000000",
                part => part,
            })
            .collect::<Vec<_>>()
            .join("/"),
        operations: item
            .as_object()
            .expect("item")
            .iter()
            .map(|(method, it)| operation(method, it, document))
            .collect(),
    };
    paths.iter().map(route).collect()
}

fn operation(method: &str, operation: &Value, document: &Value) -> Operation {
    let media = operation.pointer("/requestBody/content/application~1json");
    // bodies without a schema by name are not ours to define
    let schema = media.and_then(|media| media["schema"]["$ref"].as_str());
    let schema = schema.and_then(|at| document.pointer(at.trim_start_matches('#')));
    let body = media.zip(schema).map(|(media, schema)| (media["example"].clone(), schema.clone()));
    let body = body.filter(|_| operation["requestBody"]["required"] == true);
    let security = operation["security"].as_array().expect("security");
    let guarded = security.iter().any(|way| way.get("bearer").is_some())
        && security.iter().all(|way| way.as_object().is_some_and(|way| !way.is_empty()));
    let keyed = !security.is_empty()
        && security
            .iter()
            .all(|way| way.as_object().is_some_and(|way| way.keys().all(|name| name == "api_key")));
    Operation { method: method.to_uppercase().parse().expect("method"), body, guarded, keyed }
}

impl Api {
    async fn send(&self, method: Method, path: &str) -> Response {
        self.http.request(method, format!("{}{path}", self.base)).send().await.expect("an answer")
    }

    async fn give(&self, path: &str, operation: &Operation, kind: &str, body: Vec<u8>) -> Response {
        let mut request = self.http.request(operation.method.clone(), format!("{}{path}", self.base));
        if let Some(token) = self.token.as_ref().filter(|_| operation.guarded) {
            request = request.bearer_auth(token);
        }
        request.header(CONTENT_TYPE, kind).body(body).send().await.expect("an answer")
    }

    async fn wrong_methods(&self, route: &Route) {
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            if route.operations.iter().any(|known| known.method == method) {
                continue;
            }
            let answer = self.send(method, &route.path).await;
            let allow = answer.headers().get(ALLOW).and_then(|allow| allow.to_str().ok()).unwrap_or_default();
            for known in &route.operations {
                assert!(allow.contains(known.method.as_str()), "{}: Allow is {allow:?}", route.path);
            }
            problem(answer, 405, &route.path).await;
        }
    }

    async fn trailing_slash(&self, path: &str, operation: &Operation) {
        let plain = self.send(operation.method.clone(), path).await;
        let slash = self.send(operation.method.clone(), &format!("{path}/")).await;
        assert_eq!(plain.status(), slash.status(), "{path}/");
        assert!(!slash.status().is_redirection(), "{path}/");
    }

    async fn too_large(&self, path: &str, operation: &Operation) {
        if operation.body.is_some() {
            // more than any body may have
            problem(self.give(path, operation, "application/json", vec![b'['; 600_000]).await, 413, path)
                .await;
        }
    }

    async fn unreadable(&self, path: &str, operation: &Operation, example: &Value) {
        let json = "application/json";
        for kind in ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1"] {
            problem(self.give(path, operation, kind, example.to_string().into()).await, 415, path).await;
        }
        let deep = vec![b'['; 9_000];
        for broken in [
            &b""[..],
            b"{",
            b"{}{}",
            b"\xff\xfe\xfd",
            b"{\"a\":1,\"a\":2}",
            b"{\"a\":\"\\u0000\"}",
            b"nope",
            &deep,
        ] {
            let what = format!("{path} {:?}", String::from_utf8_lossy(&broken[..broken.len().min(40)]));
            problem(self.give(path, operation, json, broken.to_vec()).await, 400, &what).await;
        }
        for shape in [json!(null), json!([]), json!("text"), json!(1)] {
            problem(self.give(path, operation, json, shape.to_string().into()).await, 422, path).await;
        }
    }

    /// A field of the wrong type, one that is missing and one that does not exist: all are told.
    async fn three_faults(&self, path: &str, operation: &Operation, example: &Value, schema: &Value) {
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let [wrong, missing, ..] = required[..] else { return };
        let mut body = example.as_object().cloned().expect("an example");
        body.insert(wrong.to_owned(), json!({ "not": ["wanted"] }));
        body.remove(missing);
        body.insert("no~such/field".to_owned(), json!(1));
        let body = Value::from(body).to_string();
        let told =
            problem(self.give(path, operation, "application/json", body.into()).await, 422, path).await;
        let faults = told["errors"].as_array().into_iter().flatten();
        let pointers: Vec<&str> = faults.filter_map(|fault| fault["pointer"].as_str()).collect();
        for wanted in [format!("/{wrong}"), format!("/{missing}"), "/no~0such~1field".to_owned()] {
            assert!(pointers.contains(&wanted.as_str()), "{path}: {wanted} among {pointers:?}");
        }
    }
}

/// Holds an answer to RFC 9457 and to the members every problem has.
async fn problem(answer: Response, status: u16, what: &str) -> Value {
    let field = |name: &str| {
        answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    let (kind, id, retry) = (field("content-type"), field("x-request-id"), field("retry-after"));
    assert_eq!(answer.status(), StatusCode::from_u16(status).expect("status"), "{what}");
    assert_eq!(kind, "application/problem+json", "{what}");
    let body: Value = answer.json().await.unwrap_or_else(|_| panic!("{what}: JSON"));
    for member in ["type", "title", "detail", "instance", "code"] {
        assert!(body[member].as_str().is_some_and(|text| !text.is_empty()), "{what}: {member} in {body}");
    }
    assert_eq!(body["status"], status, "{what}");
    assert_eq!(body["instance"], format!("urn:keryu:request:{id}"), "{what}");
    assert_eq!(
        body["type"],
        format!("urn:keryu:problem:{}", body["code"].as_str().unwrap_or_default()),
        "{what}"
    );
    assert!(!matches!(status, 429 | 503) || retry.parse::<u64>().is_ok_and(|s| s > 0), "{what}: Retry-After");
    body
}

#[tokio::test]
async fn every_route_keeps_the_rules() {
    let product = Product::new().await;
    let tokens = product.register("root@example.org", "rootlike").await;
    product.world.execute("UPDATE users SET is_superuser = true").await;
    walk(&product.base, tokens["access_token"].as_str().map(str::to_owned)).await;
}

#[tokio::test]
async fn every_route_of_the_binary_keeps_the_rules_in_production_too() {
    let world = World::new().await;
    for stage in ["development", "production"] {
        let settings =
            [("RATE_LIMIT_ALLOW", "127.0.0.1"), ("KERYU_ENV", stage), ("KERYU_LISTEN", "127.0.0.1")];
        let api = process::api(&world, process::free_port(), &settings).await;
        walk(&api.base, None).await;
        api.process.terminate(Duration::from_secs(5)).await;
    }
}
