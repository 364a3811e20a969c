use candle_core::Var;
use rstest::rstest;

use super::*;

/// W_n = sin(0.3 n), 3 x 4; the gradients of the two steps are 0.1 cos(0.2 n) and twice that.
fn weights(name: &str, kind: Role) -> Parameter {
    let values: Vec<f64> = (0..12).map(|n| libm::sin(0.3 * f64::from(n))).collect();
    let variable = Var::from_vec(values, (3, 4), &Device::Cpu).unwrap();
    Parameter { name: name.to_owned(), variable, kind }
}

/// Returns a store whose gradient for each variable is `scale` 0.1 cos(0.2 n), from a linear loss.
fn gradients(parameters: &[Parameter], scale: f64) -> GradStore {
    let slope: Vec<f64> = (0..12).map(|n| scale * 0.1 * libm::cos(0.2 * f64::from(n))).collect();
    let slope = Tensor::from_vec(slope, (3, 4), &Device::Cpu).unwrap();
    let mut loss = Tensor::new(0.0, &Device::Cpu).unwrap();
    for parameter in parameters {
        let slope = slope.to_dtype(parameter.variable.dtype()).unwrap();
        let part = (parameter.variable.as_tensor() * slope).unwrap().sum_all().unwrap();
        loss = (loss + part.to_dtype(DType::F64).unwrap()).unwrap();
    }
    loss.backward().unwrap()
}

fn first_four(parameter: &Parameter) -> Vec<f64> {
    let values = parameter.variable.flatten_all().unwrap().to_dtype(DType::F64).unwrap();
    values.to_vec1().unwrap()[..4].to_vec()
}

fn group(parameters: &[Parameter], learning_rate: f64, weight_decay: f64) -> Group {
    Group::uniform(parameters, learning_rate, weight_decay)
}

fn lars(trust: Trust) -> Rule {
    Rule::Lars { momentum: 0.9, trust }
}

const LIGHTLY: Trust = Trust::SumOfNorms { coefficient: 1e-3, clip: false };
const SOLO: Trust = Trust::SumOfNorms { coefficient: 0.02, clip: true };
const BARLOW: Trust = Trust::NormOfSum { coefficient: 1e-3 };

// LARS: each library's own class, run in float64: lightly 1.6.0 (and solo-learn 9187ea39 without
// clip, which agrees), Barlow Twins 8e8d284c (and MAE), solo-learn with clip. Plain SGD is lightly's
// LARS without decay. AdamW: NumPy 2, from the formula in the documentation of PyTorch.
#[rstest]
#[case::lightly(lars(LIGHTLY), 0.3, 1e-4, [-0.000891615907, 0.294646145660, 0.563820824137, 0.782590449283])]
#[case::barlow_twins(lars(BARLOW), 0.3, 1e-4, [-0.000891920609, 0.294645846950, 0.563820543333, 0.782590197587])]
#[case::solo(lars(SOLO), 0.3, 1e-4, [-0.059202340203, 0.237483470255, 0.510085799566, 0.734426671215])]
#[case::sgd(Rule::Sgd { momentum: 0.9 }, 0.3, 0.0, [-0.117000000000, 0.180852417054, 0.456878337097, 0.686762642683])]
#[case::adamw(Rule::AdamW { beta1: 0.9, beta2: 0.95, epsilon: 1e-8 }, 0.1, 0.05, [-0.195298570981266, 0.097273821943290, 0.363711595109732, 0.580214656100854])]
#[case::adamw_defaults(Rule::ADAMW, 0.3, 0.01, [-0.588654559526241, -0.294904813442265, -0.027394855056623, 0.189979448790441])]
fn two_steps_agree_with_the_libraries(
    #[case] rule: Rule,
    #[case] learning_rate: f64,
    #[case] weight_decay: f64,
    #[case] expected: [f64; 4],
) {
    let parameters = [weights("w", Role::Weight)];
    let group = group(&parameters, learning_rate, weight_decay);
    let mut optimiser = Optimiser::new(rule, vec![group]).unwrap();
    for scale in [1.0, 2.0] {
        optimiser.step(&gradients(&parameters, scale), |base| base).unwrap();
    }
    for (found, expected) in first_four(&parameters[0]).iter().zip(expected) {
        assert!((found - expected).abs() < 1e-10, "{found} is not {expected}");
    }
}

