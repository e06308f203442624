// SPDX-License-Identifier: GPL-2.0-only
//! Why an option of the kernel's configuration is off: the tree's own Kconfig files say what it depends on
//! (Documentation/kbuild/kconfig-language.rst), and the configuration says what is set.
//!
//! - [`expression`]: the conditions after `depends on` and `if`
//!
//! Only a part of the language is read. A condition that cannot be evaluated, such as one that runs the compiler,
//! counts as met.

mod expression;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use fs_err as fs;

use crate::kernel::tree::config::Config;
use crate::kernel::tree::kconfig::expression::Expression;

/// An option, with the conditions for it to be on.
#[derive(Debug, Clone, Default)]
struct Entry {
    depends: Vec<Expression>,
    /// It can be set by hand.
    has_prompt: bool,
}

/// A `select NAME if CONDITION`.
type Select = (String, Option<Expression>);

/// The options of a tree's Kconfig files.
#[derive(Debug, Default)]
pub struct Kconfig {
    entries: BTreeMap<String, Entry>,
    selects: Vec<Select>,
}

/// Why an option is off.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Obstacles {
    /// A clause each, as in `LIVEPATCH depends on KALLSYMS_ALL`.
    pub reasons: Vec<String>,
    /// Options that can be set by hand, and have to be.
    pub enable: Vec<String>,
    /// Options that have to be off.
    pub disable: Vec<String>,
    /// Whether some condition cannot be met by hand.
    is_out_of_reach: bool,
}

impl Obstacles {
    fn add(&mut self, other: Obstacles) {
        self.reasons.extend(other.reasons);
        self.enable.extend(other.enable);
        self.disable.extend(other.disable);
        self.is_out_of_reach |= other.is_out_of_reach;
    }

    /// Why the option is off, clause by clause; nothing if it only has to be set.
    pub fn shown(&self) -> Option<String> {
        (!self.reasons.is_empty()).then(|| self.reasons.join(", "))
    }

    /// The commands that set the options in the configuration file `config` and complete it.
    pub fn remedy(&self, config: &Path) -> String {
        let switches = |switch: &str, names: &[String]| -> String {
            names.iter().map(|name| format!(" {switch} {name}")).collect()
        };
        let (enable, disable) = (switches("-e", &self.enable), switches("-d", &self.disable));
        format!(
            "scripts/config --file {}{enable}{disable}, then: klpbuild modules olddefconfig",
            config.display()
        )
    }
}

/// The directories whose Kconfig files have the options that LIVEPATCH may depend on, besides the architecture's own.
const PLACES: [&str; 5] = ["init", "kernel", "lib", "fs/sysfs", "fs/debugfs"];

/// The directories of architectures that support livepatches, each by the option that is set for that architecture.
const ARCHITECTURES: [(&str, &str); 5] =
    [("X86", "x86"), ("ARM64", "arm64"), ("S390", "s390"), ("PPC", "powerpc"), ("LOONGARCH", "loongarch")];

impl Kconfig {
    /// Reads those files of the source tree `srctree` that may say something of LIVEPATCH, for the architecture that is
    /// configured.
    pub fn read(srctree: &Path, config: &Config) -> Kconfig {
        let mut kconfig = Kconfig::default();
        let architecture = ARCHITECTURES.iter().find(|(option, _)| config.has(option));
        let own = architecture.map(|(_, directory)| format!("arch/{directory}"));
        for place in PLACES.map(str::to_owned).into_iter().chain(own) {
            kconfig.add_below(&srctree.join(place));
        }
        kconfig.add(&srctree.join("arch/Kconfig"));
        kconfig
    }

