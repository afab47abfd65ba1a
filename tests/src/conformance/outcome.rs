//! What became of the tests of a suite.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

/// The tests of one run, by name.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The tests that the suite has, with the features that each needs.
    pub tests: BTreeMap<String, Vec<String>>,
    /// The features that the class claimed at the end, in its order.
    pub claimed: Vec<String>,
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

    /// Returns the features of which every test passed, ascending.
    pub fn shown(&self) -> BTreeSet<&str> {
        let needed = self.tests.values().flatten().map(String::as_str);
        let is_shown = |feature: &&str| {
            let of = self.tests.iter().filter(|(_, needs)| needs.iter().any(|one| one == feature));
            of.into_iter().all(|(name, _)| self.passed.contains(name))
        };
        needed.filter(is_shown).collect()
    }

    /// Takes in a line of the suite; true if a test passed or failed by it.
    pub(super) fn note(&mut self, line: &str) -> bool {
        if let Some((name, features)) = line.strip_prefix("TEST ").and_then(|rest| rest.split_once(' ')) {
            let features = features.split(',').filter(|feature| !feature.is_empty());
            self.tests.insert(name.to_owned(), features.map(str::to_owned).collect());
            return false;
        }
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
    fn a_feature_is_shown_by_all_of_its_tests() {
        let mut outcome = Outcome::default();
        let lines = [
            "TEST A Gateway,Addresses",
            "TEST B Gateway",
            "TEST C Gateway,Weights,Mesh",
            "RESULT PASS A",
            "RESULT PASS B",
            "RESULT SKIP C",
        ];
        for line in lines {
            outcome.note(line);
        }
        assert!(outcome.shown().into_iter().eq(["Addresses"]));
        assert_eq!(outcome.tests["B"], ["Gateway"]);
    }

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
