// SPDX-License-Identifier: GPL-2.0-only
//! Tests with real compilers' output, and with bytes of it changed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::*;

const HEADER: &str = "
static inline int twice(int x)
{
	return x * 2;
}
";

const MAIN: &str = r#"
#include "twice.h"
#define KEEP __attribute__((noinline))
int other(int x);
extern int far;

static int level = 3;
static int unwritten;
static int kept = 4;

static inline int helper(int x)
{
	int sum = level;
	for (int i = 0; i < x; i++)
		sum += other(i) * far;
	return sum;
}

static KEEP int clone(int x, int unused)
{
	return other(x) + other(x + 1);
}

static KEEP int solid(int x)
{
	kept += x;
	return twice(x) + unwritten;
}

KEEP int first(int x)
{
	return helper(x) + twice(other(x));
}

KEEP int second(int x)
{
	if (x)
		return helper(x + 1);
	return clone(x, 1) + clone(x + 2, 2);
}

int discarded(int x)
{
	return x + other(7);
}

int main(void)
{
	return first(1) + second(2) + solid(3) + kept;
}
"#;

const OTHER: &str = r#"
#include "twice.h"
int far = 9;

int other(int x)
{
	if (x > far)
		far += x;
	return twice(twice(x) + far);
}
"#;

/// The sections of a program, by name.
type Dump = BTreeMap<String, Vec<u8>>;

const SECTIONS: [&str; 6] =
    [".debug_info", ".debug_abbrev", ".debug_line", ".debug_str", ".debug_line_str", ".debug_str_offsets"];

fn command(directory: &Path, line: &str) -> String {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    let output = command.args(words).current_dir(directory).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{line}");
    String::from_utf8(output.stdout).unwrap()
}

/// Compiles and links the program with more compiler options: its debug sections.
fn program(directory: &Path, options: &str) -> Dump {
    for (name, text) in [("include/twice.h", HEADER), ("main.c", MAIN), ("lib/other.c", OTHER)] {
        let path = directory.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    for name in ["main", "lib/other"] {
        command(
            directory,
            &format!("gcc -O2 -ffunction-sections -I./include {options} -c {name}.c -o {name}.o"),
        );
    }
    command(directory, "ld --gc-sections -e main -Ttext=0x300010000 main.o lib/other.o -o linked");
    dump(directory, "linked", "")
}

/// The debug sections of an object, by the binutils of that prefix.
fn dump(directory: &Path, object: &str, prefix: &str) -> Dump {
    let has = command(directory, &format!("{prefix}objdump -h {object}"));
    let has: BTreeSet<&str> = has.split_whitespace().collect();
    let mut sections = Dump::new();
    for name in SECTIONS.into_iter().filter(|name| has.contains(name)) {
        command(directory, &format!("{prefix}objcopy --dump-section {name}=section {object} copy"));
        sections.insert(name.to_owned(), std::fs::read(directory.join("section")).unwrap());
    }
    sections
}

fn source(dump: &Dump) -> impl Fn(&str) -> Option<Vec<u8>> {
    |name: &str| dump.get(name).cloned()
}

/// Every address of every function.
fn code(directory: &Path) -> Vec<u64> {
    let number = |word| u64::from_str_radix(word, 16).unwrap();
    let mut addresses = Vec::new();
    for line in command(directory, "nm -S linked").lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [start, size, "t" | "T", _] = words[..] {
            addresses.extend(number(start)..number(start) + number(size));
        }
    }
    assert!(addresses.len() > 100);
    addresses
}

/// What addr2line says of each address.
fn addr2line(directory: &Path, addresses: &[u64]) -> Vec<String> {
    let mut command = Command::new("addr2line");
    command.args(["-e", "linked"]).current_dir(directory).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let text: String = addresses.iter().map(|address| format!("{address:#x}\n")).collect();
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.split(" (").next().unwrap().to_owned()).collect()
}

const OPTIONS: [&str; 7] = [
    "-gdwarf-4",
    "-gdwarf-5",
    "-gdwarf-3 -gno-as-loc-support -gno-as-locview-support",
    "-gdwarf-5 -gno-as-loc-support -gno-as-locview-support",
    "-gdwarf-5 -gdwarf64",
    "-gdwarf-4 -fdebug-types-section",
    "-gdwarf-5 -fdebug-types-section",
];

