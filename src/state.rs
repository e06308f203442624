//! klpbuild's own directory in an object tree, `.klpbuild`: the log, the lock, what the last run was like,
//! and what the makefile fragment and the map step tell each other.

use std::fs::TryLockError;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use fs_err as fs;

use crate::symbols::output;

/// The name of the directory in the object tree's root.
pub const DIRECTORY: &str = ".klpbuild";

/// The files that klpbuild makes in the object tree's root, beside its directory.
pub const LISTS: [&str; 2] = ["Symbols.list", "modules.livepatch"];

/// klpbuild's directory in an object tree; it need not exist.
#[derive(Debug, Clone)]
pub struct State {
    objtree: PathBuf,
}

/// Held while a klpbuild works on an object tree; the next one is refused.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "open for as long as the lock is held")] std::fs::File);

impl State {
    /// The state of the object tree at `objtree` (for a build with M=, of the module's directory).
    pub fn at(objtree: &Path) -> State {
        State { objtree: objtree.to_path_buf() }
    }

    /// The state in a directory of klpbuild's own, as [`State::directory`] has it.
    pub fn of_directory(directory: &Path) -> Option<State> {
        directory.ends_with(DIRECTORY).then(|| directory.parent().map(State::at)).flatten()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.objtree.join(DIRECTORY).join(name)
    }

    /// A path of the state relative to the object tree, as make has it.
    pub fn relative(path: &Path) -> String {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        format!("{DIRECTORY}/{name}")
    }

    /// The log of make's full output.
    pub fn log(&self) -> PathBuf {
        self.file("make.log")
    }

    /// The makefile fragment.
    pub fn fragment(&self) -> PathBuf {
        self.file("hook.mk")
    }

    /// How many steps the last successful run had, and how long it took.
    pub fn last_run(&self) -> PathBuf {
        self.file("last-run")
    }

    /// What is being built, and for which kernel ([`crate::external::context`]).
    pub fn context_file(&self) -> PathBuf {
        self.file("context.json")
    }

    /// What external livepatches were resolved with last.
    pub fn resolved_with(&self) -> PathBuf {
        self.file("resolved-with")
    }

    /// The directory itself.
    pub fn directory(&self) -> PathBuf {
        self.objtree.join(DIRECTORY)
    }

    /// What the map step reports.
    pub fn report(&self) -> PathBuf {
        self.file("report")
    }

    /// What Symbols.list was when the map was made last ([`crate::symbols::seal`]); its time is that of the map.
    pub fn seal(&self) -> PathBuf {
        self.file("seal")
    }

    /// Symbols that modpost has to accept, in Module.symvers format.
    pub fn dump(&self) -> PathBuf {
        self.file("allowed.symvers")
    }

    /// The program that stands in for modpost.
    pub fn wrapper(&self) -> PathBuf {
        self.file("modpost")
    }

    /// Variables for the make that runs modpost.
    pub fn modpost_arguments(&self) -> PathBuf {
        self.file("modpost.args")
    }

    /// Arguments for the strict run of modpost over ordinary modules, empty if none is needed.
    pub fn strict_arguments(&self) -> PathBuf {
        self.file("strict.args")
    }

    /// The ordinary modules, for that run.
    pub fn strict_list(&self) -> PathBuf {
        self.file("strict.order")
    }

    /// Makes the directory and locks it for this process.
    ///
    /// # Errors
    /// Another klpbuild holds the lock, or the directory cannot be made.
    pub fn lock(&self) -> Result<Lock> {
        let path = self.file("lock");
        let described = || format!("cannot lock {}", self.objtree.display());
        loop {
            fs::create_dir_all(self.objtree.join(DIRECTORY)).with_context(described)?;
            let options =
                || fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
            let (mut file, _) = match options() {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                opened => opened.with_context(described)?.into_parts(),
            };
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => bail!(
                    "another klpbuild{} is at work in {}: wait for it to end, or stop it",
                    holder(&path),
                    self.objtree.display()
                ),
                Err(TryLockError::Error(error)) => return Err(error).with_context(described),
            }
            // A klpclean may have removed the file between opening and locking.
            let locked = file.metadata().with_context(described)?;
            if fs::metadata(&path).is_ok_and(|now| (now.ino(), now.dev()) == (locked.ino(), locked.dev())) {
                file.set_len(0)
                    .and_then(|()| writeln!(file, "{}", std::process::id()))
                    .with_context(described)?;
                self.sweep();
                return Ok(Lock(file));
            }
        }
    }

    /// Removes what a run that was cut off may have left half done; whoever calls this holds the lock.
    pub fn sweep(&self) {
        output::sweep(&self.directory(), Duration::ZERO);
    }

    /// Removes the lists; true if there were any.
    ///
    /// # Errors
    /// One cannot be removed.
    pub fn remove_lists(&self) -> Result<bool> {
        let lists: Vec<PathBuf> =
            LISTS.iter().map(|name| self.objtree.join(name)).filter(|p| p.exists()).collect();
        for list in &lists {
            fs::remove_file(list).context("cannot remove an old list")?;
        }
        Ok(!lists.is_empty())
    }

    /// Everything of klpbuild's that is in the object tree now.
    pub fn present(&self) -> Vec<PathBuf> {
        let own = std::iter::once(DIRECTORY).chain(LISTS).map(|name| self.objtree.join(name));
        own.filter(|path| path.symlink_metadata().is_ok()).collect()
    }

    /// Removes everything of klpbuild's from the object tree.
    ///
    /// # Errors
    /// Something cannot be removed.
    pub fn remove(&self) -> Result<()> {
        for path in self.present() {
            if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }
                .context("cannot remove what klpbuild made")?;
        }
        Ok(())
    }
}

fn holder(path: &Path) -> String {
    let pid = fs::read_to_string(path).unwrap_or_default();
    if pid.trim().is_empty() { String::new() } else { format!(" (process {})", pid.trim()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_one_is_refused_until_the_first_ends() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::at(dir.path());
        let lock = state.lock().unwrap();
        let error = state.lock().unwrap_err().to_string();
        assert!(error.contains(&format!("(process {}) is at work", std::process::id())), "{error}");
        drop(lock);
        state.lock().unwrap();
    }

    #[test]
    fn remove_takes_all_of_ours_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::at(dir.path());
        let _lock = state.lock().unwrap();
        for name in ["Symbols.list", "modules.livepatch", "modules.order"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        state.remove().unwrap();
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["modules.order"]);
        state.remove().unwrap();
    }
}