#[test]
fn biases_and_norms_neither_decay_nor_adapt() {
    // Bias and norm must be updated as under plain SGD without decay (value above), the weight as under LARS.
    let parameters = [
        weights("w", Role::Weight),
        weights("b", Role::Bias),
        weights("n", Role::Norm),
        weights("r", Role::Buffer),
    ];
    let groups = Group::by_kind(&parameters, 0.3, 1e-4).to_vec();
    let mut optimiser = Optimiser::new(lars(LIGHTLY), groups).unwrap();
    for scale in [1.0, 2.0] {
        optimiser.step(&gradients(&parameters, scale), |base| base).unwrap();
    }
    assert!((first_four(&parameters[0])[0] - -0.000891615907).abs() < 1e-10);
    for plain in &parameters[1..3] {
        assert!((first_four(plain)[0] - -0.117).abs() < 1e-10, "{}", plain.name);
    }
    assert_eq!(first_four(&parameters[3]), first_four(&weights("r", Role::Buffer)));
}

#[test]
fn clipping_shortens_each_gradient_to_the_bound() {
    // One plain step at rate 1 changes W by the clipped gradient itself.
    let parameters = [weights("w", Role::Weight)];
    let group = Group { clip: Some(0.01), ..group(&parameters, 1.0, 0.0) };
    let mut optimiser = Optimiser::new(Rule::Sgd { momentum: 0.9 }, vec![group]).unwrap();
    let before = first_four(&parameters[0]);
    let length = optimiser.step(&gradients(&parameters, 1.0), |base| base).unwrap();
    let expected = (0..12).map(|n| (0.1 * (0.2 * f64::from(n)).cos()).powi(2)).sum::<f64>().sqrt();
    assert!((length - expected).abs() < 1e-14, "{length} is not {expected}");
    let moved = before[0] - first_four(&parameters[0])[0];
    assert!((moved - 0.1 * 0.01 / (expected + 1e-6)).abs() < 1e-15);
}

#[test]
fn a_restored_optimiser_goes_on_as_if_never_stopped() {
    for rule in [Rule::ADAMW, lars(SOLO)] {
        let (straight, stopped) = ([weights("w", Role::Weight)], [weights("w", Role::Weight)]);
        let new =
            |parameters: &[Parameter]| Optimiser::new(rule, vec![group(parameters, 0.1, 0.05)]).unwrap();
        let (mut first, mut second) = (new(&straight), new(&stopped));
        for scale in [1.0, 2.0] {
            first.step(&gradients(&straight, scale), |base| base).unwrap();
            second.step(&gradients(&stopped, scale), |base| base).unwrap();
        }
        let state: HashMap<_, _> = second.state().unwrap().into_iter().collect();
        // The saved state is a copy: later steps must not change it.
        second.step(&gradients(&stopped, 5.0), |base| base).unwrap();
        stopped[0].variable.set(&straight[0].variable.copy().unwrap()).unwrap();
        let mut third = new(&stopped);
        third.restore(&state).unwrap();
        first.step(&gradients(&straight, 3.0), |base| base / 2.0).unwrap();
        third.step(&gradients(&stopped, 3.0), |base| base / 2.0).unwrap();
        assert_eq!(first_four(&straight[0]), first_four(&stopped[0]), "{rule:?}");
    }
}

