//! Reads the body of a request within limits. If a body is refused, the part that was not read stays in the request.
//! [`unread_body`](super::unread_body) handles this part.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::pin::Pin;
use std::time::Duration;

use salvo::http::ReqBody;
use salvo::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use salvo::hyper::body::{Body as _, Frame};
use salvo::prelude::*;
use tokio_tungstenite::tungstenite::Bytes;

/// The reason why a body can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// The body is too large.
    TooLarge,
    /// The body did not arrive in time.
    Late,
    /// The body is compressed, or has another content encoding.
    Encoded,
    /// The body's framing is invalid, or the client disconnected.
    Broken,
}

/// Reads the whole body: at most `most` bytes, within `timeout`. A second call for the same request returns the same
/// bytes.
pub(crate) async fn read(req: &mut Request, most: usize, timeout: Duration) -> Result<Bytes, BodyError> {
    let mut codings = req.headers().get_all(CONTENT_ENCODING).iter();
    if codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(BodyError::Encoded);
    }
    let length = req.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: usize| length > most) {
        return Err(BodyError::TooLarge);
    }
    let mut body = req.take_body();
    let read = tokio::time::timeout(timeout, collect(&mut body, most)).await;
    let read = read.unwrap_or(Err(BodyError::Late));
    let left = match &read {
        Ok(bytes) => ReqBody::Once(bytes.clone()),
        Err(_) => body,
    };
    req.replace_body(left);
    read
}

async fn collect(body: &mut ReqBody, most: usize) -> Result<Bytes, BodyError> {
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await {
        let frame = frame.map_err(|error| match error.kind() {
            ErrorKind::TimedOut => BodyError::Late,
            _ => BodyError::Broken,
        })?;
        // Trailers are not part of the body.
        let data = frame.into_data().unwrap_or_default();
        if bytes.len() + data.len() > most {
            return Err(BodyError::TooLarge);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.into())
}

/// Reads and drops the next piece of a body. Returns the piece's length in bytes, or `None` at the end of the body or
/// after an error.
pub(super) async fn skip(body: &mut ReqBody) -> Option<usize> {
    let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await?;
    frame.ok().map(|frame: Frame<Bytes>| frame.data_ref().map_or(0, Bytes::len))
}
