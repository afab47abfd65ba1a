//! Real files in real folders.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::settle::{GRACE, QUIET};
use super::watch::Mark;
use super::*;
use model::{Kind, ObjectRef};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::timeout;

#[cfg(unix)]
mod links;

/// No test waits longer than this for what must come.
const LIMIT: Duration = Duration::from_secs(30);

/// The objects that a receiver of events would hold, by kind, namespace and name.
struct Fixture {
    receiver: mpsc::Receiver<Batch>,
    problems: latest::Receiver<Arc<[Diagnostic]>>,
    held: BTreeSet<String>,
    /// Everything removed since the start.
    removed: Vec<String>,
    rejected: Vec<Diagnostic>,
    batches: usize,
}

impl Fixture {
    async fn start(folders: &[&Path]) -> Self {
        Self::start_with(folders, watch::start).await
    }

    async fn start_with(folders: &[&Path], start: watch::Start) -> Self {
        let mut source =
            FolderSource::new(FolderSettings::new(folders.iter().map(|path| path.to_path_buf()).collect()));
        source.start = start;
        let problems = source.problems();
        let (sender, receiver) = mpsc::channel(16);
        tokio::spawn(source.run(sender));
        let mut fixture = Self {
            receiver,
            problems,
            held: BTreeSet::new(),
            removed: Vec::new(),
            rejected: Vec::new(),
            batches: 0,
        };
        fixture.next().await;
        fixture
    }

    async fn next(&mut self) {
        let batch =
            timeout(LIMIT, self.receiver.recv()).await.expect("no batch came").expect("the source ended");
        self.batches += 1;
        for event in batch.events {
            match event {
                Event::Put(object) => drop(self.held.insert(object.reference().to_string())),
                Event::Remove(object) => {
                    self.held.remove(&object.to_string());
                    self.removed.push(object.to_string());
                }
                Event::Reject(_, diagnostic) => self.rejected.push(diagnostic),
                _ => {}
            }
        }
    }

    async fn until(&mut self, condition: impl Fn(&Fixture) -> bool) {
        while !condition(self) {
            self.next().await;
        }
    }

    async fn until_held(&mut self, object: &str) {
        self.until(|fixture| fixture.held.contains(object)).await;
    }

    async fn until_gone(&mut self, object: &str) {
        self.until(|fixture| !fixture.held.contains(object)).await;
    }

    async fn until_problem(&mut self, part: &str) -> String {
        let found =
            |problems: &Arc<[Diagnostic]>| problems.iter().any(|problem| problem.to_string().contains(part));
        let problems = timeout(LIMIT, self.problems.wait_for(found)).await.expect("no such problem").unwrap();
        problems.iter().map(ToString::to_string).find(|problem| problem.contains(part)).unwrap()
    }

    async fn until_no_problem(&mut self) {
        timeout(LIMIT, self.problems.wait_for(|problems| problems.is_empty()))
            .await
            .expect("problems stay")
            .unwrap();
    }
}

fn service(name: &str) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\nspec:\n  ports:\n  - port: 80\n")
}

fn write(dir: &TempDir, file: &str, text: &str) {
    fs::write(dir.path().join(file), text).unwrap();
}

fn dir(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (file, text) in files {
        write(&dir, file, text);
    }
    dir
}

#[test]
fn example_is_loaded_with_no_complaint() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/bookinfo");
    let (events, problems) = load_once(&FolderSettings::new(vec![example]));
    assert_eq!(problems, []);
    let count = |kind: Kind| {
        events.iter().filter(|event| matches!(event, Event::Put(object) if object.kind() == kind)).count()
    };
    assert_eq!(count(Kind::Pod), 8);
    assert_eq!(count(Kind::Service), 7);
    assert_eq!(count(Kind::Node), 3);
    assert_eq!(count(Kind::AuthorizationPolicy), 4);
    assert!(!events.iter().any(|event| matches!(event, Event::Reject(..))));
    for kind in Kind::ALL {
        assert!(events.iter().any(|event| matches!(event, Event::Begin(begun) if begun == kind)));
        assert!(events.iter().any(|event| matches!(event, Event::Synced(synced) if synced == kind)));
    }
}