#[test]
fn a_bad_gradient_is_named_and_nothing_moves() {
    let parameters = [weights("good", Role::Weight), weights("bad", Role::Weight)];
    let mut optimiser = Optimiser::new(Rule::ADAMW, vec![group(&parameters, 0.1, 0.0)]).unwrap();
    let before = first_four(&parameters[0]);
    let mut step = |store: &GradStore| optimiser.step(store, |base| base).unwrap_err().to_string();

    let mut store = gradients(&parameters, 1.0);
    store.remove(&parameters[1].variable);
    assert!(step(&store).contains("'bad' has no gradient"));
    for value in [f64::NAN, f64::INFINITY] {
        let gradient = Tensor::full(value, (3, 4), &Device::Cpu).unwrap();
        store.insert(&parameters[1].variable, gradient);
        assert!(step(&store).contains("gradient of 'bad' is not finite"));
    }
    store.insert(&parameters[1].variable, Tensor::zeros((3, 3), DType::F64, &Device::Cpu).unwrap());
    assert!(step(&store).contains("[3, 3], expected F64 [3, 4]"));
    assert_eq!(first_four(&parameters[0]), before);
}

#[test]
fn a_frozen_variable_needs_no_gradient_and_keeps_its_state() {
    let parameters = [weights("head", Role::Weight)];
    let mut optimiser = Optimiser::new(Rule::ADAMW, vec![group(&parameters, 0.1, 0.05)]).unwrap();
    let before = first_four(&parameters[0]);
    optimiser.step_all_but(|name| name == "head", &gradients(&[], 1.0), |base| base).unwrap();
    assert_eq!(first_four(&parameters[0]), before);
    optimiser.step(&gradients(&parameters, 1.0), |base| base).unwrap();
    // The first AdamW update has the length of one learning rate, whenever it comes.
    assert!((first_four(&parameters[0])[0] - (before[0] * 0.995 - 0.1)).abs() < 1e-7);
}

#[test]
fn names_must_tell_variables_apart() {
    let twice = [weights("w", Role::Weight), weights("w", Role::Weight)];
    let error = Optimiser::new(Rule::ADAMW, vec![group(&twice, 0.1, 0.0)]).err().unwrap();
    assert!(error.to_string().contains("two variables are called 'w'"));
    // The state of an optimiser is saved by name, so groups share no name either.
    let groups = vec![group(&twice[..1], 0.1, 0.0), group(&twice[1..], 0.2, 0.0)];
    let error = Optimiser::new(Rule::ADAMW, groups).err().unwrap();
    assert!(error.to_string().contains("two variables are called 'w'"), "{error}");
    let mut optimiser = Optimiser::new(Rule::ADAMW, vec![group(&twice[..1], 0.1, 0.0)]).unwrap();
    let error = optimiser.restore(&HashMap::new()).unwrap_err();
    assert!(error.to_string().contains("no state named 'w.first_moment'"));
}

