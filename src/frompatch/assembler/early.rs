// SPDX-License-Identifier: GPL-2.0-only
//! Jump labels (`__jump_table`, include/linux/jump_label.h) of tracepoints and static keys. The kernel looks at a key
//! while it loads a livepatch, before it writes references to a module (R9). If the key is a module's, the
//! livepatch's code tests it each time instead, as static_key_enabled() does. The test changes the flags, which gcc
//! and clang expect of any inline assembler on x86.

use crate::frompatch::assembler::line::{label, names, without_comment};

/// The comment by which arch/x86/include/asm/jump_label.h marks a jump that objtool replaces by a no-operation.
const IS_NO_JUMP: &str = "objtool NOPs this";

/// `lines` with a test and a conditional jump in place of each jump label whose key `is_late`; none if there is no
/// such label.
///
/// # Errors
/// The name of such a key, if its jump label has an unknown form.
pub(super) fn asking(
    lines: &[String],
    is_late: &dyn Fn(&str) -> bool,
) -> Result<Option<Vec<String>>, String> {
    let mut asking: Vec<String> = Vec::new();
    let mut is_changed = false;
    let mut rest = lines;
    while let [line, ..] = rest {
        let is_label = opens_table(line);
        let length = if is_label { length_of_record(rest) } else { 1 };
        let (record, behind) = rest.split_at(length.min(rest.len()));
        rest = behind;
        let key = record.iter().filter(|_| is_label).flat_map(|line| names(line)).find(|name| is_late(name));
        let Some(key) = key else {
            asking.extend_from_slice(record);
            continue;
        };
        let before = asking.pop().unwrap_or_default();
        let entry = Entry::read(record).filter(|entry| entry.is_of(&before)).ok_or(key)?;
        asking.extend(asked(entry.key, entry.target, entry.is_likely));
        is_changed = true;
    }
    Ok(is_changed.then_some(asking))
}

/// The test of a key whose first member counts who has enabled it, and the jump that is made while the key is on, or off
/// if it `is_likely`.
fn asked(key: &str, target: &str, is_likely: bool) -> [String; 2] {
    let jump = if is_likely { "je" } else { "jne" };
    [format!("\tcmpl\t$0, {key}(%rip)"), format!("\t{jump}\t{target}")]
}

/// An entry of the jump table as clang writes it: in pieces of its own, apart from the function.
pub(super) struct EntryApart<'a> {
    /// The label of the instruction.
    pub(super) site: &'a str,
    target: &'a str,
    key: String,
    is_likely: bool,
}

impl<'a> EntryApart<'a> {
    /// Reads `.long SITE-HERE`, `.long TARGET-HERE`, `.quad ((KEY+NUMBER)+NUMBER)-HERE`. Bits 0 and 1 of the sum of the
    /// numbers are flags, as in [`Entry::read`], and the rest is a part of the address.
    pub(super) fn read(record: &[&'a str]) -> Option<EntryApart<'a>> {
        let [site, target, key] = record else { return None };
        let place = |line: &'a str| Some(line.trim().strip_prefix(".long")?.trim().rsplit_once('-')?.0);
        let (site, target) = (place(site)?, place(target)?);
        let (sum, _) = key.trim().strip_prefix(".quad")?.trim().rsplit_once('-')?;
        let mut terms = sum.split('+').map(|term| term.trim_matches(['(', ')']));
        let name = terms.next().filter(|name| !name.contains('-'))?;
        let numbers = terms.map(|term| term.parse().ok()).collect::<Option<Vec<u32>>>()?;
        let sum: u32 = numbers.iter().try_fold(0u32, |sum, number| sum.checked_add(*number))?;
        let key = if sum < 4 { name.to_owned() } else { format!("{name}+{}", sum & !3) };
        target.starts_with(".L").then_some(EntryApart { site, target, key, is_likely: sum & 1 == 1 })
    }

    /// The function's lines with a test and a conditional jump in place of the instruction; none if that has another form.
    pub(super) fn ask(&self, lines: &[String]) -> Option<Vec<String>> {
        let at = lines.iter().position(|line| label(line) == Some(self.site))? + 1;
        let mut words = without_comment(lines.get(at)?).split_whitespace();
        let is_jump = matches!(words.next(), Some("jmp" | "jmp.d32")) && words.next() == Some(self.target);
        is_jump.then(|| {
            let mut lines = lines.to_vec();
            lines.splice(at..=at, asked(&self.key, self.target, self.is_likely));
            lines
        })
    }
}

/// An entry of the jump table, `struct jump_entry`.
struct Entry<'a> {
    target: &'a str,
    /// The key's address: its first member counts who has enabled it.
    key: &'a str,
    /// Whether the jump is made while the key is off.
    is_likely: bool,
}

impl Entry<'_> {
    /// Reads `.long 1b - .`, `.long TARGET - .`, `.quad KEY + NUMBER... - .`; bit 0 of the sum of the numbers says
    /// whether the label is likely, and bit 1 is objtool's.
    fn read(record: &[String]) -> Option<Entry<'_>> {
        let here = |line: &&str| line.ends_with(" - .");
        let lines: Vec<&str> = record.iter().map(|line| line.trim()).filter(here).collect();
        let [_, target, key] = lines.as_slice() else { return None };
        let target = target.strip_prefix(".long")?.strip_suffix(" - .")?.trim();
        let mut terms = key.strip_prefix(".quad")?.strip_suffix(" - .")?.trim().split(" + ");
        let key = terms.next()?.trim();
        let numbers = terms.map(|term| term.trim().parse::<u8>().ok()).collect::<Option<Vec<_>>>()?;
        let flags: u8 = numbers.iter().try_fold(0u8, |sum, number| sum.checked_add(*number))?;
        (target.starts_with(".L") && flags < 4).then_some(Entry { target, key, is_likely: flags & 1 == 1 })
    }

    /// Whether `line` is the instruction of this jump label: a jump to its target, or a no-operation.
    fn is_of(&self, line: &str) -> bool {
        let text = line.trim_start();
        let Some(text) = text.strip_prefix("1:").map(str::trim_start) else { return false };
        let text = text.strip_suffix(IS_NO_JUMP).map_or(text, |text| text.trim_end().trim_end_matches('#'));
        let mut words = text.split_whitespace();
        match (words.next(), words.next()) {
            (Some("jmp" | "jmp.d32"), Some(to)) => to == self.target,
            (Some(".byte"), Some(_)) => true,
            _ => false,
        }
    }
}

