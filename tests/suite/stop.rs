// SPDX-License-Identifier: GPL-2.0-only
//! Signals, locks, and cleaning.

use std::fs;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::space::{ERAS, PATIENCE, Space, TREES, has_ended, wait_until};

/// A klpbuild whose make is in the middle of a step that takes ten minutes, in a process group of its own.
fn slow(space: &Space) -> Child {
    slow_with(space, &["-j2"])
}

fn slow_with(space: &Space, options: &[&str]) -> Child {
    // What runs the tests may have these ignored.
    let mut command = space.command("env");
    command.arg("--default-signal=INT,HUP,TERM").arg(Space::program());
    command.args(["modules", "O=../obj", "SLOW=1"]).args(options).process_group(0);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("make is at the slow step", || sleepers(space) > 0);
    child
}

/// The processes that work in the object tree, with their command lines.
fn workers(space: &Space) -> Vec<(i64, Vec<u8>)> {
    let obj = space.path("obj");
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let path = entry.ok()?.path();
        let command = fs::read(path.join("cmdline")).ok()?;
        let here = fs::read_link(path.join("cwd")).ok()?;
        (here == obj).then(|| Some((path.file_name()?.to_str()?.parse().ok()?, command)))?
    });
    processes.collect()
}

/// How many of the slow step's processes there are.
fn sleepers(space: &Space) -> usize {
    workers(space).iter().filter(|(_, command)| command.starts_with(b"sleep\x00600")).count()
}

/// Ends what is left of a make that has ended.
fn end_workers(space: &Space) {
    wait_until("nothing works in the object tree", || {
        let left = workers(space);
        for (pid, _) in &left {
            let _ = std::process::Command::new("kill").args(["-s", "KILL", &pid.to_string()]).status();
        }
        left.is_empty()
    });
}

fn signal(target: i64, signal: &str) {
    let status = std::process::Command::new("kill").args(["-s", signal, "--", &target.to_string()]).status();
    assert!(status.unwrap().success());
}

