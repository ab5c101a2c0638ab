//! The console's pages: the files of the console, and the two that the event loop is asked for.

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY,
};
use node::admin::{self, Answer, Further, Making};
use node::web::{CROSS_ORIGIN_OPENER_POLICY, CROSS_ORIGIN_RESOURCE_POLICY, CSS, File, HTML, JAVASCRIPT};
use percent_encoding::percent_decode_str;
use proto::id::UserId;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::{Ask, TooMany, json};

/// The admin listener's end.
#[derive(Debug)]
pub(crate) struct Console {
    files: [File; 8],
    asking: mpsc::Sender<Ask>,
}

impl Console {
    pub(super) fn new(asking: mpsc::Sender<Ask>) -> Self {
        let file = |path, content_type, bytes: &'static [u8]| {
            File::new(path, content_type, Bytes::from_static(bytes), &HEADERS)
        };
        let files = [
            file("/console", HTML, include_bytes!("../../../web/console/console.html")),
            file("/console/console.css", CSS, include_bytes!("../../../web/console/console.css")),
            file("/console/console.js", JAVASCRIPT, include_bytes!("../../../web/console/console.js")),
            file("/console/cluster.js", JAVASCRIPT, include_bytes!("../../../web/console/cluster.js")),
            file("/console/picture.js", JAVASCRIPT, include_bytes!("../../../web/console/picture.js")),
            file("/console/plots.js", JAVASCRIPT, include_bytes!("../../../web/console/plots.js")),
            file("/console/words.js", JAVASCRIPT, include_bytes!("../../../web/console/words.js")),
            file("/console/causeway.css", CSS, include_bytes!("../../../web/causeway.css")),
        ];
        Self { files, asking }
    }
}

impl Further for Console {
    fn paths(&self) -> &'static str {
        ", /console, /api/edges, /api/users/USER"
    }

    fn find(&self, path: &str, headers: &HeaderMap) -> Option<Making> {
        if let Some(file) = self.files.iter().find(|file| file.path() == path) {
            let answer = file.answer(headers);
            return Some(Box::pin(std::future::ready(Some(answer))));
        }
        let asking = self.asking.clone();
        if path == "/api/edges" {
            return Some(Box::pin(edges(asking)));
        }
        let user = path.strip_prefix("/api/users/")?;
        Some(match user_of(user) {
            Some(user) => Box::pin(whereabouts(asking, user)),
            None => Box::pin(std::future::ready(Some(admin::text(StatusCode::BAD_REQUEST, NO_USER)))),
        })
    }
}

/// The user that the end of a path names, or his personal channel does: no browser asks for one called `..` or `%2E%2E`,
/// which are ways up to it, but for `%23..` it does.
fn user_of(path: &str) -> Option<UserId> {
    let name = percent_decode_str(path).decode_utf8().ok()?;
    UserId::parse(name.strip_prefix('#').unwrap_or(&name)).ok()
}

async fn edges(asking: mpsc::Sender<Ask>) -> Option<Answer> {
    let (ask, view) = oneshot::channel();
    asking.send(Ask::Overview(ask)).await.ok()?;
    Some(answer(&json::overview(&view.await.ok()?)))
}

async fn whereabouts(asking: mpsc::Sender<Ask>, user: UserId) -> Option<Answer> {
    let (ask, whereabouts) = oneshot::channel();
    asking.send(Ask::WhereIs(user.clone(), ask)).await.ok()?;
    Some(match whereabouts.await.ok()? {
        Ok(whereabouts) => answer(&json::whereabouts(&user, &whereabouts)),
        Err(TooMany) => {
            admin::text(StatusCode::SERVICE_UNAVAILABLE, "too many searches at once; try again\n")
        }
    })
}

/// JSON that nobody keeps, and no page from elsewhere reads.
fn answer(value: &Value) -> Answer {
    let mut answer = admin::json(StatusCode::OK, value);
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer.headers_mut().insert(CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    answer
}

const NO_USER: &str = "no such user can exist: 1 to 200 bytes, no control characters, no ',' and no '#'\n";

/// Nothing comes from elsewhere, and nothing goes elsewhere.
static HEADERS: [(HeaderName, &str); 4] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (REFERRER_POLICY, "no-referrer"),
    (CROSS_ORIGIN_OPENER_POLICY, "same-origin"),
    (CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"),
];
