//! A sandbox backend inside this process, for tests of what uses sandboxes. Its guest is honest and isolates nothing.

mod backend;
mod guest;

pub use backend::FakeBackend;
