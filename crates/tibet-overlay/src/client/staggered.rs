//! Asking several nodes without waiting for one that is dead.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::{Instant, sleep_until};

/// How long a node is waited for before the next is asked beside it (as RFC 8305, section 8, waits between two addresses of one host). More than an answer takes
/// on most ways, so that a node that is well is the only one asked.
pub(super) const NEXT_AFTER: Duration = Duration::from_millis(250);

/// Asks in this order: the next when [`NEXT_AFTER`] has passed since the last was asked, or at once when one has failed. The first that succeeds counts, and the
/// others are forgotten. Besides, how those failed that did before, in their order.
///
/// Only for what may be asked twice: a question that was begun is not taken back.
pub(super) async fn first<T, E>(
    asked: impl IntoIterator<Item = impl Future<Output = Result<T, E>>>,
) -> (Option<T>, Vec<E>) {
    let mut rest = asked.into_iter().enumerate();
    let mut under_way = FuturesUnordered::new();
    let mut failed = BTreeMap::new();
    let mut next = pin!(sleep_until(Instant::now()));
    loop {
        let begun = rest.next().map(|(index, question)| async move { (index, question.await) });
        let more = begun.is_some();
        under_way.extend(begun);
        next.as_mut().reset(Instant::now() + NEXT_AFTER);
        tokio::select! {
            biased;
            ended = under_way.next() => match ended {
                Some((_, Ok(answer))) => return (Some(answer), failed.into_values().collect()),
                Some((index, Err(error))) => {
                    failed.insert(index, error);
                }
                None => return (None, failed.into_values().collect()),
            },
            () = &mut next, if more => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::future::pending;

    use tokio::time::sleep;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Answers after so many milliseconds, or fails then, or never does either.
    async fn node(answers: Option<(u32, Result<u8, u8>)>) -> Result<u8, u8> {
        match answers {
            Some((after, said)) => {
                sleep(MS * after).await;
                said
            }
            None => pending().await,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn behind_a_dead_node_the_next_is_asked_after_a_quarter_of_a_second() {
        let begun = Instant::now();
        let found = first([node(None), node(Some((40, Ok(2)))), node(Some((0, Ok(3))))]).await;
        assert_eq!((found, begun.elapsed()), ((Some(2), Vec::new()), NEXT_AFTER + 40 * MS));
        let begun = Instant::now();
        let found = first([node(None), node(None), node(Some((40, Ok(3))))]).await;
        assert_eq!((found, begun.elapsed()), ((Some(3), Vec::new()), 2 * NEXT_AFTER + 40 * MS));
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_first_answers_in_time_nobody_else_is_asked() {
        let asked = RefCell::new(Vec::new());
        let ask = |index| {
            let asked = &asked;
            async move {
                asked.borrow_mut().push(index);
                node(Some((249, Ok(index)))).await
            }
        };
        assert_eq!(first([1, 2, 3].map(ask)).await, (Some(1), Vec::new()));
        assert_eq!(asked.take(), [1]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_answer_counts_whoever_was_asked_first() {
        let begun = Instant::now();
        assert_eq!(first([node(Some((300, Ok(1)))), node(Some((10, Ok(2))))]).await.0, Some(2));
        assert_eq!(begun.elapsed(), NEXT_AFTER + 10 * MS);
        assert_eq!(first([node(Some((300, Ok(1)))), node(Some((100, Ok(2))))]).await.0, Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_failure_the_next_is_asked_at_once_and_failures_are_told_in_order() {
        let begun = Instant::now();
        let found = first([node(Some((10, Err(1)))), node(Some((10, Ok(2))))]).await;
        assert_eq!((found, begun.elapsed()), ((Some(2), vec![1]), 20 * MS));
        // The second fails before the first does.
        let begun = Instant::now();
        let found =
            first([node(Some((500, Err(1)))), node(Some((10, Err(2)))), node(Some((400, Err(3))))]).await;
        assert_eq!((found, begun.elapsed()), ((None, vec![1, 2, 3]), NEXT_AFTER + 410 * MS));
        assert_eq!(first(std::iter::empty::<std::future::Ready<Result<u8, u8>>>()).await, (None, Vec::new()));
    }
}
