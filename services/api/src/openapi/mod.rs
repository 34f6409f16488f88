//! The document of the REST interface (`OpenAPI` 3.1): what each handler says of itself, and what is the same for all of them.

mod completion;
mod events;
mod page;
mod webhooks;

pub(crate) use completion::complete;
pub use events::events;
pub(crate) use page::routes;

use parley_domain::webhook::OutwardChat;

use crate::error::FailureDetails;

use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    ComponentsBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, SecurityRequirement,
};

const INTRODUCTION: &str = "\
A chat backend's REST interface. Every request carries a bearer token of the host application. Answers are \
`{ \"success\": true, \"data\": … }` or `{ \"success\": false, \"error\": { \"code\", \"message\", \"details\"? }, \
\"requestId\" }`; codes are stable. Absent values are `null`, times are ISO 8601 in UTC with milliseconds, and objects may \
gain fields. Nothing may be cached. Files are sent as forms and given out as they are. Room events come over Socket.IO.";

const TAGS: [(&str, &str); 5] = [
    ("chats", "Making, listing and showing chats"),
    ("messages", "Sending, reading, what is read, and files"),
    ("participants", "Who is in a chat"),
    ("users", "The directory, for the host application"),
    ("webhooks", "Where events go, for the host application and admins"),
];

/// Every operation of a document, as its path and its method.
pub(crate) fn operations(document: &OpenApi) -> impl Iterator<Item = (&str, &'static str)> {
    document.paths.paths.iter().flat_map(|(path, item)| {
        let methods = [
            ("GET", &item.get),
            ("POST", &item.post),
            ("PUT", &item.put),
            ("PATCH", &item.patch),
            ("DELETE", &item.delete),
            ("HEAD", &item.head),
        ];
        let described = methods.into_iter().filter(|(_, operation)| operation.is_some());
        described.map(|(method, _)| (path.as_str(), method))
    })
}

/// The document before the handlers have said anything.
pub(crate) fn outline() -> OpenApi {
    let info = InfoBuilder::new()
        .title("Parley")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(INTRODUCTION))
        .license(Some(
            LicenseBuilder::new()
                .name(env!("CARGO_PKG_LICENSE"))
                .identifier(Some(env!("CARGO_PKG_LICENSE")))
                .build(),
        ));
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    let link = ApiKeyValue::with_description(
        "signature",
        "The query of a link to a file, for as long as it counts",
    );
    let tags = TAGS.map(|(name, description)| {
        TagBuilder::new().name(name).description(Some(description)).build()
    });
    OpenApiBuilder::new()
        .info(info.build())
        .tags(Some(tags))
        .components(Some(
            ComponentsBuilder::new()
                .security_scheme("bearer", SecurityScheme::Http(bearer))
                .security_scheme("link", SecurityScheme::ApiKey(ApiKey::Query(link)))
                .schema_from::<FailureDetails>()
                .schema_from::<OutwardChat>()
                .build(),
        ))
        .security(Some([SecurityRequirement::new("bearer", [] as [&str; 0])]))
        .build()
}