#[test]
fn only_the_settings_among_config_maps_are_sent() {
    let config = |namespace: &str, name: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{namespace: {namespace}, name: {name}}}\ndata: {{mesh: '[]'}}\n"
        )
    };
    let dir = dir(&[("a.yaml", &config("default", "istio")), ("b.yaml", &config("istio-system", "other"))]);
    let (events, _) = load_once(&FolderSettings::new(vec![dir.path().to_owned()]));
    let is_config = |event: &Event| match event {
        Event::Put(object) => object.kind() == Kind::ConfigMap,
        Event::Reject(ObjectRef { kind, .. }, _) => *kind == Kind::ConfigMap,
        _ => false,
    };
    assert!(!events.iter().any(is_config));
}

#[test]
fn missing_folder_and_strange_bytes_are_problems() {
    let dir = dir(&[("b.yaml", &service("b"))]);
    fs::write(dir.path().join("a.yaml"), b"a: 1\nb: \xff\n").unwrap();
    let missing = dir.path().join("missing");
    let (events, problems) = load_once(&FolderSettings::new(vec![missing, dir.path().to_owned()]));
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].message.contains("it does not exist"));
    assert!(problems[1].message.contains("line 2 is not UTF-8"));
    assert!(events.iter().any(|event| matches!(event, Event::Put(object) if object.kind() == Kind::Service)));
}

#[test]
fn policy_that_cannot_be_read_is_refused_rather_than_absent() {
    let policy =
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata:\n  name: p\n  name: q\n";
    let dir = dir(&[("a.yaml", policy)]);
    let (events, problems) = load_once(&FolderSettings::new(vec![dir.path().to_owned()]));
    assert_eq!(problems.len(), 1, "{problems:?}");
    let refused = events.iter().find_map(|event| match event {
        Event::Put(model::Object::AuthorizationPolicy(policy)) => policy.spec.as_ref().err(),
        _ => None,
    });
    let diagnostic = &refused.expect("no refused policy").diagnostic;
    assert_eq!(diagnostic.place.as_ref().unwrap().line, 5);
    assert_eq!(*diagnostic, problems[0], "one finding, not two");
}

#[test]
fn policy_that_an_api_server_would_refuse_denies_what_it_selects() {
    let policy = |spec: &str| {
        format!(
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: p}}\nspec: {spec}\n"
        )
    };
    let selector = |spec: &str| {
        let dir = dir(&[("a.yaml", &policy(spec))]);
        let (events, problems) = load_once(&FolderSettings::new(vec![dir.path().to_owned()]));
        let refused = events.into_iter().find_map(|event| match event {
            Event::Put(model::Object::AuthorizationPolicy(policy)) => policy.spec.clone().err(),
            _ => None,
        });
        let refused = refused.expect("no refused policy");
        assert!(problems.contains(&refused.diagnostic), "{problems:?}");
        refused.selector
    };
    let web = Some(model::Labels::new([("app", "web")]));
    assert_eq!(selector("{Action: DENY, selector: {matchLabels: {app: web}}, rules: [{}]}"), web);
    assert_eq!(selector("{action: DENY, selector: {matchLabels: {app: web}}}"), web);
    // A selector that is not understood selects everything.
    assert_eq!(selector("{action: DENY, selector: {matchlabels: {app: web}}, rules: [{}]}"), None);
    assert_eq!(selector("{action: DENY, Selector: {matchLabels: {app: web}}, rules: [{}]}"), None);
}

#[test]
fn service_entries_get_addresses_as_in_a_cluster() {
    let entry = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: ext}\nspec: {hosts: [a.example.org], ports: [{number: 443, name: tls}], resolution: DNS}\n";
    let addresses = |settings: &FolderSettings| {
        let (events, problems) = load_texts(settings, [("-", entry)]);
        assert!(problems.is_empty(), "{problems:?}");
        let entry = events.into_iter().find_map(|event| match event {
            Event::Put(model::Object::ServiceEntry(entry)) => Some(entry),
            _ => None,
        });
        entry.expect("no entry").status_addresses.clone()
    };
    let settings = FolderSettings::new(Vec::new());
    let given = addresses(&settings);
    assert_eq!(given.len(), 2, "one IPv4 and one IPv6");
    assert_eq!(given, addresses(&settings), "the same after every restart");
    assert_eq!(addresses(&FolderSettings { pools: None, ..settings }), []);
}

