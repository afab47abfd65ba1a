//! Writes `crates/proto/src/gen` from the files of `proto/`.

fn main() -> anyhow::Result<()> {
    let dir = pilothouse_codegen::output_dir();
    std::fs::create_dir_all(&dir)?;
    for (name, content) in pilothouse_codegen::generate()? {
        std::fs::write(dir.join(name), content)?;
    }
    Ok(())
}
