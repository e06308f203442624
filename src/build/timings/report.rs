// SPDX-License-Identifier: GPL-2.0-only
//! The page that shows where a build's time went.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::build::timings::chart;
use crate::build::timings::step::{BuildTimes, INTERVAL, Phase, Step};
use crate::host::html::{escaped, page as whole};
use crate::host::words::{clock, count};

/// How many steps are drawn; the next is how many are listed, the longest ones.
const DRAWN: usize = 3000;
const LISTED: usize = 60;
/// Steps that ran alone for a shorter time are not listed.
const ALONE: Duration = Duration::from_millis(200);
/// The size of the drawings, in units of their own.
const WIDTH: f64 = 1000.0;
const ROW: f64 = 9.0;
const HEIGHT: f64 = 90.0;

/// The styles of this page, in addition to those of all pages.
const STYLE: &str = "\
.chart { overflow-x: auto; } .chart svg { display: block; width: 100%; min-width: 34rem; }
svg text { fill: var(--faint); font: 9px system-ui, sans-serif; }
svg .level { fill: var(--bar); opacity: 0.55; } svg .axis { stroke: var(--line); stroke-width: 0.6; }
svg rect { fill: var(--bar); } svg rect.link { fill: #d08770; } svg rect.own { fill: #57a773; } svg rect.host { fill: #a78bca; }
table { width: 100%; border-collapse: collapse; }
th { text-align: left; font-weight: 600; color: var(--faint); font-size: 0.8rem; }
th, td { padding: 0.2rem 0.75rem 0.2rem 0; border-bottom: 1px solid var(--line); vertical-align: baseline; }
td.time, th.time { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.key span { margin-right: 1.2rem; white-space: nowrap; } .key i { display: inline-block; width: 0.8em; height: 0.8em; \
margin-right: 0.4em; border-radius: 2px; }
";

/// The page about a build: what was `built`, how it ended, its parts, and its steps.
pub fn page(built: &str, told: &BuildTimes) -> String {
    let BuildTimes { total, trouble, phases, steps } = told;
    let total = *total;
    let mut body = String::new();
    let _ = writeln!(body, "<h1>{}</h1>\n<p class=\"faint\">{} in all</p>", escaped(built), clock(total));
    if let Some(trouble) = trouble {
        let _ = writeln!(
            body,
            "<p><span class=\"badge bad\">not finished</span> {}</p>\n<p class=\"faint\">The times are of what was done until then.</p>",
            escaped(trouble)
        );
    }
    body.push_str("<h2>Parts</h2>\n");
    parts(total, phases, steps, &mut body);
    if steps.is_empty() {
        body.push_str("<p>make printed no steps: there was nothing to do, or they were not to be printed (V=1, -s).</p>\n");
    } else {
        busy(total, steps, &mut body);
        timeline(total, steps, &mut body);
        alone(steps, &mut body);
        longest(steps, &mut body);
        kinds(steps, &mut body);
    }
    let _ = writeln!(
        body,
        "<footer>Made by klpbuild modules --timings. A step begins when the shell of its recipe was started, and ends when that \
         was last seen; processes were looked at every {} ms, so that shorter steps are known by their ends alone ({} of {}). \
         make does not tell what waits for what: no critical path can be shown.</footer>",
        INTERVAL.as_millis(),
        steps.iter().filter(|step| !step.is_seen).count(),
        steps.len()
    );
    whole(&format!("Timings of {built}"), STYLE, &body)
}

fn table(headings: &[&str], rows: &[Vec<String>], body: &mut String) {
    let is_time =
        |column: usize| if column < headings.len().saturating_sub(1) { " class=\"time\"" } else { "" };
    body.push_str("<table>\n<tr>");
    for (column, heading) in headings.iter().enumerate() {
        let _ = write!(body, "<th{}>{heading}</th>", is_time(column));
    }
    body.push_str("</tr>\n");
    for row in rows {
        body.push_str("<tr>");
        for (column, cell) in row.iter().enumerate() {
            let _ = write!(body, "<td{}>{}</td>", is_time(column), escaped(cell));
        }
        body.push_str("</tr>\n");
    }
    body.push_str("</table>\n");
}

fn share(time: Duration, total: Duration) -> String {
    format!("{:.0} %", 100.0 * time.as_secs_f64() / total.as_secs_f64().max(1e-9))
}

/// The parts of the build, and the steps of make that klpbuild adds.
fn parts(total: Duration, phases: &[Phase], steps: &[Step], body: &mut String) {
    let row = |begin: Duration, time: Duration, name: String| {
        vec![format!("{:.1} s", begin.as_secs_f64()), clock(time), share(time, total), name]
    };
    let mut rows: Vec<Vec<String>> =
        phases.iter().map(|phase| row(phase.begin, phase.end - phase.begin, phase.name.clone())).collect();
    for (tag, what) in [
        ("KLP", "within make: the map of symbols"),
        ("MODPOST", "within make: modpost"),
        ("LD", "within make: the link of vmlinux"),
    ] {
        for step in steps.iter().filter(|step| step.tag == tag && is_part(step)) {
            rows.push(row(step.begin, step.end - step.begin, format!("{what} ({})", step.path)));
        }
    }
    table(&["began", "time", "share", "part"], &rows, body);
}

fn is_part(step: &Step) -> bool {
    step.is_seen && (step.tag != "LD" || step.path.ends_with("vmlinux") || step.path.ends_with("vmlinux.o"))
}

fn x(at: Duration, total: Duration) -> f64 {
    WIDTH * at.as_secs_f64() / total.as_secs_f64().max(1e-9)
}

/// Lines at round times, below a drawing of `height`.
fn axis(total: Duration, height: f64, svg: &mut String) {
    let seconds = total.as_secs_f64().max(0.1);
    let steps = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 3600.0];
    let step = steps.into_iter().find(|step| seconds / step <= 12.0).unwrap_or(14400.0);
    let mut at = 0.0;
    while at <= seconds {
        let x = WIDTH * at / seconds;
        let label = if step >= 60.0 {
            format!("{} min", (at / 60.0).round())
        } else {
            format!("{} s", (at * 10.0).round() / 10.0)
        };
        let (anchor, shown) = if x > WIDTH - 30.0 { ("end", x - 2.0) } else { ("start", x + 2.0) };
        let _ = write!(
            svg,
            "<line class=\"axis\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"0\" y2=\"{height:.0}\"/><text x=\"{shown:.1}\" y=\"{:.0}\" \
             text-anchor=\"{anchor}\">{label}</text>",
            height + 10.0
        );
        at += step;
    }
}

/// A drawing of how many steps ran at a time.
fn busy(total: Duration, steps: &[Step], body: &mut String) {
    let levels = chart::levels(steps);
    let most = levels.iter().map(|(_, level)| *level).max().unwrap_or(0).max(1);
    let y = |level: usize| HEIGHT * (1.0 - level as f64 / most as f64);
    let mut points = format!("0,{HEIGHT}");
    let mut before = 0;
    for (at, level) in &levels {
        let x = x(*at, total);
        let _ = write!(points, " {x:.2},{:.1} {x:.2},{:.1}", y(before), y(*level));
        before = *level;
    }
    let mut svg = String::new();
    axis(total, HEIGHT, &mut svg);
    let worked: Duration = steps.iter().map(|step| step.end - step.begin).sum();
    let _ = writeln!(
        body,
        "<h2>Steps at a time</h2>\n<p class=\"faint\">{most} at most, {:.1} on average</p>\n<div class=\"chart\"><svg viewBox=\"0 \
         0 {WIDTH} {}\" role=\"img\" aria-label=\"How many steps ran at a time\"><polygon class=\"level\" points=\"{points} \
         {WIDTH},{HEIGHT}\"/>{svg}</svg></div>",
        worked.as_secs_f64() / total.as_secs_f64().max(1e-9),
        HEIGHT + 14.0
    );
}

/// A drawing with each step as a bar.
fn timeline(total: Duration, steps: &[Step], body: &mut String) {
    let mut longest: Vec<Duration> = steps.iter().map(|step| step.end - step.begin).collect();
    longest.sort_unstable_by(|one, other| other.cmp(one));
    let least = longest.get(DRAWN).copied().unwrap_or(Duration::ZERO);
    let drawn: Vec<Step> = steps.iter().filter(|s| s.is_seen && s.end - s.begin > least).cloned().collect();
    let rows = chart::rows(&drawn);
    let height = ROW * (rows.iter().max().map_or(0, |row| row + 1)) as f64;
    let mut svg = String::new();
    axis(total, height, &mut svg);
    for (step, row) in drawn.iter().zip(&rows) {
        let (left, right) = (x(step.begin, total), x(step.end, total));
        let _ = write!(
            svg,
            "<rect class=\"{}\" x=\"{left:.2}\" y=\"{:.1}\" width=\"{:.2}\" height=\"{:.1}\"><title>{} {}: {}</title></rect>",
            look(&step.tag),
            *row as f64 * ROW + 0.5,
            (right - left).max(0.3),
            ROW - 1.0,
            escaped(&step.tag),
            escaped(&step.path),
            clock(step.end - step.begin)
        );
    }
    let left_out = steps.len() - drawn.len();
    let _ = writeln!(
        body,
        "<h2>Each step</h2>\n<p class=\"key\"><span><i style=\"background:var(--bar)\"></i>compile</span><span><i \
         style=\"background:#d08770\"></i>link, archive, objtool</span><span><i style=\"background:#57a773\"></i>map, modpost, \
         livepatches</span><span><i style=\"background:#a78bca\"></i>programs of the build itself</span></p>\n<div \
         class=\"chart\"><svg viewBox=\"0 0 {WIDTH} {:.0}\" role=\"img\" aria-label=\"Each step as a bar\">{svg}</svg></div>\n<p \
         class=\"faint\">A row is no processor: a step is drawn in the first row that is free. {left_out} of {} are left out, \
         which were shorter.</p>",
        height + 14.0,
        count(steps.len(), "step")
    );
}

/// The style of a step, by its tag.
fn look(tag: &str) -> &'static str {
    match tag.split(' ').next().unwrap_or_default() {
        "KLP" | "MODPOST" => "own",
        "LD" | "AR" | "OBJTOOL" | "BTF" | "BTFIDS" | "NM" | "SORTTAB" | "KSYMS" | "KALLSYMS" => "link",
        tag if tag.starts_with("HOST") => "host",
        _ => "",
    }
}

