//! The run's state machine: events in, actions out. Pure.
