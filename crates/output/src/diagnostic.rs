//! Diagnostics of a graph: all of them, by a walk, and which of them a commit began or ended.

use engine::{Graph, Key, Table, Walked};
use model::Diagnostic;
use std::cmp::Ordering;

/// What a commit found: the diagnostics that hold since then, and those that do not any more. One that only
/// moved to another place of its file is in neither.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Findings {
    /// Those that hold now and did not before.
    pub began: Vec<Diagnostic>,
    /// Those that held before and do not any more.
    pub ended: Vec<Diagnostic>,
}

impl Findings {
    /// Returns what leads from one list of diagnostics to another.
    pub fn between(old: &[Diagnostic], new: &[Diagnostic]) -> Self {
        let mut found = Self::default();
        found.add(old, new);
        found
    }

    /// Tells whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.began.is_empty() && self.ended.is_empty()
    }

    fn add(&mut self, old: &[Diagnostic], new: &[Diagnostic]) {
        let (old, new) = (sorted(old), sorted(new));
        let (mut old, mut new) = (old.into_iter().peekable(), new.into_iter().peekable());
        loop {
            let order = match (old.peek(), new.peek()) {
                (Some(old), Some(new)) => compare(old, new),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return,
            };
            let ended = if order.is_le() { old.next() } else { None };
            let began = if order.is_ge() { new.next() } else { None };
            if order.is_ne() {
                self.ended.extend(ended.cloned());
                self.began.extend(began.cloned());
            }
        }
    }
}

fn sorted(list: &[Diagnostic]) -> Vec<&Diagnostic> {
    let mut list: Vec<&Diagnostic> = list.iter().collect();
    list.sort_by(|a, b| compare(a, b));
    list
}

/// Compares all but the place.
fn compare(a: &Diagnostic, b: &Diagnostic) -> Ordering {
    let key = |d: &Diagnostic| (d.code, d.severity);
    let order = key(a).cmp(&key(b)).then_with(|| a.object.cmp(&b.object)).then_with(|| a.field.cmp(&b.field));
    order.then_with(|| a.message.cmp(&b.message)).then_with(|| a.help.cmp(&b.help))
}

/// Where diagnostics come from.
pub(crate) trait DiagnosticSource: Send {
    /// Appends all of them, in their order.
    fn all(&self, graph: &Graph, out: &mut Vec<Diagnostic>);
    /// Takes those that the last commit began or ended.
    fn changed(&mut self, graph: &mut Graph, out: &mut Findings);
}

/// A table with those of each row of another.
pub(crate) struct OfRows<K>(pub Table<K, Vec<Diagnostic>>);

impl<K: Key> DiagnosticSource for OfRows<K> {
    fn all(&self, graph: &Graph, out: &mut Vec<Diagnostic>) {
        out.extend(graph.rows(self.0).into_iter().flat_map(|(_, found)| (*found).clone()));
    }

    fn changed(&mut self, graph: &mut Graph, out: &mut Findings) {
        for change in graph.changes(self.0) {
            let (old, new) = (change.old.unwrap_or_default(), change.new.unwrap_or_default());
            out.add(&old, &new);
        }
    }
}

/// A walk over tables, which is repeated when one of those that it has read has changed.
pub(crate) struct OfWalk<F> {
    find: F,
    last: Option<(Vec<Diagnostic>, Walked)>,
}

impl<F: Fn(&Graph) -> Vec<Diagnostic> + Send> OfWalk<F> {
    pub fn new(find: F) -> Self {
        Self { find, last: None }
    }
}

impl<F: Fn(&Graph) -> Vec<Diagnostic> + Send> DiagnosticSource for OfWalk<F> {
    fn all(&self, graph: &Graph, out: &mut Vec<Diagnostic>) {
        match &self.last {
            Some((found, walked)) if graph.is_current(walked) => out.extend_from_slice(found),
            _ => out.extend((self.find)(graph)),
        }
    }

    fn changed(&mut self, graph: &mut Graph, out: &mut Findings) {
        if self.last.as_ref().is_some_and(|(_, walked)| graph.is_current(walked)) {
            return;
        }
        let (found, walked) = graph.walk(|graph| (self.find)(graph));
        let before = self.last.as_ref().map_or(&[][..], |(found, _)| found);
        out.add(before, &found);
        self.last = Some((found, walked));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Outputs;
    use engine::Builder;
    use model::{Place, Severity};

    fn diagnostic(message: &str, line: usize) -> Diagnostic {
        Diagnostic {
            code: "XX001",
            severity: Severity::Error,
            object: None,
            field: String::new(),
            message: message.to_owned(),
            help: String::new(),
            place: Some(Place { file: "a.yaml".to_owned(), line, column: 1 }),
        }
    }

    fn messages(list: &[Diagnostic]) -> Vec<&str> {
        list.iter().map(|d| d.message.as_str()).collect()
    }

    #[test]
    fn what_moves_within_its_file_neither_begins_nor_ends() {
        let old = [diagnostic("a", 1), diagnostic("b", 2), diagnostic("b", 3)];
        let new = [diagnostic("c", 1), diagnostic("b", 9), diagnostic("a", 5)];
        let found = Findings::between(&old, &new);
        assert_eq!((messages(&found.began), messages(&found.ended)), (vec!["c"], vec!["b"]));
        assert!(Findings::between(&old, &old).is_empty());
    }

    #[test]
    fn a_commit_tells_what_began_and_what_ended() {
        let (mut b, mut out) = (Builder::default(), Outputs::default());
        let words = b.input::<u8, &'static str>("words");
        let wrong = b.input::<&'static str, ()>("wrong");
        let other = b.input::<u8, u8>("other");
        out.diagnostics(&mut b, "long_findings", words, |_, word| {
            (word.len() > 4).then(|| diagnostic("long", 1))
        });
        let is_short = |_: &u8, word: &&str| word.len() <= 4;
        out.diagnostics_where(&mut b, "word_findings", words, is_short, move |cx, _, word| {
            cx.get(wrong, word).map(|_| diagnostic(word, 1))
        });
        out.findings(move |graph| {
            let count = graph.rows(words).len();
            (count > 1).then(|| diagnostic("many", count)).into_iter().collect()
        });
        let mut graph = b.build();
        let mut commit = |graph: &mut Graph| {
            graph.commit();
            let found = out.changed_diagnostics(graph);
            let all = out.all_diagnostics(graph);
            (messages(&found.began).join(" "), messages(&found.ended).join(" "), messages(&all).join(" "))
        };
        let texts =
            |(began, ended, all): (&str, &str, &str)| (began.to_owned(), ended.to_owned(), all.to_owned());
        graph.put(words, 1, "bad");
        graph.put(words, 2, "good");
        graph.put(wrong, "bad", ());
        assert_eq!(commit(&mut graph), texts(("bad many", "", "bad many")));
        graph.put(other, 1, 1);
        assert_eq!(commit(&mut graph), texts(("", "", "bad many")));
        // By a table that the row reads.
        graph.put(wrong, "good", ());
        graph.remove(wrong, &"bad");
        assert_eq!(commit(&mut graph), texts(("good", "bad", "good many")));
        // A row of which the one has something to say, then the other, then neither.
        graph.put(words, 2, "longer");
        assert_eq!(commit(&mut graph), texts(("long", "good", "long many")));
        graph.put(words, 2, "good");
        assert_eq!(commit(&mut graph), texts(("good", "long", "good many")));
        graph.remove(words, &1);
        assert_eq!(commit(&mut graph), texts(("", "many", "good")));
        graph.remove(words, &2);
        assert_eq!(commit(&mut graph), texts(("", "good", "")));
    }
}
