//! Symbolic links, and what they lead to.

use super::*;
use std::os::unix::fs::symlink;

#[test]
fn circle_of_links_ends_and_every_file_is_read_once() {
    let dir = dir(&[("a.yaml", &service("a"))]);
    symlink(dir.path(), dir.path().join("again")).unwrap();
    symlink("a.yaml", dir.path().join("b.yaml")).unwrap();
    symlink("nowhere.yaml", dir.path().join("c.yaml")).unwrap();
    let tree = tree::walk(&[dir.path().to_owned(), dir.path().to_owned()], &mut |_| {});
    assert_eq!(tree.files.len(), 1, "{:?}", tree.files);
}

#[test]
fn links_out_of_the_folders_are_named_and_neither_listed_nor_watched() {
    let outside = dir(&[("secret.yaml", &service("secret"))]);
    let (one, two) = (dir(&[("a.yaml", &service("a"))]), dir(&[("b.yaml", &service("b"))]));
    let real = |dir: &TempDir| fs::canonicalize(dir.path()).unwrap();
    let link = |target: &Path, name: &str| symlink(target, one.path().join(name)).unwrap();
    link(outside.path(), "folder");
    link(&outside.path().join("secret.yaml"), "file.yaml");
    link(Path::new("folder"), "by-another");
    link(&one.path().join("..").join(real(&outside).file_name().unwrap()), "upwards");
    // It may appear, which nobody here needs to know.
    link(&outside.path().join("later.yaml"), "nowhere.yaml");
    // What is no manifest was never read.
    link(&outside.path().join("secret.yaml"), "notes.txt");
    link(two.path(), "named");
    let mut watched = Vec::new();
    let roots = [one.path().to_owned(), two.path().to_owned()];
    let tree = tree::walk(&roots, &mut |folder| watched.push(folder.to_owned()));
    let names: Vec<String> = tree
        .files
        .keys()
        .filter_map(|path| Some(Path::new(path).file_name()?.to_string_lossy().into()))
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(!tree.directories.iter().chain(&watched).any(|folder| folder.starts_with(real(&outside))));
    let mut told: Vec<&str> = tree.problems.iter().map(|problem| problem.message.as_str()).collect();
    told.sort_unstable();
    assert_eq!(told.len(), 4, "{told:?}");
    for (message, name) in told.iter().zip(["by-another", "file.yaml", "folder", "upwards"]) {
        let shown = one.path().join(name);
        assert!(
            message.starts_with(&format!("{} cannot be read: it is a link to ", shown.display())),
            "{message}"
        );
        assert!(message.contains("outside of the folders that are read"), "{message}");
    }
}

#[tokio::test]
async fn link_that_leads_nowhere_is_told_and_keeps_what_was_read() {
    let dir = dir(&[("b.yaml", &service("b"))]);
    fs::create_dir(dir.path().join(".elsewhere")).unwrap();
    write(&dir, ".elsewhere/a.yaml", &service("a"));
    let target = dir.path().join(".elsewhere/a.yaml");
    symlink(&target, dir.path().join("a.yaml")).unwrap();
    let mut fixture = Fixture::start(&[dir.path()]).await;
    assert!(fixture.held.contains("Service default/a"));
    fs::remove_file(&target).unwrap();
    let problem = fixture.until_problem("it is a link to").await;
    assert!(problem.contains("stays active") && problem.contains("a.yaml"), "{problem}");
    assert!(fixture.held.contains("Service default/a"));
    fs::write(&target, service("c")).unwrap();
    fixture.until_held("Service default/c").await;
    fixture.until_no_problem().await;
}

#[tokio::test]
async fn mounted_config_map_is_swapped_at_once() {
    let dir = dir(&[]);
    let version = |number: u32, files: &[(&str, String)]| {
        let data = dir.path().join(format!("..{number}"));
        fs::create_dir(&data).unwrap();
        for (name, text) in files {
            fs::write(data.join(name), text).unwrap();
        }
        symlink(format!("..{number}"), dir.path().join("..tmp")).unwrap();
        fs::rename(dir.path().join("..tmp"), dir.path().join("..data")).unwrap();
    };
    version(1, &[("a.yaml", service("a")), ("b.yaml", service("b"))]);
    for name in ["a.yaml", "b.yaml"] {
        symlink(format!("..data/{name}"), dir.path().join(name)).unwrap();
    }
    let mut fixture = Fixture::start(&[dir.path()]).await;
    assert!(fixture.held.contains("Service default/a"));

    version(2, &[("a.yaml", service("c"))]);
    fixture.until_held("Service default/c").await;
    assert_eq!(fixture.batches, 2);
    assert_eq!(fixture.removed, ["Service default/a"]);
    // A link whose target is gone is reported, and what it held stays until the link is gone, too: the
    // kubelet removes it after the swap.
    assert!(fixture.held.contains("Service default/b"));
    fs::remove_file(dir.path().join("b.yaml")).unwrap();
    fixture.until_gone("Service default/b").await;
    version(3, &[("a.yaml", service("d"))]);
    fixture.until_held("Service default/d").await;
}

#[tokio::test]
async fn folder_that_is_a_link_can_lead_elsewhere() {
    let around = dir(&[]);
    for name in ["one", "two"] {
        fs::create_dir(around.path().join(name)).unwrap();
        write(&around, &format!("{name}/x.yaml"), &service(name));
    }
    let current = around.path().join("current");
    symlink("one", &current).unwrap();
    let mut fixture = Fixture::start(&[&current]).await;
    assert!(fixture.held.contains("Service default/one"));
    symlink("two", around.path().join("next")).unwrap();
    fs::rename(around.path().join("next"), &current).unwrap();
    fixture.until_held("Service default/two").await;
    assert!(!fixture.held.contains("Service default/one"));
}

#[tokio::test]
async fn single_file_and_target_of_a_link_are_followed() {
    let linked = dir(&[("real.txt", &service("a"))]);
    symlink(linked.path().join("real.txt"), linked.path().join("a.yaml")).unwrap();
    let single = dir(&[("b.yaml", &service("b")), ("not-asked-for.yaml", &service("x"))]);
    let file = single.path().join("b.yaml");
    let mut fixture = Fixture::start(&[linked.path(), &file]).await;
    assert!(fixture.held.contains("Service default/a") && fixture.held.contains("Service default/b"));
    assert!(!fixture.held.contains("Service default/x"));

    write(&linked, "real.txt", &service("c"));
    fixture.until_held("Service default/c").await;
    write(&single, "next", &service("d"));
    fs::rename(single.path().join("next"), &file).unwrap();
    fixture.until_held("Service default/d").await;
}
