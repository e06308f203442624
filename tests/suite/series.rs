// SPDX-License-Identifier: GPL-2.0-only
//! Every series of kbuild-patches on every form of the files that it changes (`tests/trees/forms`).

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::objtree::say_skipped;
use crate::space::{Ran, Space};

/// By the first kernel of that form: the series for it, and the rule that comes to convert livepatches.
const FORMS: [(&str, &str, &str); 15] = [
    ("4.9", "up-to-5.2", "_modpost: "),
    ("4.14", "up-to-5.2", "_modpost: "),
    ("4.19", "up-to-5.2", "_modpost: "),
    ("5.2", "up-to-5.2", "_modpost: "),
    ("5.3", "from-5.3", "modules: vmlinux "),
    ("5.4", "from-5.3", "modules: vmlinux "),
    ("5.7", "from-5.3", "modules: vmlinux "),
    ("5.8", "from-5.8", "modules: vmlinux "),
    ("5.10", "from-5.8", "modules: vmlinux "),
    ("5.12", "from-5.8", "modules: vmlinux "),
    ("5.14", "from-5.8", "modules: modules_check"),
    ("5.19", "from-5.19", "modules: modules_check"),
    ("6.1", "from-6.1", "modules: modpost"),
    ("6.18", "from-6.1", "modules: modpost"),
    ("6.19", "from-6.19", "modules: modpost"),
];

/// The files of a form, by path.
fn files(form: &str) -> BTreeMap<String, String> {
    let all = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trees/forms")).unwrap();
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    for section in all.split("\n=== ").skip(1) {
        let (head, text) = section.split_once('\n').unwrap();
        let (path, forms) = head.split_once(": ").unwrap();
        if forms.split(' ').any(|name| name == form) {
            let file = files.entry(path.to_owned()).or_default();
            file.push_str(text);
            file.push('\n');
        }
    }
    files
}

fn tree(form: &str) -> Space {
    let space = Space::new("odd");
    for (name, text) in files(form) {
        let path = space.path("src").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    space
}

fn patches(space: &Space, arguments: &[&str]) -> Ran {
    space.klpbuild(&[&["patches"][..], arguments].concat())
}

/// The rule whose recipe has the line, and the line before it.
fn rule_and_line_before<'a>(text: &'a str, line: &str) -> (&'a str, &'a str) {
    let lines: Vec<&str> = text.lines().collect();
    let at: Vec<usize> = (0..lines.len()).filter(|&at| lines[at].contains(line)).collect();
    assert_eq!(at.len(), 1, "{text}");
    let is_rule = |line: &&&str| !line.is_empty() && !line.starts_with(['\t', '#']) && line.contains(": ");
    (lines[..at[0]].iter().rev().find(is_rule).unwrap(), lines[at[0] - 1])
}

