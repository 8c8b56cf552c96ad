//! The system calls that the step may make: [`policy`] is the list, [`filter`] turns it into a program of the kernel.

mod filter;
mod policy;

pub(crate) use filter::{install, refuse_internet};
