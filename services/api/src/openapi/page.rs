//! The document and its page, for whoever asks: both say nothing that is not in the sources.

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::events;
use crate::app::State;

const DOCUMENT: &str = "/api/openapi.json";
const EVENTS: &str = "/api/asyncapi.json";
const PAGE: &str = "/api/docs";

/// The page's own files, its calls to the pod, and nothing else from anywhere. Swagger UI makes styles as it
/// goes; scripts are its files only.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                      img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 3] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
];

/// `/api/openapi.json`, `/api/asyncapi.json` and, from files within this program, `/api/docs`.
pub(crate) fn routes(document: String) -> Router<State> {
    let told = |document: String| {
        let document = Bytes::from(document);
        get(async move || {
            let json = HeaderValue::from_static("application/json");
            ([(header::CONTENT_TYPE, json)], document)
        })
    };
    let page = SwaggerUi::new(PAGE).config(Config::from(DOCUMENT).validator_url("none"));
    Router::from(page)
        .route(DOCUMENT, told(document))
        .route(EVENTS, told(events()))
        .layer(map_response(guard))
}

async fn guard(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
