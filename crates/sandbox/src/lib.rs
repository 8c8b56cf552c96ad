//! The sandbox trait, the session with a guest, egress, the warm pool, the suites.
