//! The table of routes: every path answers with the methods it has and refuses the others with `Allow`.
//! HEAD is GET without the body. Which route does what is said in the slices.

use std::any::Any;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use keryu_common::Error;
use poem::endpoint::BoxEndpoint;
use poem::http::{HeaderValue, Method, StatusCode, header};
use poem::{Endpoint, EndpointExt, IntoResponse, Request, Response, Route};
use poem_openapi::__private::UrlQuery;
use poem_openapi::OpenApi;

use super::problem::{Allow, METHOD, Problem};
use super::query::{self, Asked, Queries};

/// Routes by path template, in poem's form (`/api/deliveries/:id`).
#[derive(Default)]
pub struct Table {
    methods: HashMap<String, HashMap<Method, BoxEndpoint<'static>>>,
    /// The document's form of paths with parameters.
    templates: HashMap<String, String>,
    queries: Queries,
}

impl Table {
    /// Every operation of the API objects.
    pub fn of<T: OpenApi>(apis: T) -> Self {
        let paths = T::meta().into_iter().flat_map(|api| api.paths).map(|path| path.path);
        let templates = paths.map(|path| (numbered(&path), path)).collect();
        let mut methods = HashMap::new();
        apis.add_routes(&mut methods);
        Self { methods, templates, queries: query::all::<T>() }
    }

    /// One more route, outside the OpenAPI document.
    #[must_use]
    pub fn get<E: Endpoint + 'static>(mut self, path: &str, endpoint: E) -> Self {
        let endpoint = endpoint.map_to_response().boxed();
        self.methods.entry(path.to_owned()).or_default().insert(Method::GET, endpoint);
        self
    }

    /// The router.
    pub fn into_route(self) -> Route {
        let Self { methods, templates, mut queries } = self;
        methods.into_iter().fold(Route::new(), |route, (path, methods)| {
            let template = templates.get(&path).unwrap_or(&path);
            let methods = methods.into_iter().map(|(method, endpoint)| {
                let asked = queries.remove(&(template.clone(), method.clone()));
                (method, Operation { endpoint, asked })
            });
            route.at(&path, Resource::new(template, methods.collect()))
        })
    }
}

/// `/a/{b}` in the form of the routing table: `/a/:param0`.
fn numbered(path: &str) -> String {
    let mut count = 0;
    let mut part = |part: &str| {
        if !part.starts_with('{') {
            return part.to_owned();
        }
        count += 1;
        format!(":param{}", count - 1)
    };
    path.split('/').map(&mut part).collect::<Vec<_>>().join("/")
}

/// The template of the route that answered, in the document's form (`/api/deliveries/{id}`).
#[derive(Clone, Debug)]
pub struct Template(pub Arc<str>);

struct Operation {
    endpoint: BoxEndpoint<'static>,
    /// What may stand in its query, if it is in the document.
    asked: Option<Arc<Asked>>,
}

struct Resource {
    template: Template,
    methods: Vec<(Method, Operation)>,
    allow: HeaderValue,
}

impl Resource {
    fn new(template: &str, methods: HashMap<Method, Operation>) -> Self {
        let mut names: Vec<&str> = methods.keys().map(Method::as_str).chain(["OPTIONS"]).collect();
        if methods.contains_key(&Method::GET) {
            names.push("HEAD");
        }
        names.sort_unstable();
        let allow = HeaderValue::from_str(&names.join(", ")).unwrap_or(HeaderValue::from_static("OPTIONS"));
        Self { template: Template(template.into()), methods: methods.into_iter().collect(), allow }
    }

    fn find(&self, method: &Method) -> Option<&Operation> {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        self.methods.iter().find(|(known, _)| known == method).map(|(_, operation)| operation)
    }
}

impl Endpoint for Resource {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        match self.answer(request).await {
            Ok(mut response) => {
                response.set_data(self.template.clone());
                Ok(response)
            }
            Err(mut error) => {
                error.set_data(self.template.clone());
                Err(error)
            }
        }
    }
}

impl Resource {
    /// Runs the method's handler; a panic in it is an error like others.
    async fn answer(&self, mut request: Request) -> poem::Result<Response> {
        if let Some(Operation { endpoint, asked }) = self.find(request.method()) {
            // poem-openapi reads query parameters from here
            let query =
                request.uri().query().map(|_| request.params::<Vec<(String, String)>>().unwrap_or_default());
            request.extensions_mut().insert(UrlQuery(query.unwrap_or_default()));
            if let Some(asked) = asked {
                request.set_data(Arc::clone(asked));
            }
            let outcome = AssertUnwindSafe(endpoint.call(request)).catch_unwind().await;
            return outcome.unwrap_or_else(|panic| Err(Problem(Error::internal(panic_text(&*panic))).into()));
        }
        if request.method() == Method::OPTIONS {
            return Ok(StatusCode::NO_CONTENT.with_header(header::ALLOW, self.allow.clone()).into_response());
        }
        let detail = format!("{} is not allowed here.", method_name(request.method()));
        let mut error = poem::Error::from(Problem(Error::from(METHOD.refuse(detail))));
        error.set_data(Allow(self.allow.clone()));
        Err(error)
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a text".to_owned())
}

/// The method if it is a known one: logs, metrics and answers never repeat a made-up one.
pub fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}
