//! Shortens an error of the MongoDB driver to one line. The driver's own text is a debug output with whole responses of
//! database servers.

use std::fmt::Write as _;

use mongodb::error::{Error, ErrorKind, InsertManyError, WriteFailure};

/// The maximum length of the shortened line, in characters. A database server's message may quote a whole document.
const MAX_CHARS: usize = 300;

/// The number of MongoDB's error code `Unauthorized`.
const NO_RIGHT: i32 = 13;
/// The number of MongoDB's error code `AuthenticationFailed`.
pub(super) const NO_LOGIN: i32 = 18;

/// Returns one line that says what failed, with advice if a setting is the likely cause.
pub(crate) fn summary(error: &Error) -> String {
    let text = match &*error.kind {
        ErrorKind::Command(command) => of_code(command.code, &command.code_name, &command.message),
        ErrorKind::Write(WriteFailure::WriteConcernError(failed)) => {
            of_code(failed.code, &failed.code_name, &failed.message)
        }
        ErrorKind::Write(WriteFailure::WriteError(failed)) => {
            of_code(failed.code, failed.code_name.as_deref().unwrap_or_default(), &failed.message)
        }
        ErrorKind::InsertMany(failed) => of_insert(failed),
        ErrorKind::ServerSelection { message, .. } => of_selection(message),
        ErrorKind::ConnectionPoolCleared { message, .. } => {
            nested(message).map_or_else(|| message.clone(), |cause| format!("a connection broke: {cause}"))
        }
        ErrorKind::Authentication { message, .. } => {
            format!("{message}; check the user, the password and authSource of mongodb.uri")
        }
        ErrorKind::Io(error) => error.to_string(),
        kind => kind.to_string(),
    };
    one_line(&text)
}

/// Returns the reason why the driver found no usable database server, if the driver names a reason. For any other
/// error, returns the [`summary`].
pub(super) fn cause(error: &Error) -> String {
    match &*error.kind {
        ErrorKind::ServerSelection { message, .. } => {
            nested(message).map_or_else(|| summary(error), one_line)
        }
        _ => summary(error),
    }
}

fn of_insert(failed: &InsertManyError) -> String {
    if let Some(first) = failed.write_errors.iter().flatten().next() {
        return of_code(first.code, first.code_name.as_deref().unwrap_or_default(), &first.message);
    }
    let concern = failed.write_concern_error.as_ref();
    concern.map_or_else(
        || "an insert failed".to_owned(),
        |concern| of_code(concern.code, &concern.code_name, &concern.message),
    )
}

/// Returns the database's message and error code. If the code shows a wrong user, a wrong password or a missing right,
/// the text also says how to correct this.
fn of_code(code: i32, name: &str, message: &str) -> String {
    let advice = match code {
        NO_RIGHT if message.ends_with("requires authentication") => {
            "; add a user and a password to mongodb.uri"
        }
        NO_RIGHT => "; grant the user the role readWrite on this database",
        NO_LOGIN => "; check the user, the password and authSource of mongodb.uri",
        _ => "",
    };
    // The database's message contains the whole command: `to execute command { create: "rooms", ...`. Only the name of
    // the command is kept.
    let message = match message.split_once("to execute command { ") {
        Some((begin, command)) => {
            let name = command.split(':').next().unwrap_or_default();
            format!("{begin}to execute the command {name}")
        }
        None => message.to_owned(),
    };
    let name = if name.is_empty() { String::new() } else { format!(" {name}") };
    format!("{message} (error {code}{name}){advice}")
}

/// Returns one line with the state of each database server that the driver's text names.
fn of_selection(message: &str) -> String {
    let Some((_, topology)) = message.split_once("Topology: ") else { return message.to_owned() };
    let mut text = "no primary found".to_owned();
    for (server, separator) in
        topology.split("Address: ").skip(1).zip([": "].into_iter().chain(std::iter::repeat(", ")))
    {
        let address = server.split(',').next().unwrap_or_default();
        let kind =
            server.split_once("Type: ").map(|(_, kind)| kind.split([',', ' ']).next().unwrap_or_default());
        let state = nested(server).unwrap_or(match kind {
            Some("RsPrimary") => "is the primary",
            Some("RsSecondary") => "is a secondary",
            Some("RsGhost") => "is in no replica set yet",
            Some("Standalone") => "is a standalone server",
            _ => "has not answered",
        });
        // Writing to a `String` never fails.
        let _ = write!(text, "{separator}{address} ({state})");
    }
    text
}

/// Returns the inner error in the driver's text. For example, the text for an unreachable database server contains an
/// I/O error.
fn nested(text: &str) -> Option<&str> {
    let (_, error) = text.split_once("Kind: ")?;
    let error = error.split(", labels: ").next().unwrap_or_default();
    Some(error.strip_prefix("I/O error: ").unwrap_or(error))
}

fn one_line(text: &str) -> String {
    let mut chars = text.chars().map(|char| if char.is_control() { ' ' } else { char });
    let line: String = chars.by_ref().take(MAX_CHARS).collect();
    if chars.next().is_some() { format!("{line}...") } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selection_text_names_each_server_and_its_state() {
        let text = "Server selection timeout: None of the available servers suitable for criteria ReadPreference(Primary). \
                    Topology: { Type: Unknown, Servers: [ { Address: a:1, Type: Unknown, Error: Kind: I/O error: Connection \
                    refused (os error 111), labels: {\"x\"}, source: None, server response: None }, { Address: b:2, Type: \
                    RsGhost, Average RTT: 1ms }, { Address: c:3, Type: Unknown } ] }";
        let named = "no primary found: a:1 (Connection refused (os error 111)), b:2 (is in no replica set yet), c:3 (has not \
                     answered)";
        assert_eq!(of_selection(text), named);
        let none = "Server selection timeout: No available servers. Topology: { Type: ReplicaSetNoPrimary, Set Name: a }";
        assert_eq!(of_selection(none), "no primary found");
    }

    #[test]
    fn missing_right_names_the_command_without_its_content() {
        let refused =
            "not authorized on parlor to execute command { create: \"rooms\", lsid: { id: UUID(\"1\") } }";
        let text = "not authorized on parlor to execute the command create (error 13 Unauthorized); grant the user the role \
                    readWrite on this database";
        assert_eq!(of_code(13, "Unauthorized", refused), text);
        let text = of_code(13, "Unauthorized", "Command create requires authentication");
        assert!(text.ends_with("add a user and a password to mongodb.uri"), "{text}");
    }

    #[test]
    fn summary_is_one_short_line_without_debug_output() {
        let cause = "Connection pool for a:1 cleared because another operation failed with: Kind: I/O error: early eof, labels: \
                     {}, source: None, server response: None";
        assert_eq!(nested(cause), Some("early eof"));
        let long = one_line(&format!("a\nb{}", "x".repeat(1_000)));
        assert_eq!(long.chars().count(), MAX_CHARS + 3);
        assert!(long.starts_with("a bx") && long.ends_with("..."), "{long}");
    }
}
