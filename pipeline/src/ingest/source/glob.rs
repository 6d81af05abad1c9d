//! Globs as shells write them: `*`, `?`, `[a-z]`, and `**` for any depth. For names that a shell did not expand itself.

use std::path::{Path, PathBuf};

/// Every file that a pattern matches, sorted.
pub(super) fn expand(pattern: &str) -> Vec<PathBuf> {
    let (root, rest) = match pattern.strip_prefix('/') {
        Some(rest) => (PathBuf::from("/"), rest),
        None => (PathBuf::new(), pattern),
    };
    let parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
    let mut found = Vec::new();
    descend(&root, &parts, &mut found);
    found.sort();
    found.dedup();
    found
}

fn descend(base: &Path, parts: &[&str], found: &mut Vec<PathBuf>) {
    let Some((part, rest)) = parts.split_first() else {
        if base.is_file() {
            found.push(base.to_owned());
        }
        return;
    };
    if *part == "**" {
        descend(base, rest, found);
        for (name, path) in entries(base) {
            // links may lead back
            if !name.starts_with('.') && path.is_dir() && !path.is_symlink() {
                descend(&path, parts, found);
            }
        }
        return;
    }
    if !part.contains(['*', '?', '[']) {
        let next = base.join(part);
        if next.exists() {
            descend(&next, rest, found);
        }
        return;
    }
    for (name, path) in entries(base) {
        if (part.starts_with('.') || !name.starts_with('.')) && matches(part, &name) {
            descend(&path, rest, found);
        }
    }
}

fn entries(directory: &Path) -> Vec<(String, PathBuf)> {
    let place = if directory.as_os_str().is_empty() {
        Path::new(".")
    } else {
        directory
    };
    let Ok(entries) = std::fs::read_dir(place) else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = directory.join(&name);
            (name, path)
        })
        .collect()
}

/// True when a path matches a pattern, part by part: what [`expand`] would find, for names that come from a listing.
pub(super) fn matches_path(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((&"**", rest)), None) => matches_path(rest, path),
        (Some((&"**", rest)), Some((part, below))) => {
            matches_path(rest, path) || !part.starts_with('.') && matches_path(pattern, below)
        }
        (Some((first, rest)), Some((part, below))) => {
            (first.starts_with('.') || !part.starts_with('.'))
                && matches(first, part)
                && matches_path(rest, below)
        }
        _ => false,
    }
}

/// True when a name matches a pattern without slashes.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let Some(first) = pattern.chars().next() else {
        return name.is_empty();
    };
    let rest = &pattern[first.len_utf8()..];
    if first == '*' {
        return (0..=name.len())
            .filter(|at| name.is_char_boundary(*at))
            .any(|at| matches(rest, &name[at..]));
    }
    let Some(character) = name.chars().next() else {
        return false;
    };
    let behind = &name[character.len_utf8()..];
    match first {
        '?' => matches(rest, behind),
        '[' => match rest.split_once(']') {
            Some((set, rest)) => in_set(set, character) && matches(rest, behind),
            None => character == '[' && matches(rest, behind),
        },
        _ => character == first && matches(rest, behind),
    }
}

fn in_set(set: &str, character: char) -> bool {
    let (negated, set) = set
        .strip_prefix(['!', '^'])
        .map_or((false, set), |set| (true, set));
    let characters: Vec<char> = set.chars().collect();
    let mut at = 0;
    let mut found = false;
    while at < characters.len() {
        if at + 2 < characters.len() && characters[at + 1] == '-' {
            found |= (characters[at]..=characters[at + 2]).contains(&character);
            at += 3;
        } else {
            found |= characters[at] == character;
            at += 1;
        }
    }
    found != negated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        assert!(matches("*.log", "a.log") && !matches("*.log", "a.txt"));
        assert!(matches("seed[A-C]?", "seedB1") && !matches("seed[!A-C]?", "seedB1"));
        assert!(matches("a*b*c", "a--b--c") && !matches("a*b*c", "a--c"));
    }

    #[test]
    fn paths_match_part_by_part() {
        let matches = |pattern: &str, path: &str| {
            let (pattern, path): (Vec<_>, Vec<_>) =
                (pattern.split('/').collect(), path.split('/').collect());
            matches_path(&pattern, &path)
        };
        assert!(matches("*.log", "a.log") && !matches("*.log", "b/a.log"));
        assert!(matches("**/*.log", "a.log") && matches("**/*.log", "b/c/a.log"));
        assert!(!matches("**/*.log", ".b/a.log") && !matches("*.log", ".a.log"));
        assert!(matches("seed?/**", "seed1/x/y") && !matches("seed?/*", "seed1/x/y"));
    }

    #[test]
    fn files_are_found_at_any_depth() {
        let directory = tempfile::tempdir().expect("there is room");
        let root = directory.path();
        std::fs::create_dir_all(root.join("a/b")).expect("there is room");
        for name in ["x.log", "a/y.log", "a/b/z.log", "a/b/z.txt"] {
            std::fs::write(root.join(name), "").expect("there is room");
        }
        let names = |pattern: &str| expand(&format!("{}/{pattern}", root.display())).len();
        assert_eq!(
            (names("*.log"), names("**/*.log"), names("a/*/z.*")),
            (1, 3, 2)
        );
    }
}
