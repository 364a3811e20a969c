//! The progress display of a run: two bars on a terminal, plain lines elsewhere.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{
    FormattedDuration, HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState,
    ProgressStyle,
};
use skewbench::{
    data::foreign,
    experiment::Event,
    results::{Classifier, Metric, Record},
    train::Progress,
};

use crate::support::table;

/// Progress of all cells and of the current one.
pub struct Display {
    all: ProgressBar,
    cell: ProgressBar,
    bars: MultiProgress,
    terminal: bool,
    begun: Instant,
    /// When a plain line was last written.
    spoken: Instant,
    title: String,
    /// Epochs of the current cell.
    epochs: usize,
}

impl Display {
    /// Minimum time between two plain lines.
    const PLAIN_EVERY: Duration = Duration::from_secs(20);

    pub fn new(passes: u64) -> Self {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let style = |template| ProgressStyle::with_template(template).expect("the template is a literal");
        let pace = |state: &ProgressState, text: &mut dyn std::fmt::Write| {
            // A progress bar that cannot be written is not an error.
            let _ = write!(text, "{:.0} images/s", state.per_sec());
        };
        let left = |state: &ProgressState, text: &mut dyn std::fmt::Write| {
            let _ = match time_left(state.pos(), state.len().unwrap_or(0), state.elapsed()) {
                Some(left) => write!(text, ", {} left", FormattedDuration(left)),
                None => Ok(()),
            };
        };
        let all = style("all cells  {wide_bar} {percent:>3} %  {pace}  {elapsed_precise}{left}");
        let all = all.with_key("pace", pace).with_key("left", left);
        let all = bars.add(ProgressBar::new(passes)).with_style(all);
        let cell = bars
            .add(ProgressBar::new(1))
            .with_style(style("{prefix}\n           {wide_bar} {percent:>3} %  {msg}"));
        let now = Instant::now();
        let terminal = std::io::stderr().is_terminal();
        Self { all, cell, bars, terminal, begun: now, spoken: now, title: String::new(), epochs: 0 }
    }

    pub fn skip(&mut self, title: &str, passes: usize) {
        // Finished work must not count towards the rate.
        self.all.set_length(self.all.length().unwrap_or(0).saturating_sub(passes as u64));
        self.line(&format!("{title}: finished earlier"));
    }

    /// Starts a cell. `next`: the cell after it, named if there is room. `passes`: image passes of the cell, in
    /// `epochs`.
    pub fn begin(&mut self, title: &str, next: Option<&str>, passes: usize, epochs: usize) {
        /// Width of a plain terminal.
        const COLUMNS: usize = 80;
        self.title = title.to_owned();
        self.epochs = epochs;
        self.begun = Instant::now();
        self.cell.reset();
        self.cell.set_length(passes as u64);
        let next = next.and_then(short_name).map_or_else(String::new, |name| format!("  (next: {name})"));
        let fits = title.chars().count() + next.chars().count() < COLUMNS;
        self.cell.set_prefix(if fits { format!("{title}{next}") } else { title.to_owned() });
    }

    pub fn show(&mut self, event: &Event) {
        match event {
            Event::Stage(stage) => self.cell.set_message(*stage),
            Event::Training(Progress::Step { epoch, images, loss, .. }) => {
                self.all.inc(*images as u64);
                self.cell.inc(*images as u64);
                let rate = self.rate();
                let message =
                    format!("epoch {} of {}, loss {loss:.4}, {rate:.0} images/s", epoch + 1, self.epochs);
                self.cell.set_message(message);
            }
            Event::Resumed { epoch, step, images } => {
                // Done earlier: it must not count towards the rate.
                self.all.set_length(self.all.length().unwrap_or(0).saturating_sub(*images as u64));
                self.cell.set_length(self.cell.length().unwrap_or(0).saturating_sub(*images as u64));
                self.line(&format!("{}: resumes after {epoch} epochs and {step} steps", self.title));
            }
            Event::Note(text) => self.line(&format!("{}: {text}", self.title)),
            Event::Training(Progress::Part(_)) => {}
            Event::Training(Progress::Epoch { epoch, .. }) => {
                if !self.terminal && self.spoken.elapsed() >= Self::PLAIN_EVERY {
                    self.spoken = Instant::now();
                    let (done, length) = (self.all.position(), self.all.length().unwrap_or(0));
                    let left = time_left(done, length, self.all.elapsed()).map_or_else(String::new, |left| {
                        format!("; about {:#} left in all", HumanDuration(left))
                    });
                    eprintln!(
                        "{}: epoch {} of {} done, loss {:.4}, {:.0} images/s{left}",
                        self.title,
                        epoch.epoch + 1,
                        self.epochs,
                        epoch.loss,
                        self.rate()
                    );
                }
            }
        }
    }

