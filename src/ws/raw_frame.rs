//! Writes a large text frame directly to the connection, without the buffer of the WebSocket library.

use tokio::io::{AsyncWrite, AsyncWriteExt};

/// The size above which a text is not written through the buffer of the WebSocket library. That buffer never becomes
/// smaller than its largest frame. Longer texts are written in parts of this size. Each part must be written within
/// `limits.write_ms`.
pub(super) const LARGE_BYTES: usize = 16 * 1024;

/// Returns the head (the first bytes) of a text frame for a text of `bytes` bytes (RFC 6455, 5.2). The frame is final
/// and not masked, and its length field has 7, 16 or 64 bits.
pub(super) fn head(bytes: usize) -> Vec<u8> {
    let mut head = vec![0x81];
    match (u8::try_from(bytes), u16::try_from(bytes)) {
        (Ok(short), _) if short < 126 => head.push(short),
        (_, Ok(long)) => {
            head.push(126);
            head.extend(long.to_be_bytes());
        }
        _ => {
            head.push(127);
            head.extend((bytes as u64).to_be_bytes());
        }
    }
    head
}

/// Writes bytes to the connection and flushes them.
pub(super) async fn write(io: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    io.write_all(bytes).await?;
    io.flush().await
}
