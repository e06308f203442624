// SPDX-License-Identifier: GPL-2.0-only
//! `klpbuild new`: begins a livepatch that is written by hand, with the kernel's own text of the functions, or with a
//! skeleton.
//!
//! - [`target`]: the function to replace, and all that is known of it
//! - [`taken`]: its text from the kernel's source; [`text`]: the files

mod taken;
mod target;
pub mod text;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use fs_err as fs;

use crate::build::commands;
use crate::cli::{NewArgs, Options};
use crate::command::asked;
use crate::command::new::taken::Takeover;
use crate::command::new::target::ReplaceableFunction;
use crate::command::new::text::Parts;
use crate::frompatch::compiler;
use crate::frompatch::takeover::NewFile;
use crate::host::exit::Exit;
use crate::host::{terminal, words};
use crate::kernel::origin::Origin;
use crate::kernel::sources::Sources;
use crate::kernel::state::StateDir;
use crate::livepatch::header;
use crate::livepatch::names;

/// Writes the livepatch's first files.
///
/// # Errors
/// The name cannot be a module's or is taken, no livepatch can replace the function, or a file cannot be written.
pub fn new(options: &Options, arguments: &NewArgs) -> Result<Exit> {
    let start = asked::start(options)?;
    let named = asked::files(&arguments.words, &start, &arguments.sources.kernel);
    let [given] = named.files.as_slice() else {
        bail!(
            "{} are given: klpbuild new makes one, as in klpbuild new O=DIR NAME --function OLD",
            words::count(named.files.len(), "name")
        )
    };
    let directory = start.join(given);
    let name = given.file_name().unwrap_or_default().to_string_lossy().into_owned();
    names::check_module(&name)?;
    let is_free =
        !directory.exists() || fs::read_dir(&directory).is_ok_and(|mut entries| entries.next().is_none());
    ensure!(is_free, "{} is there already: name another directory, or remove it", directory.display());

    let mut asked = asked::sources(&arguments.sources, &named.start);
    asked::add_kernel(&mut asked, named.kernel)?;
    let origin = Origin::named(&asked, None)?;
    if !options.quiet {
        origin.say_shortcomings();
    }
    let targets = targets(&origin, &Sources::open(&origin, asked.symbols.as_deref())?, &name, arguments)?;
    let clang = match &origin.config {
        Some(file) => compiler::of_clang(file.config()?),
        None => None,
    };
    let words = [Some(asked.choice.to_flags()).filter(|flags| !flags.is_empty()), clang];
    let flags = words.into_iter().flatten().collect::<Vec<_>>().join(" ");
    let kdir = origin.objtree.clone();
    let source = arguments.source.as_ref().map(|source| start.join(source));
    let taken = match arguments.skeleton {
        true => Err(None),
        false => match taken::take(options, origin, source.as_deref(), &targets)? {
            Takeover::Taken(source, files) => Ok((source, files)),
            Takeover::Not(why) => Err(Some(why)),
            Takeover::Over(exit) => return Ok(exit),
        },
    };
    let mut files = sources_of(&name, &targets, &taken, kdir.as_deref(), &flags);
    files.push(("Makefile.snippet".to_owned(), header::SNIPPET.to_owned()));
    files.push(("klp_relocs.h".to_owned(), header::HEADER.to_owned()));
    if arguments.dkms {
        let release = targets.first().and_then(|target| target.release.as_deref());
        files.push(("dkms.conf".to_owned(), text::dkms(&name, release)));
    }
    files.push((".gitignore".to_owned(), text::IGNORED.to_owned()));
    // A kernel with only headers has no recorded commands, and functions that were taken over make several files: in
    // both cases the first build writes compile_commands.json.
    let commands = match (&taken, &kdir) {
        (Err(_), Some(objtree)) => commands::of_new(objtree, &directory, &name)?,
        _ => None,
    };
    if !options.dry_run {
        write(&directory, &files)?;
        if let Some(text) = commands {
            commands::put_text(&text, &StateDir::at(&directory))?;
        }
    }
    if !options.quiet {
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        terminal::tell(format_args!("{}: {}", given.display(), names.join(", ")));
        say(given, &name, &targets, &taken);
    }
    Ok(Exit::Done)
}

/// The kernel's own text with its source tree, or why there is none, if the user has not asked for none.
type Text = Result<(PathBuf, Vec<NewFile>), Option<String>>;