    /// Returns source images per second in the current cell.
    pub fn rate(&self) -> f64 {
        self.cell.position() as f64 / self.begun.elapsed().as_secs_f64().max(1e-9)
    }

    /// Returns the remaining source images of the current cell.
    pub fn left(&self) -> u64 {
        self.cell.length().unwrap_or(0).saturating_sub(self.cell.position())
    }

    pub fn end(&mut self, title: &str, record: &Record) {
        let score = |classifier, metric| table::all_images(record, classifier, metric).unwrap_or(f64::NAN);
        let auroc = score(Classifier::Converged, Metric::Auroc);
        let f1 = score(Classifier::InTraining, Metric::F1);
        let in_training = if f1.is_nan() { String::new() } else { format!(", F1 in training {f1:.3}") };
        let cost = &record.cost;
        let seconds = cost.train_seconds + cost.evaluate_seconds;
        let pace = match record.curve.is_empty() {
            true => String::new(),
            false => format!(", {:.0} images/s", cost.images_per_second),
        };
        self.line(&format!("{title}: AUROC of the probe {auroc:.3}{in_training}; {seconds:.0} s{pace}"));
    }

    pub fn close(&mut self) {
        self.cell.finish_and_clear();
        self.all.finish_and_clear();
    }

    pub fn line(&mut self, text: &str) {
        let text = &*foreign::escape_message(text);
        if self.terminal {
            // A bar may have been closed already; then there is nothing to write above.
            let _ = self.bars.println(text);
        } else {
            self.spoken = Instant::now();
            eprintln!("{text}");
        }
    }
}

/// Returns the time that the rest of `length` image passes takes at the mean pace so far (`done` in `elapsed`), the
/// evaluation of finished cells included; nothing before the first pass.
///
/// A smoothed pace, as `ProgressBar::eta` has it, swings by hours between training and evaluation, and a machine that
/// slept for a night would be told of thousands of years.
fn time_left(done: u64, length: u64, elapsed: Duration) -> Option<Duration> {
    let left = length.saturating_sub(done) as f64;
    (done > 0).then(|| Duration::from_secs_f64((elapsed.as_secs_f64() * (left / done as f64)).min(1e10)))
}

