// SPDX-License-Identifier: GPL-2.0-only
//! Which modules are loaded, and in which order.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::command::trial::module::ModuleFile;
use crate::command::trial::soft;
use crate::host::terminal;
use crate::kernel::suggestions;
use crate::kernel::symbols::VMLINUX;
use crate::kernel::symbols::objects::Objects;

/// Where modules to load are looked for.
#[derive(Debug)]
pub struct ModuleSearch<'a> {
    /// The directory that paths are relative to.
    pub start: &'a Path,
    /// The kernel's objects.
    pub objects: &'a Objects,
    /// The release that modules have to be for.
    pub release: Option<&'a str>,
}

impl ModuleSearch<'_> {
    /// Adds modules, each named by its file, or by its name if it is the kernel's: then the modules that it depends
    /// on come before it.
    ///
    /// # Errors
    /// One is not there, or is for another kernel.
    pub fn add(&self, named: &[PathBuf], modules: &mut Vec<ModuleFile>) -> Result<()> {
        for path in named {
            let file = self.start.join(path);
            let name = path.to_string_lossy().replace('-', "_");
            let is_name = !file.is_file() && !path.to_string_lossy().contains(['/', '.']);
            match self.objects.file(&name).filter(|_| is_name) {
                Some(_) => self.add_by_name(&name, modules)?,
                None if is_name => {
                    let all = self.objects.names().cloned().collect();
                    let near = suggestions::objects(&name, &all);
                    bail!(
                        "{name}: this is neither a file nor a module of the kernel (it may be built in){near}"
                    )
                }
                None => modules.push(ModuleFile::ordinary(&file, self.release)?),
            }
        }
        Ok(())
    }

    /// Adds a module of the kernel after those that it depends on, soft dependencies included.
    fn add_by_name(&self, name: &str, modules: &mut Vec<ModuleFile>) -> Result<()> {
        let find = |name: &str| {
            let file = self.objects.file(name);
            let file = file.with_context(|| format!("there is no module {name} of this kernel"))?;
            let mut module = ModuleFile::ordinary(&file, self.release)?;
            module.soft = soft::modules(&module.path, &module.soft, self.objects);
            Ok(module)
        };
        add_in_order(name, modules, find)
    }
}

/// A module that waits for its dependencies.
struct Waiting {
    /// Its name in others' dependencies.
    name: String,
    module: ModuleFile,
    /// How many of its dependencies have been handled.
    looked_at: usize,
}

/// Adds the module `name` after those that it depends on, unless it is there already. A chain of dependencies may be
/// as long as the kernel has modules: therefore the waiting modules are in a list, and not on the stack.
fn add_in_order(
    name: &str,
    modules: &mut Vec<ModuleFile>,
    find: impl Fn(&str) -> Result<ModuleFile>,
) -> Result<()> {
    let wait = |name: &str| {
        Ok::<_, anyhow::Error>(Waiting { name: name.to_owned(), module: find(name)?, looked_at: 0 })
    };
    let mut done: BTreeSet<String> = modules.iter().map(|module| module.name.clone()).collect();
    let mut waiting = if done.contains(name) { Vec::new() } else { vec![wait(name)?] };
    while let Some(last) = waiting.last_mut() {
        let ModuleFile { depends, soft, .. } = &last.module;
        let next = depends.iter().chain(soft).nth(last.looked_at).cloned();
        let is_soft = last.looked_at >= depends.len();
        last.looked_at += 1;
        match next {
            None => {
                if let Some(last) = waiting.pop() {
                    done.insert(last.name);
                    modules.push(last.module);
                }
            }
            Some(next) if done.contains(&next) || next == last.name => {}
            Some(next) if is_soft && waiting.iter().any(|other| other.name == next) => {}
            Some(next) => {
                if let Some(first) = waiting.iter().position(|other| other.name == next) {
                    let circle = waiting.iter().skip(first).map(|other| other.name.as_str());
                    let circle: Vec<&str> = circle.chain([next.as_str()]).collect();
                    bail!(
                        "modules depend on each other in a circle, so that none of them can be loaded: {} (depends= \
                         in .modinfo)",
                        circle.join(" on ")
                    );
                }
                waiting.push(wait(&next)?);
            }
        }
    }
    Ok(())
}

/// Adds the modules that the livepatches patch, if the kernel has them: without them, there would be nothing to try.
pub fn add_patched(
    livepatches: &[ModuleFile],
    found: &ModuleSearch<'_>,
    before: &mut Vec<ModuleFile>,
    after: &[ModuleFile],
) -> Result<()> {
    for livepatch in livepatches {
        for object in livepatch.patches.iter().filter(|name| *name != VMLINUX) {
            if before.iter().chain(after).any(|module| module.name == *object) {
                continue;
            }
            if found.objects.file(object).is_some() {
                found.add_by_name(object, before)?;
            } else {
                terminal::say(format_args!(
                    "{} patches {object}, which is not there: that part is not tried (--load FILE)",
                    livepatch.file
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds the first of some modules, each with those that it depends on; the names in the order that came of it.
    fn order(all: &[(String, Vec<String>)]) -> Result<Vec<String>> {
        let find = |name: &str| {
            let (name, depends) = all.iter().find(|(other, _)| other == name).context("not there")?;
            let module = ModuleFile::sample(&format!("{name}.ko"));
            Ok(ModuleFile { livepatch: false, depends: depends.clone(), ..module })
        };
        let mut modules = Vec::new();
        add_in_order(&all[0].0, &mut modules, find)?;
        Ok(modules.into_iter().map(|module| module.name).collect())
    }

    fn depends(name: &str, on: &[&str]) -> (String, Vec<String>) {
        (name.to_owned(), on.iter().map(|&name| name.to_owned()).collect())
    }

    #[test]
    fn modules_come_behind_those_that_they_depend_on() {
        let all = [
            depends("a", &["b", "c", "a"]),
            depends("b", &["d"]),
            depends("c", &["d", "b"]),
            depends("d", &[]),
        ];
        assert_eq!(order(&all).unwrap(), ["d", "b", "c", "a"]);
        let error = order(&[depends("a", &["b"])]).unwrap_err().to_string();
        assert_eq!(error, "not there");
    }

    #[test]
    fn a_circle_of_modules_is_named() {
        let all = [depends("a", &["b"]), depends("b", &["c"]), depends("c", &["d", "b"]), depends("d", &[])];
        let error = order(&all).unwrap_err().to_string();
        assert!(error.contains("in a circle") && error.contains(": b on c on b ("), "{error}");
    }

    #[test]
    fn a_long_row_of_modules_needs_no_stack() {
        let name = |number: usize| format!("m{number}");
        let all: Vec<_> = (0..3000).map(|number| (name(number), vec![name(number + 1)])).collect();
        let all = [all, vec![(name(3000), Vec::new())]].concat();
        let thread = std::thread::Builder::new().stack_size(256 << 10);
        let names = thread.spawn(move || order(&all).unwrap()).unwrap().join().unwrap();
        assert_eq!((names.len(), names[0].as_str(), names[3000].as_str()), (3001, "m3000", "m0"));
    }
}
