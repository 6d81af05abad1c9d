//! A story in which members take turns between their steps: cheap, and nobody is disturbed in the middle of a step but by time.

use super::process::{Process, Slot};
use super::stage::Stage;
use super::writer::Writer;
use super::{Client, Counts, Draw, STILL_MS, Story, hopeless};
use cairn_bus::simulated::FaultPlan;
use std::sync::Arc;
use std::time::Duration;

/// At least so many steps with faults, and at most.
const ROUGH_STEPS: std::ops::Range<usize> = 1_500..4_000;
/// The longest that a still cluster's clock jumps.
const JUMP_MS_MAX: i64 = 1_500;

struct Cast<'a> {
    story: &'a Story,
    stage: &'a Stage,
    draw: Draw,
    writers: Vec<Writer>,
    processes: Vec<Arc<Process>>,
    slots: Vec<Slot<'a>>,
}

pub(super) fn play(story: &Story, stage: &Stage, clients: Vec<Client>) -> Result<Counts, String> {
    let mut cast = Cast {
        story,
        stage,
        draw: Draw::new(story.seed, 2),
        writers: clients
            .into_iter()
            .map(|(name, records)| Writer::new(name, records))
            .collect(),
        processes: Vec::new(),
        slots: Vec::new(),
    };
    for index in 0..stage.instances.len() {
        cast.enter(index);
    }
    let begun_ms = stage.now_ms();
    let ended = cast
        .rough()
        .and_then(|()| cast.settle(stage.now_ms() - begun_ms));
    ended.map(|()| super::met(&cast.processes))
}

impl Cast<'_> {
    fn enter(&mut self, index: usize) {
        let (name, kinds) = &self.stage.instances[index];
        let process = Process::new(name, kinds.len());
        for kind in kinds {
            let slot = Slot::new(self.stage, process.clone(), kind.clone(), self.story.bug);
            self.slots.push(slot);
        }
        self.processes.push(process);
    }

    /// Clients send while everything goes wrong.
    fn rough(&mut self) -> Result<(), String> {
        self.stage.log.set_plan(self.story.plan.clone());
        for step in 0..ROUGH_STEPS.end {
            if step >= ROUGH_STEPS.start && self.writers.iter().all(Writer::is_done) {
                break;
            }
            let draw = &mut self.draw;
            if draw.percent(6) {
                let which = draw.below(self.writers.len());
                self.writers[which]
                    .step(self.stage, draw)
                    .map_err(hopeless)?;
            } else if draw.below(800) == 0 {
                let which = draw.below(self.processes.len());
                self.processes[which].leave(self.stage, draw);
            } else if draw.below(1_200) == 0 {
                let which = draw.below(self.stage.instances.len());
                let name = self.stage.instances[which].0;
                let mut newest = self.processes.iter().rev();
                if newest
                    .find(|old| old.name == name)
                    .is_some_and(|old| old.supersede())
                {
                    self.enter(which);
                }
            } else {
                let which = draw.below(self.slots.len());
                let patience = Duration::from_millis(draw.pick(&[0, 0, 20]));
                self.slots[which].turn(patience, draw).map_err(hopeless)?;
            }
            self.stage.clock.advance_ms(self.draw.between(0, 60));
        }
        self.stage.log.set_plan(FaultPlan::quiet());
        Ok(())
    }

    /// Nothing goes wrong any more: clients send the rest, and everything must come to rest in time.
    fn settle(&mut self, rough_ms: i64) -> Result<(), String> {
        let settle_ms = super::settle_ms(rough_ms);
        for process in &self.processes {
            process.end_if_superseded();
        }
        let begun_ms = self.stage.now_ms();
        let mut still_since_ms = begun_ms;
        let mut jump_ms = 50;
        loop {
            let mut moved = false;
            for writer in &mut self.writers {
                moved |= !writer.is_done();
                writer.step(self.stage, &mut self.draw).map_err(hopeless)?;
            }
            for slot in &mut self.slots {
                moved |= slot
                    .turn(Duration::ZERO, &mut self.draw)
                    .map_err(hopeless)?;
            }
            let now_ms = self.stage.now_ms();
            if moved {
                (still_since_ms, jump_ms) = (now_ms, 50);
            } else if now_ms - still_since_ms >= STILL_MS && self.is_quiet()? {
                return Ok(());
            }
            if now_ms - begun_ms > settle_ms {
                return Err(super::restless(self.stage, settle_ms));
            }
            self.stage.clock.advance_ms(jump_ms);
            jump_ms = (jump_ms * 2).min(JUMP_MS_MAX);
        }
    }

    /// Whether every partition is somebody's and nobody waits for anything.
    fn is_quiet(&mut self) -> Result<bool, String> {
        let mut owned = 0;
        for slot in &mut self.slots {
            match slot.rest().map_err(hopeless)? {
                None => return Ok(false),
                Some(own) => owned += own,
            }
        }
        Ok(owned == self.stage.partitions())
    }
}
