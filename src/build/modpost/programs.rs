// SPDX-License-Identifier: GPL-2.0-only
//! The programs that klpbuild puts into modpost's place, or before it, for one more symbol dump: what livepatches
//! may refer to.

/// Stands in for scripts/mod/modpost and reads `dump` as well (from 6.1 on).
///
/// kbuild runs modpost again when the program it names is newer than its output: so the program has the `symbols` of
/// the dump in it, as a comment, and changes when they do.
pub fn standing_in(dump: &str, symbols: &str) -> String {
    let comment: String = symbols.lines().map(|line| format!("# {line}\n")).collect();
    format!("#!/bin/sh\nexec scripts/mod/modpost -i {dump} \"$@\"\n{comment}")
}

/// Runs the modpost that its arguments say, of 5.8 to 5.11, and reads `dump` as well.
///
/// Such a modpost writes into Module.symvers whatever it read (`dump_sym` in scripts/mod/modpost.c), and what is there
/// counts as exported: the dump's own lines are taken out before anybody sees the file. A failed modpost leaves none,
/// as make sees to it otherwise.
pub fn filtering(dump: &str) -> String {
    format!(
        "#!/bin/sh\n\
         \"$@\" -i {dump} -o {dump}.all || {{ status=$?; rm -f Module.symvers {dump}.all; exit $status; }}\n\
         LC_ALL=C grep -vxFf {dump} {dump}.all >{dump}.kept || [ $? -eq 1 ] || exit\n\
         rm -f {dump}.all\n\
         mv {dump}.kept Module.symvers\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_changes_with_the_symbols() {
        let program = standing_in("d", "0x0\ta\n0x0\tb\n");
        assert_eq!(program, "#!/bin/sh\nexec scripts/mod/modpost -i d \"$@\"\n# 0x0\ta\n# 0x0\tb\n");
    }
}
