//! The broker from outside: its two APIs over real sockets, restarts and kills.

mod fixture;
mod kill;
mod open;
mod operate;
