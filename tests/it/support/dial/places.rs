//! A handshake that may find no place.

use tokio_tungstenite::tungstenite::Error;

use super::{Client, Dial};

impl Dial {
    /// Makes the handshake; none where it is answered with this status instead.
    pub(crate) async fn open_unless(self, status: u16) -> Option<Client> {
        let (who, target, transcript) = (self.who.clone(), self.target.clone(), self.transcript.clone());
        match self.handshake().await {
            Ok((socket, protocol)) => Some(Client::new(who, protocol, socket, transcript)),
            Err(Error::Http(response)) if response.status().as_u16() == status => None,
            Err(error) => panic!("{who}: the handshake of {target} failed: {error}"),
        }
    }
}
