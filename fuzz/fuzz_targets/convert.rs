// SPDX-License-Identifier: GPL-2.0-only
//! Conversion: what is read is converted or refused, and what comes out can be read, and is converted already.
#![no_main]

use klpbuild::elf::image::Image;
use klpbuild::livepatch::convert::{Choices, ConvertOutcome, convert};
use klpbuild_fuzz::{sources, told};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(image) = told(Image::parse(data)) else { return };
    let sources = sources(image.machine());
    let choices = Choices { keep_module_exports: data.len() % 2 == 1, is_marked: true };
    let Some(ConvertOutcome::Converted { bytes, .. }) = told(convert(image, sources, choices)) else { return };
    let image = Image::parse(&bytes).expect("what was written cannot be read");
    let again = convert(image, sources, choices);
    assert!(matches!(again, Ok(ConvertOutcome::Unchanged)), "it is not converted: {:?}", again.err());
});
