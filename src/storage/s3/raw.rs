//! Answers of S3 as they came over the wire.
//!
//! The SDK reads what it recognizes and takes what is missing for absent: an answer that was cut off is an empty page to it. So
//! the body itself is kept, and judged by [`super::page`] and its neighbours; of the SDK's own reading only errors are used.

use super::error::S3Error;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::interceptors::{
    AfterDeserializationInterceptorContextRef, BeforeDeserializationInterceptorContextMut,
};
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::{BoxError, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::SdkBody;
use bytes::Bytes;
use http_body_util::Limited;
use std::sync::{Arc, Mutex, PoisonError};

/// The longest answer that is read: a page of a thousand names of a kilobyte, percent-encoded, several times over.
const MAX_ANSWER: usize = 16 << 20;

/// "Partial Content".
const PARTIAL: u16 = 206;

/// Keeps the status and the body of the answer to one request.
#[derive(Debug, Clone, Default)]
pub(super) struct Capture(Arc<Mutex<Option<(u16, Bytes)>>>);

impl Intercept for Capture {
    fn name(&self) -> &'static str {
        "archive-ledger-capture"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = std::mem::replace(context.response_mut().body_mut(), SdkBody::taken());
        *context.response_mut().body_mut() = SdkBody::from_body_1_x(Limited::new(body, MAX_ANSWER));
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        // Absent when the body broke off.
        if let Some(body) = response.body().bytes() {
            // A part of an answer is none, whatever its status says.
            let status = match response.headers().get("content-range") {
                Some(_) if response.status().is_success() => PARTIAL,
                _ => response.status().as_u16(),
            };
            let answer = (status, Bytes::copy_from_slice(body));
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
        }
        Ok(())
    }
}

impl Capture {
    /// The body of a 200; whatever else came is a failure.
    pub(super) fn body<T, E: ProvideErrorMetadata>(
        self,
        outcome: Result<T, SdkError<E, HttpResponse>>,
    ) -> Result<Bytes, S3Error> {
        let answer = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (answer, outcome) {
            (Some((200, body)), _) => Ok(body),
            (Some((201..300, _)), _) => Err(S3Error::doubt("its status is not that of a whole answer")),
            (_, Err(error)) => Err(S3Error::read(&error)),
            (_, Ok(_)) => Err(S3Error::doubt("it was not read")),
        }
    }
}
