// SPDX-License-Identifier: GPL-2.0-only
//! From a source patch to a livepatch.
//!
//! - [`run_pre`]: the unit as it was, compiled again, against the kernel's own bytes

pub mod run_pre;
