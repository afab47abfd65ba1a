//! Paths in the text of a kustomization.

/// A path with `.` and `..` followed, from the folder `from`; `None` if it leads out of what paths can
/// name.
pub(crate) fn join(from: &str, path: &str) -> Option<String> {
    let is_absolute = from.starts_with('/');
    let mut parts: Vec<&str> = from.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            // A relative path may begin with steps out of its folder.
            if parts.last().is_none_or(|last| *last == "..") {
                if is_absolute {
                    return None;
                }
                parts.push("..");
            } else {
                parts.pop();
            }
        } else {
            parts.push(part);
        }
    }
    Some(format!("{}{}", if is_absolute { "/" } else { "" }, parts.join("/")))
}

/// The folder that a file is in; empty for one without.
pub(crate) fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_followed() {
        for (from, path, expected) in [
            ("a/b", "c.yaml", Some("a/b/c.yaml")),
            ("a/b", "../c", Some("a/c")),
            ("", "./c", Some("c")),
            ("./a", "../../c", Some("../c")),
            ("/a", "../../c", None),
            ("/a/b", "../c/", Some("/a/c")),
        ] {
            assert_eq!(join(from, path).as_deref(), expected, "{from} {path}");
        }
    }
}
