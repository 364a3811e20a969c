//! A job array for Slurm, and a job after it that writes the page.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, bail, ensure};

use super::{Arguments, Job, in_words};
use crate::support::{program::quoted, stop::AGAIN};

/// Seconds before the time limit at which Slurm asks a task to stop: more than a step and a checkpoint take. Ours.
const BEFORE_LIMIT: u32 = 120;
/// Folder for scripts and logs, below the results folder.
pub const FOLDER: &str = "slurm";
/// File there with the job ids, one line each, the latest last.
pub const JOBS: &str = "jobs";

/// Writes both scripts and submits them, unless only writing was requested.
pub fn submit(arguments: &Arguments, job: &Job) -> Result<()> {
    let folder = job.out.join(FOLDER);
    fs::create_dir_all(&folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
    let program = std::env::current_exe().context("cannot find the path of this program")?;
    let (array, after) = (folder.join("array.sh"), folder.join("report.sh"));
    write(&array, &array_script(arguments, job, &program, &folder))?;
    write(&after, &report_script(arguments, job, &program, &folder))?;
    if arguments.write_only {
        println!(
            "written: {}\nsubmit it: sbatch {}\nand then   sbatch --dependency=afterany:JOB {}",
            in_words(job.tasks),
            quoted(&array.to_string_lossy()),
            quoted(&after.to_string_lossy())
        );
        return Ok(());
    }
    let number = sbatch(&[&array.to_string_lossy()])?;
    note(&folder, &number)?;
    println!("submitted: {} as job {number}; logs in {}", in_words(job.tasks), folder.display());
    let dependency = format!("--dependency=afterany:{number}");
    let report = sbatch(&[&dependency, &after.to_string_lossy()])?;
    println!("job {report} writes {} when all tasks have ended", job.out.join("report.html").display());
    println!(
        "progress: cargo xtask status {}; stop: scancel {number}; resume: the same command",
        job.out.display()
    );
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("{}: cannot be written", path.display()))
}

/// Appends the id of a job: `status` asks Slurm about these.
fn note(folder: &Path, number: &str) -> Result<()> {
    let path = folder.join(JOBS);
    let mut known = fs::read_to_string(&path).unwrap_or_default();
    known += &format!("{number}\n");
    write(&path, &known)
}

fn sbatch(arguments: &[&str]) -> Result<String> {
    let output = Command::new("sbatch").arg("--parsable").args(arguments).output();
    let output = output.context("sbatch: not found; submit on a node that has Slurm, or use --write-only")?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if !output.status.success() {
        bail!("sbatch refuses: {}", said(&output.stderr))
    }
    // `1234` or `1234;cluster`.
    let number = said(&output.stdout).split(';').next().unwrap_or_default().to_owned();
    ensure!(number.parse::<u64>().is_ok(), "sbatch printed '{number}', expected a job id");
    Ok(number)
}

/// Returns the array's script: each task trains its part, forwards signals, and is queued again while work is left.
fn array_script(arguments: &Arguments, job: &Job, program: &Path, folder: &Path) -> String {
    let Job { tasks, .. } = job;
    let limit = arguments.at_once.map_or_else(String::new, |limit| format!("%{limit}"));
    let mut head = vec![
        "--job-name=skewbench".to_owned(),
        format!("--array=1-{tasks}{limit}"),
        format!("--output={}/%A_%a.txt", folder.display()),
        "--open-mode=append".to_owned(),
        "--requeue".to_owned(),
        format!("--signal=B:USR1@{BEFORE_LIMIT}"),
    ];
    head.extend(arguments.time.iter().map(|time| format!("--time={time}")));
    if arguments.gpus > 0 {
        head.push(format!("--gres=gpu:{}", arguments.gpus));
    }
    head.extend(arguments.option.iter().cloned());
    format!(
        "{}\
         # Signals go to this shell; the program keeps the state of its cell when it gets them.\n\
         {} {} --part \"$SLURM_ARRAY_TASK_ID/{tasks}\" &\n\
         task=$!\n\
         trap 'asked=1; kill -USR1 $task' USR1\n\
         trap 'asked=1; kill -TERM $task' TERM\n\
         # A signal ends `wait` early, with a status that is not the program's.\n\
         while asked=0; do\n  wait $task; status=$?\n  [ $asked -eq 0 ] && break\ndone\n\
         if [ $status -eq {AGAIN} ]; then\n  \
           # By both numbers: the array's alone would be all of it.\n  \
           scontrol requeue \"${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}\"\nfi\n\
         exit $status\n",
        header(&head),
        quoted(&program.to_string_lossy()),
        job.line()
    )
}

