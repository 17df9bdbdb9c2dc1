//! Generates hostile frames as the bytes of a WebSocket, each with its expected result.

use super::{SeededRng, frame, piece};

/// The expected result of a frame.
pub(super) enum Ends {
    /// The server answers with an error.
    Refused,
    /// The server answers with an error or with the requested result, or sends no answer.
    Answered,
    /// The server sends no frame of the protocol.
    Silently,
    /// The server closes the socket with one of these codes.
    Closed(&'static [u16]),
}

pub(super) struct Hostile {
    pub(super) bytes: Vec<u8>,
    pub(super) ends: Ends,
}

/// Valid frames of honest clients. Hostile frames are made from them.
const GOOD: &[&str] = &[
    r#"{"action":"send","message":"Hello"}"#,
    r#"{"action":"send","message":"Hello","client_id":"c","ref":"r","room_id":1}"#,
    r#"{"action":"edit","message_id":63,"text":"new"}"#,
    r#"{"action":"edit","message_id":"1","text":"new","room_id":1}"#,
    r#"{"action":"delete","message_id":63,"ref":"r"}"#,
    r#"{"action":"history","before":45,"limit":50,"room_id":1}"#,
    r#"{"action":"read","message_id":45,"room_id":1}"#,
    r#"{"action":"auth","token":"a.b.c"}"#,
    r#"{"action":"open","room_id":1}"#,
    r#"{"action":"rooms","before":"2025-02-18T18:28:52.258Z","before_room":7}"#,
    r#"{"action":"typing"}"#,
    r#"{"action":"ping"}"#,
];

/// Values that are wrong in most fields.
const ODD: &[&str] = &[
    "null",
    "true",
    "-1",
    "0",
    "1.5",
    "1e999",
    "-1e-999",
    "9007199254740993",
    "18446744073709551616",
    "[]",
    "{}",
    "\"\"",
    "\" \"",
    r#""\u0000""#,
    r#"{"a":[1,{"b":null}]}"#,
    "\"63\"",
    "\"-1\"",
    "\"\u{202e}\"",
];

/// The names of fields in the protocol.
const FIELDS: &[&str] = &[
    "message",
    "message_id",
    "text",
    "client_id",
    "ref",
    "room_id",
    "before",
    "after",
    "limit",
    "token",
    "action",
];

/// Text frames that are no JSON object.
const BROKEN: &[&str] = &[
    "",
    " ",
    "{",
    "}",
    "null",
    "5",
    "[]",
    "\"send\"",
    r#"{"action":"ping"} x"#,
    r#"{"action":"ping",}"#,
    r#"{action:"ping"}"#,
    r#"{"action":"x","x":01}"#,
    r#"{"action":"x","x":"\ud83d"}"#,
    "{\"action\":\"a\nb\"}",
];

fn one_of<'a>(rng: &mut SeededRng, of: &[&'a str]) -> &'a str {
    of[rng.below(of.len())]
}

fn bytes(rng: &mut SeededRng, most: usize) -> Vec<u8> {
    (0..rng.below(most)).map(|_| u8::try_from(rng.below(256)).unwrap()).collect()
}

/// Returns a text frame that the server must refuse with an error.
fn refused(text: impl AsRef<[u8]>) -> Hostile {
    Hostile { bytes: frame(1, text.as_ref()), ends: Ends::Refused }
}

/// Returns a text frame that the server may execute or refuse.
fn answered(text: impl AsRef<[u8]>) -> Hostile {
    Hostile { bytes: frame(1, text.as_ref()), ends: Ends::Answered }
}

