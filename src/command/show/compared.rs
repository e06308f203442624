// SPDX-License-Identifier: GPL-2.0-only
//! Which lines two texts have in common, in order: all others were removed, or added.

/// What becomes of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineFate {
    /// It is in both texts.
    Stays,
    /// It is in only one of the texts.
    Differs,
}

/// The fate of each line of `old`, and of each line of `new`: as many as possible stay (their longest common
/// subsequence). Blanks at the ends of a line do not count.
pub(super) fn fates(old: &[String], new: &[String]) -> (Vec<LineFate>, Vec<LineFate>) {
    let width = new.len() + 1;
    // For each pair of lines: how many lines can stay from there on.
    let mut stay = vec![0_u32; (old.len() + 1) * width];
    let at = |stay: &[u32], one: usize, other: usize| stay.get(one * width + other).copied().unwrap_or(0);
    for (one, old_line) in old.iter().enumerate().rev() {
        for (other, new_line) in new.iter().enumerate().rev() {
            let best = match old_line.trim() == new_line.trim() {
                true => at(&stay, one + 1, other + 1) + 1,
                false => at(&stay, one + 1, other).max(at(&stay, one, other + 1)),
            };
            if let Some(place) = stay.get_mut(one * width + other) {
                *place = best;
            }
        }
    }
    let (mut gone, mut added) = (vec![LineFate::Differs; old.len()], vec![LineFate::Differs; new.len()]);
    let (mut one, mut other) = (0, 0);
    while let (Some(old_line), Some(new_line)) = (old.get(one), new.get(other)) {
        if old_line.trim() == new_line.trim() {
            gone.iter_mut().skip(one).take(1).for_each(|fate| *fate = LineFate::Stays);
            added.iter_mut().skip(other).take(1).for_each(|fate| *fate = LineFate::Stays);
            one += 1;
            other += 1;
        } else if at(&stay, one + 1, other) >= at(&stay, one, other + 1) {
            one += 1;
        } else {
            other += 1;
        }
    }
    (gone, added)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_both_stays() {
        let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let shown = |old: &str, new: &str| {
            let (gone, added) = fates(&lines(old), &lines(new));
            let mark = |fates: Vec<LineFate>| -> String {
                fates.into_iter().map(|fate| if fate == LineFate::Stays { '=' } else { '*' }).collect()
            };
            (mark(gone), mark(added))
        };
        assert_eq!(shown("a b c", "a x c d"), ("=*=".to_owned(), "=*=*".to_owned()));
        assert_eq!(shown("a b", "b a"), ("*=".to_owned(), "=*".to_owned()));
        assert_eq!(fates(&[], &lines("a")), (vec![], vec![LineFate::Differs]));
    }
}
