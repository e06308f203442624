// SPDX-License-Identifier: GPL-2.0-only
//! `klpbuild show`: what a livepatch replaces and refers to, with files and lines of the kernel's source, for a
//! reviewer.
//!
//! - `tree`: the account as a tree, for people
//! - `branches`: draws a tree
//! - `page`: the account as a page for a browser; `compared`: the differences between two texts; `trial`: the report
//!   of klpbuild try

mod branches;
mod compared;
mod page;
mod tree;
mod trial;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::cli::{Format, Options, ShowArgs};
use crate::command::asked;
use crate::command::show::trial::Trial;
use crate::elf::image::Image;
use crate::host::document;
use crate::host::exit::Exit;
use crate::host::output;
use crate::host::terminal;
use crate::host::terminal::TerminalStreams;
use crate::kernel::origin::{Origin, OriginRequest};
use crate::kernel::sources::Sources;
use crate::kernel::tree::built::BuiltTree;
use crate::livepatch::account;
use crate::livepatch::account::{AtHand, Roots, VerifyVerdict};
use crate::livepatch::verify;

/// Shows a livepatch.
///
/// # Errors
/// It cannot be read, or nothing can be printed.
pub fn show(options: &Options, arguments: &ShowArgs) -> Result<Exit> {
    let start = asked::start(options)?;
    let named = asked::files(&arguments.words, &start, &arguments.sources.kernel);
    let file = match named.files.as_slice() {
        [file] => *file,
        [] => bail!("no livepatch is named: klpbuild show O=DIR LIVEPATCH.ko"),
        _ => bail!("one livepatch at a time: klpbuild show O=DIR LIVEPATCH.ko"),
    };
    let path = start.join(file);
    let image = Image::read(&path)?;
    let mut asked = asked::sources(&arguments.sources, &named.start);
    asked::add_kernel(&mut asked, named.kernel)?;
    let wanted = image.modinfo().release();
    let (kernel, reason) = match kernel(&asked, &path, wanted.as_deref()) {
        Ok(kernel) => (Some(kernel), None),
        Err(error) if is_named(&asked) => return Err(error),
        Err(error) => (None, Some(format!("{error:#}"))),
    };
    let sources = kernel.as_ref().map(|(sources, _)| sources);
    let at_hand = sources.map(|sources| AtHand {
        sources,
        unchecked: verify::complete(sources).err().map(|error| format!("{error:#}")),
        is_other_release: matches!((&sources.release, &wanted), (Some(one), Some(other)) if one != other),
    });
    let roots = Roots {
        kernel: kernel.iter().flat_map(|(_, trees)| trees).cloned().collect(),
        own: path.parent().map(Path::to_path_buf).into_iter().collect(),
    };
    let mut account = account::of(&image, file, at_hand.as_ref(), &roots)?;
    account.unknown.extend(reason);
    if let Some(page) = &arguments.html {
        let report = arguments.try_report.as_ref().map(|report| Trial::read(&start.join(report), file));
        let text = page::of(&account, report.transpose()?.as_ref());
        let name =
            page.clone().unwrap_or_else(|| PathBuf::from(format!("{}.html", tree::file_name(&account.name))));
        if name.as_os_str() == "-" {
            terminal::out(text);
        } else {
            output::write_named(&start.join(&name), &[text], None)?;
            if !options.quiet {
                terminal::tell(format_args!("{}: written to {}", file.display(), name.display()));
            }
        }
    }
    match arguments.format {
        _ if arguments.html.is_some() => {}
        Format::Json => document::print("show", &account)?,
        Format::Text => {
            let width = TerminalStreams::look().stdout.then(terminal::columns);
            terminal::out(tree::of(&account).drawn(width));
        }
    }
    Ok(match account.verdict {
        VerifyVerdict::Correct => Exit::Done,
        VerifyVerdict::Errors => Exit::Problem,
        VerifyVerdict::Unchecked => Exit::Unchecked,
    })
}

/// Whether the user names the kernel.
fn is_named(asked: &OriginRequest) -> bool {
    asked.objtree.is_some()
        || asked.release.is_some()
        || asked.symbols.is_some()
        || asked.choice.names_files()
}

/// The kernel with which the account is made: the named one, or the one here, or the installed one of the release
/// `wanted`; with the trees that have its source files. An installed kernel of another release is not used.
fn kernel(asked: &OriginRequest, livepatch: &Path, wanted: Option<&str>) -> Result<(Sources, Vec<PathBuf>)> {
    let origin = Origin::named(asked, Some(livepatch));
    let is_other = |origin: &Origin| {
        let other =
            origin.release.as_deref().filter(|release| wanted.is_some_and(|wanted| wanted != *release));
        other.is_some() && origin.installed.is_some()
    };
    let is_usable = |origin: &Origin| {
        is_named(asked) || !is_other(origin) && (origin.list.is_some() || origin.objects.vmlinux.is_some())
    };
    let origin = match (origin, wanted) {
        (Ok(origin), _) if is_usable(&origin) => origin,
        (Err(error), None) => return Err(error),
        (Err(error), _) if is_named(asked) => return Err(error),
        (_, Some(wanted)) => {
            let headers = asked.choice.places().build(wanted);
            let headers = Some(headers).filter(|directory| directory.is_dir());
            let headers = headers.as_deref().map(BuiltTree::at);
            let mut origin = Origin::of_installed(wanted, headers, &asked.choice)?;
            origin.make_list(None, terminal::ALOUD)?;
            origin
        }
        (Ok(origin), None) => origin,
    };
    origin.say_shortcomings();
    let sources = Sources::open(&origin, asked.symbols.as_deref())?;
    let unpacked = origin.installed.as_ref().zip(origin.release.as_deref());
    let unpacked = unpacked.map(|(kernel, release)| kernel.places().sources(release)).unwrap_or_default();
    let trees = sources.srctree.iter().chain(&origin.objtree).cloned();
    let trees = trees.chain(unpacked.into_iter().filter(|place| place.is_dir())).collect();
    Ok((sources, trees))
}