/// Under every rule, a clipped gradient has the effect of a gradient that has the clipped length.
#[test]
fn every_rule_takes_the_clipped_gradient() {
    let length = (0..12).map(|n| (0.1 * (0.2 * f64::from(n)).cos()).powi(2)).sum::<f64>().sqrt();
    let rules = [Rule::Sgd { momentum: 0.9 }, Rule::ADAMW, lars(LIGHTLY), lars(SOLO), lars(BARLOW)];
    for rule in rules {
        // The second gradient is five times as long as the bound; the first is shorter, so it is unchanged.
        let (bound, scales) = (3.0 * length, [2.0, 15.0]);
        let moved = |clip: Option<f64>| {
            let parameters = [weights("w", Role::Weight)];
            let group = Group { clip, ..group(&parameters, 0.3, 0.05) };
            let mut optimiser = Optimiser::new(rule, vec![group]).unwrap();
            for scale in scales {
                // The factor of clipping, with the 1e-6 of PyTorch's.
                let left = (bound / (scale * length + 1e-6)).min(1.0);
                let scale = if clip.is_some() { scale } else { scale * left };
                optimiser.step(&gradients(&parameters, scale), |base| base).unwrap();
            }
            first_four(&parameters[0])
        };
        for (clipped, shorter) in moved(Some(bound)).into_iter().zip(moved(None)) {
            assert!((clipped - shorter).abs() < 1e-12, "{rule:?}: {clipped}, {shorter}");
        }
    }
}
/// If the weights are zero, there is no ratio, and steps are plain. `SumOfNorms` has no ratio for a zero gradient,
/// either, and then leaves out decay; `NormOfSum` has one, since decay remains.
#[test]
fn the_trust_ratio_of_zeros_is_one() {
    let moved = |trust: Trust, weight: f64, slope: f64| {
        let variable = Var::new(&[[weight; 4]; 3], &Device::Cpu).unwrap();
        let parameters = [Parameter { name: "w".to_owned(), variable, kind: Role::Weight }];
        let group = group(&parameters, 0.5, 0.25);
        let mut optimiser = Optimiser::new(lars(trust), vec![group]).unwrap();
        let mut store = gradients(&parameters, 1.0);
        store.insert(&parameters[0].variable, Tensor::full(slope, (3, 4), &Device::Cpu).unwrap());
        optimiser.step(&store, |base| base).unwrap();
        weight - first_four(&parameters[0])[0]
    };
    for trust in [LIGHTLY, SOLO, BARLOW] {
        // Half of the gradient; decay takes nothing from a weight of zero.
        assert!((moved(trust, 0.0, 0.8) - 0.4).abs() < 1e-15, "{trust:?}");
    }
    for trust in [LIGHTLY, SOLO] {
        assert_eq!(moved(trust, 2.0, 0.0), 0.0, "{trust:?}: nothing without a gradient");
    }
    // |p| / |decay p| is 4: a thousandth of that, times the rate, times the decay, times the weight 2.
    assert!((moved(BARLOW, 2.0, 0.0) - 0.5 * 4e-3 * 0.25 * 2.0).abs() < 1e-15);
}

/// A group may adapt without decay, as the authors' online probe does: its steps have the length of the weights, times
/// the coefficient and the rate, or at most the rate.
#[test]
fn what_does_not_decay_may_adapt() {
    for (trust, expected) in [(LIGHTLY, 1e-3), (BARLOW, 1e-3), (SOLO, 0.02 / 0.3)] {
        let parameters = [weights("w", Role::Weight)];
        let values = |parameter: &Parameter| -> Vec<f64> {
            parameter.variable.flatten_all().unwrap().to_vec1().unwrap()
        };
        let before = values(&parameters[0]);
        let length = |values: &[f64]| values.iter().map(|x| x * x).sum::<f64>().sqrt();
        let mut optimiser = Optimiser::new(lars(trust), vec![group(&parameters, 0.3, 0.0)]).unwrap();
        // So steep that the ratio is below the rate.
        optimiser.step(&gradients(&parameters, 50.0), |base| base).unwrap();
        let moved: Vec<f64> =
            before.iter().zip(values(&parameters[0])).map(|(before, after)| before - after).collect();
        let ratio = length(&moved) / length(&before) / 0.3;
        assert!((ratio / expected - 1.0).abs() < 1e-6, "{trust:?}: {ratio}, expected {expected}");
    }
}

#[test]
fn the_length_is_that_of_all_gradients_that_are_not_frozen() {
    let parameters = [weights("w", Role::Weight), weights("v", Role::Weight), weights("b", Role::Bias)];
    let groups = Group::by_kind(&parameters, 0.1, 0.0).to_vec();
    let mut optimiser = Optimiser::new(Rule::ADAMW, groups).unwrap();
    let one = (0..12).map(|n| (0.1 * (0.2 * f64::from(n)).cos()).powi(2)).sum::<f64>();
    let store = gradients(&parameters, 1.0);
    let all = optimiser.step(&store, |base| base).unwrap();
    assert!((all - (3.0 * one).sqrt()).abs() < 1e-14, "{all}");
    let before = first_four(&parameters[1]);
    let two = optimiser.step_all_but(|name| name == "v", &store, |base| base).unwrap();
    assert!((two - (2.0 * one).sqrt()).abs() < 1e-14, "{two}");
    assert_eq!(first_four(&parameters[1]), before);
}

