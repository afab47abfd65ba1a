//! What holds for every folder.

use proptest::prelude::*;

use super::*;
use crate::{Change, changes};

/// A file of a small world: a deployment with its service, or something broken.
fn file() -> impl Strategy<Value = String> {
    let controller = (0..4usize, 0..3usize, 0..5u32, any::<bool>()).prop_map(|(name, namespace, replicas, named)| {
        let name = ["web", "db", "cart", "mail"][name];
        let namespace = ["one", "two", "default"][namespace];
        let target = if named { "http" } else { "8080" };
        format!(
            "{}---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  selector: \
             {{app: {name}}}\n  ports: [{{port: 80, targetPort: {target}}}]\n",
            deployment(namespace, name, replicas)
        )
    });
    prop_oneof![
        6 => controller,
        1 => Just("kind: [".to_owned()),
        1 => Just("values: 1\n".to_owned()),
    ]
}

fn files() -> impl Strategy<Value = Vec<(String, String)>> {
    proptest::collection::vec((0..6u8, file()), 0..6)
        .prop_map(|files| files.into_iter().map(|(path, text)| (format!("f{path}.yaml"), text)).collect())
}

fn from_files(files: &[(String, String)]) -> Folder {
    let mut folder = Folder::default();
    for (path, text) in files {
        folder.set(path, text);
    }
    folder
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn order_of_files_does_not_matter(files in files(), seed in any::<prop::sample::Index>()) {
        let unique: std::collections::BTreeMap<String, String> = files.into_iter().collect();
        let mut files: Vec<_> = unique.into_iter().collect();
        let ordered = from_files(&files).resolve();
        if !files.is_empty() {
            let middle = seed.index(files.len());
            files.rotate_left(middle);
            files.reverse();
        }
        let shuffled = from_files(&files).resolve();
        prop_assert_eq!(ordered.objects, shuffled.objects);
        prop_assert_eq!(ordered.problems, shuffled.problems);
    }

    #[test]
    fn put_then_remove_restores(files in files(), text in file()) {
        let mut folder = from_files(&files);
        let before = folder.resolve();
        folder.set("added.yaml", &text);
        folder.remove("added.yaml");
        let after = folder.resolve();
        prop_assert_eq!(before.objects, after.objects);
        prop_assert_eq!(before.problems, after.problems);
    }

    #[test]
    fn edit_of_one_controller_leaves_the_pods_of_others(files in files(), from in 0..5u32, to in 0..5u32) {
        let mut folder = from_files(&files);
        folder.set("z.yaml", &deployment("edited", "app", from));
        let before = folder.resolve();
        folder.set("z.yaml", &deployment("edited", "app", to).replace("version: v1", "version: v2"));
        let after = folder.resolve();
        for change in changes(&before.objects, &after.objects) {
            let key = match change {
                Change::Put(object) => object.key.clone(),
                Change::Remove(key) => key,
            };
            prop_assert_eq!(key.namespace, "edited");
        }
    }

    #[test]
    fn addresses_are_held_by_one_pod_each(files in files()) {
        let resolved = from_files(&files).resolve();
        let mut seen = std::collections::BTreeSet::new();
        for pod in all(&resolved, "Pod") {
            prop_assert!(seen.insert(text(&pod.value, "/status/podIP").to_owned()));
        }
    }

    #[test]
    fn any_text_is_survived(text in "[ -~\\n\\t{}\\[\\]:&*#|>-]{0,200}", json in any::<bool>()) {
        let mut folder = Folder::default();
        folder.set(if json { "a.json" } else { "a.yaml" }, &text);
        folder.resolve();
    }

    #[test]
    fn any_change_of_a_manifest_is_survived(at in any::<prop::sample::Index>(), with in "[ -~\\n]{0,12}", cut in 0..20usize) {
        let text = format!("{}---\napiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec:\n  clusterIP: ''\n  selector: {{app: web}}\n", deployment("one", "web", 2));
        let start = at.index(text.len());
        let end = (start + cut).min(text.len());
        let changed = format!("{}{with}{}", &text[..start], &text[end..]);
        let mut folder = Folder::default();
        folder.set("a.yaml", &text);
        folder.set("a.yaml", &changed);
        for problem in folder.resolve().problems {
            prop_assert!(problem.line >= 1 && problem.line as usize <= changed.lines().count() + 1);
        }
    }
}
