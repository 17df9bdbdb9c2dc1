//! Reads a request's body within bounds. What is left of a refused one stays with the request: see [`unread`](super::unread).

use std::future::poll_fn;
use std::io::ErrorKind;
use std::pin::Pin;
use std::time::Duration;

use salvo::http::ReqBody;
use salvo::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use salvo::hyper::body::{Body as _, Frame};
use salvo::prelude::*;
use tokio_tungstenite::tungstenite::Bytes;

/// Why a body can't be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyFault {
    /// It is longer than may be.
    TooLarge,
    /// It did not come in time.
    Late,
    /// It is compressed, or coded otherwise.
    Encoded,
    /// Its framing is wrong, or the client left.
    Broken,
}

/// Reads the whole body: `most` bytes within `patience`. A second call gives the same bytes.
pub(crate) async fn read(req: &mut Request, most: usize, patience: Duration) -> Result<Bytes, BodyFault> {
    let mut codings = req.headers().get_all(CONTENT_ENCODING).iter();
    if codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(BodyFault::Encoded);
    }
    let length = req.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: usize| length > most) {
        return Err(BodyFault::TooLarge);
    }
    let mut body = req.take_body();
    let read = tokio::time::timeout(patience, collect(&mut body, most)).await;
    let read = read.unwrap_or(Err(BodyFault::Late));
    let left = match &read {
        Ok(bytes) => ReqBody::Once(bytes.clone()),
        Err(_) => body,
    };
    req.replace_body(left);
    read
}

async fn collect(body: &mut ReqBody, most: usize) -> Result<Bytes, BodyFault> {
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await {
        let frame = frame.map_err(|error| match error.kind() {
            ErrorKind::TimedOut => BodyFault::Late,
            _ => BodyFault::Broken,
        })?;
        // Trailers are no part of it.
        let data = frame.into_data().unwrap_or_default();
        if bytes.len() + data.len() > most {
            return Err(BodyFault::TooLarge);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.into())
}

/// Passes over the next piece of a body: its length, or none where no more comes.
pub(super) async fn skip(body: &mut ReqBody) -> Option<usize> {
    let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await?;
    frame.ok().map(|frame: Frame<Bytes>| frame.data_ref().map_or(0, Bytes::len))
}