#[test]
fn lines_are_those_of_addr2line() {
    for options in OPTIONS {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path().canonicalize().unwrap();
        let dump = program(&directory, options);
        let lines = DwarfLines::read(&source(&dump), true).unwrap().unwrap();
        let addresses = code(&directory);
        if options.contains("-gdwarf64") {
            // binutils 2.40 cannot read that.
            let dump = program(&directory, "-gdwarf-5");
            let narrow = DwarfLines::read(&source(&dump), true).unwrap().unwrap();
            assert!(addresses.iter().all(|&address| lines.at(address) == narrow.at(address)));
            continue;
        }
        let real = addr2line(&directory, &addresses);
        assert_eq!(addresses.len(), real.len());
        let mut files = BTreeSet::new();
        for (&address, real) in addresses.iter().zip(real) {
            let place = lines.at(address).unwrap_or_else(|| panic!("{address:#x}: {real}"));
            let path = directory.join(&place.file).canonicalize().unwrap();
            let real = real.split_once(':').unwrap();
            assert_eq!(path, Path::new(real.0).canonicalize().unwrap(), "{options} {address:#x}");
            assert_eq!(place.line.to_string(), real.1, "{options} {address:#x}");
            files.insert(place.file);
        }
        let files: Vec<String> = files.into_iter().collect();
        assert!(files.iter().all(|file| !file.starts_with(['/', '.'])), "{files:?}");
        assert!(files.contains(&"include/twice.h".to_owned()), "{files:?}");
        assert!(files.contains(&"main.c".to_owned()) && files.contains(&"lib/other.c".to_owned()));
        for address in [0, 1, 0x10000, 0x3_0001_0000 - 1, 0x3_0002_0000, u64::MAX] {
            assert_eq!(lines.at(address), None, "{address:#x}");
        }
    }
}

#[test]
fn lines_of_other_machines() {
    let text = format!(".text\n.globl start\nstart:\n{}", "\tnop\n".repeat(100));
    for (prefix, little) in [
        ("s390x-linux-gnu-", false),
        ("powerpc-linux-gnu-", false),
        ("powerpc64le-linux-gnu-", true),
        ("aarch64-linux-gnu-", true),
    ] {
        for version in [3, 4, 5] {
            let directory = tempfile::tempdir().unwrap();
            let directory = directory.path();
            std::fs::write(directory.join("start.s"), &text).unwrap();
            command(directory, &format!("{prefix}as -gdwarf-{version} start.s -o start.o"));
            command(directory, &format!("{prefix}ld -e start -Ttext=0x10000 start.o -o linked"));
            let dump = dump(directory, "linked", prefix);
            let lines = DwarfLines::read(&source(&dump), little).unwrap().unwrap();
            for instruction in 0..100 {
                let place = SourceLine { file: "start.s".to_owned(), line: 4 + instruction };
                assert_eq!(lines.at(0x10000 + 4 * instruction), Some(place), "{prefix}");
            }
            assert!(DwarfLines::read(&source(&dump), !little).is_err());
        }
    }
}

#[test]
fn fates_of_what_has_no_symbol() {
    for options in OPTIONS {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let dump = program(directory, options);
        let fate =
            |name: &str| fates(&source(&dump), true, &[b"no_such", name.as_bytes()]).unwrap().pop().unwrap();
        let line = |text: &str| MAIN.lines().position(|line| line == text).unwrap() as u64 + 1;
        let inlined = |file: &str, line, callers: &[&str]| {
            let callers = callers.iter().map(|&name| name.to_owned()).collect();
            Some(NoSymbolReason::Inlined { file: file.to_owned(), line, callers })
        };
        let gone = |line| Some(NoSymbolReason::OptimizedAway { file: "main.c".to_owned(), line });
        let symbols = command(directory, "nm linked");
        assert!(symbols.contains(" clone."), "{symbols}");
        assert!(!symbols.contains("helper") && !symbols.contains("level"));

        let here = line("static inline int helper(int x)");
        assert_eq!(fate("helper"), inlined("main.c", here, &["second", "first"]), "{options}");
        assert_eq!(fate("twice"), inlined("include/twice.h", 2, &["first", "other"]), "{options}");
        assert_eq!(fate("level"), gone(line("static int level = 3;")), "{options}");
        assert_eq!(fate("unwritten"), gone(line("static int unwritten;")), "{options}");
        assert_eq!(fate("discarded"), gone(line("int discarded(int x)")), "{options}");
        for name in ["clone", "solid", "first", "kept", "far", "other", "sum", "main.c", "none", "", "x"] {
            assert_eq!(fate(name), None, "{options} {name}");
        }
    }
}

