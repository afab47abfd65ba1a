//! Examples on real processes: what a mesh does, step by step, with the answers that show it.
//!
//! It fails where an answer is another one, so whoever runs it has either seen all of it or knows what is wrong.

mod bookinfo;
mod egress;
mod outside;
mod play;
mod site;

use crate::isolation::WHY;
use crate::pod::Programs;
use anyhow::Context;
use play::Play;
use site::Site;
use std::path::Path;
use std::time::Instant;

/// The examples that can be played, by the names of their folders.
const PLAYS: &[&Play] = &[&bookinfo::PLAY, &egress::PLAY];

/// Says what is about to be done, before anything is.
///
/// # Errors
/// When there is nothing to be seen of the example.
pub fn introduce(example: &Path) -> anyhow::Result<()> {
    println!("{}", play(example)?.introduction);
    println!("Rights: {}.", WHY.split_whitespace().collect::<Vec<_>>().join(" "));
    Ok(())
}

fn play(example: &Path) -> anyhow::Result<&'static Play> {
    let name = example.file_name().unwrap_or_default();
    PLAYS.iter().find(|play| name == play.name).copied().with_context(|| {
        let known: Vec<_> = PLAYS.iter().map(|play| play.name).collect();
        format!("nothing is to be seen of {}: folders are named {}", example.display(), known.join(", "))
    })
}

/// Plays all steps on a copy of an example; what processes write goes below a folder.
///
/// # Errors
/// With the first answer that is not as it should be.
pub async fn run(example: &Path, programs: Programs, work: &Path) -> anyhow::Result<()> {
    let begin = Instant::now();
    let play = play(example)?;
    let mut site = Site::start(example, play, programs, work).await?;
    for (number, step) in play.steps.iter().enumerate() {
        println!("\n{}. {}", number + 1, step.title);
        println!("{}", step.explanation);
        let played = step.play(&mut site).await;
        played.with_context(|| format!("step {} of the demo (--work FOLDER keeps its logs)", number + 1))?;
    }
    println!("\nAll of it in {:.1} s. Nothing of it is left.", begin.elapsed().as_secs_f32());
    Ok(())
}
