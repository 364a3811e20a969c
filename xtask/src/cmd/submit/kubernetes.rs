//! The manifest of an Indexed Job. JSON is valid YAML, so a JSON library writes it.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Arguments;
use crate::support::program::quoted;

/// How often a part is restarted after a node or a container failed. Ours.
const AGAIN: u32 = 20;

/// Prints the manifest.
pub fn print(arguments: &Arguments, words: &[String]) -> Result<()> {
    let (_, out) = super::parse(words)?.arguments.request();
    let image = arguments.image.as_deref().context("--image names the container")?;
    let claim = arguments.claim.as_deref().context("--claim names the volume")?;
    // Whole folder names are compared: `/results-2` does not lie below `/results`.
    ensure!(
        out.starts_with(&arguments.mount),
        "--out must lie below {}, where the claim is mounted",
        arguments.mount
    );
    println!("{}", serde_json::to_string_pretty(&manifest(arguments, words, image, claim))?);
    Ok(())
}

/// Builds the manifest. Each completion index is a part; a part without cells succeeds, because the cells of data
/// elsewhere cannot be counted here. Status 1 comes from the program itself: settings that cannot be trained, or a
/// failed cell; another attempt would end the same way. Any other failure of a pod is retried.
fn manifest(arguments: &Arguments, words: &[String], image: &str, claim: &str) -> Value {
    let tasks = arguments.tasks;
    let line: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    let script = format!("exec skewbench {} --part $((JOB_COMPLETION_INDEX + 1))/{tasks}", line.join(" "));
    let mut container = json!({
        "name": "skewbench",
        "image": image,
        "command": ["/bin/sh", "-c", script],
        "volumeMounts": [{ "name": "results", "mountPath": arguments.mount }],
    });
    if arguments.gpus > 0 {
        container["resources"] = json!({ "limits": { "nvidia.com/gpu": arguments.gpus } });
    }
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": { "name": "skewbench" },
        "spec": {
            "completionMode": "Indexed",
            "completions": tasks,
            "parallelism": arguments.at_once.unwrap_or(tasks),
            "backoffLimitPerIndex": AGAIN,
            "maxFailedIndexes": tasks,
            "podFailurePolicy": { "rules": [
                { "action": "Ignore", "onPodConditions": [{ "type": "DisruptionTarget", "status": "True" }] },
                { "action": "FailIndex", "onExitCodes": { "containerName": "skewbench", "operator": "In", "values": [1, 2] } },
            ] },
            "template": { "spec": {
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 120,
                "containers": [container],
                "volumes": [{ "name": "results", "persistentVolumeClaim": { "claimName": claim } }],
            } },
        },
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Submit {
        #[command(flatten)]
        arguments: Arguments,
    }

    #[test]
    fn parts_are_completion_indices() {
        let arguments = Submit::parse_from([
            "submit",
            "--kubernetes",
            "--image",
            "x:1",
            "--claim",
            "c",
            "--tasks",
            "5",
            "--gpus",
            "2",
            "--",
            "--out",
            "/results/a",
        ])
        .arguments;
        let words = ["reproduce", "--out", "/results/a b"].map(str::to_owned);
        let job = manifest(&arguments, &words, "x:1", "c");
        let spec = &job["spec"];
        assert_eq!((&spec["completions"], &spec["completionMode"]), (&json!(5), &json!("Indexed")));
        let container = &spec["template"]["spec"]["containers"][0];
        assert_eq!(
            container["command"][2],
            "exec skewbench reproduce --out '/results/a b' --part $((JOB_COMPLETION_INDEX + 1))/5"
        );
        assert_eq!(container["resources"]["limits"]["nvidia.com/gpu"], 2);
        let fits = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            print(&arguments, &[&["reproduce".to_owned()][..], &words].concat()).is_ok()
        };
        assert!(fits(&["--out", "/results/a"]) && fits(&["--out=/results/a"]));
        for elsewhere in [&["--out", "/elsewhere"][..], &["--out", "/results-2/a"], &[]] {
            assert!(!fits(elsewhere), "{elsewhere:?}");
        }
    }

    #[test]
    fn the_manifest_has_what_was_asked_for() {
        let of = |more: &[&str]| {
            let own = ["submit", "--kubernetes", "--image", "x:1", "--claim", "c"];
            let flags = [&own[..], more, &["--", "--full"]].concat();
            let arguments = Submit::parse_from(flags).arguments;
            manifest(&arguments, &["reproduce".to_owned()], "x:1", "c")
        };
        let plain = of(&[]);
        let spec = &plain["spec"];
        // By default sixteen tasks, all at once; each is restarted, and none stops the others.
        assert_eq!([&spec["completions"], &spec["parallelism"], &spec["maxFailedIndexes"]], [&json!(16); 3]);
        assert_eq!(spec["backoffLimitPerIndex"], 20);
        let rules = &spec["podFailurePolicy"]["rules"];
        assert_eq!((&rules[0]["action"], &rules[1]["action"]), (&json!("Ignore"), &json!("FailIndex")));
        assert_eq!(rules[1]["onExitCodes"]["values"], json!([1, 2]));
        let pod = &spec["template"]["spec"];
        assert_eq!(pod["containers"][0]["image"], "x:1");
        assert_eq!(
            pod["containers"][0]["volumeMounts"],
            json!([{ "name": "results", "mountPath": "/results" }])
        );
        assert!(pod["containers"][0]["resources"].is_null(), "no GPU");
        assert_eq!(pod["volumes"][0]["persistentVolumeClaim"]["claimName"], "c");
        let other = of(&["--tasks", "5", "--at-once", "2", "--mount", "/m"]);
        assert_eq!((&other["spec"]["completions"], &other["spec"]["parallelism"]), (&json!(5), &json!(2)));
        let container = &other["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["volumeMounts"][0]["mountPath"], "/m");
    }

    #[test]
    fn the_whole_manifest_is_what_the_cluster_is_asked_for() {
        let flags = [
            "submit",
            "--kubernetes",
            "--image",
            "x:1",
            "--claim",
            "c",
            "--tasks",
            "7",
            "--at-once",
            "3",
            "--gpus",
            "2",
            "--mount",
            "/m",
            "--",
            "--full",
        ];
        let arguments = Submit::parse_from(flags).arguments;
        let words = ["reproduce", "--full", "--gpu"].map(str::to_owned);
        let disrupted = json!({ "action": "Ignore", "onPodConditions": [{ "type": "DisruptionTarget", "status": "True" }] });
        let failed = json!({ "action": "FailIndex",
            "onExitCodes": { "containerName": "skewbench", "operator": "In", "values": [1, 2] } });
        let command = "exec skewbench reproduce --full --gpu --part $((JOB_COMPLETION_INDEX + 1))/7";
        let container = json!({
            "name": "skewbench", "image": "x:1", "command": ["/bin/sh", "-c", command],
            "volumeMounts": [{ "name": "results", "mountPath": "/m" }],
            "resources": { "limits": { "nvidia.com/gpu": 2 } },
        });
        let expected = json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": "skewbench" },
            "spec": {
                "completionMode": "Indexed", "completions": 7, "parallelism": 3, "backoffLimitPerIndex": 20,
                "maxFailedIndexes": 7, "podFailurePolicy": { "rules": [disrupted, failed] },
                "template": { "spec": {
                    "restartPolicy": "Never", "terminationGracePeriodSeconds": 120, "containers": [container],
                    "volumes": [{ "name": "results", "persistentVolumeClaim": { "claimName": "c" } }],
                } },
            },
        });
        assert_eq!(manifest(&arguments, &words, "x:1", "c"), expected);
        let words = ["reproduce", "--full", "--out", "/m/x"].map(str::to_owned);
        let told = crate::support::print::captured::output(|| print(&arguments, &words).unwrap());
        let told: Value = serde_json::from_str(&told).unwrap();
        assert_eq!(told["spec"]["template"]["spec"]["containers"][0]["image"], "x:1");
        assert_eq!(told["spec"]["template"]["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"], "c");
    }
}
