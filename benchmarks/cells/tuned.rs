//! The numbers of the `short` recipe agree with the committed trials.

use std::path::{Path, PathBuf};

use skewbench::{
    analysis::reading,
    experiment::{
        Recipe,
        recipe::{Name, search},
    },
    report,
    results::Folder,
};

const TRIALS: &str = "results/2026-11-29-small-tuning";

fn committed(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)
}

#[test]
fn the_short_recipe_is_what_the_committed_trials_chose() {
    let tuning = Folder::open(&committed(TRIALS)).unwrap().tuning().unwrap();
    assert_eq!(tuning.pairs.len(), 11);
    for pair in tuning.pairs {
        let (method, backbone) = (pair.method.parse().unwrap(), pair.backbone.parse().unwrap());
        let means = pair.trials.iter().filter_map(|trial| Some((pair.mean(trial.trial)?, trial)));
        let (_, best) = means.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
        assert_eq!(best.trial, pair.chosen, "{method} {backbone}");
        let recipe = Recipe::for_method(Name::Short, method, backbone);
        let point = search::point(method, backbone, 0);
        assert_eq!(
            (recipe.learning_rate, recipe.weight_decay, recipe.augmentation.id(), point.constant),
            (best.learning_rate, best.weight_decay, best.views.as_str(), best.constant),
            "{method} {backbone}"
        );
        // Trials are drawn by their number: the committed ones are those that would be drawn again.
        for trial in pair.trials.iter().filter(|trial| trial.trial > 0) {
            let point = search::point(method, backbone, trial.trial);
            assert_eq!(
                (point.learning_rate, point.weight_decay, point.augmentation.id(), point.constant),
                (trial.learning_rate, trial.weight_decay, trial.views.as_str(), trial.constant),
                "{method} {backbone}, trial {}",
                trial.trial
            );
        }
    }
}

#[test]
fn a_page_shows_a_study_and_not_the_trials_beside_it() {
    let [study, trials] = ["results/2026-11-25-small-45-percent", TRIALS].map(committed);
    let both = reading::read(&[study.clone(), trials.clone()]);
    let setting = report::main_setting(&both);
    let shown = both.records.iter().filter(|filed| Some(&filed.setting) == setting.as_ref());
    assert_eq!(shown.count(), reading::read(&[study]).records.len(), "{setting:?}");
    let largest = &both.frame.settings()[0].0;
    assert_ne!(Some(largest), setting.as_ref(), "the trials are the larger part here");
    assert_eq!(report::main_setting(&reading::read(&[trials])), None);
}
