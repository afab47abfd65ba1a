//! Writes `src/gen` from the files of `proto/`: `cargo run -p pilothouse-proto --example generate`.

#[path = "../codegen.rs"]
mod codegen;

fn main() -> anyhow::Result<()> {
    let dir = codegen::output_dir();
    std::fs::create_dir_all(&dir)?;
    for (name, content) in codegen::generate()? {
        std::fs::write(dir.join(name), content)?;
    }
    Ok(())
}
