// SPDX-License-Identifier: GPL-2.0-only
//! What is printed: on a terminal of some width, in pipes, and after failures.

use std::fs;
use std::num::NonZero;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::external;
use crate::space::{Ran, Space, wait_until};

/// Runs klpbuild on a terminal (of script(1)) of a width, and gives what it wrote there.
fn on_terminal(space: &Space, columns: usize, environment: &str, arguments: &str) -> String {
    let script = format!("stty cols {columns} rows 24; {environment} {} {arguments}", Space::program());
    let mut command = space.command("script");
    command.args(["-qec", &script, "/dev/null"]).env("TERM", "xterm").stdin(Stdio::null());
    String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned()
}

/// What a terminal of that width shows after it got `text`, with what has scrolled off.
fn shown(text: &str, columns: u16) -> Vec<String> {
    let mut terminal = vt100::Parser::new(NonZero::new(500).unwrap(), NonZero::new(columns).unwrap(), 0);
    terminal.process(text.as_bytes());
    terminal
        .screen()
        .rows(0, columns)
        .map(|row| row.trim_end().to_owned())
        .filter(|row| !row.is_empty())
        .collect()
}

/// The lines of the bar that were drawn, in their order.
fn bars(text: &str) -> Vec<String> {
    let pieces =
        text.split(['\r', '\n', '\u{1b}']).map(|piece| piece.trim_start_matches("[2K").trim_end().to_owned());
    let is_bar = regex::Regex::new(r"(\d steps|\d+/\d+)  \d+:\d\d").unwrap();
    pieces.filter(|piece| is_bar.is_match(piece)).collect()
}

#[test]
fn the_bar_fits_the_terminal_and_is_gone_at_the_end() {
    for columns in [40, 79, 132] {
        let space = Space::configured("era-c");
        let text = on_terminal(&space, columns.into(), "", "modules O=../obj");
        let screen = shown(&text, columns).join("\n");
        // Without an earlier run, no end is invented.
        let bars_of_first = bars(&text);
        assert!(bars_of_first.iter().any(|bar| bar.contains(" steps  0:0")), "{text:?}");
        assert!(
            !bars_of_first.iter().any(|bar| bar.contains("eta") || bar.contains("[=") || bar.contains('%'))
        );
        // Steps are only in the bar, and the bar is gone; warnings are whole.
        assert!(!screen.contains(" steps") && !screen.contains("CC"), "{screen}");
        // What klpbuild says itself is broken at blanks, each line with its name.
        let unwrapped = screen.replace("\nklpbuild:   ", " ").replace('\n', "");
        assert!(unwrapped.contains("left.c:11:13: warning: unused variable"), "{screen}");
        assert!(
            screen.contains("\n   11 |         int unused_here;\n      |             ^~~~~~~~~~~\n"),
            "{screen}"
        );
        let summary = "klpbuild: 5 modules, 1 livepatch; 20 names in Symbols.list; ";
        assert!(unwrapped.find(summary) > unwrapped.find("^~~~"), "{screen}");

        // Everything again: the last run tells the end.
        let steps: u64 = space.read("obj/.klpbuild/last-run").split(' ').next().unwrap().parse().unwrap();
        let text = on_terminal(&space, columns.into(), "", "modules O=../obj KCFLAGS=-g0");
        assert!(bars(&text).iter().any(|bar| bar.contains(&format!("/{steps}  0:0"))), "{steps}: {text:?}");
        assert_eq!(bars(&text).iter().any(|bar| bar.contains("[=")), columns >= 72, "{text:?}");
        assert!(!shown(&text, columns).join("").contains(&format!("/{steps} ")), "{text:?}");
        for bar in bars_of_first.iter().chain(&bars(&text)) {
            // A piece may begin with the padded text above the bar.
            let begin = bar.rfind("  0:").unwrap();
            assert!(bar[begin..].chars().count() < columns.into(), "{columns}: {bar}");
        }
    }
}

