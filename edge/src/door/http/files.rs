//! Files that a browser fetches from an edge, and who may use them; `node/src/web.rs` serves them.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use hyper::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY};
use node::web::{CROSS_ORIGIN_OPENER_POLICY, CROSS_ORIGIN_RESOURCE_POLICY, CSS, File, HTML, JAVASCRIPT};
use ring::digest::{SHA384, digest};

/// What is served.
#[derive(Debug)]
pub(super) struct Files(Vec<File>);

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
        self.0.iter().find(|file| file.path() == path)
    }
}

impl BuiltIn {
    const fn new(path: &'static str, content_type: &'static str, bytes: &'static [u8], who: Who) -> Self {
        Self { path, content_type, bytes, who }
    }

    /// The file, and for a script that everybody may use the value of its `integrity` attribute beside it.
    fn files(&self) -> Vec<File> {
        let bytes = Bytes::from_static(self.bytes);
        let headers = self.who.headers();
        let mut files = vec![File::new(self.path, self.content_type, bytes, headers)];
        if self.path == SCRIPT {
            let integrity = format!("sha384-{}\n", BASE64_STANDARD.encode(digest(&SHA384, self.bytes)));
            files.push(File::new(SCRIPT_INTEGRITY, "text/plain; charset=utf-8", integrity.into(), headers));
        }
        files
    }
}

/// The browser client, and what a page writes into `integrity` to get this very one.
const SCRIPT: &str = "/causeway.js";
const SCRIPT_INTEGRITY: &str = "/causeway.js.sri";

impl Who {
    fn headers(self) -> &'static [(HeaderName, &'static str)] {
        match self {
            Self::Everybody => &FOR_EVERYBODY,
            Self::Chat => &FOR_CHAT,
        }
    }
}

static FOR_EVERYBODY: [(HeaderName, &str); 2] =
    [(ACCESS_CONTROL_ALLOW_ORIGIN, "*"), (CROSS_ORIGIN_RESOURCE_POLICY, "cross-origin")];

static FOR_CHAT: [(HeaderName, &str); 3] = [
    (CONTENT_SECURITY_POLICY, CHAT_POLICY),
    (REFERRER_POLICY, "no-referrer"),
    (CROSS_ORIGIN_OPENER_POLICY, "same-origin"),
];

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
    use hyper::body::Body as _;
    use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, X_CONTENT_TYPE_OPTIONS};
    use node::web::REPR_DIGEST;

    use super::*;

    static TWO: [BuiltIn; 2] = [
        BuiltIn { path: "/", content_type: "text/html; charset=utf-8", bytes: b"<p>chat", who: Who::Chat },
        BuiltIn { path: SCRIPT, content_type: "text/javascript", bytes: b"export {}", who: Who::Everybody },
    ];

    #[test]
    fn the_browser_client_is_for_everybody() {
        let files = Files::of(&TWO, false);
        let script = files.find(SCRIPT).expect("served everywhere").answer(&HeaderMap::new());
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
            assert!(!is_empty(everybody.find(path).expect("for everybody")), "{path}");
            assert!(dev.find(path).is_some(), "{path}");
        }
        for path in ["/", "/chat.js", "/chat.css", "/causeway.css"] {
            assert!(!is_empty(dev.find(path).expect("in development")), "{path}");
            assert!(everybody.find(path).is_none(), "{path}");
        }
    }

    #[tokio::test]
    async fn a_page_can_ask_for_this_very_script() {
        let files = Files::of(&TWO, false);
        let answer = files.find(SCRIPT_INTEGRITY).expect("beside the script").answer(&HeaderMap::new());
        let body = answer.into_body().collect().await.expect("bytes").to_bytes();
        let expected = format!("sha384-{}\n", BASE64_STANDARD.encode(digest(&SHA384, b"export {}")));
        assert_eq!(body, expected.as_bytes());
    }

    #[test]
    fn the_chat_page_lets_nothing_in() {
        let files = Files::of(&TWO, true);
        let page = files.find("/").expect("development").answer(&HeaderMap::new());
        let policy = page.headers()[CONTENT_SECURITY_POLICY].to_str().expect("text");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; "), "{policy}");
        assert!(policy.ends_with("frame-ancestors 'none'"), "{policy}");
        assert_eq!(page.headers()[X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(page.headers()[REFERRER_POLICY], "no-referrer");
        assert!(!page.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
    }

    fn is_empty(file: &File) -> bool {
        file.answer(&HeaderMap::new()).body().size_hint().exact() == Some(0)
    }
}
