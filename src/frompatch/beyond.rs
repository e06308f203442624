// SPDX-License-Identifier: GPL-2.0-only
//! Units that are compiled with a patched file, and that no livepatch reaches: those in assembler, and those that are
//! no part of the running kernel, such as the vDSO.

use anyhow::{Result, ensure};
use rayon::prelude::*;

use crate::frompatch::apply::scope;
use crate::frompatch::compile::{self, Trees};
use crate::frompatch::cut;
use crate::frompatch::units::{AffectedUnits, Unit};
use crate::kernel::recorded;

/// Checks that the patches change neither a unit in assembler nor the vDSO. Returns notes about code that they change,
/// and that runs only before the kernel or beside it.
///
/// # Errors
/// They change one, or it cannot be compiled.
pub fn check(found: &AffectedUnits, trees: Trees<'_>) -> Result<Vec<String>> {
    for unit in &found.assembler {
        ensure!(
            !compile::is_changed(unit, trees)?,
            "{} is in assembler, and what it includes is changed for it: functions written in assembler cannot be replaced; \
             leave what they use as it is",
            unit.path
        );
    }
    let (vdso, rest): (Vec<&Unit>, Vec<_>) = found.apart.iter().partition(|unit| scope::is_vdso(&unit.path));
    vdso.into_par_iter().try_for_each(|unit| {
        ensure!(
            !is_other_code(unit, trees)?,
            "{} is a part of the vDSO, and what it includes is changed for it: the vDSO is mapped into processes, where a \
             livepatch does not reach, and the kernel would go on with a half of the change; leave what the vDSO uses as \
             it is",
            unit.path
        );
        Ok(())
    })?;
    // What runs at another time does no harm by staying as it is: if this cannot tell, there is just no note.
    let changed = rest.into_par_iter().filter(|unit| is_other_code(unit, trees).unwrap_or(false));
    let told = changed.map(|unit| {
        let why = scope::why_not_in_kernel(&unit.path).unwrap_or_default();
        format!("{} is compiled with what is changed, and stays as it is: {why}", unit.path)
    });
    Ok(told.collect())
}

/// Whether the patches change the code or the data of a unit.
fn is_other_code(unit: &Unit, trees: Trees<'_>) -> Result<bool> {
    if recorded::is_assembler(&unit.path) {
        return compile::is_changed(unit, trees);
    }
    let compiled = compile::all(vec![unit.clone()], trees)?;
    compiled.iter().try_fold(false, |is, one| Ok(is || cut::changes(one)?))
}