/// The list of steps that ran alone, so that all others waited for them.
fn alone(steps: &[Step], body: &mut String) {
    let times = chart::alone(steps);
    let total: Duration = times.iter().sum();
    let mut all: Vec<(&Step, Duration)> =
        steps.iter().zip(times).filter(|(_, time)| *time >= ALONE).collect();
    all.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
    let row = |(step, time): &(&Step, Duration)| {
        vec![clock(*time), clock(step.end - step.begin), format!("{} {}", step.tag, step.path)]
    };
    let rows: Vec<Vec<String>> = all.iter().take(LISTED / 3).map(row).collect();
    let _ = writeln!(
        body,
        "<h2>Alone</h2>\n<p class=\"faint\">For {} only one step ran: more jobs would not have helped there.</p>",
        clock(total)
    );
    if !rows.is_empty() {
        table(&["alone", "time", "step"], &rows, body);
    }
}

fn longest(steps: &[Step], body: &mut String) {
    let mut all: Vec<&Step> = steps.iter().filter(|step| step.is_seen).collect();
    all.sort_by_key(|step| std::cmp::Reverse(step.end - step.begin));
    let row = |step: &&Step| {
        vec![
            clock(step.end - step.begin),
            format!("{:.1} s", step.begin.as_secs_f64()),
            format!("{} {}", step.tag, step.path),
        ]
    };
    let rows: Vec<Vec<String>> = all.iter().take(LISTED).map(row).collect();
    body.push_str("<h2>The longest steps</h2>\n");
    table(&["time", "began", "step"], &rows, body);
}

/// The total time of each kind of step.
fn kinds(steps: &[Step], body: &mut String) {
    let mut all: BTreeMap<&str, (Duration, usize)> = BTreeMap::new();
    for step in steps {
        let kind = all.entry(&step.tag).or_default();
        kind.0 += step.end - step.begin;
        kind.1 += 1;
    }
    let mut all: Vec<_> = all.into_iter().collect();
    all.sort_by_key(|(_, (time, _))| std::cmp::Reverse(*time));
    let worked: Duration = all.iter().map(|(_, (time, _))| *time).sum();
    let row = |(tag, (time, number)): &(&str, (Duration, usize))| {
        vec![clock(*time), share(*time, worked), number.to_string(), (*tag).to_owned()]
    };
    let rows: Vec<Vec<String>> = all.iter().map(row).collect();
    body.push_str("<h2>By kind</h2>\n<p class=\"faint\">The time of all steps of a kind, those at the same time counted each.</p>\n");
    table(&["time", "share", "steps", "kind"], &rows, body);
}
