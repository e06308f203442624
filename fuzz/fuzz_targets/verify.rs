// SPDX-License-Identifier: GPL-2.0-only
//! Verification of what may be a livepatch.
#![no_main]

use klpbuild::elf::image::Image;
use klpbuild::livepatch::verify::verify;
use klpbuild_fuzz::{sources, told};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(image) = told(Image::parse(data)) else { return };
    for finding in told(verify(&image, sources(image.machine()))).into_iter().flatten() {
        assert!(!finding.to_string().is_empty());
    }
});
