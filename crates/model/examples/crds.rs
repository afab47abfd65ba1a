//! Writes the custom resource definitions to `charts/base/crds` of this checkout.

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts/base/crds");
    std::fs::create_dir_all(&folder)?;
    for file in pilothouse_model::crd::files()? {
        std::fs::write(folder.join(&file.name), &file.text)?;
        println!("{}", file.name);
    }
    Ok(())
}
