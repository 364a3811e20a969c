//! Results of a check, case by case: printed at once, written after each case so that a time limit loses nothing,
//! judged at the end.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Sizes;

pub struct Cases<'a> {
    out: Option<&'a Path>,
    found: Vec<Value>,
    wrong: Vec<String>,
}

impl<'a> Cases<'a> {
    pub fn new(arguments: &'a Sizes) -> Self {
        Self { out: arguments.out.as_deref(), found: Vec::new(), wrong: Vec::new() }
    }

    /// Adds the result of a case. It is wrong if its `equal` is false, or if it failed; the other cases still run.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn take(&mut self, name: &str, found: Result<Value>) -> Result<()> {
        let mut case = found.unwrap_or_else(|error| json!({ "error": format!("{error:#}") }));
        case["case"] = json!(name);
        println!("{case}");
        if case["equal"] == json!(false) || case.get("error").is_some() {
            self.wrong.push(name.to_owned());
        }
        self.found.push(case);
        let Some(out) = self.out else { return Ok(()) };
        fs::write(out, serde_json::to_string_pretty(&self.found)? + "\n")
            .with_context(|| format!("{}: cannot be written", out.display()))
    }

    /// # Errors
    /// If any case was wrong; the message begins with `what`.
    pub fn end(self, what: &str) -> Result<()> {
        ensure!(self.wrong.is_empty(), "{what}: {}", self.wrong.join(", "));
        Ok(())
    }
}
