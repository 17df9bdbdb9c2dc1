//! The built-in actions. Each action has its own file. The file has the name that clients send in the field `action`.

use crate::{Action, CallSchema, IntoReply};

/// Declares the modules of the actions, and the table `ACTIONS` with one row for each module.
macro_rules! actions {
    ($($name:ident),+ $(,)?) => {
        $(pub mod $name;)+

        /// All built-in actions. Functions, the actions of the application, are not in this table.
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
