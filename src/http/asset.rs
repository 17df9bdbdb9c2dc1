//! Serves fixed content: files that are part of the binary, and documents that are generated once. A client that
//! already has the content sends the content's `ETag` and gets 304 without a body (RFC 9110, 13.1.2).

use std::fmt::Write as _;

use aws_lc_rs::digest::{self, SHA256};
use salvo::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH,
};
use salvo::http::{HeaderMap, StatusCode};
use salvo::prelude::*;
use tokio_tungstenite::tungstenite::Bytes;

/// The number of bytes in an `ETag`. They are the first bytes of the content's hash.
const TAG_BYTES: usize = 16;

/// Fixed content. Handles the GET requests for this content.
pub(crate) struct Asset {
    kind: &'static str,
    policy: Option<&'static str>,
    contents: Bytes,
    tag: String,
}

impl Asset {
    /// Creates an asset. `kind` is the media type, such as `text/css`.
    pub(crate) fn new(kind: &'static str, contents: impl Into<Bytes>) -> Self {
        let contents = contents.into();
        let mut tag = "\"".to_owned();
        for byte in digest::digest(&SHA256, &contents).as_ref().iter().take(TAG_BYTES) {
            // Writing to a String can't fail.
            let _ = write!(tag, "{byte:02x}");
        }
        tag.push('"');
        Self { kind, policy: None, contents, tag }
    }

    /// Sets a content security policy for this asset. The policy replaces the default policy, under which a page may
    /// load nothing.
    #[must_use]
    pub(crate) fn policy(self, policy: &'static str) -> Self {
        Self { policy: Some(policy), ..self }
    }
}

#[async_trait]
impl Handler for Asset {
    async fn handle(&self, req: &mut Request, _: &mut Depot, res: &mut Response, _: &mut FlowCtrl) {
        let headers = res.headers_mut();
        if let Ok(tag) = HeaderValue::from_str(&self.tag) {
            headers.insert(ETAG, tag);
        }
        // The client may cache the content. At each use, the client must ask the server whether the content has
        // changed, because each release of Parlor may have different content.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        if let Some(policy) = self.policy {
            headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
        }
        if is_known(req.headers(), &self.tag) {
            res.status_code(StatusCode::NOT_MODIFIED);
            return;
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.kind));
        // The length of the bytes is known, so writing them can't fail.
        let _ = res.write_body(self.contents.clone());
    }
}

/// Returns whether the request's `If-None-Match` contains this tag (weak or strong) or `*`.
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let lists = headers.get_all(IF_NONE_MATCH).iter().filter_map(|list| list.to_str().ok());
    // The tags of this server contain no comma, so a split at a comma does not cut such a tag.
    let mut tags = lists.flat_map(|list| list.split(',')).map(str::trim);
    tags.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_known_by_its_list() {
        let asset = Asset::new("text/plain", "contents");
        assert_ne!(asset.tag, Asset::new("text/plain", "others").tag);
        let known = |list: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(IF_NONE_MATCH, HeaderValue::from_str(list).unwrap());
            is_known(&headers, &asset.tag)
        };
        let tag = &asset.tag;
        for list in
            [tag, "*", &format!("W/{tag}"), &format!("\"a\", {tag}"), &format!("\"a\",W/{tag} , \"b\"")]
        {
            assert!(known(list), "{list}");
        }
        for list in ["\"a\"", tag.trim_matches('"'), "", "W/\"a\", \"b\""] {
            assert!(!known(list), "{list}");
        }
    }
}
