//! The actions: a file for each one, with the name that the action has on the wire.

use crate::{Action, CallSchema, IntoReply};

/// Declares the modules of the actions and their table, in the same order.
macro_rules! actions {
    ($($name:ident),+ $(,)?) => {
        $(pub mod $name;)+

        /// Every action that a frame can name.
        pub const ACTIONS: &[Action] = &[$(Action {
            name: stringify!($name),
            spec: $name::SPEC,
            run: |context, fields| {
                let request: $name::Request = fields.decode()?;
                Ok(Box::pin(async move { $name::handle(context, request).await?.reply() }))
            },
            schema: |generator| CallSchema::of($name::handle, generator),
        }),+];
    };
}

actions! { auth, close, delete, edit, history, open, ping, read, rooms, send, typing }