#[test]
fn hosts_that_another_object_has_get_no_address_until_it_is_gone() {
    let entry = |name: &str, hosts: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}}}\nspec: {{hosts: [{hosts}], ports: [{{number: 443, name: tls}}], resolution: DNS}}\n---\n"
        )
    };
    let of_web = "web.default.svc.cluster.local";
    let manifests = |with_others: bool| {
        let others = format!("{}---\n{}", service("web"), entry("a", "x.example.org"));
        format!(
            "{}{}",
            entry("b", &format!("x.example.org, {of_web}, y.example.org")),
            if with_others { &others } else { "" }
        )
    };
    let settings = FolderSettings::new(Vec::new());
    let mut folder = Folder::new(&settings.config_namespace);
    let mut emitter = Emitter::new(&settings);
    let mut hosts = |manifests: &str| {
        folder.set("a.yaml", manifests);
        let (events, _) = emitter.next(&mut folder);
        let entries = events.into_iter().filter_map(|event| match event {
            Event::Put(model::Object::ServiceEntry(entry)) if &*entry.meta.name.name == "b" => Some(entry),
            _ => None,
        });
        let entry = entries.last().expect("the entry is not sent");
        let hosts: BTreeSet<String> =
            entry.status_addresses.iter().map(|(host, _)| host.to_string()).collect();
        hosts.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(hosts(&manifests(true)), ["y.example.org"]);
    assert_eq!(hosts(&manifests(false)), [of_web, "x.example.org", "y.example.org"]);
    assert_eq!(hosts(&manifests(true)), ["y.example.org"], "what it lost is given back");
}

#[test]
fn hidden_files_and_other_names_are_not_read() {
    let dir = dir(&[(".a.yaml", &service("a")), ("b.txt", &service("b")), ("c.YML", &service("c"))]);
    fs::create_dir(dir.path().join(".git")).unwrap();
    write(&dir, ".git/d.yaml", &service("d"));
    let tree = tree::walk(&[dir.path().to_owned()], &mut |_| {});
    let names: Vec<&String> = tree.files.keys().collect();
    assert_eq!(names.len(), 1, "{names:?}");
    assert!(names[0].ends_with("c.YML"));
}

#[tokio::test]
async fn save_new_file_and_removal_are_seen() {
    let dir = dir(&[("a.yaml", &service("a"))]);
    let mut fixture = Fixture::start(&[dir.path()]).await;
    assert!(fixture.held.contains("Service default/a"));

    write(&dir, "a.yaml", &format!("{}---\n{}", service("a"), service("b")));
    fixture.until_held("Service default/b").await;
    assert_eq!(fixture.batches, 2);

    write(&dir, "c.yaml", &service("c"));
    fixture.until_held("Service default/c").await;

    fs::remove_file(dir.path().join("a.yaml")).unwrap();
    fixture.until_gone("Service default/a").await;
    assert!(!fixture.held.contains("Service default/b"), "one removal is one batch");
    assert!(fixture.held.contains("Service default/c"));
}

#[tokio::test]
async fn broken_save_keeps_the_objects_and_names_the_place() {
    let dir = dir(&[("a.yaml", &service("a")), ("b.yaml", &service("b"))]);
    let mut fixture = Fixture::start(&[dir.path()]).await;
    write(&dir, "a.yaml", "apiVersion: v1\nkind: Service\nmetadata:\n  name: a\n  name: b\n");
    let problem = fixture.until_problem("occurs twice").await;
    assert!(problem.contains("a.yaml:5:3: "), "{problem}");
    assert!(problem.contains("last good version"), "{problem}");

    write(&dir, "b.yaml", &service("c"));
    fixture.until_held("Service default/c").await;
    assert!(fixture.held.contains("Service default/a"));

    write(&dir, "a.yaml", &service("d"));
    fixture.until_held("Service default/d").await;
    assert!(!fixture.held.contains("Service default/a"));
    fixture.until_no_problem().await;
}

