// SPDX-License-Identifier: GPL-2.0-only
//! klpbuild's own directory in an object tree, `.klpbuild`: the log, the lock, the figures of the last run, and the
//! files by which the makefile fragment and the map step talk to each other.

use std::fs::TryLockError;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use fs_err as fs;

use crate::host::output;
use crate::host::processes;
use crate::host::text;
use crate::kernel::symbols::seal::Seal;

/// The name of the directory in the object tree's root.
pub const DIRECTORY: &str = ".klpbuild";

/// The environment variable that gives the path of that directory to the programs that make runs.
pub const VARIABLE: &str = "KLPBUILD_STATE";

/// The name of the makefile fragment in that directory.
pub const FRAGMENT: &str = "hook.mk";

/// The files that klpbuild makes in the object tree's root, beside its directory.
pub const LISTS: [&str; 2] = ["Symbols.list", "modules.livepatch"];

/// klpbuild's directory in an object tree; it need not exist.
#[derive(Debug, Clone)]
pub struct StateDir {
    objtree: PathBuf,
}

/// Held while a klpbuild works on an object tree; the next one is refused.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "open for as long as the lock is held")] std::fs::File);

/// The outcome of one try for the lock.
enum Attempt {
    Locked(Lock),
    /// Another klpbuild or its make works here: who, and where.
    Busy(String),
}

/// The time between two tries for the lock.
const WAIT: Duration = Duration::from_millis(200);

impl StateDir {
    /// The state of the object tree at `objtree` (for a build with M=, of the module's directory).
    pub fn at(objtree: &Path) -> StateDir {
        StateDir { objtree: objtree.to_path_buf() }
    }

    /// The state in a directory of klpbuild's own, as [`StateDir::directory`] has it.
    pub fn of_directory(directory: &Path) -> Option<StateDir> {
        directory.ends_with(DIRECTORY).then(|| directory.parent().map(StateDir::at)).flatten()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.objtree.join(DIRECTORY).join(name)
    }

