//! The progress of a cell that a process writes into the cell's lock: written by `reproduce`, read by `status`.

use std::collections::BTreeMap;

/// The progress of a cell.
#[derive(Clone, Debug, Default)]
pub struct Pulse {
    pub process: u32,
    /// `training`, `features`, `probe` or `label-free`.
    pub stage: String,
    /// Completed epochs; the next field is the number of all.
    pub epoch: usize,
    pub epochs: usize,
    /// Completed steps of the current epoch; the next field is the number of all.
    pub step: usize,
    pub steps: usize,
    pub loss: Option<f64>,
    pub rankme: Option<f64>,
    pub images_per_second: f64,
    /// Seconds until training ends.
    pub seconds_left: f64,
    /// When this was written, seconds since 1970.
    pub unix: u64,
}

impl Pulse {
    /// Formats it, one `name = value` per line.
    pub fn text(&self) -> String {
        let Self {
            process, stage, epoch, epochs, step, steps, images_per_second, seconds_left, unix, ..
        } = self;
        let mut text = format!(
            "process = {process}\nstage = {stage}\nepoch = {epoch}\nepochs = {epochs}\nstep = {step}\n\
             steps = {steps}\nimages_per_second = {images_per_second:.1}\nseconds_left = {seconds_left:.0}\n\
             unix = {unix}\n"
        );
        for (name, value) in [("loss", self.loss), ("rankme", self.rankme)] {
            if let Some(value) = value {
                text += &format!("{name} = {value}\n");
            }
        }
        text
    }

    /// Reads the result of [`Self::text`]. Missing values, as in a file that is just being written, are zero.
    pub fn read(text: &str) -> Self {
        let values: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once(" = ")).collect();
        let number = |name: &str| values.get(name).and_then(|value| value.parse::<f64>().ok());
        let whole = |name: &str| number(name).unwrap_or(0.0) as usize;
        Self {
            process: whole("process") as u32,
            stage: values.get("stage").copied().unwrap_or("begins").to_owned(),
            epoch: whole("epoch"),
            epochs: whole("epochs"),
            step: whole("step"),
            steps: whole("steps"),
            loss: number("loss"),
            rankme: number("rankme"),
            images_per_second: number("images_per_second").unwrap_or(0.0),
            seconds_left: number("seconds_left").unwrap_or(0.0),
            unix: number("unix").unwrap_or(0.0) as u64,
        }
    }
}

/// Returns the seconds since 1970.
pub fn now() -> f64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0.0, |elapsed| elapsed.as_secs_f64())
}

/// Formats a duration: `3 h 12 min`, `12 min`, `40 s`.
pub fn duration(seconds: f64) -> String {
    let seconds = seconds.max(0.0).round() as u64;
    match (seconds / 3_600, seconds / 60 % 60) {
        (0, 0) => format!("{seconds} s"),
        (0, minutes) if minutes < 10 => format!("{minutes} min {:02} s", seconds % 60),
        (0, minutes) => format!("{minutes} min"),
        (hours, minutes) if hours < 100 => format!("{hours} h {minutes:02} min"),
        (hours, _) => format!("{hours} h, {:.1} days", hours as f64 / 24.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_at_a_glance() {
        let expected = [
            (-3.0, "0 s"),
            (59.4, "59 s"),
            (59.6, "1 min 00 s"),
            (545.0, "9 min 05 s"),
            (3_599.0, "59 min"),
            (3_600.0, "1 h 00 min"),
            // 2 h, 5 min and 7 s.
            (7_507.0, "2 h 05 min"),
            (360_000.0, "100 h, 4.2 days"),
        ];
        for (seconds, text) in expected {
            assert_eq!(duration(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn a_pulse_is_read_as_it_was_written() {
        let pulse = Pulse {
            process: 1,
            stage: "training".to_owned(),
            epoch: 2,
            epochs: 3,
            step: 4,
            steps: 5,
            loss: Some(0.0625),
            rankme: Some(7.5),
            images_per_second: 8.5,
            seconds_left: 9.0,
            unix: 10,
        };
        let read = Pulse::read(&pulse.text());
        assert_eq!(format!("{read:?}"), format!("{pulse:?}"));
        assert_eq!(Pulse::read("").stage, "begins");
    }

    /// Linux gives numbers up to four million, others up to 32 bits.
    #[test]
    fn large_numbers_are_read_back_whole() {
        let pulse = Pulse {
            process: 4_194_303,
            epoch: 70_000,
            epochs: 100_000,
            step: 3_000_000,
            steps: 5_000_000,
            unix: 4_102_444_800,
            ..Pulse::default()
        };
        assert_eq!(format!("{:?}", Pulse::read(&pulse.text())), format!("{pulse:?}"));
        assert_eq!(Pulse::read(&Pulse { process: u32::MAX, ..pulse }.text()).process, u32::MAX);
    }
}
