//! The control plane: REST API, driver, dispatch. Plans and persists; never runs a step.