#[test]
fn fates_across_units() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    program(directory, "-g");
    command(
        directory,
        "gcc -O2 -g -flto -flto-partition=none -nostdlib -static -Wl,-e,main -I./include main.c lib/other.c -o linked",
    );
    let dump = dump(directory, "linked", "");
    let fate =
        |name: &str| fates(&source(&dump), true, &[b"no_such", name.as_bytes()]).unwrap().pop().unwrap();
    let symbols = command(directory, "nm linked");
    assert!(!symbols.contains(" other\n"), "{symbols}");
    match fate("other") {
        Some(NoSymbolReason::Inlined { file, line, callers }) => {
            assert_eq!((file.as_str(), line), ("lib/other.c", 5));
            assert!(callers.contains(&"first".to_owned()), "{callers:?}");
        }
        fate => panic!("{fate:?}"),
    }
    assert!(matches!(fate("level"), Some(NoSymbolReason::OptimizedAway { .. })));
    for name in ["main", "kept", "far", "none"] {
        assert_eq!(fate(name), None, "{name}");
    }
}

#[test]
fn objects_without_debug_information() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    for options in ["-g0", "-gdwarf-5 -gsplit-dwarf", "-gdwarf-4 -gsplit-dwarf"] {
        let dump = program(directory, options);
        let lines = DwarfLines::read(&source(&dump), true).unwrap();
        assert_eq!(lines.is_some(), options != "-g0");
        if let Some(lines) = lines {
            assert!(code(directory).into_iter().all(|address| lines.at(address).is_some()));
        }
        assert_eq!(fates(&source(&dump), true, &[b"helper"]).unwrap(), [None]);
    }
    let full = program(directory, "-g");
    for name in [".debug_info", ".debug_abbrev", ".debug_line"] {
        let mut dump = full.clone();
        dump.remove(name);
        assert!(DwarfLines::read(&source(&dump), true).unwrap().is_none());
        assert_eq!(fates(&source(&dump), true, &[b"helper"]).unwrap(), [None]);
    }
    assert!(DwarfLines::read(&source(&full), false).is_err());
    let mut junk = full;
    junk.insert(".debug_info".to_owned(), vec![0xff; 1000]);
    let error = DwarfLines::read(&source(&junk), true).unwrap_err();
    assert!(format!("{error:#}").starts_with("the debug information cannot be read: "), "{error:#}");
}

/// Reads all there is, and looks it up.
fn exercise(dump: &Dump) {
    if let Ok(Some(lines)) = DwarfLines::read(&source(dump), true) {
        for address in (0x3_0001_0000..0x3_0001_0200).step_by(16).chain([0, u64::MAX]) {
            let _ = lines.at(address);
        }
    }
    for name in ["helper", "level"] {
        let _ = fates(&source(dump), true, &[name.as_bytes()]);
    }
}

/// The processor time of this thread, in hundredths of a second (proc_pid_stat(5)): it counts only work, however busy
/// the machine is.
fn work_of_thread() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

#[test]
fn broken_sections_do_no_harm() {
    // One thread does all the work, so that its time is the time of the work.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |limit: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % limit as u64) as usize
    };
    for options in ["-gdwarf-4", "-gdwarf-5"] {
        let directory = tempfile::tempdir().unwrap();
        let whole = program(directory.path(), options);
        let names: Vec<&String> = whole.keys().collect();
        let mut worst = 0;
        let mut timed = |dump: &Dump| {
            let work = pool.install(|| {
                let begin = work_of_thread();
                exercise(dump);
                work_of_thread() - begin
            });
            worst = worst.max(work);
        };
        for name in &names {
            for length in 0..whole[*name].len() {
                let mut dump = whole.clone();
                dump.get_mut(*name).unwrap().truncate(length);
                timed(&dump);
            }
        }
        for _ in 0..4_000 {
            let mut dump = whole.clone();
            for _ in 0..=random(4) {
                let bytes = dump.get_mut(names[random(names.len())]).unwrap();
                let at = random(bytes.len());
                // Extreme values, more often than chance would bring them.
                let with = [0, 1, 0x7f, 0x80, 0xff, random(256) as u8, bytes[at] ^ (1 << random(8))];
                let with = with[random(with.len())];
                let length = [1, 1, 1, 4, 10][random(5)];
                bytes.iter_mut().skip(at).take(length).for_each(|byte| *byte = with);
            }
            timed(&dump);
        }
        assert!(worst < 200, "{worst} hundredths of a second");
    }
}
