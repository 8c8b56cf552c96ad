//! Identity backends and the broker: the only process that holds secrets.
