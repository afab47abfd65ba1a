//! Expressions and rules, as Prometheus' own packages evaluate them: the program in `tests/promql`.

use crate::go::Module;
use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

/// What one target answered at one time.
#[derive(Clone, Serialize)]
pub struct Scrape {
    /// When, in seconds since the first one.
    pub seconds: u64,
    /// What each sample is given besides its own labels.
    pub labels: BTreeMap<String, String>,
    /// The answer, in the text format.
    pub text: String,
}

/// What Prometheus says of expressions and rules.
#[derive(Deserialize)]
pub struct Evaluated {
    /// One answer for each expression.
    pub answers: Vec<Answer>,
    /// What is wrong with the rules.
    pub problems: Vec<String>,
}

/// What comes of an expression at the last scrape.
#[derive(Debug, Deserialize)]
pub struct Answer {
    /// Why it cannot be evaluated, or nothing.
    pub problem: String,
    /// How many samples it returns that are numbers.
    pub samples: usize,
    /// What it compares and combines, whether it holds or not.
    pub operands: Vec<Operand>,
}

/// A side of a comparison.
#[derive(Debug, Deserialize)]
pub struct Operand {
    /// As PromQL.
    pub expression: String,
    /// How many samples it returns that are numbers.
    pub samples: usize,
}

/// Evaluates expressions over scrapes, and checks a file of rules.
///
/// # Errors
/// When a scrape cannot be read, or the program cannot be had.
pub fn evaluate(scrapes: &[Scrape], expressions: &[String], rules: &str) -> anyhow::Result<Evaluated> {
    #[derive(Serialize)]
    struct Question<'a> {
        scrapes: &'a [Scrape],
        expressions: &'a [String],
        rules: &'a str,
    }
    let mut process = Command::new(Module::of("tests/promql").program("promql", "promql")?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let question = serde_json::to_vec(&Question { scrapes, expressions, rules })?;
    process.stdin.take().context("no input")?.write_all(&question)?;
    let output = process.wait_with_output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    serde_json::from_slice(&output.stdout).context("the program's answer")
}
