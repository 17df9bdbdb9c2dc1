//! Types of answers that salvo does not provide.

use salvo::http::StatusCode;
use salvo::prelude::*;
use salvo_oapi::{Components, EndpointOutRegister, Operation, ToSchema};
use serde::Serialize;

/// An answer with a resource that was created (201) or already existed (200).
pub(super) struct CreatedOrOk<T> {
    pub(super) new: bool,
    pub(super) value: T,
}

#[async_trait]
impl<T: Serialize + Send> Writer for CreatedOrOk<T> {
    async fn write(self, _: &mut Request, _: &mut Depot, res: &mut Response) {
        res.status_code(if self.new { StatusCode::CREATED } else { StatusCode::OK });
        res.render(Json(self.value));
    }
}

impl<T: ToSchema> EndpointOutRegister for CreatedOrOk<T> {
    fn register(components: &mut Components, operation: &mut Operation) {
        let schema = T::to_schema(components);
        for (status, description) in [("200", "It existed already."), ("201", "It was created.")] {
            let response = salvo_oapi::Response::new(description);
            operation.responses.insert(status, response.add_content("application/json", schema.clone()));
        }
    }
}

/// An answer with a resource that was created (201).
pub(super) struct Created<T>(pub(super) T);

#[async_trait]
impl<T: Serialize + Send> Writer for Created<T> {
    async fn write(self, _: &mut Request, _: &mut Depot, res: &mut Response) {
        res.status_code(StatusCode::CREATED);
        res.render(Json(self.0));
    }
}

impl<T: ToSchema> EndpointOutRegister for Created<T> {
    fn register(components: &mut Components, operation: &mut Operation) {
        let response = salvo_oapi::Response::new("It was created.");
        let response = response.add_content("application/json", T::to_schema(components));
        operation.responses.insert("201", response);
    }
}

/// The answer to a request that was stored and will be executed later (202).
pub(super) struct Accepted<T>(pub(super) T);

#[async_trait]
impl<T: Serialize + Send> Writer for Accepted<T> {
    async fn write(self, _: &mut Request, _: &mut Depot, res: &mut Response) {
        res.status_code(StatusCode::ACCEPTED);
        res.render(Json(self.0));
    }
}

impl<T: ToSchema> EndpointOutRegister for Accepted<T> {
    fn register(components: &mut Components, operation: &mut Operation) {
        let response = salvo_oapi::Response::new(
            "The request is stored and will be executed, even if this server stops.",
        );
        let response = response.add_content("application/json", T::to_schema(components));
        operation.responses.insert("202", response);
    }
}

/// The empty answer to a request that was executed (204).
pub(super) struct NoContent;

#[async_trait]
impl Writer for NoContent {
    async fn write(self, _: &mut Request, _: &mut Depot, res: &mut Response) {
        res.status_code(StatusCode::NO_CONTENT);
    }
}

impl EndpointOutRegister for NoContent {
    fn register(_: &mut Components, operation: &mut Operation) {
        operation.responses.insert("204", salvo_oapi::Response::new("The request was executed."));
    }
}