impl Hostile {
    /// Returns a hostile frame of a random kind. About one frame in 2,000 makes the server close the socket.
    pub(super) fn thrown(rng: &mut SeededRng) -> Self {
        if rng.below(2_000) == 0 {
            return Self::fatal(rng);
        }
        match rng.below(16) {
            0 => refused(one_of(rng, BROKEN)),
            1 => refused(String::from_utf8_lossy(&bytes(rng, 200)).replace('{', "(")),
            2 => Self { bytes: frame(2, &bytes(rng, 500)), ends: Ends::Refused },
            3 => refused(Self::cut(rng)),
            4 => refused(Self::nested(rng)),
            5 => refused(format!(r#"{{"action":"{}"}}"#, "x".repeat(rng.below(2_000)))),
            6 => refused(format!(r#"{{"action":{}}}"#, one_of(rng, ODD))),
            7 => refused(format!(r#"{{"x":{}}}"#, one_of(rng, ODD))),
            8 => refused(format!(r#"{{"action":"edit","message_id":{},"text":"x"}}"#, Self::number(rng))),
            9 => refused(format!(r#"{{"action":"send","room_id":1,"message":{}}}"#, Self::no_text(rng))),
            10 => answered(Self::mutated(rng)),
            11 => answered(Self::with_an_odd_field(rng)),
            12 => Self {
                bytes: frame(9 + u8::try_from(rng.below(2)).unwrap(), &bytes(rng, 125)),
                ends: Ends::Silently,
            },
            13 => Self::in_fragments(rng),
            14 if rng.below(64) == 0 => refused(format!(r#"{{"action":"x","x":"{}"}}"#, "y".repeat(60_000))),
            _ => refused(format!(r#"{{"action":"nobody {}","x":{}}}"#, rng.below(100), one_of(rng, ODD))),
        }
    }

    /// Returns a valid frame without its end.
    fn cut(rng: &mut SeededRng) -> &'static str {
        let whole = GOOD[rng.below(GOOD.len())];
        &whole[..rng.below(whole.len())]
    }

    /// Returns a frame whose JSON has more than the 128 permitted levels of nesting.
    fn nested(rng: &mut SeededRng) -> String {
        let levels = 129 + rng.below(2_000);
        let open = if rng.below(2) == 0 { "[" } else { r#"{"a":"# };
        format!(r#"{{"action":"ping","x":{}"#, open.repeat(levels))
    }

    /// Returns a number that is no message's id.
    fn number(rng: &mut SeededRng) -> String {
        match rng.below(3) {
            0 => format!("{}", 9_007_199_254_740_992_u64 + rng.below(1_000_000) as u64),
            1 => format!("{}{}", 1 + rng.below(9), "0".repeat(16 + rng.below(400))),
            _ => format!("-{}.{}e{}", rng.below(99), rng.below(99), rng.below(500)),
        }
    }

    /// Returns JSON that is no valid text of a message.
    fn no_text(rng: &mut SeededRng) -> String {
        match rng.below(4) {
            0 => "5".to_owned(),
            1 => format!("\"{}\"", " ".repeat(rng.below(50))),
            2 => format!("\"{}\"", "\u{1f600}".repeat(4_097 + rng.below(1_000))),
            _ => r#""a\u0000b""#.to_owned(),
        }
    }

    /// Returns a valid frame in which one to four bytes are changed, removed or added.
    fn mutated(rng: &mut SeededRng) -> String {
        let mut changed = GOOD[rng.below(GOOD.len())].as_bytes().to_vec();
        for _ in 0..=rng.below(4) {
            let at = rng.below(changed.len());
            match rng.below(3) {
                0 => changed[at] = u8::try_from(rng.below(128)).unwrap(),
                1 => drop(changed.remove(at)),
                _ => changed.insert(at, changed[rng.below(changed.len())]),
            }
        }
        String::from_utf8_lossy(&changed).into_owned()
    }

    fn with_an_odd_field(rng: &mut SeededRng) -> String {
        let whole = GOOD[rng.below(GOOD.len())];
        let (field, value) = (one_of(rng, FIELDS), one_of(rng, ODD));
        format!(r#"{},"{field}":{value}}}"#, &whole[..whole.len() - 1])
    }

    /// Returns a message in fragments, with a ping between them.
    fn in_fragments(rng: &mut SeededRng) -> Self {
        let whole = br#"{"action":"nobody at all"}"#;
        let (first, rest) = whole.split_at(rng.below(whole.len()));
        let mut bytes = piece(1, first);
        bytes.extend(frame(9, b"in between"));
        for byte in &rest[..rest.len() - 1] {
            bytes.extend(piece(0, &[*byte]));
        }
        bytes.extend(piece(0x80, &rest[rest.len() - 1..]));
        Self { bytes, ends: Ends::Refused }
    }

    /// Returns bytes that break the WebSocket protocol or a size limit, so that the server closes the socket.
    fn fatal(rng: &mut SeededRng) -> Self {
        let (bytes, codes): (Vec<u8>, &[u16]) = match rng.below(10) {
            0 => (frame(1, &vec![b'x'; 65_537 + rng.below(200_000)]), &[1009]),
            1 => ([piece(1, &vec![b'x'; 40_000]), piece(0x80, &vec![b'x'; 40_000])].concat(), &[1009]),
            2 => (frame(1, b"\xff\xfe"), &[1007]),
            3 => (frame(3, b"x"), &[1002]),
            4 => (piece(0xC1, b"x"), &[1002]),
            5 => (frame(9, &[b'x'; 126]), &[1002]),
            6 => (piece(9, b"x"), &[1002]),
            7 => (frame(0, b"x"), &[1002]),
            8 => ([piece(1, b"x"), frame(1, b"x")].concat(), &[1002]),
            // The frame is not masked.
            _ => (vec![0x81, 1, b'x'], &[1002]),
        };
        Self { bytes, ends: Ends::Closed(codes) }
    }
}
