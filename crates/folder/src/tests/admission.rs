//! What is refused is left out, or stays as it was; policies fail closed.

use super::*;

fn policy(outer: &str, spec: &str) -> String {
    format!("{outer}\nmetadata: {{name: p, namespace: shop}}\nspec: {spec}\n")
}

const V1: &str = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy";

fn refused<'r>(resolved: &'r Resolved, name: &str) -> &'r Object {
    let key = Key::new("security.istio.io", "AuthorizationPolicy", "shop", name);
    let object = resolved.objects.get(&key).unwrap_or_else(|| panic!("{:?}", resolved.problems));
    assert!(object.refused.is_some(), "{:?}", resolved.problems);
    object
}

#[test]
fn policy_with_an_unknown_field_is_refused_and_named() {
    let resolved = resolve(&policy(V1, "{Action: DENY, selector: {matchLabels: {app: web}}, rules: [{}]}"));
    let object = refused(&resolved, "p");
    assert_eq!(object.value["spec"]["selector"]["matchLabels"]["app"], "web");
    let problem = object.refused.as_ref().unwrap();
    assert_eq!((problem.code, problem.line, problem.field.as_str()), ("KO004", 4, "spec.Action"));
    assert!(problem.message.contains("unknown field \"Action\"; it is refused, so it denies"), "{problem}");
    assert_eq!(problem.help, "did you mean `action`?");
    assert_eq!(&resolved.problems[0], problem);
}

#[test]
fn policy_under_a_wrong_kind_or_version_is_refused_where_it_was_meant() {
    for outer in [
        "apiVersion: security.istio.io/v1\nkind: authorizationPolicy",
        "apiVersion: security.istio.io\nkind: AuthorizationPolicy",
        "apiVersion: security.istio.io/v2\nkind: AuthorizationPolicy",
        "apiversion: security.istio.io/v1\nkind: AuthorizationPolicy",
        "apiVersion: security.istio.io/v1\nKind: AuthorizationPolicy",
        "apiVersion: 1\nkind: AuthorizationPolicy",
    ] {
        let resolved = resolve(&policy(outer, "{action: DENY, rules: [{}]}"));
        refused(&resolved, "p");
        assert_eq!(resolved.problems[0].severity, Severity::Error, "{outer}");
    }
    let resolved = resolve(&policy(V1, "{action: DENY, rules: [{}]}").replace("namespace", "Namespace"));
    assert_eq!(names(&resolved, "AuthorizationPolicy"), ["default/p"]);
    let resolved = resolve(&policy(V1, "{action: DENY, rules: [{}]}").replace("name: p", "nmae: p"));
    assert_eq!(resolved.refused.len(), 1);
    assert!(resolved.problems[0].help.contains("did you mean `name`?"), "{:?}", resolved.problems);
}

#[test]
fn policy_under_a_wrong_kind_keeps_its_last_good_version_and_says_so() {
    let good = policy(V1, "{action: DENY, rules: [{}]}");
    for outer in [
        "apiVersion: security.istio.io/v1\nkind: authorizationPolicy",
        "apiVersion: security.istio.io/v2\nkind: AuthorizationPolicy",
        "apiVersion: security.istio.io/v1\nKind: AuthorizationPolicy",
    ] {
        // With another spec, and with the same, which makes an object of the same value.
        for spec in ["{action: DENY, rules: [{}]}", "{rules: [{}]}"] {
            let wrong = policy(outer, spec);
            let mut files = folder(&[("a.yaml", &good)]);
            let before = files.resolve();
            files.set("a.yaml", &wrong);
            let resolved = files.resolve();
            let told = complaints(&resolved);
            assert!(
                told.iter().any(|told| told.contains("and its last good version stays active")),
                "{told:?}"
            );
            assert!(told.iter().all(|told| !told.contains("denies")), "{told:?}");
            let object = get(&resolved, "security.istio.io", "AuthorizationPolicy", "shop", "p");
            assert_eq!(object["spec"]["action"], "DENY");
            assert_eq!(crate::changes(&before.objects, &resolved.objects), []);
            assert_eq!(resolved.refused.len(), 1);

            // Without one it denies, until it is right, though its value may be the same then.
            let mut files = folder(&[("a.yaml", &wrong)]);
            let before = files.resolve();
            assert!(complaints(&before)[0].contains("so it denies what it may select"), "{before:?}");
            files.set("a.yaml", &good);
            let resolved = files.resolve();
            assert_eq!(crate::changes(&before.objects, &resolved.objects).len(), 1, "{outer} {spec}");
            assert!(complaints(&resolved).is_empty());
        }
    }
}

