//! Handshakes that may fail, because the server has reached its limit of sockets, or because no server runs.

use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::http::HeaderMap;

use super::{Client, Dial};

impl Dial {
    /// Sends the handshake, which the server must refuse. Returns the status and headers of the refusal.
    pub(crate) async fn turned_away(self) -> (u16, HeaderMap) {
        match self.handshake().await {
            Ok(_) => panic!("expected a status, got an upgrade"),
            Err(Error::Http(response)) => (response.status().as_u16(), response.headers().clone()),
            Err(error) => panic!("expected a status, got {error}"),
        }
    }

    /// Sends the handshake. Returns `None` if the server answers with this status.
    pub(crate) async fn open_unless(self, status: u16) -> Option<Client> {
        let (who, target, transcript) = (self.who.clone(), self.target.clone(), self.transcript.clone());
        match self.handshake().await {
            Ok((socket, protocol)) => Some(Client::new(who, protocol, socket, transcript)),
            Err(Error::Http(response)) if response.status().as_u16() == status => None,
            Err(error) => panic!("{who}: the handshake of {target} failed: {error}"),
        }
    }

    /// Sends the handshake. Returns `None` if no server listens or the connection breaks.
    pub(crate) async fn open_if_there(self) -> Option<Client> {
        let (who, target, transcript) = (self.who.clone(), self.target.clone(), self.transcript.clone());
        match self.handshake().await {
            Ok((socket, protocol)) => Some(Client::new(who, protocol, socket, transcript)),
            Err(Error::Http(response)) => panic!("{who}: {target} was answered with {}", response.status()),
            Err(_) => None,
        }
    }

    /// Sends the handshake. Returns `None` if it fails for any reason.
    pub(crate) async fn open_or_not(self) -> Option<Client> {
        let (who, transcript) = (self.who.clone(), self.transcript.clone());
        let (socket, protocol) = self.handshake().await.ok()?;
        Some(Client::new(who, protocol, socket, transcript))
    }
}
