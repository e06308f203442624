// SPDX-License-Identifier: GPL-2.0-only
//! Paths as text, as makefiles and debugging information have them.

/// A path without `.`, and without `..` after a directory: correct only if no directory is a symbolic link.
pub fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for (index, part) in path.split('/').enumerate() {
        match part {
            "" if index > 0 => {}
            "." => {}
            ".." if parts.last().is_some_and(|last| !matches!(*last, ".." | "")) => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The last part of a path.
pub fn last(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// A path without its suffix.
pub fn stem(path: &str) -> &str {
    path.rsplit_once('.').map_or(path, |(stem, _)| stem)
}

/// The end of the path `long` that means `path`, with the detours in it (`amdgpu/../amdkfd/kfd_queue.c`); none if it
/// means another file.
pub fn end_of<'a>(long: &'a str, path: &str) -> Option<&'a str> {
    if last(long) != last(path) {
        return None;
    }
    let starts = long.match_indices('/').map(|(at, _)| at + 1);
    let mut ends = std::iter::once(0).chain(starts).filter_map(|at| long.get(at..));
    ends.find(|end| *end == path || end.contains("..") && normal(end) == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detours_are_left_out() {
        for (path, straight) in [
            ("a/b/../c.c", "a/c.c"),
            ("./a//b/./c.c", "a/b/c.c"),
            ("../../a.c", "../../a.c"),
            ("/a/../b", "/b"),
            ("a/b/../../../c", "../c"),
            ("", ""),
        ] {
            assert_eq!(normal(path), straight, "{path}");
        }
    }

    #[test]
    fn the_end_keeps_its_detours() {
        let long = "/build/src/gpu/amdgpu/../amdkfd/queue.c";
        assert_eq!(end_of(long, "gpu/amdkfd/queue.c"), Some("gpu/amdgpu/../amdkfd/queue.c"));
        assert_eq!(end_of(long, "amdkfd/queue.c"), Some("amdgpu/../amdkfd/queue.c"));
        assert_eq!(end_of(long, "gpu/amdgpu/queue.c"), None);
        assert_eq!(end_of("init/main.c", "init/main.c"), Some("init/main.c"));
        assert_eq!(end_of("/x/init/main.c", "init/main.c"), Some("init/main.c"));
        assert_eq!(end_of("/x/reinit/main.c", "init/main.c"), None);
    }
}