    /// A path of the state relative to the object tree, as make sees it.
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
        self.file(FRAGMENT)
    }

    /// How many steps the last successful runs had, of everything and of a part, and how long they took.
    pub fn last_run(&self) -> PathBuf {
        self.file("last-run")
    }

    /// The page about where the last build's time went, if that was asked for.
    pub fn timings(&self) -> PathBuf {
        self.file("klpbuild-timings.html")
    }

    /// What is being built, and for which kernel ([`crate::kernel::external::context`]).
    pub fn context_file(&self) -> PathBuf {
        self.file("context.json")
    }

    /// A record of what external livepatches were last resolved with.
    pub fn resolved_with(&self) -> PathBuf {
        self.file("resolved-with")
    }

    /// The directory itself.
    pub fn directory(&self) -> PathBuf {
        self.objtree.join(DIRECTORY)
    }

    /// The file that marks the directory as klpbuild's own, which it may remove.
    fn mark(&self) -> PathBuf {
        self.file("made-by-klpbuild")
    }

    /// The file with the running make: its process number and start time.
    fn make(&self) -> PathBuf {
        self.file("make.pid")
    }

    /// The report of the map step.
    pub fn report(&self) -> PathBuf {
        self.file("report")
    }

    /// Length and hash of Symbols.list as it was last written ([`crate::kernel::symbols::seal`]); the file's time is
    /// that of the map.
    pub fn seal(&self) -> PathBuf {
        self.file("seal")
    }

    /// compile_commands.json, which tells editors how the source files here are compiled.
    pub fn commands(&self) -> PathBuf {
        self.objtree.join("compile_commands.json")
    }

    /// Length and hash of compile_commands.json as klpbuild wrote it.
    pub fn commands_seal(&self) -> PathBuf {
        self.file("commands-seal")
    }

    /// Whether compile_commands.json is the one that klpbuild wrote: other programs make files of this name, too.
    pub fn has_own_commands(&self) -> bool {
        let now = Seal::of_file(&self.commands());
        now.is_ok_and(|now| text::read(self.commands_seal()).is_ok_and(|text| text == format!("{now}\n")))
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

    /// The symbol dump that this run makes: it is there only if modpost ran.
    pub fn strict_dump(&self) -> PathBuf {
        self.file("strict.symvers")
    }

    /// Makes the directory and locks it for this process.
    ///
    /// # Errors
    /// Another klpbuild holds the lock, or the directory cannot be made.
    pub fn lock(&self) -> Result<Lock> {
        match self.try_lock()? {
            Attempt::Locked(lock) => Ok(lock),
            Attempt::Busy(what) => bail!("{what}: wait for it to end, or stop it"),
        }
    }

    /// Locks the directory as [`StateDir::lock`] does, but waits until another klpbuild ends. `goes_on` is called again
    /// and again with the text of who works where; when it returns false, the wait ends and the result is `None`.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn lock_when_free(&self, mut goes_on: impl FnMut(&str) -> bool) -> Result<Option<Lock>> {
        loop {
            match self.try_lock()? {
                Attempt::Locked(lock) => return Ok(Some(lock)),
                Attempt::Busy(what) if goes_on(&what) => std::thread::sleep(WAIT),
                Attempt::Busy(_) => return Ok(None),
            }
        }
    }

    fn try_lock(&self) -> Result<Attempt> {
        let path = self.file("lock");
        let described = || format!("cannot lock {}", self.objtree.display());
        loop {
            self.create_directory().with_context(described)?;
            let options =
                || fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
            let (mut file, _) = match options() {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                opened => opened.with_context(described)?.into_parts(),
            };
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Ok(Attempt::Busy(format!(
                        "another klpbuild{} is at work in {}",
                        holder(&path),
                        self.objtree.display()
                    )));
                }
                Err(TryLockError::Error(error)) => return Err(error).with_context(described),
            }
            // A klpclean may have removed the file between opening and locking.
            let locked = file.metadata().with_context(described)?;
            if fs::metadata(&path).is_ok_and(|now| (now.ino(), now.dev()) == (locked.ino(), locked.dev())) {
                if let Some(left) = self.left_running() {
                    return Ok(Attempt::Busy(format!(
                        "{left} is still at work in {}",
                        self.objtree.display()
                    )));
                }
                file.set_len(0)
                    .and_then(|()| writeln!(file, "{}", std::process::id()))
                    .with_context(described)?;
                self.sweep();
                return Ok(Attempt::Locked(Lock(file)));
            }
        }
    }

    /// Makes the directory, and marks it as klpbuild's own. A directory that somebody else has made is used without a
    /// mark.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create_directory(&self) -> std::io::Result<()> {
        let directory = self.directory();
        if let Some(above) = directory.parent() {
            fs::create_dir_all(above)?;
        }
        match fs::create_dir(&directory) {
            Ok(()) => {}
            // A klpbuild that was killed between the two steps has left it empty.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let is_link = fs::symlink_metadata(&directory)?.is_symlink();
                if is_link || fs::read_dir(&directory)?.next().is_some() {
                    return Ok(());
                }
            }
            Err(error) => return Err(error),
        }
        fs::write(self.mark(), "klpbuild made this directory, and removes it with all that is in it.\n")
    }

    /// Notes which make is running. If this klpbuild is killed, its lock is released, but make goes on, and the next
    /// klpbuild must not start. make cannot hold the lock itself: its children may leave a process running, such as a
    /// compiler cache's server, which would hold it as well.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn note_make(&self, pid: u32) -> Result<()> {
        let start = processes::start_of(pid).unwrap_or_default();
        Ok(fs::write(self.make(), format!("{pid} {start} {}\n", processes::group()))?)
    }

    /// Notes that make has ended.
    pub fn forget_make(&self) {
        let _ = fs::remove_file(self.make());
    }

    /// The make that was noted last, if it still runs; else a process that it started. A make whose output nobody
    /// reads any more ends before its children.
    fn left_running(&self) -> Option<String> {
        let text = fs::read_to_string(self.make()).ok()?;
        let mut numbers = text.split_whitespace();
        let (pid, start) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
        if processes::start_of(pid) == Some(start) {
            return Some(format!("the make (process {pid}) of a klpbuild that was killed"));
        }
        let directory = fs::canonicalize(self.directory()).ok()?;
        let is_of_this = |pid: &u32| {
            let named = processes::path_in_environment(*pid, VARIABLE);
            named.and_then(|path| fs::canonicalize(path).ok()).is_some_and(|path| path == directory)
        };
        let mut left = processes::of_group(numbers.next()?.parse().ok()?, start).into_iter();
        let left = left.find(|pid| *pid != std::process::id() && is_of_this(pid))?;
        Some(format!("process {left}, which the make of a klpbuild that was killed has started,"))
    }

    /// The livepatches that were built here last: paths of `.ko` files relative to the object tree, as modules.livepatch
    /// has them; none if there is no such list.
    ///
    /// # Errors
    /// The list cannot be read, or a path leads out of the object tree.
    pub fn livepatches(&self) -> Result<Vec<String>> {
        let path = self.objtree.join("modules.livepatch");
        let list = match text::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            list => list?,
        };
        let leads_out = |line: &&str| {
            !Path::new(line).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
        };
        if let Some(line) = list.lines().find(leads_out) {
            bail!(
                "{}: {line} is not below {}: make the list anew (klpbuild modules, or klpbuild symbols)",
                path.display(),
                self.objtree.display()
            );
        }
        Ok(list.lines().map(str::to_owned).collect())
    }

    /// Removes files that an interrupted run may have left half written. The caller holds the lock.
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

    /// All of klpbuild's files that are in the object tree now. A directory that klpbuild has not made is not
    /// klpbuild's, whatever its name.
    pub fn present(&self) -> Vec<PathBuf> {
        let lists = LISTS.iter().map(|name| self.objtree.join(name));
        let is_file = |path: &PathBuf| fs::symlink_metadata(path).is_ok_and(|meta| !meta.is_dir());
        let is_ours = |path: &PathBuf| {
            fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir()) && self.mark().is_file()
        };
        let directory = Some(self.directory()).filter(|path| is_ours(path) || is_file(path));
        let commands = Some(self.commands()).filter(|_| self.has_own_commands());
        // The directory goes last: it has the seals by which the other files are recognised.
        commands.into_iter().chain(lists.filter(is_file)).chain(directory).collect()
    }

    /// Removes all of klpbuild's files from the object tree. A directory that klpbuild has not made stays, with its
    /// files.
    ///
    /// # Errors
    /// Something cannot be removed.
    pub fn remove(&self) -> Result<()> {
        for path in self.present() {
            // Of a symbolic link, only the link is removed.
            let is_directory = fs::symlink_metadata(&path)?.is_dir();
            if is_directory { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }
                .context("cannot remove what klpbuild made")?;
        }
        Ok(())
    }

    /// A directory with the name of klpbuild's own that klpbuild has not made, and so leaves alone.
    pub fn foreign(&self) -> Option<PathBuf> {
        let directory = self.directory();
        let is_there = fs::symlink_metadata(&directory).is_ok_and(|meta| meta.is_dir());
        (is_there && !self.mark().is_file()).then_some(directory)
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
        let state = StateDir::at(dir.path());
        let lock = state.lock().unwrap();
        let error = state.lock().unwrap_err().to_string();
        let mut told = Vec::new();
        let waited = state.lock_when_free(|what| {
            told.push(what.to_owned());
            told.len() < 3
        });
        assert!(waited.unwrap().is_none() && told.len() == 3);
        assert!(error.starts_with(&told[0]), "{error}: {told:?}");
        assert!(error.contains(&format!("(process {}) is at work", std::process::id())), "{error}");
        drop(lock);
        state.lock().unwrap();
    }

    /// A make outlives a klpbuild that is killed.
    #[test]
    fn a_make_that_is_still_at_work_keeps_others_away() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::at(dir.path());
        let lock = state.lock().unwrap();
        let mut sleep = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        state.note_make(sleep.id()).unwrap();
        drop(lock);
        let error = state.lock().unwrap_err().to_string();
        assert!(error.contains(&format!("the make (process {}) of a klpbuild", sleep.id())), "{error}");
        sleep.kill().unwrap();
        // It has ended, though nobody has asked for its status yet.
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        while processes::start_of(sleep.id()).is_some() {
            assert!(std::time::Instant::now() < deadline, "a killed process goes on");
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(state.lock().unwrap());
        sleep.wait().unwrap();
        // Another process with this number is not that make.
        fs::write(state.make(), format!("{} 1\n", std::process::id())).unwrap();
        drop(state.lock().unwrap());
    }

    #[test]
    fn no_directory_is_removed_that_klpbuild_did_not_make() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::at(dir.path());
        let theirs = dir.path().join("theirs");
        for path in [state.directory(), dir.path().join("Symbols.list"), theirs.clone()] {
            fs::create_dir(&path).unwrap();
            fs::write(path.join("kept"), "").unwrap();
        }
        drop(state.lock().unwrap());
        state.remove().unwrap();
        assert!(state.directory().join("kept").exists() && state.foreign().is_some());
        assert!(dir.path().join("Symbols.list/kept").exists());
        // Nor what a link leads to.
        fs::remove_dir_all(state.directory()).unwrap();
        std::os::unix::fs::symlink(&theirs, state.directory()).unwrap();
        drop(state.lock().unwrap());
        state.remove().unwrap();
        assert!(theirs.join("kept").exists() && !state.directory().exists());
        // One that was left empty is taken for its own.
        fs::create_dir(state.directory()).unwrap();
        drop(state.lock().unwrap());
        state.remove().unwrap();
        assert!(!state.directory().exists());
    }

    #[test]
    fn a_livepatch_lies_in_the_object_tree() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::at(dir.path());
        assert!(state.livepatches().unwrap().is_empty());
        let list = dir.path().join("modules.livepatch");
        fs::write(&list, "a/b.ko\n./c..d.ko\n").unwrap();
        assert_eq!(state.livepatches().unwrap(), ["a/b.ko", "./c..d.ko"]);
        for line in ["../b.ko", "/b.ko", "a/../../b.ko"] {
            fs::write(&list, format!("a/b.ko\n{line}\n")).unwrap();
            let error = state.livepatches().unwrap_err().to_string();
            assert!(error.contains(&format!("{line} is not below")), "{error}");
        }
    }

    #[test]
    fn remove_takes_all_of_ours_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::at(dir.path());
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