#[tokio::test]
async fn object_that_cannot_be_understood_is_rejected_with_its_place() {
    let dir = dir(&[("a.yaml", &service("a"))]);
    let mut fixture = Fixture::start(&[dir.path()]).await;
    let wrong = service("a").replace("port: 80", "port: eighty");
    write(&dir, "a.yaml", &format!("{wrong}---\n{}", service("b")));
    fixture.until(|fixture| !fixture.rejected.is_empty()).await;
    assert!(fixture.held.contains("Service default/b"));
    let place = fixture.rejected[0].place.clone().unwrap();
    assert!(place.file.ends_with("a.yaml"));
    assert_eq!((place.line, place.column), (7, 11), "{}", fixture.rejected[0]);

    // The same object on another line is told again, with the new place.
    write(&dir, "a.yaml", &format!("# a comment\n{wrong}---\n{}", service("b")));
    fixture.until(|fixture| fixture.rejected.len() == 2).await;
    assert_eq!(fixture.rejected[1].place.clone().unwrap().line, 8);

    // One that is as it was is put again, which takes the finding back.
    fixture.held.remove("Service default/a");
    write(&dir, "a.yaml", &format!("{}---\n{}", service("a"), service("b")));
    fixture.until_held("Service default/a").await;
}

#[tokio::test]
async fn file_that_becomes_a_folder_is_told() {
    let dir = dir(&[("a.yaml", &service("a"))]);
    let mut fixture = Fixture::start(&[dir.path()]).await;
    fs::remove_file(dir.path().join("a.yaml")).unwrap();
    fs::create_dir(dir.path().join("a.yaml")).unwrap();
    fixture.until_gone("Service default/a").await;
    fixture.until_problem("was a file and is a folder now").await;
    fs::remove_dir(dir.path().join("a.yaml")).unwrap();
    fixture.until_no_problem().await;
}

#[tokio::test]
async fn truncated_file_stays_active_until_it_is_closed() {
    let dir = dir(&[("a.yaml", &service("a"))]);
    let mut fixture = Fixture::start(&[dir.path()]).await;
    let mut open = fs::File::create(dir.path().join("a.yaml")).unwrap();
    // The other save is looked at after the truncation.
    write(&dir, "b.yaml", &service("b"));
    fixture.until_held("Service default/b").await;
    assert!(fixture.removed.is_empty(), "{:?}", fixture.removed);

    open.write_all(service("c").as_bytes()).unwrap();
    drop(open);
    fixture.until_held("Service default/c").await;
    assert_eq!(fixture.removed, ["Service default/a"]);
}

#[tokio::test]
async fn replacement_by_rename_is_one_batch() {
    let dir = dir(&[("a.yaml", &service("a"))]);
    let mut fixture = Fixture::start(&[dir.path()]).await;
    write(&dir, "a.yaml.tmp", &service("b"));
    fs::rename(dir.path().join("a.yaml.tmp"), dir.path().join("a.yaml")).unwrap();
    fixture.until_held("Service default/b").await;
    assert_eq!(fixture.batches, 2);
    assert_eq!(fixture.removed, ["Service default/a"]);
}

#[tokio::test]
async fn renamed_file_takes_its_objects_along() {
    let dir = dir(&[("a.yaml", &service("a"))]);
    let mut fixture = Fixture::start(&[dir.path()]).await;
    fs::rename(dir.path().join("a.yaml"), dir.path().join("z.yaml")).unwrap();
    write(&dir, "b.yaml", &service("b"));
    fixture.until_held("Service default/b").await;
    fs::remove_file(dir.path().join("z.yaml")).unwrap();
    fixture.until_gone("Service default/a").await;
    assert_eq!(fixture.removed, ["Service default/a"]);
}

#[tokio::test]
async fn folders_within_come_and_go() {
    let dir = dir(&[]);
    let mut fixture = Fixture::start(&[dir.path()]).await;
    let deep = dir.path().join("one/two");
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("a.yaml"), service("a")).unwrap();
    fixture.until_held("Service default/a").await;
    fs::write(deep.join("a.yaml"), service("b")).unwrap();
    fixture.until_held("Service default/b").await;

    fs::rename(dir.path().join("one"), dir.path().join("other")).unwrap();
    fs::write(dir.path().join("other/two/c.yaml"), service("c")).unwrap();
    fixture.until_held("Service default/c").await;
    assert!(fixture.held.contains("Service default/b"));

    fs::remove_dir_all(dir.path().join("other")).unwrap();
    fixture.until_gone("Service default/b").await;
    fixture.until_gone("Service default/c").await;
}

