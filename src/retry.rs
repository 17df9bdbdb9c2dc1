//! Repeats a failed operation, with a pause between two attempts.
//!
//! Each pause has a random length around a given mean. Tasks that failed at the same time therefore try again at
//! different times.

use std::time::Duration;

use tokio::time::Instant;

/// The error of a failed attempt.
#[derive(Debug)]
pub(crate) enum AttemptError<E> {
    /// The caller may try again: another attempt may succeed.
    Retry(E),
    /// The caller must not try again: another attempt would also fail.
    Final(E),
}

/// Repeats `attempt` until it succeeds, and returns its result. `on_error` receives the error of each failed attempt.
pub(crate) async fn forever<T, E, A>(
    pause: Duration,
    mut attempt: impl FnMut() -> A,
    on_error: impl Fn(E),
) -> T
where
    A: Future<Output = Result<T, E>>,
{
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(error) => on_error(error),
        }
        tokio::time::sleep(vary(pause)).await;
    }
}

/// Repeats `attempt` until it succeeds, and returns its result. An attempt that is running at the deadline is not
/// cancelled.
///
/// # Errors
/// The error of the last attempt, if it is [`AttemptError::Final`] or the deadline has passed.
pub(crate) async fn until<T, E, A>(
    deadline: Instant,
    pause: Duration,
    mut attempt: impl FnMut() -> A,
) -> Result<T, E>
where
    A: Future<Output = Result<T, AttemptError<E>>>,
{
    loop {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(AttemptError::Final(error)) => return Err(error),
            Err(AttemptError::Retry(error)) => pause_before(deadline, pause, error).await?,
        }
    }
}

/// Pauses between an attempt that failed with `error` and the next attempt. `pause` is the mean length of the pause.
///
/// # Errors
/// Returns `error` without a pause if the deadline has passed.
pub(crate) async fn pause_before<E>(deadline: Instant, pause: Duration, error: E) -> Result<(), E> {
    if Instant::now() >= deadline {
        return Err(error);
    }
    tokio::time::sleep(vary(pause)).await;
    Ok(())
}

/// Returns a random duration between 50 % and 150 % of `pause`. The mean is `pause`.
pub(crate) fn vary(pause: Duration) -> Duration {
    pause.mul_f32(0.5 + fastrand::f32())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const PAUSE: Duration = Duration::from_millis(4);

    #[test]
    fn pauses_vary_around_their_mean() {
        let pauses: Vec<_> = (0..100).map(|_| vary(PAUSE)).collect();
        assert!(pauses.iter().all(|pause| (PAUSE / 2..=PAUSE * 3 / 2).contains(pause)), "{pauses:?}");
        assert!(pauses.iter().any(|pause| *pause != pauses[0]));
    }

    #[tokio::test]
    async fn attempts_end_with_the_first_success() {
        let tries = Cell::new(0);
        let attempt = || async {
            tries.set(tries.get() + 1);
            if tries.get() < 4 { Err(AttemptError::Retry("not yet")) } else { Ok(tries.get()) }
        };
        let began = Instant::now();
        assert_eq!(until(began + PAUSE * 10_000, PAUSE, attempt).await, Ok(4));
        assert!(began.elapsed() >= PAUSE * 3 / 2, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn attempts_end_with_a_final_error_or_at_the_deadline() {
        let began = Instant::now();
        let refused = || async { Err::<(), _>(AttemptError::Final("refused")) };
        assert_eq!(until(began + PAUSE * 10_000, PAUSE, refused).await, Err("refused"));
        let fails = || async { Err::<(), _>(AttemptError::Retry("not yet")) };
        assert_eq!(until(began + PAUSE * 5, PAUSE, fails).await, Err("not yet"));
        assert!(began.elapsed() >= PAUSE * 5, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn errors_are_reported_until_the_success() {
        let (tries, errors) = (Cell::new(0), Cell::new(0));
        let attempt = || async {
            tries.set(tries.get() + 1);
            if tries.get() < 3 { Err("not yet") } else { Ok(()) }
        };
        forever(PAUSE, attempt, |_| errors.set(errors.get() + 1)).await;
        assert_eq!((tries.get(), errors.get()), (3, 2));
    }
}
