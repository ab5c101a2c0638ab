//! Files that a browser fetches, as parts of the binary, so that they fit the node that serves them.
//!
//! A copy is known by its hash (`ETag`): addresses stay when their files change, so a copy is kept, asked for each time,
//! and mostly answered with 304.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};
use ring::digest::{SHA256, digest};

/// The content type of a page.
pub const HTML: &str = "text/html; charset=utf-8";
/// The content type of a style sheet.
pub const CSS: &str = "text/css; charset=utf-8";
/// The content type of a script.
pub const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// RFC 9530: what the bytes should be.
pub const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
/// Whether pages of other origins share a browser's process with this one.
pub const CROSS_ORIGIN_OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
/// Whether pages of other origins may use it.
pub const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

const CACHING: &str = "no-cache";

/// One file with its headers.
#[derive(Debug)]
pub struct File {
    path: &'static str,
    headers: HeaderMap,
    bytes: Bytes,
}

impl File {
    /// A file at `path`; `headers` say who may use it.
    pub fn new(
        path: &'static str,
        content_type: &'static str,
        bytes: Bytes,
        headers: &[(HeaderName, &'static str)],
    ) -> Self {
        let hash = BASE64_STANDARD.encode(digest(&SHA256, &bytes));
        let fixed = |value| HeaderValue::from_static(value);
        let made = |value: String| HeaderValue::try_from(value).expect("base64 in quotes or colons");
        let mut all = HeaderMap::new();
        all.insert(CONTENT_TYPE, fixed(content_type));
        all.insert(ETAG, made(format!("\"{hash}\"")));
        all.insert(REPR_DIGEST, made(format!("sha-256=:{hash}:")));
        all.insert(CACHE_CONTROL, fixed(CACHING));
        all.insert(X_CONTENT_TYPE_OPTIONS, fixed("nosniff"));
        for (name, value) in headers {
            all.insert(name, fixed(value));
        }
        Self { path, headers: all, bytes }
    }

    /// Where it is.
    pub fn path(&self) -> &'static str {
        self.path
    }

    /// The file, or 304 for whoever asks with the headers `asked` and has it.
    pub fn answer(&self, asked: &HeaderMap) -> Response<Full<Bytes>> {
        let is_known = asked
            .get_all(IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|tag| self.headers[ETAG] == tag.trim().trim_start_matches("W/") || tag.trim() == "*");
        let bytes = if is_known { Bytes::new() } else { self.bytes.clone() };
        let mut answer = Response::new(Full::new(bytes));
        *answer.headers_mut() = self.headers.clone();
        if is_known {
            *answer.status_mut() = StatusCode::NOT_MODIFIED;
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn whoever_has_it_is_told_so() {
        let file = File::new("/", HTML, Bytes::from_static(b"<p>page"), &[]);
        let tag = file.headers[ETAG].to_str().expect("text").to_owned();
        for known in [tag.clone(), format!("\"x\", W/{tag}"), "*".to_owned()] {
            let answer = file.answer(&has(&known));
            assert_eq!(answer.status(), StatusCode::NOT_MODIFIED, "{known}");
            assert_eq!(answer.headers()[ETAG], tag.as_str());
            assert!(answer.into_body().collect().await.expect("bytes").to_bytes().is_empty());
        }
        assert_eq!(file.answer(&has("\"x\"")).status(), StatusCode::OK);
        assert_eq!(file.answer(&HeaderMap::new()).status(), StatusCode::OK);
    }

    fn has(known: &str) -> HeaderMap {
        HeaderMap::from_iter([(IF_NONE_MATCH, known.parse().expect("a value"))])
    }
}
