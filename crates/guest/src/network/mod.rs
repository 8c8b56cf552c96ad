//! slice
use std::rc::Rc;
use protocol::step::NetworkRule;
use rustix::event::PollFlags;
use crate::{channel::Channel, failure::Failure, interests::{Interests, Source}, redact::Patterns};
pub(crate) struct Network;
impl Network {
    pub(crate) fn closed() -> Self { Network }
    pub(crate) fn open(_rules: &[NetworkRule], _p: &Rc<Patterns>) -> Result<Self, Failure> { Ok(Network) }
    pub(crate) fn interests<'a>(&'a self, _c: &Channel, _i: &mut Interests<'a>) {}
    pub(crate) fn on_ready(&mut self, _s: Source, _f: PollFlags, _c: &mut Channel) {}
    pub(crate) fn opened(&mut self, _t: u32, _c: &mut Channel) {}
    pub(crate) fn refused(&mut self, _t: u32) {}
    pub(crate) fn take_data(&mut self, _t: u32, _d: &[u8], _c: &mut Channel) {}
    pub(crate) fn grant(&mut self, _t: u32, _b: u32) {}
    pub(crate) fn close(&mut self, _t: u32) {}
}