/// The functions to replace.
fn targets(
    origin: &Origin,
    sources: &Sources,
    name: &str,
    arguments: &NewArgs,
) -> Result<Vec<ReplaceableFunction>> {
    ensure!(
        arguments.sympos.is_none() || arguments.function.len() == 1,
        "--sympos is the position of one function, and {} are named",
        arguments.function.len()
    );
    let mut targets: Vec<ReplaceableFunction> = Vec::new();
    for function in &arguments.function {
        ensure!(!targets.iter().any(|target| target.name == *function), "{function} is named twice");
        targets.push(ReplaceableFunction::find(origin, sources, function, arguments)?);
    }
    ensure!(
        !targets.iter().any(|target| target.objects.contains(&name.replace('-', "_"))),
        "the kernel has a module {name}: give the livepatch another name"
    );
    Ok(targets)
}

/// The source files and the makefile, by name.
fn sources_of(
    name: &str,
    targets: &[ReplaceableFunction],
    taken: &Text,
    kdir: Option<&Path>,
    flags: &str,
) -> Vec<(String, String)> {
    match taken {
        Ok((source, parts)) => {
            let mut files = vec![("tables.c".to_owned(), tables(name, targets, parts))];
            files.extend(parts.iter().map(|part| (format!("{}.c", part.name), part.text.clone())));
            let parts = Parts { source, files: parts };
            files.push(("Makefile".to_owned(), text::makefile(name, kdir, flags, Some(&parts))));
            files
        }
        Err(_) => vec![
            (format!("{name}.c"), text::source(name, targets)),
            ("Makefile".to_owned(), text::makefile(name, kdir, flags, None)),
        ],
    }
}

/// Prints what there is, and what is left to do.
fn say(given: &Path, name: &str, targets: &[ReplaceableFunction], taken: &Text) {
    match taken {
        Ok((_, parts)) => say_taken(given, parts),
        Err(why) => say_skeleton(given, name, targets, why.as_deref()),
    }
    for target in targets {
        if let Some((what, advice)) = &target.elsewhere {
            terminal::say(format_args!("to replace {} is not enough: {what}; {advice}", target.name));
        }
    }
    let shown = given.display();
    terminal::out(format!("klpbuild: next: make -C {shown}; klpbuild -C {shown} try {name}.ko\n"));
}

/// The tables for functions that were taken over.
fn tables(name: &str, targets: &[ReplaceableFunction], parts: &[NewFile]) -> String {
    let new = |target: &ReplaceableFunction| {
        parts.iter().find_map(|part| part.functions.get(&target.name).cloned())
    };
    let entries: Vec<(&ReplaceableFunction, String)> =
        targets.iter().filter_map(|target| Some((target, new(target)?))).collect();
    let namespaces = parts.iter().flat_map(|part| part.namespaces.clone()).collect();
    text::tables(name, &entries, &namespaces)
}

/// Prints what was taken over, and what was not.
fn say_taken(given: &Path, parts: &[NewFile]) {
    let shown = given.display();
    for part in parts {
        let functions: Vec<&str> = part.functions.keys().map(String::as_str).collect();
        terminal::out(format!(
            "klpbuild: {shown}/{}.c: {} as {} has it\n",
            part.name,
            functions.join(" and "),
            part.path
        ));
        for note in &part.notes {
            terminal::say(format_args!("{shown}/{}.c: {note}", part.name));
        }
    }
}

/// Prints what the user has to fill in, and why the kernel's own text is missing.
fn say_skeleton(given: &Path, name: &str, targets: &[ReplaceableFunction], why: Option<&str>) {
    if let Some(why) = why {
        terminal::say(format_args!("the kernel's own text is not taken over: {why}"));
    }
    let shown = given.display();
    for target in targets {
        if let Some(why) = &target.why_no_prototype {
            terminal::say(format_args!("{shown}/{name}.c: fill in the signature of {}: {why}", target.name));
        }
    }
    if targets.iter().any(|target| target.entry.is_none()) {
        terminal::say(format_args!(
            "the new function does nothing until its body is written: whether the old one can be gone on to is not \
             known here, or it cannot"
        ));
    }
}

/// Writes the files, all of them or none.
fn write(directory: &Path, files: &[(String, String)]) -> Result<()> {
    let was_there = directory.exists();
    let write = || -> Result<()> {
        fs::create_dir_all(directory)?;
        for (name, text) in files {
            fs::write(directory.join(name), text)?;
        }
        Ok(())
    };
    write()
        .inspect_err(|_| {
            for (name, _) in files {
                let _ = fs::remove_file(directory.join(name));
            }
            if !was_there {
                let _ = fs::remove_dir(directory);
            }
        })
        .context("cannot write the skeleton: nothing is left of it")
}