fn report_script(arguments: &Arguments, job: &Job, program: &Path, folder: &Path) -> String {
    let mut head =
        vec!["--job-name=skewbench-report".to_owned(), format!("--output={}/report.txt", folder.display())];
    // Options about where it may run, but not those about the resources of a training.
    let kept = arguments.option.iter().filter(|option| {
        ["--partition", "-p", "--account", "-A", "--qos"].iter().any(|known| option.starts_with(known))
    });
    head.extend(kept.cloned());
    let page = job.out.join("report.html");
    format!(
        "{}exec {} report {} --out {}\n",
        header(&head),
        quoted(&program.to_string_lossy()),
        quoted(&job.out.to_string_lossy()),
        quoted(&page.to_string_lossy())
    )
}

fn header(options: &[String]) -> String {
    let lines: String = options.iter().map(|option| format!("#SBATCH {option}\n")).collect();
    format!("#!/bin/bash\n{lines}")
}

/// Returns Slurm's states of the array jobs of a results folder, one line each; empty without jobs, or without
/// Slurm.
pub fn states(out: &Path) -> Vec<String> {
    let Ok(jobs) = fs::read_to_string(out.join(FOLDER).join(JOBS)) else { return Vec::new() };
    let jobs: Vec<&str> = jobs.lines().filter(|line| !line.is_empty()).collect();
    let asked = Command::new("squeue")
        .args(["--noheader", "--array", "--format=%i %T %r", "--jobs", &jobs.join(",")])
        .output();
    let Ok(output) = asked else { return Vec::new() };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
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
    fn scripts_say_what_was_asked_for() {
        let arguments = Submit::parse_from([
            "submit",
            "--slurm",
            "--time",
            "8:00:00",
            "--gpus",
            "1",
            "--at-once",
            "3",
            "--option=--partition=a b",
            "--",
            "--full",
        ])
        .arguments;
        let words = ["reproduce", "--only", "it's"].map(str::to_owned).to_vec();
        let job = Job { words, out: "/r".into(), tasks: 7 };
        let text = array_script(&arguments, &job, Path::new("/p q/skewbench"), Path::new("/r/slurm"));
        for line in [
            "#!/bin/bash",
            "#SBATCH --array=1-7%3",
            "#SBATCH --time=8:00:00",
            "#SBATCH --gres=gpu:1",
            "#SBATCH --partition=a b",
            "#SBATCH --signal=B:USR1@120",
            "#SBATCH --output=/r/slurm/%A_%a.txt",
            "'/p q/skewbench' reproduce --only 'it'\\''s' --part \"$SLURM_ARRAY_TASK_ID/7\" &",
        ] {
            assert!(text.lines().any(|found| found == line), "no line '{line}' in\n{text}");
        }
        let report = report_script(&arguments, &job, Path::new("/p"), Path::new("/r/slurm"));
        assert!(report.contains("#SBATCH --partition=a b\n") && !report.contains("gres"), "{report}");
        assert!(report.ends_with("exec /p report /r --out /r/report.html\n"), "{report}");
        let checked = Command::new("bash").arg("-n").stdin(std::process::Stdio::piped()).spawn();
        if let Ok(mut shell) = checked {
            use std::io::Write as _;
            shell.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
            assert!(shell.wait().unwrap().success(), "bash does not read\n{text}");
        }
    }

    #[test]
    fn what_is_not_asked_for_is_not_in_the_script() {
        let flags = ["submit", "--slurm", "--option=--account=me", "--option=--mem=4G", "--", "--full"];
        let arguments = Submit::parse_from(flags).arguments;
        let job = Job { words: vec!["reproduce".to_owned()], out: "/r".into(), tasks: 7 };
        let text = array_script(&arguments, &job, Path::new("/p"), Path::new("/r/slurm"));
        assert!(text.contains("#SBATCH --array=1-7\n"), "as many as there are at once: {text}");
        assert!(!text.contains("--gres") && !text.contains("--time"), "{text}");
        assert!(text.contains("#SBATCH --account=me\n#SBATCH --mem=4G\n"), "{text}");
        // A task with work left is queued again, and its status is passed on.
        assert!(text.contains("if [ $status -eq 75 ]; then\n") && text.ends_with("exit $status\n"), "{text}");
        let report = report_script(&arguments, &job, Path::new("/p"), Path::new("/r/slurm"));
        assert!(report.contains("--account=me") && !report.contains("--mem"), "{report}");
    }

    #[test]
    fn jobs_are_noted_one_after_the_other() {
        let folder = tempfile::tempdir().unwrap();
        assert!(states(folder.path()).is_empty(), "no job, nothing to ask for");
        for number in ["12", "345"] {
            note(folder.path(), number).unwrap();
        }
        assert_eq!(fs::read_to_string(folder.path().join(JOBS)).unwrap(), "12\n345\n");
    }

    /// The whole script of an array, line by line, and that of the job after it.
    #[test]
    fn the_whole_scripts_are_what_slurm_runs() {
        let flags = [
            "submit",
            "--slurm",
            "--time",
            "8:00:00",
            "--gpus",
            "2",
            "--at-once",
            "3",
            "--option=--qos=low",
            "--option=--mem=4G",
            "--",
            "--full",
        ];
        let arguments = Submit::parse_from(flags).arguments;
        let words = ["reproduce", "--full"].map(str::to_owned).to_vec();
        let job = Job { words, out: "/r".into(), tasks: 7 };
        let text = array_script(&arguments, &job, Path::new("/p"), Path::new("/r/slurm"));
        let expected = "\
#!/bin/bash
#SBATCH --job-name=skewbench
#SBATCH --array=1-7%3
#SBATCH --output=/r/slurm/%A_%a.txt
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
#SBATCH --time=8:00:00
#SBATCH --gres=gpu:2
#SBATCH --qos=low
#SBATCH --mem=4G
# Signals go to this shell; the program keeps the state of its cell when it gets them.
/p reproduce --full --part \"$SLURM_ARRAY_TASK_ID/7\" &
task=$!
trap 'asked=1; kill -USR1 $task' USR1
trap 'asked=1; kill -TERM $task' TERM
# A signal ends `wait` early, with a status that is not the program's.
while asked=0; do
  wait $task; status=$?
  [ $asked -eq 0 ] && break
done
if [ $status -eq 75 ]; then
  # By both numbers: the array's alone would be all of it.
  scontrol requeue \"${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}\"
fi
exit $status
";
        assert_eq!(text, expected);
        let report = report_script(&arguments, &job, Path::new("/p"), Path::new("/r/slurm"));
        let expected = "\
#!/bin/bash
#SBATCH --job-name=skewbench-report
#SBATCH --output=/r/slurm/report.txt
#SBATCH --qos=low
exec /p report /r --out /r/report.html
";
        assert_eq!(report, expected);
    }

    #[test]
    fn options_about_the_place_are_kept_for_the_report_and_no_others() {
        let options =
            ["--partition=a", "-p b", "--account=c", "-A d", "--qos=e", "--cpus-per-task=4", "--exclusive"];
        let flags: Vec<String> = options.iter().map(|option| format!("--option={option}")).collect();
        let flags = ["submit", "--slurm"].map(str::to_owned).into_iter().chain(flags);
        let arguments = Submit::parse_from(flags.chain(["--", "-x"].map(str::to_owned))).arguments;
        let job = Job { words: vec!["reproduce".to_owned()], out: "/r".into(), tasks: 7 };
        let kept = |text: String| -> Vec<String> {
            let lines = text.lines().filter_map(|line| line.strip_prefix("#SBATCH ")).map(str::to_owned);
            lines.filter(|option| options.contains(&option.as_str())).collect()
        };
        let (program, folder) = (Path::new("/p"), Path::new("/r/slurm"));
        assert_eq!(kept(report_script(&arguments, &job, program, folder)), options[..5]);
        assert_eq!(kept(array_script(&arguments, &job, program, folder)), options);
    }

    #[test]
    fn scripts_that_are_only_written_say_how_to_submit_them() {
        let root = tempfile::tempdir().unwrap();
        let arguments = Submit::parse_from(["submit", "--slurm", "--write-only", "--", "-x"]).arguments;
        let job = Job { words: vec!["reproduce".to_owned()], out: root.path().to_owned(), tasks: 1_234 };
        let told = crate::support::print::captured::output(|| submit(&arguments, &job).unwrap());
        let folder = root.path().join("slurm").display().to_string();
        let expected = format!(
            "written: 1 234 tasks\nsubmit it: sbatch {folder}/array.sh\n\
             and then   sbatch --dependency=afterany:JOB {folder}/report.sh\n"
        );
        assert_eq!(told, expected);
        let text = |name: &str| fs::read_to_string(root.path().join("slurm").join(name)).unwrap();
        assert!(text("array.sh").contains("--array=1-1234\n") && text("report.sh").contains(" report "));
        assert!(!root.path().join("slurm/jobs").exists(), "no job was submitted");
    }
}
