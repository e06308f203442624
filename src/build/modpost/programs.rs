// SPDX-License-Identifier: GPL-2.0-only
//! The programs that klpbuild runs in modpost's place, or before it, so that modpost reads one more symbol dump: the
//! symbols that livepatches may refer to.

/// The text of a program that stands in for scripts/mod/modpost and reads `dump` as well (from 6.1 on).
///
/// kbuild runs modpost again when the program is newer than modpost's output. Therefore the program contains the
/// `symbols` of the dump in a comment, and changes when they do.
pub fn standing_in(dump: &str, symbols: &str) -> String {
    let comment: String = symbols.lines().map(|line| format!("# {line}\n")).collect();
    format!("#!/bin/sh\nexec scripts/mod/modpost -i {dump} \"$@\"\n{comment}")
}

/// The text of a program that runs the modpost in its arguments (5.8 to 5.11), and has it read `dump` as well.
///
/// This modpost writes everything it read into Module.symvers (`dump_sym` in scripts/mod/modpost.c), where it counts
/// as exported: the program removes the dump's own lines before anything reads the file. If modpost fails, the
/// program removes the file, as make does otherwise.
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