/// Returns the method of the cell called `id`; of a baseline, which has none, its study.
fn short_name(id: &str) -> Option<&str> {
    let (study, rest) = id.split_once('/')?;
    let method = rest.split('-').next()?;
    Some(if method == "none" { study } else { method })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Work of earlier processes counts neither as done nor as remaining.
    #[test]
    fn bars_count_what_is_done_here() {
        let mut display = Display::new(1_000);
        display.skip("[1/3] a", 300);
        assert_eq!(display.all.length(), Some(700));
        display.begin("[2/3] b", Some("table1/simclr-resnet18-share05-seed0"), 400, 5);
        assert_eq!((display.cell.prefix(), display.epochs), ("[2/3] b  (next: simclr)".to_owned(), 5));
        assert_eq!((display.cell.length(), display.left()), (Some(400), 400));
        display.show(&Event::Resumed { epoch: 1, step: 0, images: 100 });
        assert_eq!((display.all.length(), display.left()), (Some(600), 300));
        let state = no_state;
        let (epoch, step, steps, images, loss) = (1, 1, 3, 50, 0.5);
        display.show(&Event::Training(Progress::Step { epoch, step, steps, images, loss, state: &state }));
        assert_eq!((display.all.position(), display.cell.position(), display.left()), (50, 50, 250));
        assert!(display.rate() > 0.0);
        let message = display.cell.message();
        let parts: Vec<&str> = message.split(", ").collect();
        assert_eq!(parts[..2], ["epoch 2 of 5", "loss 0.5000"], "the first is 1");
        assert!(parts[2].ends_with(" images/s") && parts.len() == 3, "{message}");
        display.show(&Event::Stage("probe"));
        assert_eq!(display.cell.message(), "probe");
        display.begin("[3/3] c", None, 300, 5);
        assert_eq!((display.all.position(), display.cell.position(), display.left()), (50, 0, 300));
    }

    /// The current cell trained on fifty images in ten seconds.
    #[test]
    fn the_rate_is_that_of_the_present_cell() {
        let mut display = Display::new(1_000);
        display.begin("[1/1] a", None, 400, 5);
        display.cell.inc(50);
        display.begun = Instant::now().checked_sub(Duration::from_secs(10)).unwrap();
        assert!((4.0..=5.0).contains(&display.rate()), "{}", display.rate());
        assert_eq!(display.left(), 350);
    }

    /// A display that writes plain lines.
    fn plain(title: &str) -> Display {
        let mut display = Display::new(1_000);
        display.terminal = false;
        display.begin(title, None, 400, 5);
        display
    }

    #[test]
    fn a_cell_ends_with_its_scores_and_its_time() {
        use crate::support::{committed, print::captured};
        let mut record = committed::scored();
        let cost = &mut record.cost;
        (cost.train_seconds, cost.evaluate_seconds, cost.images_per_second) = (100.0, 20.4, 33.4);
        let mut display = plain("x");
        let told = captured::errors(|| display.end("[1/2] a", &record));
        assert_eq!(told, "[1/2] a: AUROC of the probe 0.875, F1 in training 0.500; 120 s, 33 images/s\n");
        // Floors are not trained.
        record.curve.clear();
        record.scores.retain(|score| score.classifier == "converged");
        let told = captured::errors(|| display.end("[2/2] b", &record));
        assert_eq!(told, "[2/2] b: AUROC of the probe 0.875; 120 s\n");
    }

    fn no_state() -> anyhow::Result<skewbench::train::checkpoint::State> {
        anyhow::bail!("not asked for")
    }

    /// The second epoch of a cell.
    fn epoch() -> skewbench::train::Epoch {
        skewbench::train::Epoch {
            epoch: 1,
            loss: 0.25,
            probe_loss: Some(0.75),
            learning_rate: 0.1,
            images: 10,
            monitors: Default::default(),
        }
    }

    #[test]
    fn epochs_are_told_now_and_then_and_notes_at_once() {
        use crate::support::print::captured;
        let mut display = plain("[2/3] b");
        let epoch = epoch();
        let event = Event::Training(Progress::Epoch { epoch: &epoch, state: &no_state });
        assert_eq!(captured::errors(|| display.show(&event)), "", "something was said just now");
        display.spoken = Instant::now().checked_sub(Display::PLAIN_EVERY).unwrap();
        let told = captured::errors(|| display.show(&event));
        assert_eq!(told, "[2/3] b: epoch 2 of 5 done, loss 0.2500, 0 images/s\n", "no pace, no time left");
        assert_eq!(captured::errors(|| display.show(&event)), "", "once in twenty seconds");
        let told = captured::errors(|| {
            display.show(&Event::Resumed { epoch: 3, step: 4, images: 100 });
            display.show(&Event::Note("so it is"));
            display.skip("[3/3] c", 50);
        });
        let expected =
            "[2/3] b: resumes after 3 epochs and 4 steps\n[2/3] b: so it is\n[3/3] c: finished earlier\n";
        assert_eq!(told, expected);
    }

    /// 50 of 950 passes took ten minutes: the other 900 take three hours.
    #[test]
    fn the_time_left_follows_from_the_mean_pace() {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        assert_eq!(time_left(50, 950, minutes(10)), Some(minutes(180)));
        assert_eq!(time_left(950, 950, minutes(10)), Some(Duration::ZERO));
        assert_eq!(time_left(951, 950, minutes(10)), Some(Duration::ZERO), "more than was announced");
        assert_eq!(time_left(0, 950, minutes(10)), None);
        assert!(time_left(1, u64::MAX, Duration::MAX).is_some(), "no overflow");

        use crate::support::print::captured;
        let mut display = plain("[2/3] b");
        display.all = ProgressBar::hidden().with_elapsed(minutes(10)).with_position(50);
        display.all.set_length(950);
        display.spoken = Instant::now().checked_sub(Display::PLAIN_EVERY).unwrap();
        let told = captured::errors(|| {
            display.show(&Event::Training(Progress::Epoch { epoch: &epoch(), state: &no_state }))
        });
        assert_eq!(told, "[2/3] b: epoch 2 of 5 done, loss 0.2500, 0 images/s; about 3h left in all\n");
    }

    /// The prefix has at most eighty columns: the title, followed by the next cell if that fits.
    #[test]
    fn what_comes_next_is_named_if_there_is_room() {
        let mut display = Display::new(1_000);
        display.begin("a", Some("random_weights/none-vit_tiny-share45-seed0"), 1, 1);
        assert_eq!(display.cell.prefix(), "a  (next: random_weights)");
        let next = "  (next: mae)";
        for (letters, fits) in [(79 - next.len(), true), (80 - next.len(), false)] {
            let title = "x".repeat(letters);
            display.begin(&title, Some("extension/mae-vit_tiny-natural-seed0"), 1, 1);
            assert_eq!(
                display.cell.prefix(),
                if fits { format!("{title}{next}") } else { title },
                "{letters}"
            );
        }
    }

    /// Names of files may contain orders for a terminal, which a log must not keep.
    #[test]
    fn plain_lines_show_control_characters_and_obey_none() {
        use crate::support::print::captured;
        let mut display = plain("x");
        let told = captured::errors(|| display.line("a\u{1b}[2Jb\r.png: torn"));
        assert!(told.contains("\\u{1b}[2Jb\\r.png: torn"), "{told:?}");
        assert!(!told.contains(|letter: char| letter.is_control() && letter != '\n'), "{told:?}");
    }
}