/// External modules have a history of their own: their bar has no total and no end before that, however long the kernel's
/// own was.
#[test]
fn the_bar_of_external_modules_knows_their_own_history() {
    let space = external::space("era-c");
    fs::create_dir_all(space.path("obj/.klpbuild")).unwrap();
    fs::write(space.path("obj/.klpbuild/last-run"), "1000 1000\n").unwrap();
    let ext = space.path("ext").display().to_string();
    let first = on_terminal(&space, 80, "", &format!("-C ../obj modules M={ext}"));
    assert!(bars(&first).iter().any(|bar| bar.contains(" steps  0:0")), "{first:?}");
    assert!(!first.contains("eta") && !first.contains("/1000"), "{first:?}");
    let last_run = || space.read("ext/.klpbuild/last-run");
    let steps: u64 = last_run().split(' ').next().unwrap().parse().unwrap();
    assert!(steps > 3, "{}", last_run());
    assert_eq!(space.read("obj/.klpbuild/last-run"), "1000 1000\n");
}

/// What `klpbuild lookup` says of a definition is broken at blanks on a terminal, and in a pipe it is one line; what is to be
/// pasted is never broken.
#[test]
fn prose_on_standard_output_fits_the_terminal() {
    let space = Space::configured("era-c");
    let main = space.read("src/init/main.c");
    let starts = "static __attribute__((used, section(\".init.text\"))) void starts(void) { }\n";
    fs::write(space.path("src/init/main.c"), main + starts).unwrap();
    space.klpbuild(&["modules", "O=../obj", "-q"]).ok();
    let words = ["lookup", "--objtree", "../obj", "starts", "left"];
    let whole = space.klpbuild(&words).ok().stdout;
    let prose = whole.lines().find(|line| line.starts_with("vmlinux: no livepatch can use it: ")).unwrap();
    assert!(prose.len() > 100 && !prose.contains("  "), "{whole}");
    let pasted = whole.lines().find(|line| line.starts_with("static KLP_MODULE_RELOC(pair)")).unwrap();
    for columns in [44, 60, 100] {
        let text = on_terminal(&space, columns, "", &words.join(" "));
        let lines: Vec<&str> = text.lines().collect();
        let at = lines.iter().position(|line| line.starts_with("vmlinux: no livepatch")).unwrap();
        let further = lines[at + 1..].iter().take_while(|line| line.starts_with("  ")).count();
        let told = &lines[at..=at + further];
        assert!(further > 0 && told.iter().all(|line| line.chars().count() <= columns), "{text}");
        assert!(told[1..].iter().all(|line| line.starts_with("  ") && !line.starts_with("   ")), "{text}");
        let joined = told.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        assert_eq!(joined, prose);
        assert!(lines.contains(&pasted), "{text}");
    }
    assert!(on_terminal(&space, 400, "", &words.join(" ")).lines().any(|line| line == prose));
}

/// make tells of a step when it is done; the bar shows the one that takes long while it does.
#[test]
fn the_bar_shows_the_step_that_is_running() {
    let space = Space::configured("era-c");
    let mut command = space.command("script");
    let script = format!("{} modules O=../obj SLOW=1", Space::program());
    command.args(["-qfec", &script, "../typescript"]).env("TERM", "xterm");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let text =
        || String::from_utf8_lossy(&fs::read(space.path("typescript")).unwrap_or_default()).into_owned();
    wait_until("the bar shows the slow step", || {
        bars(&text()).last().is_some_and(|bar| bar.ends_with("SLOW drivers/one/left.o"))
    });
    // The terminal goes away, and klpbuild with all that it has started.
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    child.wait().unwrap();
    wait_until("klpbuild has ended", || space.klpbuild(&["klpclean", "O=../obj"]).code == Some(0));
}

#[test]
fn the_bar_is_drawn_at_most_ten_times_a_second() {
    let space = Space::configured("era-c");
    let begin = Instant::now();
    let text = on_terminal(&space, 80, "", "modules O=../obj -j2");
    let limit = begin.elapsed().as_millis() / 100 + 3;
    let count = bars(&text).len();
    assert!(count as u128 <= limit, "{count} drawings, {limit} at most: {text:?}");
}

