//! The query `?before=|after=&limit=`, which selects messages of a room.

use handlers::{MAX_ID, MessageId};
use salvo::extract::{Extractible, Metadata};
use salvo::prelude::*;
use salvo_oapi::{BasicType, Components, EndpointArgRegister, Object, Operation, Parameter, ParameterIn};

use super::problem::{Problem, ProblemCode, may_fail};
use super::schema;
use handlers::HistoryCursor;

/// The highest number of messages on one page.
pub(super) const MAX_LIMIT: usize = 200;

/// The highest number of messages on a page if the client gives no `limit`.
const LIMIT: usize = 50;

/// The page of messages that the client requests.
#[derive(Debug)]
pub(super) struct PageQuery {
    pub(super) from: HistoryCursor,
    pub(super) limit: usize,
}

impl<'ex> Extractible<'ex> for PageQuery {
    fn metadata() -> &'static Metadata {
        static METADATA: Metadata = Metadata::new("");
        &METADATA
    }

    #[allow(refining_impl_trait)]
    async fn extract(req: &'ex mut Request, _: &'ex mut Depot) -> Result<Self, Problem> {
        let number = |name: &str| match req.queries().get_vec(name).map(Vec::as_slice) {
            None => Ok(None),
            Some([digits]) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                let number = digits.parse::<i64>().ok().filter(|number| *number <= MAX_ID);
                number.map(Some).ok_or_else(|| Problem::invalid(format!("{name}: out of range")))
            }
            Some(_) => Err(Problem::invalid(format!("{name}: must be a whole number, once"))),
        };
        let from = match (number("before")?, number("after")?) {
            (None, None) => HistoryCursor::Newest,
            (None, Some(after)) => HistoryCursor::After(after),
            (Some(before), None) => {
                let before = MessageId::try_from(before);
                HistoryCursor::Before(before.map_err(|_| Problem::invalid("before: must be 1 or more"))?)
            }
            (Some(_), Some(_)) => return Err(Problem::invalid("before, after: one of them, not both")),
        };
        let limit = number("limit")?.map_or(Ok(LIMIT), usize::try_from).unwrap_or(0);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(Problem::invalid(format!("limit: must be 1 to {MAX_LIMIT}")));
        }
        Ok(Self { from, limit })
    }
}

impl EndpointArgRegister for PageQuery {
    fn register(components: &mut Components, operation: &mut Operation, _: &str) {
        let number = Object::with_type(BasicType::Integer);
        let after = number.clone().minimum(0).maximum(MAX_ID);
        let limit = number.minimum(1).maximum(i64::try_from(MAX_LIMIT).unwrap_or(i64::MAX));
        let limit = limit.default_value(LIMIT.into());
        for (name, description, schema, example) in [
            ("before", "Messages before this one, newest first.", schema::id(), 45),
            ("after", "Messages after this one, oldest first; 0: from the beginning.", after, 0),
            ("limit", "How many, at most.", limit, LIMIT),
        ] {
            let parameter = Parameter::new(name).location(ParameterIn::Query).required(false);
            let parameter = parameter.description(description).schema(schema);
            operation.parameters.insert(parameter.example(example.into()));
        }
        may_fail(components, operation, &[ProblemCode::InvalidRequest]);
    }
}
