//! `/functions`: which functions of files this server runs.

use salvo::prelude::*;
use salvo_oapi::{ToSchema, endpoint};
use serde::Serialize;

use super::SharedServices;
use super::problem::Problem;
use crate::functions::loader::FunctionStatus;

pub(super) fn routes() -> Router {
    Router::with_path("functions").get(list_functions)
}

/// The functions of files on one server.
#[derive(Serialize, ToSchema)]
#[salvo(schema(name = Functions))]
struct FunctionList {
    /// In the order of their names.
    functions: Vec<FunctionDto>,
}

/// A function of a file.
#[derive(Serialize, ToSchema)]
#[salvo(schema(name = Function))]
struct FunctionDto {
    /// The name of the file without its ending. It is also the value of `action`.
    name: String,
    /// The version that runs. Null if no version could be loaded.
    version: Option<FunctionVersionDto>,
    /// What the file exports: `default` (the action), `before_send`, `after_send`, `connected`, `disconnected` or
    /// `offline`.
    exports: Vec<&'static str>,
    /// Why the newest content of the file is refused. Null if the newest content runs.
    refused: Option<String>,
}

/// A version of a function.
#[derive(Serialize, ToSchema)]
#[salvo(schema(name = FunctionVersion))]
struct FunctionVersionDto {
    /// The kind of the file: `js`.
    kind: &'static str,
    /// The SHA-256 of the file's content, in hexadecimal.
    sha256: String,
}

impl From<FunctionStatus> for FunctionDto {
    fn from(status: FunctionStatus) -> Self {
        let FunctionStatus { name, version, refused, exports } = status;
        let version =
            version.map(|version| FunctionVersionDto { kind: version.kind, sha256: version.sha256 });
        Self { name, version, exports, refused }
    }
}

/// Lists the functions of files
///
/// The functions that the server which answers has found in its folder `functions.folder`. Functions with a URL are not
/// listed.
#[endpoint(operation_id = "list_functions", tags("functions"))]
async fn list_functions(services: SharedServices) -> Result<Json<FunctionList>, Problem> {
    let functions = services.loader.status().await.into_iter().map(FunctionDto::from).collect();
    Ok(Json(FunctionList { functions }))
}
