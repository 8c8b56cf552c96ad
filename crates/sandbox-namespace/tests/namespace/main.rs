//! The namespace sandbox backend with real sandboxes. Where this machine makes none, the tests say so and pass.

mod attacks;
mod ends;
mod harness;
mod images;
mod measure;
mod real;
mod root;
