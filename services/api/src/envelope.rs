//! The envelope of every answer: `{ "success": true, "data": … }`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// A successful answer.
pub(crate) struct Success<T> {
    status: StatusCode,
    data: T,
}

impl<T: Serialize> Success<T> {
    /// 200.
    pub(crate) const fn ok(data: T) -> Self {
        Self { status: StatusCode::OK, data }
    }

    /// 201 for what this request made, 200 for what was there.
    pub(crate) const fn made(new: bool, data: T) -> Self {
        let status = if new { StatusCode::CREATED } else { StatusCode::OK };
        Self { status, data }
    }
}

impl<T: Serialize> IntoResponse for Success<T> {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Body<T> {
            success: bool,
            data: T,
        }
        (self.status, Json(Body { success: true, data: self.data })).into_response()
    }
}
