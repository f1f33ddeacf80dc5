//! Merges concurrent calls into one statement: batch by back-pressure, no timer. A lone call goes at
//! once; whoever comes while a batch runs shares the next one.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc, oneshot};

use crate::error::{Error, Result};

/// A call with the way back to its caller.
type Call<I, O> = (I, oneshot::Sender<Result<O>>);

/// The front of a batched operation: [`Batcher::call`] from anywhere.
#[derive(Debug)]
pub struct Batcher<I, O>(mpsc::Sender<Call<I, O>>);

impl<I, O> Clone for Batcher<I, O> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<I: Send + 'static, O: Send + 'static> Batcher<I, O> {
    /// Starts `lanes` tasks that run up to `most` calls in one go. `run` answers in the order of the
    /// calls; a shorter answer is a defect told to those left over.
    pub fn start<F, Fut>(lanes: usize, most: usize, run: F) -> Self
    where
        F: Fn(Vec<I>) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = Result<Vec<O>>> + Send,
    {
        let (front, calls) = mpsc::channel::<Call<I, O>>(most * 4);
        let calls = Arc::new(Mutex::new(calls));
        for _ in 0..lanes {
            let (calls, run) = (Arc::clone(&calls), run.clone());
            tokio::spawn(async move {
                loop {
                    let mut taken = Vec::new();
                    if calls.lock().await.recv_many(&mut taken, most).await == 0 {
                        return;
                    }
                    let (asked, callers): (Vec<I>, Vec<_>) = taken.into_iter().unzip();
                    answer(run(asked).await, callers);
                }
            });
        }
        Self(front)
    }

    /// One call, answered when its batch is.
    ///
    /// # Errors
    /// What the batch failed with.
    pub async fn call(&self, ask: I) -> Result<O> {
        let (back, answer) = oneshot::channel();
        self.0.send((ask, back)).await.map_err(|_| Error::internal("the batch has stopped"))?;
        answer.await.map_err(|_| Error::internal("the batch did not answer"))?
    }
}

fn answer<O>(result: Result<Vec<O>>, callers: Vec<oneshot::Sender<Result<O>>>) {
    match result {
        Ok(outs) => {
            // a caller that went away needs no answer; one without an answer sees its channel close
            for (caller, out) in callers.into_iter().zip(outs) {
                let _ = caller.send(Ok(out));
            }
        }
        Err(error) => {
            for caller in callers {
                let _ = caller.send(Err(error.copy()));
            }
        }
    }
}