fn wait(mut child: Child) -> (ExitStatus, String) {
    wait_until("klpbuild has ended", || child.try_wait().unwrap().is_some());
    let output = child.wait_with_output().unwrap();
    (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
}

fn assert_stopped_and_resumable(space: &Space, child: Child, number: i32, name: &str) {
    let (status, stderr) = wait(child);
    assert_eq!(status.signal(), Some(number), "{status:?}\n{stderr}");
    assert!(stderr.contains(&format!("klpbuild: stopped by {name}")), "{stderr}");
    assert_eq!(sleepers(space), 0, "a child was left behind");
    assert!(!space.path("obj/Symbols.list").exists());
    assert!(!space.files("obj", ".tmp").keys().any(|name| name.contains(".klpbuild-")));
    let ran = space.klpbuild(&["modules", "O=../obj"]).ok();
    assert!(
        !ran.steps().contains(&"CC lib/text.o".to_owned()),
        "what was built is built again: {:?}",
        ran.steps()
    );
    assert_eq!(space.read("obj/Symbols.list"), space.recipe("obj"));
}

#[test]
fn signals_to_klpbuild_alone_stop_make_and_its_children() {
    for (tree, name, number) in [("era-c", "TERM", 15), ("era-b", "HUP", 1), ("era-a", "INT", 2)] {
        let space = Space::configured(tree);
        let child = slow(&space);
        signal(child.id().into(), name);
        assert_stopped_and_resumable(&space, child, number, &format!("SIG{name}"));
    }
}

/// As the terminal does it for Ctrl-C: to the whole foreground process group.
#[test]
fn ctrl_c_stops_everything() {
    for tree in TREES {
        let space = Space::configured(tree);
        let child = slow(&space);
        signal(-i64::from(child.id()), "INT");
        assert_stopped_and_resumable(&space, child, 2, "SIGINT");
    }
}

/// The page of --timings is written for what was done until then.
#[test]
fn a_stopped_build_leaves_its_timings() {
    let space = Space::configured("era-c");
    let child = slow_with(&space, &["--timings=../times.html"]);
    signal(child.id().into(), "INT");
    let (status, stderr) = wait(child);
    assert_eq!(status.signal(), Some(2), "{stderr}");
    let page = space.read("times.html");
    assert!(page.contains("<span class=\"badge bad\">not finished</span> stopped by SIGINT</p>"), "{page}");
    assert!(page.contains("<title>SLOW "), "{page}");
}

#[test]
fn an_ignored_hangup_stays_ignored() {
    let space = Space::configured("era-c");
    let mut command = space.command("nohup");
    command.arg(Space::program()).args(["modules", "O=../obj", "SLOW=1"]).process_group(0);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("make is at the slow step", || sleepers(&space) > 0);
    signal(child.id().into(), "HUP");
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(sleepers(&space), 1);
    signal(child.id().into(), "TERM");
    assert_stopped_and_resumable(&space, child, 15, "SIGTERM");
}

#[test]
fn a_second_klpbuild_on_an_object_tree_is_refused() {
    let space = Space::configured("era-c");
    let child = slow(&space);
    let holder =
        format!("another klpbuild (process {}) is at work in {}", child.id(), space.path("obj").display());
    for arguments in
        [&["modules", "O=../obj"][..], &["clean", "O=../obj"], &["symbols", "--objtree", "../obj"]]
    {
        let begin = Instant::now();
        space.klpbuild(arguments).ends(1).says(&[&holder, "wait for it to end, or stop it"]);
        assert!(begin.elapsed() < PATIENCE);
    }
    signal(child.id().into(), "TERM");
    wait(child);
    space.klpbuild(&["klpclean", "O=../obj"]).ok();
}

/// make goes on when klpbuild is killed, and nobody else may work there until it has ended. With one job: what another
/// one prints ends make.
#[test]
fn a_killed_klpbuild_leaves_the_tree_to_its_make() {
    let space = Space::configured("era-c");
    let child = slow_with(&space, &["-j1"]);
    signal(child.id().into(), "KILL");
    assert_eq!(wait(child).0.signal(), Some(9));
    assert!(sleepers(&space) > 0);
    let make = space.read("obj/.klpbuild/make.pid");
    let make = make.split_whitespace().next().unwrap();
    let words = format!("the make (process {make}) of a klpbuild that was killed is still at work in ");
    for goal in ["modules", "clean"] {
        space.klpbuild(&[goal, "O=../obj"]).ends(1).says(&[&words, "wait for it to end, or stop it"]);
    }
    signal(make.parse().unwrap(), "TERM");
    wait_until("make has ended", || has_ended(make));
    end_workers(&space);
    space.klpbuild(&["modules", "O=../obj"]).ok();
    assert!(!space.path("obj/.klpbuild/make.pid").exists());
    assert_eq!(space.read("obj/Symbols.list"), space.recipe("obj"));
}

/// Nobody reads what make prints when klpbuild is killed: the next line ends make, but not what else it has started.
#[test]
fn what_a_killed_make_has_started_keeps_the_tree_as_well() {
    let space = Space::configured("era-c");
    let recipe = space.path("src/scripts/Makefile.build");
    let text = fs::read_to_string(&recipe).unwrap();
    let line = "sleep 600))";
    let waits = "sleep 600,@for i in $$(seq 900); do [ ! -e ../go ] || break; sleep 0.2; done; echo LATE))";
    assert_eq!(text.matches(line).count(), 1);
    fs::write(&recipe, text.replace(line, waits)).unwrap();
    let child = slow_with(&space, &["-j8"]);
    signal(child.id().into(), "KILL");
    wait(child);
    let make = space.read("obj/.klpbuild/make.pid");
    let make = make.split_whitespace().next().unwrap();
    fs::write(space.path("go"), "").unwrap();
    wait_until("make has ended", || has_ended(make));
    assert!(sleepers(&space) > 0);
    for goal in ["modules", "clean"] {
        let ran = space.klpbuild(&[goal, "O=../obj"]).ends(1);
        let refused = ran.says(&[
            "klpbuild: error: process ",
            "which the make of a klpbuild that was killed has started, is",
        ]);
        let named = refused.stderr.split("process ").nth(1).unwrap().split(',').next().unwrap();
        assert!(fs::exists(format!("/proc/{named}")).unwrap(), "{}", refused.stderr);
    }
    end_workers(&space);
    space.klpbuild(&["modules", "O=../obj"]).ok();
    assert_eq!(space.read("obj/Symbols.list"), space.recipe("obj"));
}

const OURS: [&str; 3] = ["Symbols.list", "modules.livepatch", ".klpbuild"];

#[test]
fn cleaning_leaves_nothing_of_ours() {
    for tree in ERAS {
        for (goal, objects, config) in [
            ("klpclean", true, true),
            ("clean", false, true),
            ("mrproper", false, false),
            ("distclean", false, false),
        ] {
            let space = Space::configured(tree);
            space.klpbuild(&["modules", "O=../obj", "KNOWN=m"]).ok();
            for name in OURS {
                assert!(space.path("obj").join(name).exists(), "{name}");
            }
            let ran = space.klpbuild(&[goal, "O=../obj", "--dry-run"]).ok();
            assert!(
                ran.stdout.contains("rm -r ") && ran.stdout.contains("/obj/Symbols.list"),
                "{}",
                ran.stdout
            );
            assert!(space.path("obj/Symbols.list").exists());
            space.klpbuild(&[goal, "O=../obj"]).ok();
            for name in OURS {
                assert!(!space.path("obj").join(name).exists(), "{tree}, {goal}: {name} is left");
            }
            assert_eq!(!space.files("obj", ".ko").is_empty(), objects, "{tree}, {goal}");
            assert_eq!(space.path("obj/.config").exists(), config, "{tree}, {goal}");
            // Again, with nothing there.
            space.klpbuild(&[goal, "O=../obj"]).ok();
            assert!(!space.path("obj/.klpbuild").exists());
        }
    }
}

#[test]
fn a_make_clean_that_fails_keeps_its_log() {
    let space = Space::configured("era-c");
    fs::write(space.path("src/scripts/config.mk"), "clean: ; @echo no way; exit 1\n").unwrap();
    let ran = space.klpbuild(&["clean", "O=../obj"]).ends(2).says(&["no way", "failed: clean (Error 1)"]);
    let log = space.path("obj/.klpbuild/make.log");
    assert!(ran.stderr.contains(&format!("the full output is in {}", log.display())), "{}", ran.stderr);
    assert!(fs::read_to_string(log).unwrap().contains("no way\n"));
}
