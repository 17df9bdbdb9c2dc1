//! Writes a large text frame directly to the connection, without the buffer of the WebSocket library.

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::tungstenite::error::Error;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

/// Texts above this size are not written through the buffer of the WebSocket library. The library never shrinks this
/// buffer below the largest frame that the buffer has held. Longer texts are written in parts of this size. Each part
/// must be written within `limits.write_ms`.
pub(super) const LARGE_BYTES: usize = 16 * 1024;

/// Returns the head (the first bytes) of a text frame for a text of `bytes` bytes. The frame is final and not masked.
pub(super) fn head(bytes: usize) -> Result<Vec<u8>, Error> {
    let header = FrameHeader { opcode: OpCode::Data(Data::Text), ..FrameHeader::default() };
    let bytes = bytes as u64;
    let mut head = Vec::with_capacity(header.len(bytes));
    header.format(bytes, &mut head)?;
    Ok(head)
}

/// Writes bytes to the connection and flushes them.
pub(super) async fn write(io: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    io.write_all(bytes).await?;
    io.flush().await
}

#[cfg(test)]
mod tests {
    use super::head;

    #[test]
    fn head_has_a_length_of_7_16_or_64_bits() {
        for (bytes, expected) in [
            (0, &[0x81, 0][..]),
            (125, &[0x81, 125]),
            (126, &[0x81, 126, 0, 126]),
            (65_535, &[0x81, 126, 255, 255]),
            (65_536, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            assert_eq!(head(bytes).unwrap(), expected, "{bytes}");
        }
    }
}
