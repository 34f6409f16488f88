//! Stores that answer a range of an object with 200 instead of 206 (rclone's does), though they say which range it is.

use async_trait::async_trait;
use http::{StatusCode, header};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};

/// The usual connector; what its clients are answered is put right.
#[derive(Debug)]
pub(crate) struct PartialConnector;

#[derive(Debug)]
struct PartialService(HttpClient);

impl HttpConnector for PartialConnector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(PartialService(client)))
    }
}

#[async_trait]
impl HttpService for PartialService {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let asked = request.headers().contains_key(header::RANGE);
        let mut response = self.0.execute(request).await?;
        let told = response.headers().contains_key(header::CONTENT_RANGE);
        if asked && told && response.status() == StatusCode::OK {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
        Ok(response)
    }
}
