//! Configuration: defaults in code, a TOML file, the environment, flags; later wins. A typed struct per part.

mod keys;
mod kubernetes;
mod lambda;
mod layers;
mod parts;
mod sandboxes;
mod values;

pub(crate) use keys::KEYS;
pub(crate) use lambda::LambdaSettings;
pub(crate) use layers::Layers;
pub(crate) use parts::{
    Broker, BrokerFlags, Client, Dev, DevFlags, Server, ServerFlags, Worker, WorkerFlags, default_data_folder,
};
pub(crate) use sandboxes::{ImagesSettings, SandboxSettings, default_sandboxes};
pub(crate) use values::List;