#[test]
fn each_form_has_a_series_that_fits() {
    for (form, series, rule) in FORMS {
        let space = tree(form);
        let before = space.files("src", "");
        let check = patches(&space, &["check"]).ok().stdout;
        assert!(check.starts_with(&format!("klpbuild: {series} (")), "{form}: {check}");
        let list = patches(&space, &["list"]).ok().stdout;
        assert_eq!(list.matches("fits this tree").count(), 1, "{form}: {list}");

        patches(&space, &["apply"]).ok();
        let text = |name: &str| space.read(&format!("src/{name}"));
        let converting = if series == "up-to-5.2" { "scripts/Makefile.modpost" } else { "Makefile" };
        let makefile = text(converting);
        let (found, before_it) = rule_and_line_before(&makefile, "Makefile.klp klp_convert");
        assert!(found.starts_with(rule), "{form}: {found}");
        let expected = match series {
            "up-to-5.2" => "_modpost: ",
            "from-6.1" | "from-6.19" => "\t$(Q)$(MAKE) -f $(srctree)/scripts/Makefile.modfinal",
            _ => "\t$(Q)$(MAKE) -f $(srctree)/scripts/Makefile.modpost",
        };
        assert!(before_it.starts_with(expected), "{form}: {before_it}");
        let modpost = text("scripts/mod/modpost.c");
        let defined = modpost.find("static void mark_livepatches(void)").unwrap();
        assert!(defined < modpost.find("static void read_symbols(").unwrap(), "{form}");
        // Modules are known by then.
        let called = modpost.find("\tif (files_source)\n\t\tmark_livepatches();\n").unwrap();
        assert!(called > modpost.find("\tread_symbols_from_files(files_source);").unwrap(), "{form}");
        let makefile_modpost = text("scripts/Makefile.modpost");
        let again = makefile_modpost.find("\n$(output-symdump): $(wildcard $(KBUILD_LIVEPATCHES))\n");
        // Up to 5.7, modpost looks each time.
        assert_eq!(again.is_some(), makefile_modpost.contains("\n__modpost: $(output-symdump)\n"), "{form}");
        // The first rule is the one that has a recipe: what it calls $< stays.
        assert!(again.is_none_or(|at| at > makefile_modpost.find("if_changed,modpost").unwrap()), "{form}");
        let kconfig = text("kernel/livepatch/Kconfig");
        let option = kconfig.find("\nconfig KLP_CONVERT\n").unwrap();
        assert!(kconfig.find("config LIVEPATCH\n").unwrap() < option, "{form}");
        assert!(kconfig.find("config HAVE_KLP_BUILD").is_none_or(|next| option < next), "{form}");
        // No symbol of a livepatch comes as far as modpost's complaint; one that is found is looked at further.
        let spared = modpost.find("if (mod->is_livepatch").unwrap();
        assert!(spared < modpost.find("undefined(s)").unwrap(), "{form}");
        let condition = modpost[..spared].lines().rev().nth(1).unwrap_or_default();
        let itself = modpost[spared..].lines().next().unwrap_or_default();
        assert!([condition, itself].iter().any(|line| line.contains("!exp")), "{form}: {condition}{itself}");
        let marks = text("scripts/Makefile.build");
        let times = if series == "up-to-5.2" { 2 } else { 1 };
        let words =
            if series == "up-to-5.2" { "$(call cmd,klp_mark)" } else { "touch,rm -f) $(@:.mod=.livepatch)" };
        assert_eq!(marks.matches(words).count(), times, "{form}: {marks}");
        assert!(text("samples/livepatch/Makefile").contains("\nLIVEPATCH_livepatch-shadow-fix1.o := y\n"));
        assert!(text("Makefile").contains("\nklpclean:\n"), "{form}");

        patches(&space, &["revert"]).ok();
        assert!(space.files("src", "") == before, "{form}");
    }
}

/// What git makes of the patches is what klpbuild makes of them.
#[test]
fn git_takes_each_series_as_klpbuild_does() {
    for (form, _, _) in FORMS {
        let space = tree(form);
        fs::write(space.path("series.mbox"), patches(&space, &["show"]).ok().stdout).unwrap();
        let script = "export GIT_CONFIG_GLOBAL=/dev/null; git init -q . && git add -A -f &&
            git -c user.name=t -c user.email=t@t commit -qm base &&
            git -c user.name=t -c user.email=t@t am -q ../series.mbox && rm -rf .git";
        space.sh(script).ok();
        let by_git = space.files("src", "");
        patches(&space, &["revert"]).ok();
        patches(&space, &["apply"]).ok();
        let ours = space.files("src", "");
        let differs = |name: &&String| ours.get(*name) != by_git.get(*name);
        assert_eq!(by_git.keys().chain(ours.keys()).find(differs), None, "{form}");
    }
}

/// Some trees have come without files that kernels have, and that nothing else depends on.
#[test]
fn a_tree_may_lack_what_only_tidies() {
    for (form, series, _) in [FORMS[0], FORMS[9]] {
        let space = tree(form);
        for name in [".gitignore", "Documentation/dontdiff"] {
            fs::remove_file(space.path("src").join(name)).unwrap();
        }
        let before = space.files("src", "");
        patches(&space, &["apply"]).ok();
        assert!(!space.path("src/.gitignore").exists() && space.path("src/scripts/Makefile.klp").exists());
        assert!(patches(&space, &["check"]).ok().stdout.contains(&format!("{series} (")));
        patches(&space, &["revert"]).ok();
        assert!(space.files("src", "") == before);
        let shown = patches(&space, &["show"]).ok().stdout;
        assert!(shown.contains("\nSubject: [PATCH 4/5] ") && !shown.contains("\nSubject: [PATCH 5/5] "));
    }
}

