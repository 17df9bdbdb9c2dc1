//! The messenger at `/`, for trying Parlor out and for reading how a client is written: static files that are part of
//! the binary, and, on a server that is for nobody else, tokens and rooms for whoever opens it.

pub(crate) mod session;

use std::sync::Arc;

use handlers::UserId;
use salvo::prelude::*;

use super::asset::Asset;
use crate::auth::Verifier;
use crate::config::live::LiveConfig;
use crate::config::{Config, PageEnabled};
use crate::store::{NewMember, Store, StoreError};

/// Nothing but the page's own files, and its own server to talk to.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Its scripts by their paths below `page/`.
macro_rules! scripts {
    ($($path:literal),*) => {
        [$((
            concat!("page/", $path),
            "text/javascript; charset=utf-8",
            include_str!(concat!("assets/", $path)),
        )),*]
    };
}

/// What isn't a script: path, type, contents.
const FILES: &[(&str, &str, &str)] = &[
    ("", "text/html; charset=utf-8", include_str!("assets/index.html")),
    ("page/style.css", "text/css; charset=utf-8", include_str!("assets/style.css")),
    ("page/messenger.css", "text/css; charset=utf-8", include_str!("assets/messenger.css")),
    ("page/messages.css", "text/css; charset=utf-8", include_str!("assets/messages.css")),
    ("page/favicon.svg", "image/svg+xml", include_str!("assets/favicon.svg")),
];

/// The page's own, by what they are for.
const SCRIPTS: &[(&str, &str, &str)] = &scripts![
    "buttons.js",
    "chat.js",
    "composer.js",
    "connection.js",
    "dom.js",
    "header.js",
    "list.js",
    "log.js",
    "looking.js",
    "marks.js",
    "message.js",
    "newroom.js",
    "notice.js",
    "notify.js",
    "pending.js",
    "session.js",
    "start.js"
];

/// The client library, `clients/js`, as `npm run page` puts it there.
const LIBRARY: &[(&str, &str, &str)] = &scripts![
    "parlor/backoff.js",
    "parlor/calls.js",
    "parlor/clock.js",
    "parlor/close.js",
    "parlor/connection.js",
    "parlor/emitter.js",
    "parlor/errors.js",
    "parlor/filler.js",
    "parlor/index.js",
    "parlor/liveness.js",
    "parlor/outbox.js",
    "parlor/outgoing.js",
    "parlor/parlor.js",
    "parlor/renewal.js",
    "parlor/room.js",
    "parlor/rooms.js",
    "parlor/shelf.js",
    "parlor/window.js",
    "parlor/wire.js"
];

/// What of it a server serves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    /// The page itself.
    pub(crate) on: bool,
    /// Tokens and rooms, for whoever opens it.
    pub(crate) tokens: bool,
}

/// What the demo page needs.
pub(crate) struct Services {
    pub(crate) config: Arc<LiveConfig>,
    pub(crate) store: Store,
    pub(crate) verifier: Verifier,
    pub(crate) page: Page,
}

/// Whether the page is served; `embedded` is whether the database is the private one.
pub(crate) fn is_on(config: &Config, embedded: bool) -> bool {
    match config.page.enabled {
        PageEnabled::Auto => embedded,
        PageEnabled::On => true,
        PageEnabled::Off => false,
    }
}

/// Whether whoever opens the page may have a token. `private` is a private database and a listener on loopback: there
/// it is the same person who could read the secret from the disk. One that was configured may be an application's, and
/// whoever comes from elsewhere by a proxy here looks like someone on this machine.
pub(crate) fn may_make_tokens(config: &Config, private: bool) -> bool {
    private && is_on(config, private) && config.auth.secret_is_own && config.http.proxies.is_empty()
}

/// The first two of the page's people, and their room.
pub(crate) async fn make_room(store: &Store) -> Result<(), StoreError> {
    match store.make_room(&[person(1), person(2)]).await {
        // The next start makes it.
        Ok(_) | Err(StoreError::Erasing(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// One of the page's people, by number.
fn person(number: i64) -> NewMember {
    NewMember { user_id: UserId::Int(number), email: Some(format!("user{number}@example.com")) }
}

pub(crate) fn routes(services: &Arc<Services>) -> Router {
    let router = session::routes(services);
    FILES.iter().chain(SCRIPTS).chain(LIBRARY).fold(router, |router, (path, kind, contents)| {
        let here = if path.is_empty() { Router::new() } else { Router::with_path(*path) };
        router.push(here.get(Asset::new(kind, *contents).policy(POLICY)))
    })
}
