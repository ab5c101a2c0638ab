//! Files that a browser fetches: what belongs to them, when it may keep them, and who may use them.
//!
//! They are part of the binary, so that they fit the edge that serves them. A copy is known by its hash (`ETag`).

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap,
    HeaderName, HeaderValue, IF_NONE_MATCH, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Request, Response, StatusCode};
use ring::digest::{SHA256, SHA384, digest};

use super::Answer;

/// What is served.
#[derive(Debug)]
pub(super) struct Files(Vec<File>);

/// One file with its headers.
#[derive(Debug)]
pub(super) struct File {
    path: &'static str,
    headers: HeaderMap,
    bytes: Bytes,
}

/// A file as it is built in.
struct BuiltIn {
    path: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
    who: Who,
}

/// Who may use a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    /// Pages of any origin: the browser client.
    Everybody,
    /// The chat page, in development.
    Chat,
}

/// Addresses stay when their files change: a copy is kept, asked for each time, and mostly answered with 304.
const CACHING: &str = "no-cache";

/// Nothing comes from elsewhere; connections may go to other edges and to their other ports.
const CHAT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; \
                           connect-src 'self' https:; base-uri 'none'; form-action 'none'; \
                           frame-ancestors 'none'";

impl Files {
    /// What everybody may use; in development the chat page as well.
    pub(super) fn new(is_dev: bool) -> Self {
        Self::of(&BUILT_IN, is_dev)
    }

    fn of(all: &[BuiltIn], is_dev: bool) -> Self {
        let all = all.iter().filter(|file| is_dev || file.who == Who::Everybody);
        Self(all.flat_map(BuiltIn::files).collect())
    }

    pub(super) fn find(&self, path: &str) -> Option<&File> {
        self.0.iter().find(|file| file.path == path)
    }
}

impl BuiltIn {
    const fn new(path: &'static str, content_type: &'static str, bytes: &'static [u8], who: Who) -> Self {
        Self { path, content_type, bytes, who }
    }

    /// The file, and for a script that everybody may use the value of its `integrity` attribute beside it.
    fn files(&self) -> Vec<File> {
        let bytes = Bytes::from_static(self.bytes);
        let mut files = vec![File::new(self.path, self.content_type, bytes, self.who)];
        if self.path == SCRIPT {
            let integrity = format!("sha384-{}\n", BASE64_STANDARD.encode(digest(&SHA384, self.bytes)));
            files.push(File::new(SCRIPT_INTEGRITY, "text/plain; charset=utf-8", integrity.into(), self.who));
        }
        files
    }
}

/// The browser client, and what a page writes into `integrity` to get this very one.
const SCRIPT: &str = "/causeway.js";
const SCRIPT_INTEGRITY: &str = "/causeway.js.sri";