#[tokio::test]
async fn folder_that_vanishes_keeps_its_objects_and_is_read_when_it_appears() {
    let around = dir(&[]);
    let root = around.path().join("manifests");
    let mut fixture = Fixture::start(&[&root]).await;
    assert!(fixture.until_problem("does not exist").await.contains("manifests"));
    fs::create_dir(&root).unwrap();
    fs::write(root.join("a.yaml"), service("a")).unwrap();
    fixture.until_held("Service default/a").await;
    fixture.until_no_problem().await;

    fs::rename(&root, around.path().join("away")).unwrap();
    fixture.until_problem("does not exist").await;
    assert!(fixture.held.contains("Service default/a"));
    assert!(fixture.removed.is_empty());
}

#[tokio::test]
async fn burst_of_saves_arrives_in_the_end() {
    let dir = dir(&[]);
    let mut fixture = Fixture::start(&[dir.path()]).await;
    for number in 0..300 {
        write(&dir, &format!("{number}.yaml"), &service(&format!("s{number}")));
    }
    fixture
        .until(|fixture| (0..300).all(|number| fixture.held.contains(&format!("Service default/s{number}"))))
        .await;
}

#[tokio::test]
async fn system_that_refuses_to_watch_is_named_and_changes_are_seen_all_the_same() {
    let dir = dir(&[("a.yaml", &service("a"))]);
    let refuse = |_| Err(notify::Error::new(notify::ErrorKind::MaxFilesWatch));
    let mut fixture = Fixture::start_with(&[dir.path()], refuse).await;
    let problem = fixture.until_problem("once a second").await;
    assert!(problem.contains("raise fs.inotify.max_user_watches"), "{problem}");
    write(&dir, "a.yaml", &service("b"));
    fixture.until_held("Service default/b").await;
    fs::remove_file(dir.path().join("a.yaml")).unwrap();
    fixture.until_gone("Service default/b").await;
}

#[tokio::test]
async fn source_ends_with_its_receiver() {
    let dir = dir(&[]);
    let (sender, mut receiver) = mpsc::channel(1);
    let run = tokio::spawn(FolderSource::new(FolderSettings::new(vec![dir.path().to_owned()])).run(sender));
    timeout(LIMIT, receiver.recv()).await.unwrap().unwrap();
    drop(receiver);
    timeout(LIMIT, run).await.unwrap().unwrap();
}

/// Files as the settling sees them, with a clock of our own.
struct Editor {
    dir: TempDir,
    settling: Settling,
    now: Instant,
}

impl Editor {
    fn new() -> Self {
        let mut editor =
            Self { dir: dir(&[("a.yaml", "a: 1\n")]), settling: Settling::default(), now: Instant::now() };
        assert_eq!(editor.look(&[], true).0.len(), 1);
        editor
    }

    fn path(&self) -> PathBuf {
        fs::canonicalize(self.dir.path()).unwrap().join("a.yaml")
    }

    /// Looks at the tree; files that are ready count as read.
    fn look(&mut self, marks: &[Mark], first: bool) -> (Vec<Step>, Option<Duration>) {
        let mut all = Marks::default();
        for mark in marks {
            all.put(self.path(), *mark);
        }
        let tree = tree::walk(&[self.dir.path().to_owned()], &mut |_| {});
        let (steps, deadline) = self.settling.decide(&tree, &all, first, self.now);
        for step in &steps {
            match step {
                Step::Read(path) => self.settling.read(path, &tree.files[path], tree.files[path].stamp),
                Step::Remove(path) => self.settling.forget(path),
            }
        }
        (steps, deadline.map(|deadline| deadline - self.now))
    }
}

#[test]
fn file_that_is_removed_and_written_anew_is_never_removed() {
    let mut editor = Editor::new();
    fs::rename(editor.path(), editor.dir.path().join("a.yaml~")).unwrap();
    assert_eq!(editor.look(&[Mark::Gone], false), (vec![], Some(GRACE)));
    editor.now += GRACE / 2;
    fs::write(editor.path(), "a: 2\n").unwrap();
    let (steps, deadline) = editor.look(&[Mark::Settled], false);
    assert!(matches!(&steps[..], [Step::Read(_)]), "{steps:?}");
    assert_eq!(deadline, None);
}

