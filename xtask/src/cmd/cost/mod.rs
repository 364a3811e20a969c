//! `cargo xtask cost`: estimates the cost of the paper's grid.

mod grid;
mod rates;
mod text;

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use skewbench::durable;

use self::{grid::Grid, rates::Rates};
use crate::support::program;

/// Write what the paper's grid costs, from measured rates that are stored in results/
///
/// Trains nothing. Hours are those of two CPU cores, whose rates were measured; for a GPU the document has a
/// formula and uses a rate that you give, because none has been measured yet.
#[derive(clap::Args)]
pub struct Arguments {
    /// Images per second that a GPU trains on: adds its hours
    #[arg(long, value_name = "IMAGES/S")]
    gpu_rate: Option<f64>,

    /// Price of an hour of that GPU, in any currency
    #[arg(long, value_name = "PRICE", requires = "gpu_rate")]
    gpu_price: Option<f64>,

    /// Price of an hour of two CPU cores, in any currency
    #[arg(long, value_name = "PRICE")]
    price: Option<f64>,

    /// The document [default: results/COST.md if no rate or price is given, otherwise the terminal]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// The rates and prices that the user gives.
#[derive(Clone, Copy, Default)]
pub struct UserRates {
    pub gpu_rate: Option<f64>,
    pub gpu_price: Option<f64>,
    pub price: Option<f64>,
}

/// Path of the committed document in the checkout.
const DOCUMENT: &str = "results/COST.md";

pub fn run(arguments: &Arguments) -> Result<()> {
    let &Arguments { gpu_rate, gpu_price, price, .. } = arguments;
    for (name, value) in [("gpu-rate", gpu_rate), ("gpu-price", gpu_price), ("price", price)] {
        ensure!(
            value.is_none_or(|value| value.is_finite() && value > 0.0),
            "--{name} must be a number above 0, found {}",
            value.unwrap_or_default()
        );
    }
    let checkout = program::checkout()?;
    let text = document(&checkout, UserRates { gpu_rate, gpu_price, price })?;
    match target(arguments, &checkout) {
        Some(out) => {
            durable::write_whole(&out, text.as_bytes())?;
            println!("cost    {}", out.display());
        }
        None => print!("{text}"),
    }
    Ok(())
}

/// Returns the file for the document; `None` for the terminal.
fn target(arguments: &Arguments, checkout: &Path) -> Option<PathBuf> {
    let own = arguments.gpu_rate.is_none() && arguments.price.is_none();
    arguments.out.clone().or_else(|| own.then(|| checkout.join(DOCUMENT)))
}

fn document(checkout: &Path, given: UserRates) -> Result<String> {
    text::render(&Rates::read(checkout)?, &Grid::of_the_paper()?, given)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_what_the_rates_say() {
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let expected = document(&checkout, UserRates::default()).unwrap();
        let found = std::fs::read_to_string(checkout.join(DOCUMENT)).unwrap_or_default();
        assert!(found == expected, "results/COST.md is stale: cargo xtask cost writes it anew");
    }

    #[test]
    fn what_is_given_is_counted() {
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let of = |given| document(&checkout, given).unwrap();
        let given = UserRates { gpu_rate: Some(2_000.0), gpu_price: Some(3.0), price: Some(0.1) };
        let text = of(given);
        assert!(text.contains("the given rate of 2 000 images/s") && text.contains("| price |"), "{text}");
        assert!(!of(UserRates::default()).contains("the given rate"));
    }

    /// Returns hours and prices in the rows of the table after a text, by seeds.
    fn table(text: &str, head: &str) -> Vec<Vec<f64>> {
        let rest = text.split(head).nth(1).unwrap_or_else(|| panic!("no {head}: {text}"));
        let rows = rest.lines().skip(2).take_while(|line| line.starts_with('|'));
        let number = |cell: &str| cell.replace(' ', "").parse::<f64>().ok();
        rows.map(|row| row.split('|').filter_map(number).collect()).collect()
    }

    #[test]
    fn hours_are_passes_over_the_rate_and_prices_are_hours_times_the_price() {
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let (gpu_rate, gpu_price, price) = (500.0, 3.0, 0.5);
        let given = UserRates { gpu_rate: Some(gpu_rate), gpu_price: Some(gpu_price), price: Some(price) };
        let text = document(&checkout, given).unwrap();
        let grid = Grid::of_the_paper().unwrap();
        let hours = (grid.train() + grid.evaluate()) as f64 / gpu_rate / 3_600.0;
        let rows = table(&text, "| seeds | hours | price |");
        assert_eq!(rows.len(), 3, "{rows:?}");
        for (row, seeds) in rows.iter().zip([1.0, 3.0, 10.0]) {
            let expected = [seeds, (seeds * hours).round(), (gpu_price * seeds * hours).round()];
            assert_eq!(row[..], expected);
        }
        let rows = table(&text, "| seeds | cells | image passes in training | hours | years | price |");
        for (row, seeds) in rows.iter().zip([1, 3, 10]) {
            let [found, cells, passes, hours, years, cost] = row[..] else { panic!("{row:?}") };
            assert_eq!((found, cells), (f64::from(seeds), 55.0 * f64::from(seeds)));
            assert_eq!(passes, (grid.train() * seeds as usize) as f64);
            assert!((cost - price * hours).abs() <= 1.0, "{row:?}");
            assert!((years - hours / 8_766.0).abs() < 0.06, "365.25 days: {row:?}");
        }
        assert!(rows.len() == 3 && (rows[1][3] / rows[0][3] - 3.0).abs() < 1e-4, "{rows:?}");
    }

    /// The committed document contains no prices: a document with the user's prices goes to the terminal, or to
    /// --out.
    #[test]
    fn prices_do_not_go_into_the_committed_document() {
        let of = |gpu_rate, price, out: Option<&str>| {
            let arguments = Arguments { gpu_rate, gpu_price: None, price, out: out.map(PathBuf::from) };
            target(&arguments, Path::new("/checkout"))
        };
        assert_eq!(of(None, None, None), Some("/checkout/results/COST.md".into()));
        assert_eq!([of(None, Some(0.5), None), of(Some(100.0), None, None)], [None, None]);
        assert_eq!(of(None, Some(0.5), Some("x.md")), Some("x.md".into()));
        let out = Some("/nowhere/x.md".into());
        for (gpu_rate, price) in [(Some(0.0), None), (None, Some(f64::NAN))] {
            let arguments = Arguments { gpu_rate, gpu_price: None, price, out: out.clone() };
            let error = run(&arguments).unwrap_err().to_string();
            assert!(error.contains("must be a number above 0"), "{error}");
        }
    }

    /// A hundred million images at 500 per second take 200,000 seconds.
    #[test]
    fn many_images_take_as_long_as_the_given_rate_says() {
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let text = document(&checkout, UserRates { gpu_rate: Some(500.0), ..UserRates::default() }).unwrap();
        let many = text.split("## 100 million images").nth(1).unwrap();
        assert!(many.contains("\nAt the given rate of 500 images/s, an epoch takes 56 hours.\n"), "{many}");
        assert!(!text.contains("price |"), "no price was given");
        let priced = document(&checkout, UserRates { price: Some(0.5), ..UserRates::default() }).unwrap();
        assert_eq!(priced.matches(" price |").count(), 1, "of CPUs alone");
    }

    #[test]
    fn what_was_asked_for_is_written_where_it_was_asked_to_be() {
        use crate::support::print::captured;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.md");
        let arguments =
            |out| Arguments { gpu_rate: Some(700.0), gpu_price: Some(9.0), price: Some(0.25), out };
        let told = captured::output(|| run(&arguments(Some(file.clone()))).unwrap());
        assert_eq!(told, format!("cost    {}\n", file.display()));
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let given = UserRates { gpu_rate: Some(700.0), gpu_price: Some(9.0), price: Some(0.25) };
        let expected = document(&checkout, given).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), expected);
        assert_eq!(captured::output(|| run(&arguments(None)).unwrap()), expected, "or to the terminal");
    }

    #[test]
    fn every_rate_and_price_is_a_number_above_0() {
        for (place, name) in ["gpu-rate", "gpu-price", "price"].into_iter().enumerate() {
            for value in [0.0, -1.0, f64::INFINITY, f64::NAN] {
                let mut given = [Some(5.0); 3];
                given[place] = Some(value);
                let [gpu_rate, gpu_price, price] = given;
                let out = Some("/nowhere/x.md".into());
                let error = run(&Arguments { gpu_rate, gpu_price, price, out }).unwrap_err().to_string();
                assert_eq!(error, format!("--{name} must be a number above 0, found {value}"));
            }
        }
    }
}
