//! A followed run: its steps as a table that is redrawn on a terminal, as plain lines elsewhere, as JSON for programs.

use control::api::model::{Event, Run, RunState, Step, StepState, Time};
use rustix::termios::tcgetwinsize;

use super::paint::Tone;
use super::{Output, Table, since, write};
use crate::cli::Form;

/// Rows of steps that are redrawn; of a longer run the last ones are shown.
const ROW_LIMIT: usize = 40;

/// Shows a run while it goes on.
pub(crate) struct Progress {
    output: Output,
    run: Option<Box<Run>>,
    /// Lines of the table as it stands on the terminal.
    drawn_lines: usize,
    /// What plain output has said of each step, so that nothing is said twice.
    told: Vec<(u32, StepState, u32)>,
    told_state: Option<RunState>,
}

impl Progress {
    pub(crate) fn new(output: Output) -> Self {
        Progress { output, run: None, drawn_lines: 0, told: Vec::new(), told_state: None }
    }

    /// The state the run is in, as far as is known.
    pub(crate) fn run(&self) -> Option<&Run> {
        self.run.as_deref()
    }

    /// Takes an event and shows what changed.
    pub(crate) fn event(&mut self, event: Event) {
        if self.output.form == Form::Json {
            self.output.item(&event, String::new);
            self.apply(event);
            return;
        }
        let note = match &event {
            Event::Note { text, step, .. } => Some((*step, text.clone())),
            _ => None,
        };
        self.apply(event);
        if self.output.redraws {
            self.redraw(note);
        } else {
            self.tell(note);
        }
    }

    /// Draws again with the time that has passed; called about once a second on a terminal.
    pub(crate) fn tick(&mut self) {
        if self.output.redraws && self.output.form == Form::Text {
            self.redraw(None);
        }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Snapshot { run } => self.run = Some(run),
            Event::Status { time, state } => {
                if let Some(run) = &mut self.run {
                    run.summary.state = state;
                    run.summary.ended = state.has_ended().then_some(time);
                }
            }
            Event::End { state } => {
                if let Some(run) = &mut self.run {
                    run.summary.state = state;
                }
            }
            Event::Note { .. } => {}
            Event::Step { time, step, task, mode, mode_number, attempt, state, worker, note } => {
                let Some(run) = &mut self.run else { return };
                let row = match run.steps.iter_mut().position(|row| row.step == step) {
                    Some(index) => &mut run.steps[index],
                    None => {
                        run.steps.push(new_step(step, &task, mode, mode_number, time));
                        run.steps.last_mut().expect("it was just pushed")
                    }
                };
                row.state = if state == StepState::Lost { StepState::Ready } else { state };
                row.attempt = row.attempt.max(attempt);
                row.worker = worker.or_else(|| row.worker.take());
                row.waiting = if row.state == StepState::Ready { note } else { None };
                match state {
                    StepState::Leased => row.leased = Some(time),
                    StepState::Running => row.started = Some(time),
                    StepState::Completed | StepState::Failed | StepState::Cancelled => row.ended = Some(time),
                    StepState::Ready | StepState::Lost => {}
                }
            }
        }
    }

    fn redraw(&mut self, note: Option<(Option<u32>, String)>) {
        let Some(run) = &self.run else { return };
        let mut text = String::new();
        if self.drawn_lines > 0 {
            text.push_str(&format!("\x1b[{}A\x1b[J", self.drawn_lines));
        }
        if let Some((step, note)) = note {
            text.push_str(&note_line(step, &note));
        }
        let table = steps_text(run, false, &self.output);
        // A terminal that does not know its size says 0.
        let size = tcgetwinsize(rustix::stdio::stdout()).map_or(0, |size| usize::from(size.ws_col));
        let width = if size == 0 { 80 } else { size };
        let table: String = table.lines().map(|line| fit(line, width) + "\n").collect();
        self.drawn_lines = table.lines().count();
        text.push_str(&table);
        write(&text);
    }

    fn tell(&mut self, note: Option<(Option<u32>, String)>) {
        let Some(run) = &self.run else { return };
        let mut text = String::new();
        if let Some((step, note)) = note {
            text.push_str(&note_line(step, &note));
        }
        for step in &run.steps {
            let now = (step.step, step.state, step.attempt);
            if self.told.contains(&now) {
                continue;
            }
            self.told.retain(|told| told.0 != step.step);
            self.told.push(now);
            text.push_str(&step_line(step));
        }
        if self.told_state != Some(run.summary.state) {
            self.told_state = Some(run.summary.state);
            text.push_str(&format!("run {} {}\n", run.summary.id, run.summary.state.name()));
        }
        write(&text);
    }
}

