// SPDX-License-Identifier: GPL-2.0-only
//! Tables for people: columns side by side, or, if the terminal is too narrow for them, a block of lines for each
//! row.

/// The text of a table with these headings. It fits a terminal of `columns` if possible; without a terminal (none)
/// there is no limit. Blocks leave out a column that is empty in all rows.
pub fn render<const N: usize>(headings: &[&str; N], rows: &[[String; N]], columns: Option<usize>) -> String {
    let length = |text: &str| text.chars().count();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| length(cell));
        cells.chain(headings.get(column).map(|heading| length(heading))).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |cells: Vec<&str>| {
        let cells: Vec<String> =
            cells.into_iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
        format!("  {}\n", cells.join("  ").trim_end())
    };
    let headings_line = line(headings.to_vec());
    let lines: Vec<String> = rows.iter().map(|row| line(row.iter().map(String::as_str).collect())).collect();
    let needed = lines.iter().chain([&headings_line]).map(|line| length(line) - 1).max().unwrap_or(0);
    if columns.is_none_or(|columns| needed <= columns) {
        return headings_line + &lines.concat();
    }
    let widest = headings.iter().map(|heading| length(heading)).max().unwrap_or(0);
    let block = |row: &[String; N]| -> String {
        let cells = headings.iter().zip(row).filter(|(_, cell)| !cell.is_empty());
        cells.map(|(heading, cell)| format!("  {heading:widest$}  {cell}\n")).collect()
    };
    rows.iter().map(block).collect::<Vec<String>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_does_not_fit_becomes_blocks() {
        let rows = [["vmlinux", "one.c", ""], ["ext4", "-", "__init"]];
        let rows = rows.map(|row| row.map(str::to_owned));
        let wide = "  object   file\n  vmlinux  one.c\n  ext4     -      __init\n";
        for columns in [None, Some(24)] {
            assert_eq!(render(&["object", "file", ""], &rows, columns), wide);
        }
        assert_eq!(
            render(&["object", "file", ""], &rows, Some(23)),
            "  object  vmlinux\n  file    one.c\n\n  object  ext4\n  file    -\n          __init\n"
        );
    }
}
