// SPDX-License-Identifier: GPL-2.0-only
//! Functions that, by the patches, the kernel has to call before and after it enables or disables a livepatch
//! (include/linux/livepatch_helpers.h, KLP_PRE_PATCH_CALLBACK and the like): pointers in a section of their own.

use crate::frompatch::assembler::Listing;
use crate::frompatch::assembler::line::{label, names};

/// The section of the pointers.
const SECTION: &str = ".discard.klp_callback_ptrs";

/// When a callback is called: its name in struct klp_callbacks.
pub type Moment = &'static str;

const MOMENTS: [(Moment, &str); 4] = [
    ("pre_patch", "__klp_pre_patch_callback_"),
    ("post_patch", "__klp_post_patch_callback_"),
    ("pre_unpatch", "__klp_pre_unpatch_callback_"),
    ("post_unpatch", "__klp_post_unpatch_callback_"),
];

/// A callback.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnitCallback {
    /// When it is called.
    pub moment: Moment,
    /// The function.
    pub function: String,
}

/// All callbacks of a unit.
pub fn callbacks(listing: &Listing) -> Vec<UnitCallback> {
    let mut found = Vec::new();
    for piece in listing.pieces.iter().filter(|piece| piece.section.starts_with(SECTION)) {
        let mut moment = None;
        for line in &piece.lines {
            if let Some(name) = label(line) {
                moment = MOMENTS.iter().find(|(_, start)| name.starts_with(start)).map(|(moment, _)| *moment);
            } else if line.trim_start().starts_with(".quad")
                && let (Some(moment), Some(function)) = (moment, names(line).into_iter().next())
            {
                found.push(UnitCallback { moment, function });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callbacks_are_read_from_their_section() {
        let pointer = |name: &str, function: &str| {
            format!(
                "\t.align 8\n\t.type\t{name}, @object\n\t.size\t{name}, 8\n{name}:\n\t.quad\t{function}\n"
            )
        };
        let text = format!(
            "\t.section\t.discard.klp_callback_ptrs,\"aw\"\n{}{}\t.section\t.discard.addressable,\"aw\"\n{}",
            pointer("__klp_pre_patch_callback_own", "begin"),
            pointer("__klp_post_unpatch_callback_kmod_vfat", "end.1"),
            pointer("__klp_pre_unpatch_callback_own", "other")
        );
        let found = callbacks(&Listing::parse(&text));
        let told: Vec<(Moment, &str)> = found.iter().map(|one| (one.moment, one.function.as_str())).collect();
        assert_eq!(told, [("pre_patch", "begin"), ("post_unpatch", "end.1")]);
    }
}
