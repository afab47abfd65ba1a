//! What became of the tests of a suite.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

/// The tests of one run, by name.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Those that passed.
    pub passed: BTreeSet<String>,
    /// Those that failed.
    pub failed: BTreeSet<String>,
    /// Those that were not asked for, or need a feature that is not claimed.
    pub skipped: BTreeSet<String>,
    /// The report, in upstream's format.
    pub report: PathBuf,
    /// All that the suite said.
    pub log: PathBuf,
}

impl Outcome {
    pub(super) fn new(report: PathBuf, log: PathBuf) -> Self {
        Self { report, log, ..Self::default() }
    }

    /// Tells whether no test was run at all.
    pub fn is_empty(&self) -> bool {
        self.passed.is_empty() && self.failed.is_empty() && self.skipped.is_empty()
    }

    /// Takes in a line of the suite; true if a test passed or failed by it.
    pub(super) fn note(&mut self, line: &str) -> bool {
        let Some((result, name)) = line.strip_prefix("RESULT ").and_then(|rest| rest.split_once(' ')) else {
            return false;
        };
        let of = match result {
            "PASS" => &mut self.passed,
            "FAIL" => &mut self.failed,
            "SKIP" => &mut self.skipped,
            _ => return false,
        };
        of.insert(name.to_owned());
        result != "SKIP"
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (passed, failed) = (self.passed.len(), self.failed.len());
        writeln!(f, "{passed} passed, {failed} failed, {} skipped", self.skipped.len())?;
        for name in &self.failed {
            writeln!(f, "failed   {name}")?;
        }
        writeln!(f, "report   {}", self.report.display())?;
        write!(f, "log      {}", self.log.display())
    }
}

#[cfg(test)]
mod tests {
    use super::Outcome;

    #[test]
    fn results_are_told_from_the_other_lines() {
        let mut outcome = Outcome::default();
        let lines = [
            "=== RUN   TestConformance/GatewayModifyListeners",
            "RESULT PASS GatewayModifyListeners",
            "    --- PASS: TestConformance/GatewayModifyListeners (2.51s)",
            "RESULT FAIL HTTPRouteWeight",
            "RESULT SKIP MeshBasic",
            "    a test says RESULT PASS MeshBasic",
        ];
        let noted: Vec<bool> = lines.iter().map(|line| outcome.note(line)).collect();
        assert_eq!(noted, [false, true, false, true, false, false]);
        assert!(outcome.passed.iter().eq(["GatewayModifyListeners"]));
        assert!(outcome.failed.iter().eq(["HTTPRouteWeight"]));
        assert!(outcome.skipped.iter().eq(["MeshBasic"]));
    }
}