#[test]
fn dumb_terminals_ci_and_pipes_get_plain_lines() {
    let colours = regex::Regex::new("\u{1b}\\[[0-9;]*m").unwrap();
    for (environment, arguments) in
        [("TERM=dumb", ""), ("CI=true", ""), ("", "--progress=plain"), ("", "-q"), ("", "--progress none")]
    {
        let space = Space::configured("era-c");
        let text = on_terminal(&space, 80, environment, &format!("modules O=../obj {arguments}"));
        assert!(environment != "TERM=dumb" || !text.contains('\u{1b}'), "{environment}: {text:?}");
        // Colours move no cursor.
        let text = colours.replace_all(&text, "").into_owned();
        assert!(!text.contains('\u{1b}'), "{environment} {arguments}: {text:?}");
        let quiet = arguments == "-q";
        let steps = !quiet && arguments != "--progress none";
        assert_eq!(text.contains("  CC [M]  lib/sum-up.o\r\n"), steps, "{environment} {arguments}: {text:?}");
        assert_eq!(text.contains("klpbuild: 5 modules"), !quiet, "{environment} {arguments}: {text:?}");
        assert!(text.contains("warning: unused variable"), "{environment} {arguments}: {text:?}");
    }
    let space = Space::configured("era-c");
    let ran = space.klpbuild(&["modules", "O=../obj"]).ok();
    assert!(!ran.stdout.contains('\u{1b}') && !ran.stderr.contains('\u{1b}'));
    assert!(
        ran.stdout.contains("  CC [M]  lib/sum-up.o\n") && !ran.stdout.contains("warning"),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stderr.contains("warning: unused variable") && !ran.stderr.contains("  CC"),
        "{}",
        ran.stderr
    );
    // A bar needs a terminal.
    let ran = space.klpbuild(&["modules", "O=../obj", "--progress=bar"]).ok();
    assert!(!ran.stderr.contains('\u{1b}'));
}

#[test]
fn a_failure_is_the_last_thing_on_the_screen() {
    let space = Space::configured("era-c");
    let log = space.path("obj/.klpbuild/make.log");
    for text in [
        on_terminal(&space, 200, "", "modules O=../obj BROKEN=1 -k"),
        space.klpbuild(&["modules", "O=../obj", "BROKEN=1", "-k"]).ends(2).stderr,
    ] {
        let lines = shown(&text.replace('\n', "\r\n"), 200);
        let end: Vec<&str> = lines.iter().rev().take(2).map(String::as_str).collect();
        assert_eq!(end[1], "klpbuild: failed: drivers/one/user.o (Error 1)", "{lines:?}");
        assert_eq!(end[0], format!("klpbuild: the full output is in {}", log.display()), "{lines:?}");
        let block = &lines[lines.len() - 8..lines.len() - 2];
        assert!(block.iter().any(|line| line.contains("user.c:8:16: error: ")), "{block:?}");
        assert!(block.last().unwrap().starts_with("make[3]: *** ["), "{block:?}");
        assert!(!text.contains("Error 2"), "outer makes giving up are for the log: {text}");
    }
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains("user.c:8:16: error: ") && log.contains("] Error 2\n"), "{log}");
}

#[test]
fn the_log_has_everything_and_can_be_elsewhere() {
    let space = Space::configured("era-c");
    space.klpbuild(&["modules", "O=../obj", "-q", "--log", "../my.log"]).ok();
    let log = space.read("my.log");
    for line in
        ["  CC [M]  lib/sum-up.o\n", "warning: unused variable", "  KLP     Symbols.list\n", "$ MAKEFILES="]
    {
        assert!(log.contains(line), "no {line:?} in {log}");
    }
    assert!(!space.path("obj/.klpbuild/make.log").exists());
    space.klpbuild(&["modules", "O=../obj", "--log", "../my.log/below"]).ends(1).says(&["my.log"]);
    // A full disk costs the log, not the build.
    let ran = space.klpbuild(&["modules", "O=../obj", "--log", "/dev/full"]).ok();
    ran.says(&["cannot write the log /dev/full any more: ", "No space left on device"]);
}

#[test]
fn bytes_that_are_no_text_do_no_harm() {
    let space = Space::configured("era-c");
    let source = space.path("src/lib/sum-up.c");
    let text = fs::read(&source).unwrap();
    fs::write(&source, [&text[..], b"#warning \xff\xfe \x1b[2J here\n"].concat()).unwrap();
    let mut command = space.command(Space::program());
    let output = command.args(["modules", "O=../obj"]).output().unwrap();
    assert!(output.status.success());
    assert!(output.stderr.windows(2).any(|window| window == b"\xff\xfe"), "as gcc printed it");
    fs::write(&source, [&text[..], b"#warning \xff\xfe \x1b[2J there\n"].concat()).unwrap();
    let text = on_terminal(&space, 80, "", "modules O=../obj");
    assert!(!text.contains("\u{1b}[2J") && text.contains("there"), "{text:?}");
}

