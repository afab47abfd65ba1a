//! The bookinfo example on real processes: what a mesh does, step by step, with the answers that show it.
//!
//! It fails where an answer is another one, so whoever runs it has either seen all of it or knows what is wrong.

mod site;
mod steps;

use crate::isolation::WHY;
use crate::pod::Programs;
use anyhow::Context;
use site::Site;
use std::path::Path;
use std::time::Instant;

/// Says what is about to be done, before anything is.
pub fn introduce() {
    println!("The bookinfo example as processes on this machine, with a real Envoy as its waypoint.");
    println!("Rights: {}.", WHY.split_whitespace().collect::<Vec<_>>().join(" "));
}

/// Plays all steps on a copy of an example; what processes write goes below a folder.
///
/// # Errors
/// With the first answer that is not as it should be.
pub async fn run(example: &Path, programs: Programs, work: &Path) -> anyhow::Result<()> {
    let begin = Instant::now();
    let mut site = Site::start(example, programs, work).await?;
    for (number, step) in steps::STEPS.iter().enumerate() {
        println!("\n{}. {}", number + 1, step.title);
        println!("{}", step.explanation);
        let played = step.play(&mut site).await;
        played.with_context(|| format!("step {} of the demo (--work FOLDER keeps its logs)", number + 1))?;
    }
    println!("\nAll of it in {:.1} s. Nothing of it is left.", begin.elapsed().as_secs_f32());
    Ok(())
}
