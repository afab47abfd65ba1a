//! `pilothouse compare`: two servers of folders that are alike, and that are not.

use super::{Server, copy_of_bookinfo, run};
use anyhow::ensure;
use serde_json::Value;
use std::fs;

#[tokio::test]
async fn what_two_control_planes_tell_differently_is_named_with_what_it_decides() -> anyhow::Result<()> {
    let (ours, theirs) = (copy_of_bookinfo()?, copy_of_bookinfo()?);
    let own = Server::of_folder(ours.path()).await?;
    let alike = Server::of_folder(theirs.path()).await?;
    let compare = async |args: &[&str]| {
        let output = run([&["compare", "--server", &own.xds][..], args].concat()).await?;
        let (out, errors) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
        anyhow::Ok((output.status.code(), out, errors))
    };
    let (code, out, errors) = compare(&["--with", &alike.xds]).await?;
    ensure!(code == Some(0) && errors.is_empty(), "{out}{errors}");
    ensure!(out.starts_with("no difference in ") && out.lines().count() == 1, "{out}");

    let policies = theirs.path().join("policies.yaml");
    let text = fs::read_to_string(&policies)?.replacen("name: details-callers", "name: details-guests", 1);
    fs::write(&policies, text)?;
    let namespaces = theirs.path().join("namespaces.yaml");
    let text = fs::read_to_string(&namespaces)?;
    ensure!(text.contains("istio.io/dataplane-mode: ambient"), "{text}");
    fs::write(&namespaces, text.replace("istio.io/dataplane-mode: ambient", "other: label"))?;
    let other = Server::of_folder(theirs.path()).await?;
    let (code, out, errors) = compare(&["--with", &other.xds]).await?;
    ensure!(code == Some(1) && errors.is_empty(), "{out}{errors}");
    for expected in [
        "policy bookinfo/details-callers: ours alone has it (it is enforced",
        "policy bookinfo/details-guests: the other alone has it (it is enforced",
        ": tunnelProtocol is \"HBONE\" and not nothing (whether and how traffic to it is encrypted)",
        ": authorizationPolicies is [\"bookinfo/details-callers\"",
    ] {
        ensure!(out.lines().any(|line| line.contains(expected)), "{expected}:\n{out}");
    }
    let (_, out, _) = compare(&["--with", &other.xds, "-o", "json"]).await?;
    let found: Value = serde_json::from_str(&out)?;
    let found = found["differences"].as_array().into_iter().flatten();
    let fields: Vec<_> = found.filter_map(|of| of["field"].as_str()).collect();
    ensure!(fields.contains(&"tunnelProtocol"), "{out}");
    let (code, out, errors) = compare(&["--with", &other.xds, "-n", "nowhere"]).await?;
    ensure!(code == Some(0) && out == "no difference in 0 resources\n" && errors.is_empty(), "{out}{errors}");

    let (code, out, errors) = compare(&["--with", "127.0.0.1:1"]).await?;
    ensure!(code == Some(1) && out.is_empty() && errors.contains("cannot reach"), "{out}{errors}");
    Ok(())
}
