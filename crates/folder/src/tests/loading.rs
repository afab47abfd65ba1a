//! Reading files: documents, places, last good versions.

use super::*;

const NAMESPACE: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: one}\n";

fn config(name: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n")
}

#[test]
fn documents_lists_and_comments_are_read() {
    let text = format!(
        "# a comment alone\n---\n{}---\n# nothing here\n---\napiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  \
         kind: ConfigMap\n  metadata: {{name: b}}\n- apiVersion: v1\n  kind: ConfigMapList\n  items:\n  - metadata: \
         {{name: c, namespace: other}}\n...\n---\n{}",
        config("a"),
        config("d")
    );
    let resolved = resolve(&text);
    assert_eq!(names(&resolved, "ConfigMap"), ["default/a", "default/b", "default/d", "other/c"]);
    assert!(resolved.problems.is_empty(), "{:?}", resolved.problems);
    let d = &resolved.objects[&Key::new("", "ConfigMap", "default", "d")];
    assert_eq!(d.origin.as_ref().unwrap().to_string(), "a.yaml:21");
}

#[test]
fn marker_inside_of_a_block_scalar_does_not_split() {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  x: |\n    ---\n    kind: Not\n    ...\n";
    let resolved = resolve(text);
    assert_eq!(text_of(&resolved, "a"), "---\nkind: Not\n...\n");
}

fn text_of<'r>(resolved: &'r Resolved, name: &str) -> &'r str {
    text(get(resolved, "", "ConfigMap", "default", name), "/data/x")
}

#[test]
fn byte_order_mark_and_carriage_returns_are_no_content() {
    let text = format!("\u{feff}{}---\n{}", NAMESPACE, config("a")).replace('\n', "\r\n");
    let resolved = resolve(&text);
    assert_eq!(names(&resolved, "ConfigMap"), ["default/a"]);
    assert!(complaints(&resolved).is_empty());
}

#[test]
fn json_files_are_read_one_value_after_the_other() {
    let mut files = folder(&[(
        "a.json",
        "{\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\", \"metadata\": {\"name\": \"a\"}}\n\n{\"apiVersion\": \"v1\", \
         \"kind\": \"ConfigMap\", \"metadata\": {\"name\": \"b\"}}\n",
    )]);
    let resolved = files.resolve();
    assert_eq!(names(&resolved, "ConfigMap"), ["default/a", "default/b"]);
    let b = &resolved.objects[&Key::new("", "ConfigMap", "default", "b")];
    assert_eq!(b.origin.as_ref().unwrap().line, 3);
    assert_eq!(files.locate(b.origin.as_ref().unwrap(), "metadata.name").unwrap().0, 3);
}

#[test]
fn wrong_yaml_names_line_and_column_of_the_file() {
    let text = format!(
        "{}---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: b\n\tlabels: {{}}\n",
        config("a")
    );
    let resolved = resolve(&text);
    assert_eq!(names(&resolved, "ConfigMap"), ["default/a"]);
    let problem = &resolved.problems[0];
    assert_eq!((problem.line, problem.column, problem.severity), (9, 1, Severity::Error), "{problem}");
    assert!(problem.help.contains("spaces, not tabs"), "{problem}");
    assert!(!problem.message.contains("column 1"), "{problem}");
}

#[test]
fn wrong_json_names_line_and_column() {
    let resolved = folder(&[("a.json", "{\n  \"apiVersion\": \"v1\",\n  \"kind\" \"Pod\"\n}\n")]).resolve();
    let problem = &resolved.problems[0];
    assert_eq!((problem.line, problem.severity), (3, Severity::Error), "{problem}");
    assert!(problem.column > 1, "{problem}");
}

#[test]
fn key_given_twice_is_refused_where_it_stands() {
    let resolved = resolve("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  name: b\n");
    let problem = &resolved.problems[0];
    assert_eq!((problem.line, problem.column), (5, 3), "{problem}");
    assert!(problem.message.contains("key `name` occurs twice"), "{problem}");
}

#[test]
fn broken_file_keeps_its_last_good_version_and_others_move_on() {
    let mut files = folder(&[("a.yaml", &config("a")), ("b.yaml", &config("b"))]);
    files.set("a.yaml", "apiVersion: v1\nkind: [\n");
    files.set("b.yaml", &config("c"));
    let resolved = files.resolve();
    assert_eq!(names(&resolved, "ConfigMap"), ["default/a", "default/c"]);
    assert!(complaints(&resolved)[0].contains("last good version"), "{:?}", resolved.problems);

    files.set("a.yaml", &config("d"));
    let resolved = files.resolve();
    assert_eq!(names(&resolved, "ConfigMap"), ["default/c", "default/d"]);
    assert!(complaints(&resolved).is_empty());
}

