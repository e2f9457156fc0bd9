//! The thread that reads limits, so that nobody waits for it: for each report
//! just before it is due.
//!
//! Time is read here only to wait.

use std::{
    io,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::Duration,
};

use super::{Holding, queues, read};
use crate::ports::Reading;

/// So long before a report is due its reading begins: one takes some
/// milliseconds, and tens of them where there are thousands of processes.
const AHEAD: Duration = Duration::from_millis(100);

/// The thread, as its user sees it.
#[derive(Debug)]
pub struct Reader {
    asked: Sender<Duration>,
    readings: Receiver<Reading>,
    latest: Option<Reading>,
    /// Asked for and not come yet.
    open: usize,
}

impl Reader {
    /// Starts it, and waits for the first reading: of one network namespace, or
    /// of all.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn start(only: Option<u32>) -> io::Result<Self> {
        let (asked, questions) = channel();
        let (answer, readings) = channel();
        thread::Builder::new()
            .name("tcpstate-limits".to_owned())
            .spawn(move || work(only, &questions, &answer))?;
        let mut reader = Self {
            asked,
            readings,
            latest: None,
            open: 0,
        };
        reader.ask(Duration::ZERO);
        reader.wait();
        Ok(reader)
    }

    /// Asks for a reading when a report is due in `interval`.
    pub fn ask_ahead(&mut self, interval: Duration) {
        if self.open == 0 {
            self.ask(interval.saturating_sub(AHEAD).max(interval / 2));
        }
    }

    /// Asks for a reading now, and waits for it.
    pub fn read_now(&mut self) {
        self.ask(Duration::ZERO);
        self.wait();
    }

    /// The newest reading; `None` when the thread is gone.
    pub fn latest(&mut self) -> Option<&Reading> {
        while let Ok(reading) = self.readings.try_recv() {
            self.came(reading);
        }
        self.latest.as_ref()
    }

    fn ask(&mut self, delay: Duration) {
        self.open += usize::from(self.asked.send(delay).is_ok());
    }

    fn wait(&mut self) {
        while self.open > 0 {
            match self.readings.recv() {
                Ok(reading) => self.came(reading),
                Err(_gone) => {
                    self.open = 0;
                    self.latest = None;
                }
            }
        }
    }

    fn came(&mut self, reading: Reading) {
        self.open = self.open.saturating_sub(1);
        self.latest = Some(reading);
    }
}

/// Answers every question once; one that comes while another waits is answered
/// at once, with it.
fn work(only: Option<u32>, questions: &Receiver<Duration>, answer: &Sender<Reading>) {
    let bound_told = queues::tells_bound();
    let mut holding = Holding::default();
    while let Ok(mut delay) = questions.recv() {
        let mut due = 1;
        while !delay.is_zero() {
            match questions.recv_timeout(delay) {
                Ok(sooner) => {
                    delay = sooner;
                    due += 1;
                }
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
        // In a thread that ends, as namespaces are entered.
        let once = || read(only, &bound_told, &mut holding);
        let reading = thread::scope(|scope| scope.spawn(once).join());
        let Ok(reading) = reading else { return };
        for _ in 1..due {
            if answer.send(reading.clone()).is_err() {
                return;
            }
        }
        if answer.send(reading).is_err() {
            return;
        }
    }
}
