//! Wire types: steps, the worker API, guest frames, the broker API. No logic.
