//! Answers that salvo has no type for.

use salvo::http::StatusCode;
use salvo::prelude::*;
use salvo_oapi::{Components, EndpointOutRegister, Operation, ToSchema};
use serde::Serialize;

/// What was made (201), or was there already (200).
pub(super) struct Made<T> {
    pub(super) new: bool,
    pub(super) what: T,
}

#[async_trait]
impl<T: Serialize + Send> Writer for Made<T> {
    async fn write(self, _: &mut Request, _: &mut Depot, res: &mut Response) {
        res.status_code(if self.new { StatusCode::CREATED } else { StatusCode::OK });
        res.render(Json(self.what));
    }
}

impl<T: ToSchema> EndpointOutRegister for Made<T> {
    fn register(components: &mut Components, operation: &mut Operation) {
        let schema = T::to_schema(components);
        for (status, description) in [("200", "It was there already."), ("201", "It was made.")] {
            let response = salvo_oapi::Response::new(description);
            operation.responses.insert(status, response.add_content("application/json", schema.clone()));
        }
    }
}