/// Whether a line begins a record in the table of jump labels.
fn opens_table(line: &str) -> bool {
    let rest = line.trim_start().strip_prefix(".pushsection");
    rest.is_some_and(|rest| rest.trim_start().trim_start_matches('"').starts_with("__jump_table"))
}

/// The number of lines up to the end of the section that the first line begins.
fn length_of_record(lines: &[String]) -> usize {
    let mut depth = 0;
    for (index, line) in lines.iter().enumerate() {
        match line.split_whitespace().next() {
            Some(".pushsection") => depth += 1,
            Some(".popsection") => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return index + 1;
        }
    }
    lines.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = "\t.pushsection __jump_table,  \"aw\" \n\t .balign 8 \n912:\n\t.pushsection .discard.annotate_data, \
                          \"M\"\n\t.long 912b - ., 1\n\t.popsection\n.long 1b - . \n\t.long .L4 - . \n\t .quad  KEY - . \n\t.popsection\n";

    fn of(instruction: &str, key: &str) -> Result<String, String> {
        let text = format!("\tpush\n{instruction}\n{}\tret\n", RECORD.replace("KEY", key));
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let asking = asking(&lines, &|name| name.ends_with("_of_module"))?;
        Ok(asking.unwrap_or(lines).join("\n"))
    }

    const JUMP: &str = "\t1: jmp .L4 # objtool NOPs this ";

    #[test]
    fn a_key_of_a_module_is_asked_each_time() {
        let asked = |jump: &str| format!("\tpush\n\tcmpl\t$0, t_of_module+8(%rip)\n\t{jump}\t.L4\n\tret");
        for (instruction, key, jump) in [
            (JUMP, "t_of_module+8 + 0 + 2", "jne"),
            (JUMP, "t_of_module+8 + 2", "jne"),
            (JUMP, "t_of_module+8 + 3", "je"),
            ("\t1:jmp .L4", "t_of_module+8 + 0", "jne"),
            ("\t1:jmp .L4", "t_of_module+8 + 1", "je"),
            ("1:.byte 0x0f,0x1f,0x44,0x00,0x00", "t_of_module+8 + 0", "jne"),
        ] {
            assert_eq!(of(instruction, key), Ok(asked(jump)), "{instruction} {key}");
        }
    }

    #[test]
    fn an_entry_apart_from_its_function_is_asked() {
        let of = |key: &str, jump: &str| {
            let key = format!("\t.quad\t{key}-.Ltmp14");
            let record = ["\t.long\t.Ltmp11-.Ltmp12", "\t.long\t.LBB0_4-.Ltmp13", key.as_str()];
            let lines: Vec<String> = ["\tpush", ".Ltmp11:", jump, "\tret"].map(str::to_owned).into();
            Some(EntryApart::read(&record)?.ask(&lines)?.join(" "))
        };
        let jump = "\tjmp\t.LBB0_4\t# objtool NOPs this ";
        let expected = |key: &str, jump: &str| {
            Some(format!("\tpush .Ltmp11: \tcmpl\t$0, {key}(%rip) \t{jump}\t.LBB0_4 \tret"))
        };
        assert_eq!(of("((t_of_module+8)+2)", jump), expected("t_of_module+8", "jne"));
        assert_eq!(of("(f.key+3)", jump), expected("f.key", "je"));
        assert_eq!(of("(t_of_module+8)", jump), expected("t_of_module+8", "jne"));
        assert_eq!(of("key", "\tjmp\t.LBB0_4"), expected("key", "jne"));
        assert_eq!(of("(key+2)", "\tnop"), None);
        assert_eq!(of("(key-2)", jump), None);
    }

    #[test]
    fn other_labels_stay_and_what_is_not_known_is_refused() {
        let text = format!("\tpush\n{JUMP}\n{}\tret", RECORD.replace("KEY", "other+8 + 2"));
        assert_eq!(of(JUMP, "other+8 + 2"), Ok(text));
        let key = "t_of_module".to_owned();
        assert_eq!(of("\tnop", "t_of_module + 2"), Err(key.clone()));
        assert_eq!(of("\t1: jmp .L5 # objtool NOPs this", "t_of_module + 2"), Err(key.clone()));
        assert_eq!(of(JUMP, "t_of_module + 4"), Err(key));
    }
}
