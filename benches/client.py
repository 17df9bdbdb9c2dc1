"""A minimal client for the measurements in this folder. It signs tokens, and reads and writes WebSocket frames."""
import asyncio
import base64
import hashlib
import hmac
import json
import os
import time

SECRET = "bench-secret-bench-secret-bench-secret"


def token(user, email=None):
    def part(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    head = part(b'{"alg":"HS256","typ":"JWT"}')
    claims = {"user_id": user, "exp": int(time.time()) + 3600} | ({"email": email} if email else {})
    body = part(json.dumps(claims).encode())
    signed = head + b"." + body
    return (signed + b"." + part(hmac.new(SECRET.encode(), signed, hashlib.sha256).digest())).decode()


def text_frame(text):
    """Returns a client's frame. The text must be shorter than 126 bytes. The masking key is zero: a load generator
    needs no masking."""
    return bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text.encode()


async def open_socket(port, user, path, email=None):
    """Opens a socket for a user. Returns its reader and writer after the handshake."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 26)
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write((
        f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: Bearer, {token(user, email)}\r\n\r\n"
    ).encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 101 " in head, head
    return reader, writer


async def read_frame(reader):
    """Reads the server's next text frame and parses its JSON."""
    return json.loads(await read_text(reader))


async def read_text(reader):
    """Reads the server's next text frame. A server never masks its frames, and Parlor sends no fragments."""
    while True:
        first, length = await reader.readexactly(2)
        if length == 126:
            length = int.from_bytes(await reader.readexactly(2))
        elif length == 127:
            length = int.from_bytes(await reader.readexactly(8))
        text = await reader.readexactly(length)
        if first == 0x81:
            return text