#[test]
fn a_reader_that_goes_away_does_not_stop_the_build() {
    let space = Space::configured("era-c");
    space.sh(&format!("{} modules O=../obj 2>&1 | head -n 1", Space::program())).ok();
    wait_until("all modules are there", || space.files("obj", ".ko").len() == 6);
}

#[test]
fn help_names_the_exit_statuses() {
    let space = Space::new("era-c");
    let help = space.klpbuild(&["--help"]).ok().stdout;
    let verbs = "\nBuild:\n  modules    Build the modules, a complete vmlinux and Symbols.list, in place of ";
    let statuses = [
        "  0       done",
        "  1       klpbuild found a problem",
        "  2       usage error",
        "make's own status",
    ];
    for text in statuses.into_iter().chain([
        verbs,
        "\n\nCheck:\n  verify  Check ",
        "\n\nEnvironment:\n  KDIR    the kernel",
    ]) {
        assert!(help.contains(text), "no {text:?} in {help}");
    }
    assert!(!help.contains('\u{1b}'), "{help}");
    assert!(!help.contains("hook"), "{help}");
    let version = space.klpbuild(&["--version"]).ok().stdout;
    let pattern =
        format!(r"^klpbuild {}( \([0-9a-f]{{7,12}}\))?\n$", regex::escape(env!("CARGO_PKG_VERSION")));
    assert!(regex::Regex::new(&pattern).unwrap().is_match(&version), "{version}");
}

/// Colours come where they are wanted, and nowhere else; what a compiler says gets them as well.
#[test]
fn colours_are_for_those_who_want_them() {
    let space = Space::configured("era-c");
    let run = |variable: (&str, &str), arguments: &[&str]| {
        let mut command = space.command(Space::program());
        command.env_remove("NO_COLOR").env(variable.0, variable.1).args(arguments);
        Ran::of(command.output().unwrap()).stderr
    };
    let typed: [&[&str]; 3] = [
        &["lookup", "no_such", "--objtree", "../no"],
        &["lookup", "no_such", "--objtree", "../no", "--color=never"],
        &["lookup", "no_such", "--objtree", "../no", "--color=always"],
    ];
    let painted = "\u{1b}[1mklpbuild: \u{1b}[0m\u{1b}[1m\u{1b}[31merror:\u{1b}[0m ";
    for (variable, words, is_painted) in [
        (("X", "1"), typed[0], false),
        (("X", "1"), typed[2], true),
        (("CLICOLOR_FORCE", "1"), typed[0], true),
        (("CLICOLOR_FORCE", "1"), typed[1], false),
        (("NO_COLOR", "1"), typed[2], true),
        (("NO_COLOR", "1"), typed[0], false),
    ] {
        let said = run(variable, words);
        assert_eq!(said.starts_with(painted), is_painted, "{variable:?} {words:?}: {said:?}");
        assert_eq!(said.contains('\u{1b}'), is_painted, "{said:?}");
    }
    fs::write(space.path("src/lib/broken.c"), "int broken(void) { return none; }\n").unwrap();
    let makefile = fs::read_to_string(space.path("src/lib/Makefile")).unwrap();
    fs::write(space.path("src/lib/Makefile"), makefile + "obj-y += broken.o\n").unwrap();
    let said = run(("X", "1"), &["modules", "O=../obj", "--color=always"]);
    assert!(said.contains("\u{1b}[1m\u{1b}[31merror:\u{1b}[0m "), "{said:?}");
    let plain = run(("X", "1"), &["modules", "O=../obj"]);
    assert!(plain.contains("error: ") && !plain.contains('\u{1b}'), "{plain:?}");
    let usage = run(("X", "1"), &["modules", "--no-such", "--color=always"]);
    assert!(usage.contains('\u{1b}'), "{usage:?}");
}