fn new_step(step: u32, task: &str, mode: String, mode_number: String, time: Time) -> Step {
    Step {
        step,
        name: task.rsplit('/').next().unwrap_or(task).to_owned(),
        task: task.to_owned(),
        mode,
        mode_number,
        state: StepState::Ready,
        attempt: 0,
        worker: None,
        sandbox: None,
        ready: time,
        leased: None,
        started: None,
        ended: None,
        waiting: None,
        error: None,
        artifacts: 0,
    }
}

fn note_line(step: Option<u32>, note: &str) -> String {
    let place = step.map_or_else(String::new, |step| format!("step {step}: "));
    format!("note: {place}{}\n", super::safe_line(note))
}

fn step_line(step: &Step) -> String {
    let mut line =
        format!("step {} {} mode {} {}", step.step, step.name, step.mode_number, step.state.name());
    if step.state.has_ended() {
        let start = step.started.or(step.leased).unwrap_or(step.ready);
        line.push_str(&format!(" in {}", since(start, step.ended, start)));
    }
    if let Some(worker) = &step.worker {
        line.push_str(&format!(" on {worker}"));
    }
    if step.attempt > 1 {
        line.push_str(&format!(" (attempt {})", step.attempt));
    }
    if let Some(why) = &step.waiting {
        line.push_str(&format!(": {why}"));
    }
    super::safe_line(&line) + "\n"
}

/// The steps of a run as a table, with a line on the run below.
///
/// `all` shows every step; else the last ones of a long run.
pub(crate) fn steps_text(run: &Run, all: bool, output: &Output) -> String {
    let now = crate::process::now();
    let mut table = Table::new(&["STEP", "TASK", "MODE", "STATE", "TIME", "WORKER"]);
    let skipped = if all { 0 } else { run.steps.len().saturating_sub(ROW_LIMIT) };
    for step in &run.steps[skipped..] {
        let start = step.started.or(step.leased).unwrap_or(step.ready);
        let state = match &step.waiting {
            Some(why) => format!("{}: {why}", step.state.name()),
            None if step.attempt > 1 => format!("{} (attempt {})", step.state.name(), step.attempt),
            None => step.state.name().to_owned(),
        };
        table.row([
            (step.step.to_string(), None),
            (step.name.clone(), None),
            (format!("{} {}", step.mode_number, step.mode), None),
            (state, Some(tone(step.state))),
            (since(start, step.ended, now), None),
            (step.worker.clone().unwrap_or_else(|| "-".to_owned()), None),
        ]);
    }
    let mut text = if table.is_empty() { String::new() } else { table.render(output.paint) };
    if skipped > 0 {
        text.push_str(&format!("({skipped} earlier steps: sagewai runs show {} --steps)\n", run.summary.id));
    }
    let summary = &run.summary;
    let state = output.paint.tone(run_tone(summary.state), summary.state.name());
    let time = since(summary.created, summary.ended, now);
    text.push_str(&format!("run {} {state} {time}\n", summary.id));
    text
}

fn tone(state: StepState) -> Tone {
    match state {
        StepState::Ready | StepState::Lost => Tone::Warn,
        StepState::Leased | StepState::Running => Tone::Active,
        StepState::Completed => Tone::Good,
        StepState::Failed | StepState::Cancelled => Tone::Bad,
    }
}

/// The colour of a run's state.
pub(crate) fn run_tone(state: RunState) -> Tone {
    match state {
        RunState::Pending | RunState::Waiting | RunState::Suspended => Tone::Warn,
        RunState::Running => Tone::Active,
        RunState::Completed => Tone::Good,
        RunState::Cancelling | RunState::Faulted | RunState::Cancelled => Tone::Bad,
    }
}

/// `line` cut to `width` columns, so that a redrawn table takes the lines it counts. Escape sequences take no column.
fn fit(line: &str, width: usize) -> String {
    let mut fitted = String::new();
    let mut columns = 0;
    let mut escape = false;
    for c in line.chars() {
        if c == '\x1b' {
            escape = true;
        }
        if escape {
            fitted.push(c);
            escape = c != 'm';
        } else if columns < width {
            fitted.push(c);
            columns += 1;
        }
    }
    fitted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_by_its_columns_and_keeps_its_colours() {
        assert_eq!(fit("\x1b[32mabcdef\x1b[0m", 3), "\x1b[32mabc\x1b[0m");
        assert_eq!(fit("abc", 5), "abc");
    }
}
