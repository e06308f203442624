// SPDX-License-Identifier: GPL-2.0-only
//! The parts of --help and the manual pages besides options: the verbs in their order of use, examples, the
//! environment, files and exit statuses; and which common options have a meaning for which verb.

use clap::builder::StyledStr;
use clap::{Arg, Command};

/// The verbs, in the order in which they are used.
pub const GROUPS: [(&str, &[&str]); 4] = [
    ("Build", &["modules", "symbols", "convert", "clean", "mrproper", "distclean", "klpclean"]),
    ("Write", &["new", "livepatch", "lookup", "header", "snippet"]),
    ("Check", &["verify", "show", "try"]),
    ("Manage", &["kernels", "doctor", "patches", "completions", "man"]),
];

/// A section of the overview: its title, and pairs of a term and its meaning.
pub type HelpSection = (&'static str, &'static [(&'static str, &'static str)]);

/// The sections below the options of `klpbuild --help`.
pub const SECTIONS: [HelpSection; 4] = [
    (
        "Examples",
        &[
            ("klpbuild kernels", "which kernels are installed"),
            ("klpbuild new lp --function cmdline_proc_show", "begin a livepatch, for the running kernel"),
            ("make -C lp && klpbuild -C lp try lp.ko", "build it, and boot that kernel with it"),
            ("klpbuild livepatch FIX.patch --try", "or make one from a patch of the kernel's source"),
        ],
    ),
    (
        "Environment",
        &[
            (
                "KDIR",
                "the kernel: a directory, or the release of an installed one; O=, KDIR= and --release take precedence",
            ),
            ("KBUILD_OUTPUT, KBUILD_EXTMOD, KCONFIG_CONFIG", "as for the kernel's make"),
            ("MAKEFLAGS", "the variables and the jobserver of an outer make"),
            ("XDG_CACHE_HOME", "where the symbols of installed kernels are kept [default: ~/.cache]"),
            ("TMPDIR", "the directory for temporary files"),
            ("NO_COLOR, CLICOLOR, CLICOLOR_FORCE", "whether there are colours, unless --color says"),
            ("TERM, CI", "without a terminal that can draw, or in CI, there is no bar"),
        ],
    ),
    (
        "Exit status",
        &[
            ("0", "done"),
            ("1", "klpbuild found a problem (its message says which, and what to do)"),
            ("2", "usage error; of verify, show and try also: something could not be checked or tried"),
            ("N", "make's own status, if make failed (2 for a build error)"),
            ("signal", "a signal that stops klpbuild stops make as well, and then ends klpbuild"),
        ],
    ),
    (
        "Files",
        &[
            (
                "Symbols.list",
                "in the object tree: the symbols of vmlinux and of every module that is no livepatch",
            ),
            ("modules.livepatch", "in the object tree: the livepatch modules, one path a line"),
            (".klpbuild/", "in the object tree: klpbuild's state, with the log of the last run (make.log)"),
        ],
    ),
];

/// Two examples of each verb, each with what it does.
pub fn examples(verb: &str) -> &'static [(&'static str, &'static str)] {
    match verb {
        "modules" => &[
            ("klpbuild modules O=../obj bzImage -j8", "modules, Symbols.list and the kernel image"),
            (
                "klpbuild modules --release 6.12.38-amd64",
                "the livepatch in this directory, for an installed kernel",
            ),
        ],
        "symbols" => &[
            ("klpbuild symbols O=../obj", "Symbols.list of a tree that make has built"),
            ("klpbuild symbols --release 6.12.38-amd64 -o map", "the map of an installed kernel"),
        ],
        "convert" => &[
            ("klpbuild convert O=../obj lp.ko", "in place"),
            (
                "klpbuild convert lp.ko -o out.ko --release 6.12.38-amd64",
                "for an installed kernel, to another file",
            ),
        ],
        "clean" => &[
            ("klpbuild clean O=../obj", "run make clean, and remove klpbuild's files"),
            ("klpbuild -C lp clean --dry-run", "what would be run and removed"),
        ],
        "mrproper" => &[
            ("klpbuild mrproper", "run make mrproper, and remove klpbuild's files"),
            ("klpbuild mrproper O=../obj ARCH=arm64", "for an object tree of another machine"),
        ],
        "distclean" => &[
            ("klpbuild distclean", "run make distclean, and remove klpbuild's files"),
            ("klpbuild distclean --dry-run", "what would be run and removed"),
        ],
        "klpclean" => &[
            ("klpbuild klpclean O=../obj", "keep what make has built"),
            ("klpbuild klpclean --cache", "remove the cached symbols of installed kernels"),
        ],
        "new" => &[
            ("klpbuild new lp --function cmdline_proc_show", "a function of vmlinux"),
            (
                "klpbuild new lp --function ext4_sync_file --object ext4 --dkms",
                "a function of a module, for DKMS",
            ),
        ],
        "livepatch" => &[
            ("klpbuild livepatch fix.patch --try", "for this kernel tree; boot it with the livepatch"),
            (
                "klpbuild livepatch 000*.patch --release 6.12.38-amd64 --keep lp",
                "for an installed kernel; its source stays in lp",
            ),
        ],
        "lookup" => &[
            ("klpbuild lookup do_work 'ext4_mb_*'", "a name, and all names that match a pattern"),
            ("klpbuild lookup --regex '^__x64_sys_.*at$' --format json", "for programs"),
        ],
        "header" => &[
            ("klpbuild header -o klp_relocs.h", "beside the livepatch, which includes it"),
            ("klpbuild header | less", "to read it"),
        ],
        "snippet" => &[
            ("klpbuild snippet -o Makefile.snippet", "beside a module's Makefile, which includes it"),
            ("klpbuild snippet | less", "to read it"),
        ],
        "verify" => &[
            ("klpbuild verify O=../obj lp.ko", "against the kernel in that tree"),
            ("klpbuild verify --explain R7", "print what a rule demands"),
        ],
        "show" => &[
            ("klpbuild show O=../obj lp.ko", "an account for a reviewer"),
            ("klpbuild show lp.ko --format json | jq -r '.objects[].functions[].name'", "for programs"),
        ],
        "try" => &[
            ("klpbuild try lp.ko --run 'cat /proc/cmdline'", "before, while and after it is enabled"),
            ("klpbuild try lp.ko --release 6.12.38-amd64 --load ext4", "with a module of the kernel"),
        ],
        "kernels" => &[
            ("klpbuild kernels", "a table"),
            ("klpbuild kernels --format json | jq -r '.kernels[].release'", "for programs"),
        ],
        "doctor" => &[
            ("klpbuild doctor", "the running kernel, or this tree"),
            ("klpbuild doctor --release 6.12.38-amd64", "another installed kernel"),
        ],
        "patches" => &[
            ("klpbuild -C linux patches check", "which series fits the tree"),
            ("klpbuild -C linux patches apply", "and apply it"),
        ],
        "completions" => &[
            ("source <(klpbuild completions bash)", "for this shell"),
            ("klpbuild completions fish > ~/.config/fish/completions/klpbuild.fish", "for all later shells"),
        ],
        "man" => &[
            ("klpbuild man ~/.local/share/man", "write the pages to man1 and man7 there"),
            ("MANPATH=~/.local/share/man: man klpbuild", "read a page"),
        ],
        _ => &[],
    }
}

