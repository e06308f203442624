// SPDX-License-Identifier: GPL-2.0-only
//! The stages that a trial has to go through, by name: if a guest leaves one out, the trial proves nothing.

use crate::command::trial::module::ModuleFile;
use crate::command::trial::protocol::{CommandMoment, Stage};
use crate::command::trial::request::TrialRequest;

/// The first stage that is missing among those that have `ended`, in their order; none if all are there. A reload
/// counts as missing only if the last livepatch patches the module: an earlier one may be replaced by then.
pub fn missing(request: &TrialRequest, ended: &[Stage]) -> Option<Stage> {
    let mut ended = ended.iter();
    stages(request).into_iter().find(|stage| !ended.any(|other| other == stage))
}

fn stages(request: &TrialRequest) -> Vec<Stage> {
    let files = |modules: &[ModuleFile]| modules.iter().map(|module| module.file.clone()).collect::<Vec<_>>();
    let command = |when| request.command.is_some().then_some(Stage::Command(when));
    let mut stages: Vec<Stage> = files(&request.before).into_iter().map(Stage::Load).collect();
    stages.extend(command(CommandMoment::Before));
    for livepatch in &request.livepatches {
        stages.push(Stage::Load(livepatch.file.clone()));
        stages.push(Stage::Transition(livepatch.name.clone()));
    }
    stages.extend(files(&request.after).into_iter().map(Stage::Load));
    stages.extend(command(CommandMoment::Enabled));
    let last = request.livepatches.last();
    let is_patched = |module: &&ModuleFile| last.is_some_and(|last| last.patches.contains(&module.name));
    let others = request.before.iter().chain(&request.after);
    stages.extend(others.filter(is_patched).map(|module| Stage::Reload(module.file.clone())));
    stages.extend(request.livepatches.iter().rev().map(|livepatch| Stage::Disable(livepatch.name.clone())));
    stages.extend(command(CommandMoment::After));
    for modules in [&request.livepatches, &request.after, &request.before] {
        stages.extend(files(modules).into_iter().rev().map(Stage::Unload));
    }
    stages.push(Stage::End);
    stages
}
