//! Claims steps and runs them, each by its mode. The only executor.