#[test]
fn broken_policies_fail_closed_in_every_style() {
    let json = "{\"apiVersion\": \"security.istio.io/v1\", \"kind\": \"AuthorizationPolicy\", \"metadata\": {\"name\": \"p\", \"namespace\": \"shop\"}, \"spec\": {\"action\" \"DENY\"}}";
    let list =
        format!("apiVersion: v1\nkind: List\nitems:\n- {}", policy(V1, "{rules: [}").replace('\n', "\n  "));
    let flow = "{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: p, namespace: shop}, spec: {rules: [}}";
    for (path, text) in [
        ("a.yaml", policy(V1, "{rules: [}")),
        ("a.json", json.to_owned()),
        ("b.yaml", json.to_owned()),
        ("c.yaml", list),
        ("d.yaml", flow.to_owned()),
    ] {
        let resolved = folder(&[(path, &text)]).resolve();
        let object = refused(&resolved, "p");
        assert!(object.refused.as_ref().unwrap().message.contains("denies what it may select"), "{text}");
    }
}

#[test]
fn a_deny_without_rules_is_refused() {
    let resolved = resolve(&policy(V1, "{action: DENY}"));
    assert!(refused(&resolved, "p").refused.as_ref().unwrap().message.contains("denies nothing"));
}

#[test]
fn selector_with_a_flaw_is_not_believed() {
    for spec in [
        "{action: DENY, selector: {matchlabels: {app: web}}, rules: [{}]}",
        "{action: DENY, selector: {matchLabels: {app: '*'}}, rules: [{}]}",
        "{action: DENY, targetRefs: [{kind: Service, nmae: web}], rules: [{}]}",
    ] {
        let resolved = resolve(&policy(V1, spec));
        let value = &refused(&resolved, "p").value["spec"];
        assert!(value.get("selector").is_none() && value.get("targetRefs").is_none(), "{value}");
    }
}

#[test]
fn known_kinds_under_a_wrong_name_are_named_and_those_of_others_are_not() {
    let told = |outer: &str| {
        let resolved = resolve(&format!("{outer}\nmetadata: {{name: x}}\n"));
        assert!(
            resolved.objects.keys().all(|key| key.name != "x" || !key.kind.eq_ignore_ascii_case("service"))
        );
        complaints(&resolved).pop().unwrap_or_default()
    };
    assert!(
        told("apiVersion: v1\nkind: service").contains("no matches for kind \"service\" in version \"v1\"")
    );
    assert!(
        told("apiVersion: apps/v1beta1\nkind: Deployment")
            .contains("served versions of Deployment are apps/v1")
    );
    assert!(told("kind: Service").contains("apiVersion not set"));
    assert_eq!(told("apiVersion: example.com/v1\nkind: Whatever"), "");
    assert!(
        resolve("apiVersion: v1\nkind: Config\nclusters: []\n")
            .problems
            .iter()
            .all(|problem| problem.severity == Severity::Info)
    );
}

#[test]
fn object_that_is_refused_keeps_its_last_good_version() {
    let service = |port: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec: {{ports: [{{port: {port}}}]}}\n"
        )
    };
    let mut files = folder(&[("a.yaml", &service("80"))]);
    files.set("a.yaml", &service("0"));
    let resolved = files.resolve();
    assert_eq!(get(&resolved, "", "Service", "default", "web")["spec"]["ports"][0]["port"], 80);
    assert_eq!(resolved.refused.len(), 1);
    assert!(complaints(&resolved)[0].contains("its last good version stays active"));
    files.set("a.yaml", &service("81"));
    assert!(files.resolve().refused.is_empty());
}

#[test]
fn immutable_field_stays_as_it_is() {
    let mut files = folder(&[("a.yaml", &deployment("shop", "web", 1))]);
    files.set("a.yaml", &deployment("shop", "web", 2).replace("app: web", "app: shop"));
    let resolved = files.resolve();
    assert_eq!(all(&resolved, "Pod").len(), 1);
    assert!(complaints(&resolved)[0].contains("spec.selector: Invalid value: field is immutable"));
}

#[test]
fn every_object_of_a_cluster_is_accepted_as_it_is() {
    let mut files = folder(&[(
        "a.yaml",
        &format!(
            "{}---\napiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: shop}}\nspec: {{selector: {{app: web}}, ports: [{{port: 80, targetPort: http}}]}}\n",
            deployment("shop", "web", 2)
        ),
    )]);
    let resolved = files.resolve();
    let mut text = String::new();
    for object in resolved.objects.values() {
        text.push_str(&format!("{}\n", object.value));
    }
    let copy = folder(&[("a.json", &text)]).resolve();
    assert!(copy.refused.is_empty() && complaints(&copy).is_empty(), "{:?}", copy.problems);
    assert_eq!(names(&copy, "Pod"), names(&resolved, "Pod"));
}
