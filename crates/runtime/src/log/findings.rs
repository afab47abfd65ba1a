//! Findings as they begin and end: a line each while there are few, and how many stand.

use super::budget::Budget;
use super::line::Line;
use crate::source::Places;
use model::{Diagnostic, Severity, parse};
use plane::Findings;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Instant;
use tracing::Level;

/// How many findings are told one by one at once; one more each second.
const BURST: u32 = 20;
/// What the codes of findings about files begin with.
const OF_FILES: &str = "FO";

/// What is told of findings.
#[derive(Debug)]
pub(super) struct FindingLines {
    budget: Budget,
    /// How many began and ended that are not told one by one, by code.
    held_back: BTreeMap<&'static str, (u64, u64)>,
    /// The severity of the worst that began and is not told.
    worst: Option<Severity>,
    /// How many tell a finding, by its hash: a file and the object in it may say the same.
    told_by: HashMap<u64, u32>,
    active: BTreeMap<(&'static str, Severity), u64>,
    refused: u64,
}

impl Default for FindingLines {
    fn default() -> Self {
        Self {
            budget: Budget::new(BURST),
            held_back: BTreeMap::new(),
            worst: None,
            told_by: HashMap::new(),
            active: BTreeMap::new(),
            refused: 0,
        }
    }
}

impl FindingLines {
    /// Counts findings; returns the lines to write of them, with their places, and whether these are all.
    pub(super) fn lines(&mut self, found: &Findings, places: &Places, now: Instant) -> (Vec<Line>, bool) {
        let began: Vec<&Diagnostic> = found.began.iter().filter(|found| self.begins(found)).collect();
        let ended: Vec<&Diagnostic> = found.ended.iter().filter(|found| self.ends(found)).collect();
        for diagnostic in &began {
            *self.active.entry((diagnostic.code, diagnostic.severity)).or_default() += 1;
        }
        for diagnostic in &ended {
            if let Some(count) = self.active.get_mut(&(diagnostic.code, diagnostic.severity)) {
                *count = count.saturating_sub(1);
            }
        }
        self.refused += refused(&began);
        let mut lines = Vec::new();
        let began = began.into_iter().map(|diagnostic| (diagnostic, true));
        for (diagnostic, is_new) in began.chain(ended.into_iter().map(|diagnostic| (diagnostic, false))) {
            if self.held_back.is_empty() && self.budget.take(now) {
                lines.push(line(&places.placed(diagnostic.clone()), is_new));
            } else {
                let (began, ended) = self.held_back.entry(diagnostic.code).or_default();
                *(if is_new { began } else { ended }) += 1;
                if is_new {
                    self.worst = Some(self.worst.map_or(diagnostic.severity, |w| w.min(diagnostic.severity)));
                }
            }
        }
        (lines, self.held_back.is_empty())
    }

    /// Tells whether nobody has told a finding before.
    fn begins(&mut self, found: &Diagnostic) -> bool {
        let told_by = self.told_by.entry(hash(found)).or_default();
        *told_by += 1;
        *told_by == 1
    }

    /// Tells whether nobody tells a finding any more.
    fn ends(&mut self, found: &Diagnostic) -> bool {
        let hash = hash(found);
        let told_by = self.told_by.get(&hash).copied().unwrap_or(1);
        if told_by > 1 {
            self.told_by.insert(hash, told_by - 1);
        } else {
            self.told_by.remove(&hash);
        }
        told_by <= 1
    }

    /// Returns one line of what was held back, if anything was.
    pub(super) fn sum(&mut self) -> Option<Line> {
        let held_back = std::mem::take(&mut self.held_back);
        let texts = |of: fn(&(u64, u64)) -> u64| {
            let counted = held_back.iter().map(|(code, counts)| (code, of(counts)));
            let counted: Vec<String> =
                counted.filter(|(_, n)| *n > 0).map(|(code, n)| format!("{code} {n}")).collect();
            (!counted.is_empty()).then(|| counted.join(", "))
        };
        let began = texts(|(began, _)| *began).map(|codes| format!("more findings: {codes}"));
        let ended = texts(|(_, ended)| *ended).map(|codes| format!("no longer: {codes}"));
        let level = self.worst.take().map_or(Level::INFO, level);
        let text = [began, ended].into_iter().flatten().collect::<Vec<_>>().join("; ");
        let text = format!("{text}; all that stand are at /debug/diagnosticz");
        (!held_back.is_empty()).then_some(Line { level, code: None, text })
    }

    /// Returns how many findings stand, by code and severity.
    pub(super) fn active(&self) -> Vec<(&'static str, Severity, u64)> {
        self.active.iter().map(|((code, severity), count)| (*code, *severity, *count)).collect()
    }

    /// Returns how many objects and files were refused so far.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }
}

fn line(diagnostic: &Diagnostic, is_new: bool) -> Line {
    let (level, text) = match is_new {
        true => (level(diagnostic.severity), diagnostic.to_string()),
        false => (Level::INFO, format!("no longer: {diagnostic}")),
    };
    Line { level, code: Some(diagnostic.code), text }
}

/// The level at which a finding is told.
pub(super) fn level(severity: Severity) -> Level {
    match severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARN,
        Severity::Info => Level::INFO,
    }
}

fn hash(found: &Diagnostic) -> u64 {
    let mut hasher = DefaultHasher::new();
    found.identity().hash(&mut hasher);
    hasher.finish()
}

