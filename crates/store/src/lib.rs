//! What the control plane remembers: SQLite, memory, one conformance suite; large values.