#[test]
fn file_that_is_emptied_is_told_with_what_is_removed() {
    let mut files = folder(&[("a.yaml", &format!("{}---\n{}", config("a"), config("b"))), ("b.yaml", "")]);
    assert!(complaints(&files.resolve()).is_empty(), "a file that never had anything");
    let told = "a.yaml:1:1: warning[FO023]: holds no object any more, so what it held is removed: ConfigMap default/a and \
                1 more (help: write it anew, or remove the file if that was meant)";
    for text in ["", "# nothing\n", "---\n"] {
        files.set("a.yaml", text);
        let resolved = files.resolve();
        assert_eq!(names(&resolved, "ConfigMap"), [""; 0]);
        assert_eq!(complaints(&resolved), [told], "{text:?}");
    }
    files.set("a.yaml", &config("c"));
    assert!(complaints(&files.resolve()).is_empty());
    files.set("a.yaml", "");
    files.remove("a.yaml");
    assert!(complaints(&files.resolve()).is_empty());
}

#[test]
fn places_of_objects_are_those_of_their_manifests() {
    let text = format!("{}---\n{}", deployment("shop", "web", 1), config("a"));
    let mut files = folder(&[("a.yaml", &text)]);
    let resolved = files.resolve();
    let pod = resolved.objects.keys().find(|key| key.kind == "Pod").unwrap().clone();
    let places = files.places(std::sync::Arc::new(resolved.objects));
    let config = Key::new("", "ConfigMap", "default", "a");
    let line = 1 + text.lines().position(|line| line.contains("kind: ConfigMap")).unwrap() as u32;
    assert_eq!(places.of(&config, "kind").map(|(file, line, _)| (file, line)), Some(("a.yaml", line)));
    assert_eq!(places.of(&config, "metadata.nothing").map(|(_, at, _)| at), Some(line + 1));
    assert_eq!(places.of(&pod, "spec.nodeName"), Some(("a.yaml", 1, 1)), "that of its Deployment");
    assert_eq!(places.of(&Key::new("", "Namespace", "", "default"), ""), None);
    assert_eq!(places.of(&Key::new("", "Pod", "shop", "none"), ""), None);
}

#[test]
fn unreadable_file_keeps_its_last_good_version() {
    let mut files = folder(&[("a.yaml", &config("a"))]);
    files.set_unreadable("a.yaml", "permission denied");
    let resolved = files.resolve();
    assert_eq!(names(&resolved, "ConfigMap"), ["default/a"]);
    assert!(complaints(&resolved)[0].contains("permission denied"));
}

#[test]
fn controller_with_an_invalid_value_keeps_its_last_good_version_alone() {
    let good = format!("{}---\n{}", deployment("default", "web", 2), config("a"));
    let bad = format!(
        "{}---\n{}",
        deployment("default", "web", 3).replace("replicas: 3", "replicas: three"),
        config("b")
    );
    let mut files = folder(&[("a.yaml", &good)]);
    files.set("a.yaml", &bad);
    let resolved = files.resolve();
    assert_eq!(names(&resolved, "ConfigMap"), ["default/b"]);
    assert_eq!(all(&resolved, "Pod").len(), 2);
    let problem = &resolved.problems[0];
    assert_eq!((problem.line, problem.column), (5, 13), "{problem}");
    assert_eq!(problem.field, "spec.replicas");
    assert_eq!(
        problem.message,
        "Invalid value: \"three\": must be of type integer, not string; its last good version stays active"
    );
}

#[test]
fn label_that_is_no_string_is_named() {
    let resolved = resolve(&deployment("default", "web", 1).replace("version: v1", "version: 1.10"));
    let problem = &resolved.problems[0];
    assert_eq!(problem.line, 8, "{problem}");
    assert_eq!(problem.field, "spec.template.metadata.labels.version");
    assert!(problem.message.starts_with("Invalid value: 1.1: must be of type string"), "{problem}");
    assert!(all(&resolved, "Pod").is_empty());
}

#[test]
fn template_is_skipped_with_a_warning() {
    let resolved = resolve("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\n");
    let problem = &resolved.problems[0];
    assert_eq!((problem.severity, problem.line), (Severity::Warning, 4), "{problem}");
    assert!(problem.message.starts_with("a template"), "{problem}");
}

#[test]
fn braces_in_a_value_make_no_template() {
    let resolved = resolve(&format!("{}data: {{x: '{{{{ value }}}}'}}\n", config("a")));
    assert_eq!(text_of(&resolved, "a"), "{{ value }}");
}

#[test]
fn what_is_no_object_is_ignored_with_a_note() {
    for text in ["replicaCount: 1\n", "- a\n- b\n", "apiVersion: v2\nname: chart\n", "just text\n"] {
        let resolved = resolve(text);
        assert_eq!(resolved.problems.len(), 1, "{text}");
        assert_eq!(resolved.problems[0].severity, Severity::Info, "{text}");
    }
}