/// What scripts/checkpatch.pl needs of a kernel's source.
const CHECKPATCH: [&str; 3] =
    ["scripts/checkpatch.pl", "scripts/spelling.txt", "scripts/const_structs.checkpatch"];

/// What it says of patches that cannot be otherwise (kbuild-patches/README.md): who sends a series signs it off, it adds a
/// file, and the top Makefile calls a file whose name begins like its own.
const ACCEPTED: [&str; 3] =
    ["ERROR:MISSING_SIGN_OFF", "WARNING:FILE_PATH_CHANGES", "WARNING:EMBEDDED_FILENAME"];

/// What is in `directory` and called as the source of a Debian kernel, by name.
fn sources(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().map(|entry| entry.unwrap().path());
    let is_source = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.strip_prefix("linux-source-")
            .and_then(|rest| rest.strip_suffix(ending))
            .is_some_and(|version| version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
    };
    let mut sources: Vec<PathBuf> = entries.filter(is_source).collect();
    sources.sort();
    sources
}

/// A checkpatch.pl: of the source that the tests on real kernels unpack, or of the package, unpacked into `space`.
fn checkpatch(space: &Path) -> Option<PathBuf> {
    let unpacked = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("target/kernels"), "");
    let scripts = unpacked.into_iter().rev().map(|source| source.join(CHECKPATCH[0]));
    if let Some(script) = scripts.into_iter().find(|script| script.is_file()) {
        return Some(script);
    }
    let package = sources(Path::new("/usr/src"), ".tar.xz").pop()?;
    let name = package.file_name().unwrap().to_string_lossy().replace(".tar.xz", "");
    // Each of them once, so that the rest of the kernel need not be read.
    let files = CHECKPATCH.map(|file| format!("{name}/{file}"));
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(space).arg("-xf").arg(&package).arg("--occurrence=1").args(files);
    assert!(tar.status().unwrap().success(), "{}", package.display());
    Some(space.join(name).join(CHECKPATCH[0]))
}

/// Not skipped where there is a kernel's source.
#[test]
fn checkpatch_says_nothing_that_could_be_otherwise() {
    let space = tempfile::tempdir().unwrap();
    let Some(script) = checkpatch(space.path()) else {
        // Not with println!, which the test harness keeps to itself.
        let _ = writeln!(
            std::io::stderr(),
            "skipped for checkpatch.pl: there is no /usr/src/linux-source-*.tar.xz"
        );
        return;
    };
    if Command::new("perl").arg("-v").output().is_err() {
        return say_skipped("checkpatch.pl: there is no perl");
    }
    let series = Path::new(env!("CARGO_MANIFEST_DIR")).join("kbuild-patches");
    let directories = fs::read_dir(series).unwrap().map(|entry| entry.unwrap().path());
    let patches: Vec<PathBuf> = directories
        .filter(|path| path.is_dir())
        .flat_map(|series| fs::read_dir(series).unwrap().map(|entry| entry.unwrap().path()))
        .collect();
    assert!(patches.len() >= 30, "{patches:?}");
    let mut perl = Command::new("perl");
    // Without the .checkpatch.conf of whoever runs this.
    perl.current_dir(space.path()).env("HOME", space.path()).arg(script);
    let ran = perl.args(["--no-tree", "--terse", "--show-types", "--no-summary"]).args(patches).output();
    let ran = Ran::of(ran.unwrap());
    let is_accepted = |line: &&str| ACCEPTED.iter().any(|kind| line.contains(&format!(": {kind}: ")));
    let (accepted, others): (Vec<&str>, Vec<&str>) = ran.stdout.lines().partition(is_accepted);
    assert!(others.is_empty() && ran.stderr.is_empty(), "{others:#?}\n{}", ran.stderr);
    // It has looked at them.
    assert!(accepted.len() >= 30, "{accepted:#?}");
}