#[test]
fn file_that_stays_away_or_empty_is_gone_after_the_grace() {
    let mut editor = Editor::new();
    fs::write(editor.path(), "").unwrap();
    assert_eq!(editor.look(&[Mark::Settled], false), (vec![], Some(GRACE)));
    editor.now += GRACE;
    assert!(matches!(&editor.look(&[], false).0[..], [Step::Read(_)]));

    fs::remove_file(editor.path()).unwrap();
    assert_eq!(editor.look(&[Mark::Gone], false), (vec![], Some(GRACE)));
    editor.now += GRACE;
    assert!(matches!(&editor.look(&[], false).0[..], [Step::Remove(_)]));
}

#[test]
fn open_file_is_read_when_it_is_closed_or_quiet() {
    let mut editor = Editor::new();
    fs::write(editor.path(), "a: 22\n").unwrap();
    assert_eq!(editor.look(&[Mark::Writing], false), (vec![], Some(QUIET)));
    // Attributes change while it is written.
    assert_eq!(editor.look(&[Mark::Attributes], false), (vec![], Some(QUIET)));
    assert!(matches!(&editor.look(&[Mark::Settled], false).0[..], [Step::Read(_)]));

    fs::write(editor.path(), "a: 333\n").unwrap();
    editor.look(&[Mark::Writing], false);
    editor.now += QUIET / 2;
    assert_eq!(editor.look(&[Mark::Writing], false), (vec![], Some(QUIET)));
    editor.now += QUIET;
    assert!(matches!(&editor.look(&[], false).0[..], [Step::Read(_)]));
}

#[test]
fn change_without_a_signal_must_last() {
    let mut editor = Editor::new();
    fs::write(editor.path(), "a: 22\n").unwrap();
    assert_eq!(editor.look(&[], false), (vec![], Some(GRACE)));
    editor.now += GRACE / 2;
    fs::write(editor.path(), "a: 333\n").unwrap();
    assert_eq!(editor.look(&[], false), (vec![], Some(GRACE)));
    editor.now += GRACE;
    assert!(matches!(&editor.look(&[], false).0[..], [Step::Read(_)]));
    assert_eq!(editor.look(&[], false), (vec![], None));
}

#[tokio::test]
async fn kinds_without_effect_are_told_with_what_to_use_instead() {
    let rule = "apiVersion: gateway.networking.k8s.io/v1\nkind: UDPRoute\nmetadata: {name: web}\nspec: {rules: [{backendRefs: [{name: web, port: 53}]}]}\n";
    let filter =
        "---\napiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {name: lua}\nspec: {}\n";
    let dir = dir(&[("web.yaml", &service("web")), ("l7.yaml", &format!("{rule}{filter}"))]);
    let mut fixture = Fixture::start(&[dir.path()]).await;
    let told = fixture.until_problem("EnvoyFilter default/lua").await;
    assert!(
        told.ends_with(
            "l7.yaml:7:7: EnvoyFilter default/lua: the kind is known and not read, so nothing of it is active (help: nothing \
             is patched into what is sent: use routes, policies, Telemetry and TrafficExtension)"
        ),
        "{told}"
    );
    fixture.until_problem("UDPRoute default/web: the kind is read and resolved").await;
    assert!(fixture.problems.borrow().iter().all(|problem| problem.severity == Severity::Warning));
    write(&dir, "l7.yaml", "");
    let told = fixture.until_problem("holds no object any more").await;
    assert!(told.contains("EnvoyFilter default/lua") || told.contains("UDPRoute default/web"), "{told}");
    fs::remove_file(dir.path().join("l7.yaml")).unwrap();
    fixture.until_no_problem().await;
}

#[test]
fn fields_that_are_not_supported_are_told_at_their_place() {
    let text = service("web").replace("spec:", "spec:\n  sessionAffinity: ClientIP");
    let line = text.lines().position(|line| line.contains("sessionAffinity")).unwrap() + 1;
    let dir = dir(&[("web.yaml", &text)]);
    let (events, problems) = load_once(&FolderSettings::new(vec![dir.path().to_owned()]));
    assert_eq!(problems, []);
    let put = events.iter().filter_map(|event| match event {
        Event::Put(object) => Some(object),
        _ => None,
    });
    let told: Vec<_> = put.flat_map(|object| object.unsupported()).collect();
    let places: Vec<_> =
        told.iter().map(|d| (d.code, d.field.as_str(), d.place.as_ref().map(|p| p.line))).collect();
    assert_eq!(places, [("KO007", "spec.sessionAffinity", Some(line))]);
}
