//! The messenger is the web page at `/`. Developers use this page to try out Parlor, and as an example of a client. The
//! page consists of static files in the binary. If the server is private to one developer ([`may_make_tokens`]), Parlor
//! also makes tokens and rooms for everyone who opens the page.

pub(crate) mod session;

use std::sync::Arc;

use handlers::UserId;
use salvo::prelude::*;

use super::asset::Asset;
use crate::auth::Verifier;
use crate::config::live::LiveConfig;
use crate::config::{Config, PageEnabled};
use crate::store::{NewMember, Store, StoreError};

/// The content security policy: the page may load only its own files, and connect only to its own server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Returns an entry for each script: the path in the URL (`page/...`), the media type, and the contents of the file in
/// `assets/`.
macro_rules! scripts {
    ($($path:literal),*) => {
        [$((
            concat!("page/", $path),
            "text/javascript; charset=utf-8",
            include_str!(concat!("assets/", $path)),
        )),*]
    };
}

/// The files that are not scripts: path, media type, contents.
const FILES: &[(&str, &str, &str)] = &[
    ("", "text/html; charset=utf-8", include_str!("assets/index.html")),
    ("page/style.css", "text/css; charset=utf-8", include_str!("assets/style.css")),
    ("page/messenger.css", "text/css; charset=utf-8", include_str!("assets/messenger.css")),
    ("page/messages.css", "text/css; charset=utf-8", include_str!("assets/messages.css")),
    ("page/favicon.svg", "image/svg+xml", include_str!("assets/favicon.svg")),
];

/// The scripts of the page itself.
const SCRIPTS: &[(&str, &str, &str)] = &scripts![
    "buttons.js",
    "chat.js",
    "composer.js",
    "connection.js",
    "dom.js",
    "header.js",
    "keyboard.js",
    "links.js",
    "list.js",
    "log.js",
    "looking.js",
    "marks.js",
    "members.js",
    "message.js",
    "newroom.js",
    "notice.js",
    "notify.js",
    "pending.js",
    "session.js",
    "start.js"
];

/// The scripts of the client library `clients/js`, and of the packages that the page uses. `npm run page` copies these
/// scripts into `assets/`.
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
    "parlor/wire.js",
    "vendor/linkify.js"
];

/// The parts of the messenger that this server offers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DemoPage {
    /// Whether the page is served.
    pub(crate) on: bool,
    /// Whether everyone who opens the page gets tokens and rooms.
    pub(crate) tokens: bool,
}

/// The parts of the server that the messenger uses.
pub(crate) struct DemoServices {
    pub(crate) config: Arc<LiveConfig>,
    pub(crate) store: Store,
    pub(crate) verifier: Verifier,
    pub(crate) page: DemoPage,
}

/// Returns whether the page is served. `embedded` says whether the database is an embedded `mongod`.
pub(crate) fn is_on(config: &Config, embedded: bool) -> bool {
    match config.page.enabled {
        PageEnabled::Auto => embedded,
        PageEnabled::On => true,
        PageEnabled::Off => false,
    }
}

/// Returns whether everyone who opens the page gets a token. `private` means that the database is an embedded `mongod`
/// and that the listener is on loopback. On such a server, a user who can open the page can also read the signing
/// secret from the disk. If the secret comes from the configuration, the page gives no tokens, because the secret may
/// belong to an application. If a proxy is configured, the page gives no tokens, because behind a proxy remote users
/// look like local users.
pub(crate) fn may_make_tokens(config: &Config, private: bool) -> bool {
    private && is_on(config, private) && config.auth.secret_is_own && config.http.proxies.is_empty()
}

/// Creates the room of the page's first two users.
pub(crate) async fn make_room(store: &Store) -> Result<(), StoreError> {
    match store.make_room(&[person(1), person(2)]).await {
        // If user 1 or 2 is being erased, the room can't be created now. The next start of the server creates the room.
        Ok(_) | Err(StoreError::Erasing(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Returns the page's user with this number, as a member of a new room.
fn person(number: i64) -> NewMember {
    NewMember { user_id: UserId::Int(number), email: Some(format!("user{number}@example.com")) }
}

pub(crate) fn routes(services: &Arc<DemoServices>) -> Router {
    let router = session::routes(services);
    FILES.iter().chain(SCRIPTS).chain(LIBRARY).fold(router, |router, (path, kind, contents)| {
        let here = if path.is_empty() { Router::new() } else { Router::with_path(*path) };
        router.push(here.get(Asset::new(kind, *contents).policy(POLICY)))
    })
}
