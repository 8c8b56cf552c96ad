//! The REST API under `/api/v1`: a file per resource, its OpenAPI document generated from the code.
//!
//! [`router`] is the whole API; [`model`] has the shapes that travel, [`problem`] the errors.

mod access;
#[expect(unused_qualifications, reason = "utoipa qualifies the types of `params(...)`")]
mod artifacts;
mod cursor;
mod events;
mod extract;
mod health;
mod join_tokens;
mod known;
mod limits;
#[expect(unused_qualifications, reason = "utoipa qualifies the types of `params(...)`")]
mod logs;
mod metrics;
pub mod model;
mod openapi;
pub mod problem;
mod refusal;
mod routes;
#[expect(unused_qualifications, reason = "utoipa qualifies the types of `params(...)`")]
mod runs;
mod steps;
mod submit;
#[cfg(test)]
mod tests;
pub mod tokens;
mod wait;
mod workers;
#[expect(unused_qualifications, reason = "utoipa qualifies the types of `params(...)`")]
mod workflows;

pub use routes::{Api, router};
