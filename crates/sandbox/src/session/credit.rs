//! Bytes that a peer allows to be sent; taking waits for them.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// Most that is remembered of what a peer allows; more is of no use and would overflow in the end.
const MAX_CREDIT_BYTES: usize = 1 << 30;

/// Credit of one stream, shared by who sends and who hears of grants.
#[derive(Clone)]
pub(super) struct Credit(Arc<Semaphore>);

impl Credit {
    pub(super) fn new(bytes: u32) -> Self {
        Self(Arc::new(Semaphore::new(bytes as usize)))
    }

    /// The peer allows `bytes` more.
    pub(super) fn grant(&self, bytes: u32) {
        let room = MAX_CREDIT_BYTES.saturating_sub(self.0.available_permits());
        self.0.add_permits(room.min(bytes as usize));
    }

    /// Waits for any credit, takes at most `most` bytes of it and says how many; 0 only if `most` is.
    pub(super) async fn take(&self, most: usize) -> usize {
        if most == 0 {
            return 0;
        }
        let one = self.0.acquire().await.expect("the semaphore is never closed");
        one.forget();
        1 + self.0.forget_permits(most - 1)
    }

    /// Gives back what was taken and not sent.
    pub(super) fn give_back(&self, bytes: usize) {
        self.0.add_permits(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn takes_what_there_is_and_never_more() {
        let credit = Credit::new(10);
        assert_eq!(credit.take(4).await, 4);
        assert_eq!(credit.take(100).await, 6);
        let waiting = tokio::spawn({
            let credit = credit.clone();
            async move { credit.take(5).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        credit.grant(3);
        assert_eq!(waiting.await.expect("ends"), 3);
    }

    #[test]
    fn endless_grants_do_not_overflow() {
        let credit = Credit::new(0);
        for _ in 0..1000 {
            credit.grant(u32::MAX);
        }
        assert_eq!(credit.0.available_permits(), MAX_CREDIT_BYTES);
    }
}
