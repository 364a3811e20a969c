//! What a check finds, case by case: told at once, written after each so that a limit of time loses nothing, judged at the end.

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

    /// Takes what was found of a case: wrong where its `equal` is false, or where it failed, which keeps no other from being tried.
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
    /// If any was wrong; begins with `what` they then are.
    pub fn end(self, what: &str) -> Result<()> {
        ensure!(self.wrong.is_empty(), "{what}: {}", self.wrong.join(", "));
        Ok(())
    }
}