impl File {
    fn new(path: &'static str, content_type: &'static str, bytes: Bytes, who: Who) -> Self {
        let hash = BASE64_STANDARD.encode(digest(&SHA256, &bytes));
        let fixed = |value| HeaderValue::from_static(value);
        let made = |value: String| HeaderValue::try_from(value).expect("base64 in quotes or colons");
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, fixed(content_type));
        headers.insert(ETAG, made(format!("\"{hash}\"")));
        headers.insert(REPR_DIGEST, made(format!("sha-256=:{hash}:")));
        headers.insert(CACHE_CONTROL, fixed(CACHING));
        headers.insert(X_CONTENT_TYPE_OPTIONS, fixed("nosniff"));
        match who {
            Who::Everybody => {
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, fixed("*"));
                headers.insert(CROSS_ORIGIN_RESOURCE_POLICY, fixed("cross-origin"));
            }
            Who::Chat => {
                headers.insert(CONTENT_SECURITY_POLICY, fixed(CHAT_POLICY));
                headers.insert(REFERRER_POLICY, fixed("no-referrer"));
                headers.insert(CROSS_ORIGIN_OPENER_POLICY, fixed("same-origin"));
            }
        }
        Self { path, headers, bytes }
    }

    /// The file, or 304 for whoever has it.
    pub(super) fn answer<B>(&self, request: &Request<B>) -> Answer {
        let is_known = request
            .headers()
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

/// RFC 9530: what the bytes should be.
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
const CROSS_ORIGIN_OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
/// What editors ask for, and no browser.
const TYPESCRIPT: &str = "text/plain; charset=utf-8";

static BUILT_IN: [BuiltIn; 6] = [
    BuiltIn::new(SCRIPT, JAVASCRIPT, include_bytes!("../../../../web/causeway.js"), Who::Everybody),
    BuiltIn::new(
        "/causeway.d.ts",
        TYPESCRIPT,
        include_bytes!("../../../../web/causeway.d.ts"),
        Who::Everybody,
    ),
    BuiltIn::new("/", HTML, include_bytes!("../../../../web/chat.html"), Who::Chat),
    BuiltIn::new("/chat.js", JAVASCRIPT, include_bytes!("../../../../web/chat.js"), Who::Chat),
    BuiltIn::new("/chat.css", CSS, include_bytes!("../../../../web/chat.css"), Who::Chat),
    BuiltIn::new("/causeway.css", CSS, include_bytes!("../../../../web/causeway.css"), Who::Chat),
];

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    static TWO: [BuiltIn; 2] = [
        BuiltIn { path: "/", content_type: "text/html; charset=utf-8", bytes: b"<p>chat", who: Who::Chat },
        BuiltIn { path: SCRIPT, content_type: "text/javascript", bytes: b"export {}", who: Who::Everybody },
    ];

    #[test]
    fn the_browser_client_is_for_everybody() {
        let files = Files::of(&TWO, false);
        let script = files.find(SCRIPT).expect("served everywhere").answer(&get(None));
        assert_eq!(script.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert_eq!(script.headers()[CROSS_ORIGIN_RESOURCE_POLICY], "cross-origin");
        assert_eq!(script.headers()[CACHE_CONTROL], "no-cache");
        assert_eq!(script.headers()[CONTENT_TYPE], "text/javascript");
        // As `openssl dgst -sha256 -binary | base64` says.
        assert_eq!(script.headers()[REPR_DIGEST], "sha-256=:9MXPm7eOhfFdwnGAJgY3zySyokvDngeIeDo6zMTd5hQ=:");
        assert!(files.find("/").is_none(), "the chat page is for development");
    }

    #[test]
    fn what_is_built_in_is_there() {
        let (everybody, dev) = (Files::new(false), Files::new(true));
        for path in [SCRIPT, SCRIPT_INTEGRITY, "/causeway.d.ts"] {
            assert!(!everybody.find(path).expect("for everybody").bytes.is_empty(), "{path}");
            assert!(dev.find(path).is_some(), "{path}");
        }
        for path in ["/", "/chat.js", "/chat.css", "/causeway.css"] {
            assert!(!dev.find(path).expect("in development").bytes.is_empty(), "{path}");
            assert!(everybody.find(path).is_none(), "{path}");
        }
    }

    #[tokio::test]
    async fn a_page_can_ask_for_this_very_script() {
        let files = Files::of(&TWO, false);
        let answer = files.find(SCRIPT_INTEGRITY).expect("beside the script").answer(&get(None));
        let body = answer.into_body().collect().await.expect("bytes").to_bytes();
        let expected = format!("sha384-{}\n", BASE64_STANDARD.encode(digest(&SHA384, b"export {}")));
        assert_eq!(body, expected.as_bytes());
    }

    #[test]
    fn the_chat_page_lets_nothing_in() {
        let files = Files::of(&TWO, true);
        let page = files.find("/").expect("development").answer(&get(None));
        let policy = page.headers()[CONTENT_SECURITY_POLICY].to_str().expect("text");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; "), "{policy}");
        assert!(policy.ends_with("frame-ancestors 'none'"), "{policy}");
        assert_eq!(page.headers()[X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(page.headers()[REFERRER_POLICY], "no-referrer");
        assert!(!page.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
    }

    #[tokio::test]
    async fn whoever_has_it_is_told_so() {
        let files = Files::of(&TWO, true);
        let file = files.find("/").expect("development");
        let tag = file.headers[ETAG].to_str().expect("text").to_owned();
        for known in [tag.clone(), format!("\"x\", W/{tag}"), "*".to_owned()] {
            let answer = file.answer(&get(Some(&known)));
            assert_eq!(answer.status(), StatusCode::NOT_MODIFIED, "{known}");
            assert_eq!(answer.headers()[ETAG], tag.as_str());
            assert!(answer.into_body().collect().await.expect("bytes").to_bytes().is_empty());
        }
        assert_eq!(file.answer(&get(Some("\"x\""))).status(), StatusCode::OK);
    }

    fn get(known: Option<&str>) -> Request<()> {
        let mut request = Request::new(());
        if let Some(known) = known {
            request.headers_mut().insert(IF_NONE_MATCH, known.parse().expect("a value"));
        }
        request
    }
}
