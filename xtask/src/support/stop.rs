//! Ctrl-C and its kin while cells are trained: the cell in training keeps its state, and the program ends. A second
//! Ctrl-C ends it at once.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};

/// Exit status where nothing went wrong and the same command goes on: `EX_TEMPFAIL` of sysexits.h.
pub const AGAIN: u8 = 75;

/// The end of a process that was asked to stop.
#[derive(Debug)]
pub struct Halt {
    /// What became of the cell in training; empty where none was.
    pub last: String,
    /// Cells that are finished, and all.
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

/// What signals say.
struct Signals {
    asked: Arc<AtomicBool>,
    which: Arc<AtomicUsize>,
}

static SIGNALS: OnceLock<Signals> = OnceLock::new();

/// True once somebody asked this process to stop: by SIGINT (Ctrl-C), SIGTERM, or SIGUSR1, which batch systems send before
/// a time limit. From the first call on these do not end the process any more.
pub fn asked() -> Arc<AtomicBool> {
    let signals = SIGNALS.get_or_init(|| {
        let signals = Signals { asked: Arc::default(), which: Arc::default() };
        #[cfg(unix)]
        signals.listen();
        signals
    });
    signals.asked.clone()
}

/// Ends the process as the signal that asked for it would have, or with [`AGAIN`] after SIGUSR1, of which callers know
/// that work is left. Comes back where no signal did.
pub fn end() {
    #[cfg(unix)]
    if let Some(which) = SIGNALS.get().map(|signals| signals.which.load(Relaxed)).filter(|which| *which > 0) {
        let which = which as i32;
        if which == signal_hook::consts::SIGUSR1 {
            std::process::exit(AGAIN.into());
        }
        // Callers such as shells see what ended it.
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
            // In this order: the first Ctrl-C finds the flag unset. The others may come twice without anybody's impatience,
            // as to a shell and to what it runs. Without a handler a signal ends the process as ever, and a cell
            // loses what it did since its last state.
            if signal == SIGINT {
                let _ = flag::register_conditional_default(signal, self.asked.clone());
            }
            let _ = flag::register_usize(signal, self.which.clone(), signal as usize)
                .and_then(|_| flag::register(signal, self.asked.clone()));
        }
    }
}

/// Whether whoever started this process wants it not to hear a signal, as shells do of jobs in the background.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    // SAFETY: a zeroed `sigaction` is one, and without a new action the call only writes the present one to it.
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
}
