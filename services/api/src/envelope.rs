//! The envelope of every answer: `{ "success": true, "data": … }`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// A successful answer.
#[derive(Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the word on the wire")]
pub(crate) struct Success<T> {
    #[serde(skip)]
    #[schema(ignore)]
    status: StatusCode,
    /// Always `true`.
    success: bool,
    data: T,
}

impl<T: Serialize> Success<T> {
    /// 200.
    pub(crate) const fn ok(data: T) -> Self {
        Self { status: StatusCode::OK, success: true, data }
    }

    /// 201 for what this request made, 200 for what was there.
    pub(crate) const fn made(new: bool, data: T) -> Self {
        let status = if new { StatusCode::CREATED } else { StatusCode::OK };
        Self { status, success: true, data }
    }
}

impl<T: Serialize> IntoResponse for Success<T> {
    fn into_response(self) -> Response {
        (self.status, Json(self)).into_response()
    }
}
