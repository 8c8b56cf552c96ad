//! HPKE to a guest's key; grants: sign and verify. Pure.
