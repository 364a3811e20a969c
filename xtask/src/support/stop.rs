//! Ctrl-C and similar signals during training: the state of the current cell is saved, and the program ends. A
//! second Ctrl-C ends it at once.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};

/// Exit status if nothing failed and the same command resumes: `EX_TEMPFAIL` of sysexits.h.
pub const AGAIN: u8 = 75;

/// The error of a process that was asked to stop.
#[derive(Debug)]
pub struct Halt {
    /// What happened to the cell in training; empty if there was none.
    pub last: String,
    /// Numbers of finished cells, and of all.
    pub finished: usize,
    pub all: usize,
}

impl fmt::Display for Halt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { last, finished, all } = self;
        let are = if *finished == 1 { "is" } else { "are" };
        let last = if last.is_empty() { "stopped. " } else { last };
        write!(
            formatter,
            "{last}{finished} of {all} cells {are} finished. Run the same command again to resume."
        )
    }
}

impl std::error::Error for Halt {}

/// The signals received so far.
struct Signals {
    asked: Arc<AtomicBool>,
    which: Arc<AtomicUsize>,
}

static SIGNALS: OnceLock<Signals> = OnceLock::new();

/// Returns a flag that becomes true when somebody asks this process to stop: by SIGINT (Ctrl-C), SIGTERM, or
/// SIGUSR1, which batch systems send before a time limit. After the first call these no longer end the process.
pub fn requested() -> Arc<AtomicBool> {
    let signals = SIGNALS.get_or_init(|| {
        let signals = Signals { asked: Arc::default(), which: Arc::default() };
        #[cfg(unix)]
        signals.listen();
        signals
    });
    signals.asked.clone()
}

/// Ends the process as the received signal would have, or with [`AGAIN`] after SIGUSR1, from which callers learn
/// that work is left. Returns if there was no signal.
pub fn end_by_signal() {
    #[cfg(unix)]
    if let Some(which) = SIGNALS.get().map(|signals| signals.which.load(Relaxed)).filter(|which| *which > 0) {
        let which = which as i32;
        if which == signal_hook::consts::SIGUSR1 {
            std::process::exit(AGAIN.into());
        }
        // Callers such as shells see which signal ended it.
        let _ = signal_hook::low_level::emulate_default_handler(which);
    }
}

#[cfg(unix)]
impl Signals {
    fn listen(&self) {
        use signal_hook::{
            consts::{SIGINT, SIGTERM, SIGUSR1},
            flag,
        };
        for signal in [SIGINT, SIGTERM, SIGUSR1].into_iter().filter(|signal| !is_ignored(*signal)) {
            // The order matters: the first Ctrl-C must find the flag unset, so that only a second one ends the
            // process. The other signals may come twice without a user's impatience, for example when a shell and
            // its child both get one. Without a handler a signal ends the process as usual, and a cell loses the
            // work since its last saved state.
            if signal == SIGINT {
                let _ = flag::register_conditional_default(signal, self.asked.clone());
            }
            let _ = flag::register_usize(signal, self.which.clone(), signal as usize)
                .and_then(|_| flag::register(signal, self.asked.clone()));
        }
    }
}

/// Returns whether the parent process made this one ignore a signal, as shells do for background jobs.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    // SAFETY: a zeroed `sigaction` is valid, and without a new action the call only writes the current one to it.
    unsafe {
        let mut present: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &mut present) == 0 && present.sa_sigaction == libc::SIG_IGN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_halt_says_what_became_of_the_cell_and_how_much_is_done() {
        let said = |last: &str| Halt { last: last.to_owned(), finished: 2, all: 5 }.to_string();
        assert_eq!(said(""), "stopped. 2 of 5 cells are finished. Run the same command again to resume.");
        assert_eq!(
            said("a stopped. "),
            "a stopped. 2 of 5 cells are finished. Run the same command again to resume."
        );
    }

    #[test]
    fn one_finished_cell_is_singular() {
        let said = Halt { last: String::new(), finished: 1, all: 3 }.to_string();
        assert_eq!(said, "stopped. 1 of 3 cells is finished. Run the same command again to resume.");
    }

    /// What the test below does in a process of its own: gets signals, and says whether it was asked to stop.
    #[cfg(unix)]
    #[test]
    fn process_of_the_next_test() {
        let Ok(orders) = std::env::var("SKEWBENCH_TEST_SIGNALS") else { return };
        // SAFETY: the handler is the system's own.
        let usual = |signal, handler| unsafe { libc::signal(signal, handler) };
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGUSR1] {
            usual(signal, libc::SIG_DFL);
        }
        if orders.starts_with("ignored") {
            usual(libc::SIGINT, libc::SIG_IGN);
        }
        let asked = requested();
        assert!(!asked.load(Relaxed));
        end_by_signal();
        for order in orders.split(' ').filter_map(|order| order.parse::<i32>().ok()) {
            // SAFETY: the signal is sent to this process alone.
            unsafe { libc::raise(order) };
            eprintln!("asked {}", asked.load(Relaxed) && requested().load(Relaxed));
        }
        end_by_signal();
        eprintln!("goes on");
    }

    /// The first signal asks; a second Ctrl-C ends at once, other signals may come twice. The process then ends as the
    /// signal would have ended it, or after SIGUSR1 with the status that says that work is left.
    #[cfg(unix)]
    #[test]
    fn signals_ask_first_and_callers_see_which_it_was() {
        use std::{os::unix::process::ExitStatusExt as _, process::Command};
        let (int, term, user) = (libc::SIGINT, libc::SIGTERM, libc::SIGUSR1);
        for (orders, asked, signal, code) in [
            (format!("{int}"), 1, Some(int), None),
            (format!("{int} {int} {int}"), 1, Some(int), None),
            (format!("{term}"), 1, Some(term), None),
            (format!("{term} {term}"), 2, Some(term), None),
            (format!("{user}"), 1, None, Some(75)),
            (format!("{user} {user}"), 2, None, Some(75)),
            ("none".to_owned(), 0, None, Some(0)),
        ] {
            let output = Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "support::stop::tests::process_of_the_next_test",
                    "--nocapture",
                    "--test-threads=1",
                ])
                .env("SKEWBENCH_TEST_SIGNALS", &orders)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(said.matches("asked true").count(), asked, "{orders}: {said}");
            assert!(!said.contains("asked false"), "{orders}: {said}");
            assert_eq!((output.status.signal(), output.status.code()), (signal, code), "{orders}: {said}");
            assert_eq!(said.contains("goes on"), code == Some(0), "{orders}: {said}");
        }
        // A shell's background job ignores Ctrl-C, and so does this program there.
        let output = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "support::stop::tests::process_of_the_next_test",
                "--nocapture",
                "--test-threads=1",
            ])
            .env("SKEWBENCH_TEST_SIGNALS", format!("ignored {int} {int}"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((said.matches("asked false").count(), output.status.code()), (2, Some(0)), "{said}");
        assert!(said.contains("goes on"), "{said}");
    }
}
