// SPDX-License-Identifier: GPL-2.0-only
//! `klpbuild new`: the skeleton of a livepatch that replaces one function.
//!
//! - [`target`]: the function, and all that is known of it
//! - [`text`]: the files

mod target;
pub mod text;

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use fs_err as fs;

use crate::build::commands;
use crate::cli::{NewArgs, Options};
use crate::command::asked;
use crate::command::new::target::Target;
use crate::host::exit::Exit;
use crate::host::{terminal, words};
use crate::kernel::origin::Origin;
use crate::kernel::sources::Sources;
use crate::kernel::state::State;
use crate::livepatch::header;
use crate::livepatch::names;

/// Writes the skeleton.
///
/// # Errors
/// The name is none of a module or is taken, no livepatch can replace the function, or a file cannot be written.
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
    let sources = Sources::open(&origin, asked.symbols.as_deref())?;
    let target = Target::find(&origin, &sources, arguments)?;
    ensure!(
        !target.objects.contains(&name.replace('-', "_")),
        "the kernel has a module {name}: give the livepatch another name"
    );
    let flags = asked.choice.to_flags();
    let mut files = vec![
        (format!("{name}.c"), text::source(&name, &target)),
        ("Makefile".to_owned(), text::makefile(&name, origin.objtree.as_deref(), &flags)),
        ("Makefile.snippet".to_owned(), header::SNIPPET.to_owned()),
    ];
    if target.needs_annotation {
        files.push(("klp_relocs.h".to_owned(), header::HEADER.to_owned()));
    }
    if arguments.dkms {
        files.push(("dkms.conf".to_owned(), text::dkms(&name, target.release.as_deref())));
    }
    files.push((".gitignore".to_owned(), text::IGNORED.to_owned()));
    // What only headers are known of tells no commands: then the first build writes them.
    let commands = match &origin.objtree {
        Some(objtree) => commands::of_new(objtree, &directory, &name)?,
        None => None,
    };
    if !options.dry_run {
        write(&directory, &files)?;
        if let Some(text) = commands {
            commands::put_text(&text, &State::at(&directory))?;
        }
    }
    if !options.quiet {
        let shown = given.display();
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        terminal::tell(format_args!("{shown}: {}", names.join(", ")));
        if let Some((what, advice)) = &target.elsewhere {
            terminal::say(format_args!("to replace {} is not enough: {what}; {advice}", target.name));
        }
        if let Some(why) = &target.why_no_prototype {
            terminal::say(format_args!("{shown}/{name}.c: fill in the signature of {}: {why}", target.name));
        }
        if target.entry.is_none() {
            terminal::say(format_args!(
                "the new function does nothing until its body is written: whether the old one can be gone on to is not \
                 known here, or it cannot"
            ));
        }
        terminal::out(format!("klpbuild: next: make -C {shown}; klpbuild -C {shown} try {name}.ko\n"));
    }
    Ok(Exit::Done)
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
