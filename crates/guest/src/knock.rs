//! Waiting for someone to listen, where the guest starts before its worker is connected.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use protocol::frame::knock::{self, ENTER, KNOCK_BYTES};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

/// The longest the guest waits for its worker, which may have died on the way.
const LIMIT: Duration = Duration::from_secs(300);

/// Answers knocks until the worker enters. An error ends the guest: nobody came, or not a worker.
pub(crate) fn answer(input: &OwnedFd, output: &OwnedFd) -> io::Result<()> {
    let began = Instant::now();
    loop {
        let mut bytes = [0; KNOCK_BYTES];
        read_all(input, &mut bytes, began)?;
        match knock::decode(&bytes) {
            Some(ENTER) => return Ok(()),
            Some(_) => write_all(output, &bytes)?,
            None => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

fn read_all(input: &OwnedFd, mut bytes: &mut [u8], began: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        let left = LIMIT.checked_sub(began.elapsed()).ok_or(io::ErrorKind::TimedOut)?;
        let left = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        match rustix::event::poll(&mut [PollFd::new(input, PollFlags::IN)], Some(&left)) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        match rustix::io::read(input, &mut *bytes) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => bytes = &mut bytes[read..],
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn write_all(output: &OwnedFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(output, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