/// The common options that have a meaning for a verb; of the others, [`ASKING`] are an error.
fn meant(verb: &str) -> &'static [&'static str] {
    match verb {
        "modules" | "clean" | "mrproper" | "distclean" => {
            &["directory", "jobs", "keep_going", "quiet", "verbose", "color", "progress", "log", "dry_run"]
        }
        "livepatch" => &["directory", "jobs", "quiet", "verbose", "color", "progress", "log"],
        "try" => &["directory", "quiet", "verbose", "color", "log", "dry_run"],
        "klpclean" | "symbols" | "convert" | "new" | "patches" => &["directory", "quiet", "color", "dry_run"],
        "verify" | "show" | "doctor" | "kernels" => &["directory", "quiet", "color"],
        "completions" | "man" => &[],
        _ => &["directory", "color"],
    }
}

/// Options that ask klpbuild to do or not to do something: a verb for which they have no meaning refuses them.
const ASKING: [&str; 2] = ["dry_run", "log"];

/// The options among [`ASKING`] that have no meaning for a verb.
pub(super) fn refused(verb: &str) -> impl Iterator<Item = &'static str> {
    ASKING.into_iter().filter(move |option| !meant(verb).contains(option))
}

/// The whole command line, with examples, groups and sections.
pub(super) fn complete(mut whole: Command) -> Command {
    let common: Vec<Arg> = whole.get_arguments().filter(|option| option.is_global_set()).cloned().collect();
    let verbs: Vec<String> = whole.get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
    for name in verbs {
        whole = whole.mut_subcommand(&name, |verb| {
            let hidden = common.iter().filter(|option| !meant(&name).contains(&option.get_id().as_str()));
            let verb = hidden.fold(verb, |verb, option| verb.arg(option.clone().hide(true)));
            let shown = examples(&name);
            if shown.is_empty() { verb } else { verb.after_help(section(&("Examples", shown))) }
        });
    }
    let groups: String = GROUPS.iter().map(|(title, verbs)| group(&whole, title, verbs)).collect();
    let sections: Vec<String> = SECTIONS.iter().map(section).collect();
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{groups}{}\n{{options}}{{after-help}}",
        heading("Options")
    );
    whole.help_template(StyledStr::from(template)).after_help(StyledStr::from(sections.join("\n")))
}

/// A heading in the style of clap's own.
fn heading(title: &str) -> String {
    let style = clap::builder::Styles::styled();
    format!("{}{title}:{:#}", style.get_header(), style.get_header())
}

fn section((title, lines): &HelpSection) -> String {
    let style = clap::builder::Styles::styled();
    let literal = style.get_literal();
    let text: String = (lines.iter())
        .map(|(word, meaning)| match word.len() {
            0..=6 => format!("  {literal}{word:6}{literal:#}  {meaning}\n"),
            _ => format!("  {literal}{word}{literal:#}\n          {meaning}\n"),
        })
        .collect();
    format!("{}\n{text}", heading(title))
}

/// A group of verbs, one line each.
fn group(whole: &Command, title: &str, verbs: &[&str]) -> String {
    let found = verbs.iter().filter_map(|name| whole.find_subcommand(name)).enumerate();
    let some = Command::new("klpbuild").max_term_width(100).disable_help_subcommand(true);
    let some = found.fold(some, |some, (order, verb)| some.subcommand(verb.clone().display_order(order)));
    let mut some = some.help_template("{subcommands}");
    format!("{}\n{}\n\n", heading(title), some.render_help().ansi().to_string().trim_end())
}
