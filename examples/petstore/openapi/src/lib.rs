//! OpenAPI documents: read, and values checked against them. All that the generator of a service has
//! in common with the router: how requests are served is not here, so a change there needs no new
//! generated code.

pub mod document;
pub mod media;
pub mod parameter;
pub mod problem;
pub mod schema;
pub mod yaml;