    fn add_below(&mut self, directory: &Path) {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.add_below(&path);
            } else if entry.file_name().to_string_lossy().starts_with("Kconfig") {
                self.add(&path);
            }
        }
    }

    fn add(&mut self, path: &Path) {
        if let Ok(text) = fs::read_to_string(path) {
            self.parse(&text);
        }
    }

    fn parse(&mut self, text: &str) {
        let mut reader = Reader::default();
        for line in without_help(&text.replace("\\\n", " ")) {
            reader.line(line.trim(), self);
        }
    }

    /// Why `option` is off with `config`; nothing if it is on, or if the tree does not know it.
    pub fn obstacles(&self, option: &str, config: &Config) -> Option<Obstacles> {
        if config.has(option) { None } else { self.against(option, config) }
    }

    /// What would keep `option` off with `config`, even if it is on there (kconfig would switch it off then); nothing
    /// if the tree does not know it.
    pub fn against(&self, option: &str, config: &Config) -> Option<Obstacles> {
        let mut obstacles = Obstacles::default();
        self.add_obstacles(option, config, &mut obstacles, &mut BTreeSet::new());
        self.entries.contains_key(option).then_some(obstacles)
    }

    fn add_obstacles(
        &self,
        option: &str,
        config: &Config,
        obstacles: &mut Obstacles,
        seen: &mut BTreeSet<String>,
    ) {
        if !seen.insert(option.to_owned()) {
            return;
        }
        let entry = self.entries.get(option).cloned().unwrap_or_default();
        for unmet in entry.depends.iter().flat_map(|depends| depends.unmet(config)) {
            let mut behind = Obstacles::default();
            self.add_expression(unmet, config, &mut behind, seen);
            // A configuration that kconfig has not completed lacks the options that follow from others.
            if behind != Obstacles::default() || config.is_complete() {
                obstacles.reasons.push(format!("{option} depends on {unmet}"));
                obstacles.add(behind);
            }
        }
        if entry.has_prompt {
            obstacles.enable.push(option.to_owned());
        } else if entry.depends.is_empty() && config.is_complete() {
            self.add_selects(option, config, obstacles);
        }
    }

    /// What has to change for an expression to hold.
    fn add_expression(
        &self,
        unmet: &Expression,
        config: &Config,
        obstacles: &mut Obstacles,
        seen: &mut BTreeSet<String>,
    ) {
        match unmet {
            Expression::Symbol(option) => self.add_obstacles(option, config, obstacles, seen),
            Expression::Not(inner) => {
                if let Expression::Symbol(option) = &**inner {
                    obstacles.disable.push(option.clone());
                }
            }
            // The alternative that asks for the fewest changes.
            Expression::Or(alternatives) => {
                let ways = alternatives.iter().map(|alternative| {
                    let (mut way, mut seen) = (Obstacles::default(), seen.clone());
                    for unmet in alternative.unmet(config) {
                        self.add_expression(unmet, config, &mut way, &mut seen);
                    }
                    way
                });
                if let Some(way) = ways.min_by_key(|way| (way.is_out_of_reach, way.reasons.len())) {
                    obstacles.add(way);
                }
            }
            Expression::And(_) | Expression::Unknown => {}
        }
    }

    /// An option without a prompt is on where another one selects it.
    fn add_selects(&self, option: &str, config: &Config, obstacles: &mut Obstacles) {
        let selects: Vec<&Select> = self.selects.iter().filter(|(name, _)| name == option).collect();
        if selects.is_empty() {
            obstacles.reasons.push(format!("nothing selects {option} on this architecture"));
            obstacles.is_out_of_reach = true;
        }
        let unmet = selects.iter().filter_map(|(_, condition)| condition.as_ref());
        for condition in unmet.filter(|condition| !condition.holds(config)) {
            obstacles.reasons.push(format!("{option} is selected if {condition}"));
            obstacles.is_out_of_reach = true;
        }
    }
}

/// The state of the reader: the context of the current line.
#[derive(Debug, Default)]
struct Reader {
    /// The option that the lines are about.
    option: Option<String>,
    /// The conditions of `if` and `menu`, for each that is open.
    around: Vec<Vec<Expression>>,
    /// The lines are about the menu that was opened last.
    is_menu: bool,
}

impl Reader {
    fn line(&mut self, line: &str, kconfig: &mut Kconfig) {
        let (word, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let rest = rest.trim();
        match word {
            "config" | "menuconfig" => {
                self.is_menu = false;
                self.option = Some(rest.to_owned());
                let entry = kconfig.entries.entry(rest.to_owned()).or_default();
                entry.depends.extend(self.around.iter().flatten().cloned());
            }
            "if" | "menu" | "choice" => {
                self.option = None;
                self.is_menu = word != "if";
                let condition = (word == "if").then(|| Expression::parse(rest));
                self.around.push(condition.into_iter().collect());
            }
            "endif" | "endmenu" | "endchoice" => {
                (self.option, self.is_menu) = (None, false);
                self.around.pop();
            }
            "comment" | "source" | "mainmenu" => (self.option, self.is_menu) = (None, false),
            "depends" => {
                let condition = Expression::parse(rest.strip_prefix("on").unwrap_or(rest));
                if self.is_menu {
                    self.around.last_mut().into_iter().for_each(|around| around.push(condition.clone()));
                } else if let Some(entry) = self.entry(kconfig) {
                    entry.depends.push(condition);
                }
            }
            "select" => {
                let (name, condition) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
                let condition = condition.trim().strip_prefix("if").map(Expression::parse);
                kconfig.selects.push((name.to_owned(), condition));
            }
            "bool" | "tristate" | "prompt" if rest.starts_with(['"', '\'']) => {
                if let Some(entry) = self.entry(kconfig) {
                    entry.has_prompt = true;
                }
            }
            _ => {}
        }
    }

    fn entry<'a>(&self, kconfig: &'a mut Kconfig) -> Option<&'a mut Entry> {
        kconfig.entries.get_mut(self.option.as_ref()?)
    }
}

/// The lines outside of help texts. A help text goes on while lines are indented like its first one.
fn without_help(text: &str) -> impl Iterator<Item = &str> {
    // The outer none: not in a help text; the inner none: its first line is still to come.
    let mut help: Option<Option<usize>> = None;
    text.lines().filter(move |line| {
        let word = line.trim();
        if word.is_empty() || word.starts_with('#') && help.is_none() {
            return false;
        }
        let indent =
            line.chars().take_while(|c| c.is_whitespace()).map(|c| if c == '\t' { 8 } else { 1 }).sum();
        match help {
            Some(first) if indent >= first.unwrap_or(1) => {
                help = Some(first.or(Some(indent)));
                return false;
            }
            _ => help = None,
        }
        if word == "help" || word == "---help---" {
            help = Some(None);
            return false;
        }
        true
    })
}

#[cfg(test)]
mod tests;