#[test]
fn object_without_a_proper_name_is_refused_alone() {
    let text = format!(
        "apiVersion: v1\nkind: ConfigMap\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: 5}}\n---\napiVersion: \
         v1\nkind: ConfigMap\nmetadata: {{name: a, namespace: A/B}}\n---\n{}",
        config("good")
    );
    let resolved = resolve(&text);
    assert_eq!(names(&resolved, "ConfigMap"), ["default/good"]);
    let lines: Vec<u32> = resolved.problems.iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [1, 4, 8]);
}

#[test]
fn generated_name_is_stable() {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: job-}\n";
    let name = names(&resolve(text), "ConfigMap");
    assert!(name[0].starts_with("default/job-") && name[0].len() == "default/job-".len() + 5);
    assert_eq!(name, names(&folder(&[("other.yaml", text)]).resolve(), "ConfigMap"));
}

#[test]
fn object_written_twice_is_taken_from_the_first_path() {
    let first = config("a") + "data: {x: first}\n";
    let second = config("a") + "data: {x: second}\n";
    let resolved = folder(&[("b.yaml", &second), ("a.yaml", &first)]).resolve();
    assert_eq!(text_of(&resolved, "a"), "first");
    let problem = &resolved.problems[0];
    assert_eq!(&*problem.file, "b.yaml");
    assert!(problem.message.contains("a.yaml:1 is taken, b.yaml:1 is ignored"), "{problem}");
}

#[test]
fn versions_of_one_kind_name_one_object() {
    let policy = |version: &str| {
        format!("apiVersion: security.istio.io/{version}\nkind: AuthorizationPolicy\nmetadata: {{name: p}}\n")
    };
    let resolved = folder(&[("a.yaml", &policy("v1")), ("b.yaml", &policy("v1beta1"))]).resolve();
    assert_eq!(names(&resolved, "AuthorizationPolicy"), ["default/p"]);
    assert_eq!(complaints(&resolved).len(), 1);
}

#[test]
fn merge_keys_and_anchors_are_followed() {
    let manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  annotations: &b {x: base, y: base}\ndata:\n  <<: *b\n  x: own\n";
    let resolved = resolve(manifest);
    assert_eq!(text_of(&resolved, "a"), "own");
    assert_eq!(text(get(&resolved, "", "ConfigMap", "default", "a"), "/data/y"), "base");
}

#[test]
fn alias_bomb_is_refused() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let before = level - 1;
        let aliases = vec![format!("*a{before}"); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    let resolved = resolve(&text);
    assert_eq!(resolved.problems[0].severity, Severity::Error, "{:?}", resolved.problems);
}

#[test]
fn deep_nesting_is_refused() {
    for text in
        ["[".repeat(100_000), "- ".repeat(50_000), format!("a: {}1{}", "[".repeat(500), "]".repeat(500))]
    {
        let resolved = resolve(&text);
        assert_eq!(resolved.problems[0].severity, Severity::Error);
    }
    let json = folder(&[("a.json", &"[".repeat(100_000))]).resolve();
    assert_eq!(json.problems[0].severity, Severity::Error);
}

#[test]
fn field_is_located_through_lists_and_offsets() {
    let text = format!(
        "{NAMESPACE}---\napiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata:\n    name: \
         web\n    labels:\n      app.kubernetes.io/name: web\n  spec:\n    ports:\n    - port: 80\n      name: http\n"
    );
    let mut files = folder(&[("a.yaml", &text)]);
    let resolved = files.resolve();
    let origin = resolved.objects[&Key::new("", "Service", "default", "web")].origin.clone().unwrap();
    assert_eq!(files.locate(&origin, "spec.ports[0].name"), Some((17, 13)));
    assert_eq!(files.locate(&origin, "metadata.labels[app.kubernetes.io/name]"), Some((13, 31)));
    // A field that is missing is looked for around its place.
    assert_eq!(files.locate(&origin, "spec.ports[0].protocol"), Some((16, 7)));
}

#[test]
fn policy_that_was_never_good_is_kept_by_its_name() {
    let policy = |spec: &str| {
        format!(
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata:\n  name: p\n  namespace: shop\n{spec}"
        )
    };
    let broken = policy("spec: [\n");
    let mut files = folder(&[("a.yaml", &broken)]);
    let resolved = files.resolve();
    let key = Key::new("security.istio.io", "AuthorizationPolicy", "shop", "p");
    assert!(resolved.objects[&key].refused.is_some());
    assert!(
        complaints(&resolved)[0].contains("AuthorizationPolicy shop/p is refused"),
        "{:?}",
        resolved.problems
    );

    files.set("a.yaml", &policy("spec: {action: DENY, rules: [{}]}\n"));
    files.set("a.yaml", &broken);
    let resolved = files.resolve();
    assert_eq!(
        text(get(&resolved, "security.istio.io", "AuthorizationPolicy", "shop", "p"), "/spec/action"),
        "DENY"
    );
    assert!(!complaints(&resolved)[0].contains("refused"), "{:?}", resolved.problems);
}
