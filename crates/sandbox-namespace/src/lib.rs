//! The namespace sandbox backend and its spawner.
