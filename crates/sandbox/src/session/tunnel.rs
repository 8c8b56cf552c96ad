//! Tunnels of a running step.