/// Returns how many objects, and files where no object is known, these findings refuse.
fn refused(began: &[&Diagnostic]) -> u64 {
    let refusals = began.iter().filter(|diagnostic| {
        let is_of_ingest =
            parse::code::ALL.contains(&diagnostic.code) || diagnostic.code.starts_with(OF_FILES);
        diagnostic.severity == Severity::Error && is_of_ingest
    });
    let of: BTreeSet<_> = refusals
        .map(|diagnostic| {
            let file = diagnostic.place.as_ref().filter(|_| diagnostic.object.is_none());
            (&diagnostic.object, file.map(|place| &place.file))
        })
        .collect();
    of.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Kind, Name, ObjectRef, Place};
    use std::time::Duration;

    fn finding(code: &'static str, severity: Severity, name: &str) -> Diagnostic {
        Diagnostic {
            code,
            severity,
            object: Some(ObjectRef { kind: Kind::AuthorizationPolicy, name: Name::new("shop", name) }),
            field: "spec.action".to_owned(),
            message: "wrong".to_owned(),
            help: String::new(),
            place: None,
        }
    }

    fn began(began: Vec<Diagnostic>) -> Findings {
        Findings { began, ended: Vec::new() }
    }

    fn ended(ended: Vec<Diagnostic>) -> Findings {
        Findings { began: Vec::new(), ended }
    }

    #[test]
    fn what_a_file_and_the_object_in_it_tell_is_one_finding() {
        let (mut log, now) = (FindingLines::default(), Instant::now());
        let of_object = finding("AP001", Severity::Error, "a");
        let place = Some(Place { file: "a.yaml".to_owned(), line: 3, column: 1 });
        let of_file = Diagnostic { place, ..of_object.clone() };
        let mut told = |found: Findings| {
            let (lines, _) = log.lines(&found, &Places::default(), now);
            let standing: u64 = log.active().iter().map(|(.., count)| count).sum();
            (lines.len(), standing, log.refused())
        };
        assert_eq!(told(began(vec![of_file.clone()])), (1, 1, 1));
        assert_eq!(told(began(vec![of_object.clone()])), (0, 1, 1));
        // One of both has it no longer, and has it again.
        assert_eq!(told(ended(vec![of_file.clone()])), (0, 1, 1));
        assert_eq!(told(began(vec![of_file.clone()])), (0, 1, 1));
        assert_eq!(told(ended(vec![of_object])), (0, 1, 1));
        assert_eq!(told(ended(vec![of_file])), (1, 0, 1));
    }

    #[test]
    fn a_finding_has_a_line_with_its_code_when_it_begins_and_when_it_ends() {
        let (mut log, now) = (FindingLines::default(), Instant::now());
        let (refused, known) =
            (finding("AP002", Severity::Error, "a"), finding("AP110", Severity::Info, "b"));
        let (lines, is_all) = log.lines(&began(vec![refused.clone(), known]), &Places::default(), now);
        let told: Vec<_> = lines.iter().map(|l| (l.level, l.code, l.text.as_str())).collect();
        assert_eq!(
            told,
            [
                (Level::ERROR, Some("AP002"), "AuthorizationPolicy shop/a, spec.action: wrong"),
                (Level::INFO, Some("AP110"), "AuthorizationPolicy shop/b, spec.action: wrong"),
            ]
        );
        assert!(is_all);
        assert_eq!(log.active(), [("AP002", Severity::Error, 1), ("AP110", Severity::Info, 1)]);
        assert_eq!(log.refused(), 1);
        let (lines, _) = log.lines(&ended(vec![refused]), &Places::default(), now);
        let told: Vec<_> = lines.iter().map(|l| (l.level, l.code, l.text.as_str())).collect();
        let text = "no longer: AuthorizationPolicy shop/a, spec.action: wrong";
        assert_eq!(told, [(Level::INFO, Some("AP002"), text)]);
        assert_eq!(log.active(), [("AP002", Severity::Error, 0), ("AP110", Severity::Info, 1)]);
        assert_eq!((log.refused(), log.sum()), (1, None));
    }

    #[test]
    fn a_flood_of_findings_is_summed_up_by_code() {
        let (mut log, now) = (FindingLines::default(), Instant::now());
        let many = |code, n: usize| (0..n).map(move |i| finding(code, Severity::Error, &i.to_string()));
        let all = began(many("AP101", 100).chain(many("KO003", 50)).collect());
        let (lines, is_all) = log.lines(&all, &Places::default(), now);
        assert_eq!((lines.len(), is_all), (20, false));
        let ended = ended(many("AP101", 3).collect());
        assert_eq!(log.lines(&ended, &Places::default(), now + Duration::from_secs(1)).0.len(), 0);
        assert_eq!(
            log.sum().map(|line| (line.level, line.text)),
            Some((
                Level::ERROR,
                "more findings: AP101 80, KO003 50; no longer: AP101 3; all that stand are at /debug/diagnosticz"
                    .to_owned()
            ))
        );
        assert_eq!(log.sum(), None);
        assert_eq!(log.active(), [("AP101", Severity::Error, 97), ("KO003", Severity::Error, 50)]);
        assert_eq!(log.refused(), 50, "a policy that is understood in part is not refused");
    }

    #[test]
    fn an_object_or_a_file_is_refused_once_however_much_is_wrong_with_it() {
        let mut of_file = finding("FO002", Severity::Error, "x");
        of_file.object = None;
        of_file.place = Some(Place { file: "a.yaml".to_owned(), line: 1, column: 1 });
        let more = Diagnostic { message: "also wrong".to_owned(), ..of_file.clone() };
        let other = Diagnostic { severity: Severity::Warning, code: "FO004", ..of_file.clone() };
        let object = finding("MS003", Severity::Error, "istio");
        let twice = Diagnostic { field: "data.mesh.trustDomain".to_owned(), ..object.clone() };
        assert_eq!(refused(&[&of_file, &more, &other, &object, &twice]), 2);
    }
}
