//! Checks every operation at every shape of `checks::operations` on the CPU: values and gradients equal the plain
//! twin's in double, single and mixed precision, and gradients equal central finite differences.

use std::collections::BTreeMap;

use checks::{compare::compare, inputs::Precision, operations};
use skewbench::candle_core::Device;

use crate::check::on_one_thread;

/// Compares all cases with their twins, and prints the largest difference by operation.
fn assert_twins_agree(precision: Precision) {
    on_one_thread();
    let (mut wrong, mut furthest) = (Vec::new(), BTreeMap::<&str, f64>::new());
    for case in operations::cases() {
        let compared = case.compute(precision, &Device::Cpu).and_then(|found| {
            compare(&found.results, &case.expected(precision)?.results, case.bound(precision))
        });
        match compared.map(|compared| (compared.apart, compared.first)) {
            Ok((apart, None)) => {
                let furthest = furthest.entry(case.operation).or_default();
                *furthest = furthest.max(apart);
            }
            Ok((_, Some(first))) => wrong.push(format!("{}: {first}", case.name())),
            Err(error) => wrong.push(format!("{}: {error:#}", case.name())),
        }
    }
    for (operation, apart) in furthest {
        println!("{} {operation}: at most {apart:.1e} from the twin", precision.id());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn double_precision_is_the_twins() {
    assert_twins_agree(Precision::Double);
}

#[test]
fn single_precision_is_near_the_twins() {
    assert_twins_agree(Precision::Single);
}

#[test]
fn mixed_precision_is_near_the_twins() {
    assert_twins_agree(Precision::Mixed);
}

#[test]
fn gradients_are_finite_differences() {
    on_one_thread();
    let cases = operations::cases();
    let with_differences = cases.iter().filter(|case| case.has_differences());
    let mut count = 0;
    for case in with_differences {
        println!("{}", case.name());
        case.assert_differences().unwrap();
        count += 1;
    }
    assert!(count > 150, "differences of {count} cases");
}