#[test]
fn groups_have_their_own_rates_and_are_told_the_time() {
    let parameters = [weights("fast", Role::Weight), weights("slow", Role::Weight)];
    let groups = vec![group(&parameters[..1], 1.0, 0.0), group(&parameters[1..], 0.5, 0.0)];
    let mut optimiser = Optimiser::new(Rule::Sgd { momentum: 0.0 }, groups).unwrap();
    let before = parameters.each_ref().map(first_four);
    optimiser.step(&gradients(&parameters, 1.0), |base| 0.1 * base).unwrap();
    // The first slope is 0.1.
    for ((parameter, before), moved) in parameters.iter().zip(before).zip([0.01, 0.005]) {
        assert!((before[0] - first_four(parameter)[0] - moved).abs() < 1e-15, "{}", parameter.name);
    }
}

#[test]
fn what_cannot_be_optimised_is_refused() {
    let buffer = [weights("running", Role::Buffer)];
    let held = Group { parameters: buffer.to_vec(), ..group(&[], 0.1, 0.0) };
    let error = Optimiser::new(Rule::ADAMW, vec![held]).err().unwrap().to_string();
    assert_eq!(error, "optimiser: 'running' is a buffer, expected what is trained");
    // A state of another shape.
    let parameters = [weights("w", Role::Weight)];
    let mut optimiser = Optimiser::new(Rule::ADAMW, vec![group(&parameters, 0.1, 0.0)]).unwrap();
    let mut state: HashMap<_, _> = optimiser.state().unwrap().into_iter().collect();
    state.insert("w.second_moment".to_owned(), Tensor::zeros((4, 3), DType::F64, &Device::Cpu).unwrap());
    let error = optimiser.restore(&state).unwrap_err().to_string();
    assert!(error.contains("state 'w.second_moment' has shape [4, 3], expected [3, 4]"), "{error}");
    // A gradient of another type.
    let mut store = gradients(&parameters, 1.0);
    store.insert(&parameters[0].variable, Tensor::zeros((3, 4), DType::F32, &Device::Cpu).unwrap());
    let error = optimiser.step(&store, |base| base).unwrap_err().to_string();
    assert!(error.contains("gradient of 'w' is F32 [3, 4], expected F64 [3, 4]"), "{error}");
}

/// Variables of two groups that have been updated three times, twice and once.
#[test]
fn every_variable_gets_its_own_state_back() {
    let parameters = [weights("w", Role::Weight), weights("b", Role::Bias), weights("v", Role::Weight)];
    let new = || Optimiser::new(Rule::ADAMW, Group::by_kind(&parameters, 0.1, 0.05).to_vec()).unwrap();
    let mut optimiser = new();
    let frozen: [&[&str]; 3] = [&["v", "b"], &["b"], &[]];
    for (frozen, scale) in frozen.into_iter().zip([1.0, 2.0, 4.0]) {
        let store = gradients(&parameters, scale);
        optimiser.step_all_but(|name| frozen.contains(&name), &store, |base| base).unwrap();
    }
    let state: HashMap<String, Tensor> = optimiser.state().unwrap().into_iter().collect();
    // The first moment takes a tenth of each gradient and keeps nine tenths; slopes begin with 0.1.
    let moments = [("w", 3, 0.81 + 2.0 * 0.9 + 4.0), ("v", 2, 2.0 * 0.9 + 4.0), ("b", 1, 4.0)];
    let read = |state: &HashMap<String, Tensor>, name: &str| {
        let moment = state[&format!("{name}.first_moment")].flatten_all().unwrap().to_vec1::<f64>().unwrap();
        (state[&format!("{name}.updates")].to_scalar::<u32>().unwrap(), moment)
    };
    let mut restored = new();
    restored.restore(&state).unwrap();
    let again: HashMap<String, Tensor> = restored.state().unwrap().into_iter().collect();
    assert_eq!((state.len(), again.len()), (9, 9));
    for (name, updates, moment) in moments {
        let found = read(&state, name);
        assert_eq!(found.0, updates, "{name}");
        assert!((found.1[0] - 0.01 * moment).abs() < 1e-12, "{name}: {found:?}");
        assert_eq!(read(&again, name), found, "{name}");
    }
}
