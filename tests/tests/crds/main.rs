//! The definitions of kinds in the chart accept whatever the well-known ones accept.

mod accept;
mod corpus;
mod fields;
mod kinds;
mod kubernetes;
mod metadata;
mod strict;

use accept::refusals;
use anyhow::{Context, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionVersion, CustomResourceSubresources,
};
use kube::api::{ApiResource, DynamicObject, PostParams, TypeMeta};
use kube::core::{GroupVersionKind, Request};
use kube::discovery::pinned_kind;
use kube::{Api, Client};
use pilothouse_tests::apiserver::{ApiServer, KnownCrds, documents, known_crds};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Returns each definition of the chart with the name of its file.
fn ours() -> anyhow::Result<Vec<(String, CustomResourceDefinition)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/base/crds");
    let mut all = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for document in documents(&fs::read_to_string(&path)?)? {
            all.push((file.clone(), serde_json::from_value(document).with_context(|| file.clone())?));
        }
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    ensure!(!all.is_empty(), "no definitions in {}", folder.display());
    Ok(all)
}

fn well_known<'a>(known: &'a KnownCrds, name: &str) -> Option<&'a CustomResourceDefinition> {
    known.istio.iter().find(|crd| crd.metadata.name.as_deref() == Some(name))
}

fn served(crd: &CustomResourceDefinition) -> impl Iterator<Item = &CustomResourceDefinitionVersion> {
    crd.spec.versions.iter().filter(|v| v.served)
}

fn has_status(subresources: Option<&CustomResourceSubresources>) -> bool {
    subresources.is_some_and(|s| s.status.is_some())
}

#[test]
fn every_kind_of_the_chart_is_well_known() -> anyhow::Result<()> {
    let known = known_crds()?;
    for (file, crd) in ours()? {
        let name = crd.metadata.name.as_deref().context("a definition without a name")?;
        assert_eq!(file, format!("{name}.yaml"));
        assert!(well_known(&known, name).is_some(), "{name} is not well known");
    }
    Ok(())
}

#[test]
fn every_kind_read_that_is_not_of_the_gateway_api_is_in_the_chart() -> anyhow::Result<()> {
    let names: Vec<String> = ours()?.into_iter().filter_map(|(_, crd)| crd.metadata.name).collect();
    for kind in model::Kind::ALL.iter().filter(|k| !k.is_built_in()) {
        let name = format!("{}.{}", kind.plural(), kind.group());
        let expected = !kind.group().starts_with("gateway.networking.");
        assert_eq!(names.contains(&name), expected, "{name}");
    }
    Ok(())
}

#[test]
fn kinds_have_the_names_scope_and_versions_that_clients_know() -> anyhow::Result<()> {
    let known = known_crds()?;
    for (file, ours) in ours()? {
        let theirs =
            well_known(&known, ours.metadata.name.as_deref().unwrap_or_default()).context("absent")?;
        let (a, b) = (&ours.spec, &theirs.spec);
        assert_eq!(a.group, b.group, "{file}");
        assert_eq!(a.scope, b.scope, "{file}");
        assert_eq!(a.names.kind, b.names.kind, "{file}");
        assert_eq!(a.names.plural, b.names.plural, "{file}");
        assert_eq!(a.names.singular, b.names.singular, "{file}");
        assert_eq!(a.names.list_kind, b.names.list_kind, "{file}");
        assert_eq!(a.names.short_names, b.names.short_names, "{file}");
        assert_eq!(a.names.categories, b.names.categories, "{file}");
        for version in served(theirs) {
            let same = served(&ours).find(|v| v.name == version.name);
            let same = same.with_context(|| format!("{file}: {} is not served", version.name))?;
            assert_eq!(same.storage, version.storage, "{file} {}: storage", version.name);
            assert_eq!(
                has_status(same.subresources.as_ref()),
                has_status(version.subresources.as_ref()),
                "{file} {}: status",
                version.name
            );
        }
    }
    Ok(())
}

#[test]
fn schemas_refuse_nothing_that_the_well_known_ones_accept() -> anyhow::Result<()> {
    let known = known_crds()?;
    let mut all = Vec::new();
    for (file, ours) in ours()? {
        let theirs =
            well_known(&known, ours.metadata.name.as_deref().unwrap_or_default()).context("absent")?;
        for version in served(theirs) {
            let same = served(&ours).find(|v| v.name == version.name).context("a version is absent")?;
            let found = refusals(&schema(same)?, &schema(version)?);
            all.extend(found.into_iter().map(|difference| format!("{file} {} {difference}", version.name)));
        }
    }
    assert!(all.is_empty(), "{} differences:\n{}", all.len(), all.join("\n"));
    Ok(())
}

fn schema(version: &CustomResourceDefinitionVersion) -> anyhow::Result<Value> {
    let validation = version.schema.as_ref().context("no schema")?;
    Ok(serde_json::to_value(validation.open_api_v3_schema.as_ref().context("no schema")?)?)
}

/// An API server with one set of definitions.
struct Judge {
    client: Client,
    definitions: Vec<CustomResourceDefinition>,
}

impl Judge {
    async fn new(server: &ApiServer, definitions: Vec<CustomResourceDefinition>) -> anyhow::Result<Self> {
        install(server, &definitions).await?;
        Ok(Self { client: server.client().await?, definitions })
    }

    /// Offers an object; returns why it is refused, if it is.
    ///
    /// With `strict` it is offered in every version, not only in the one that is stored, and a field
    /// that the schema does not know is refused and not silently dropped.
    async fn refusal(&self, object: &DynamicObject, strict: bool) -> anyhow::Result<Option<String>> {
        let kind = object.types.as_ref().map(|t| t.kind.clone()).unwrap_or_default();
        let name = object.metadata.name.as_deref().unwrap_or_default();
        let crd = self.definitions.iter().find(|d| d.spec.names.kind == kind).context("no definition")?;
        for version in served(crd).filter(|v| strict || v.storage) {
            let gvk = GroupVersionKind::gvk(&crd.spec.group, &version.name, &kind);
            let resource = ApiResource::from_gvk_with_plural(&gvk, &crd.spec.names.plural);
            let mut object = object.clone();
            object.types = Some(TypeMeta { api_version: resource.api_version.clone(), kind: kind.clone() });
            let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), "default", &resource);
            let params = PostParams { dry_run: true, ..PostParams::default() };
            let request = Request::new(api.resource_url()).create(&params, serde_json::to_vec(&object)?)?;
            let (mut parts, body) = request.into_parts();
            let validation = if strict { "Strict" } else { "Ignore" };
            parts.uri = format!("{}&fieldValidation={validation}", parts.uri).parse()?;
            match self.client.request::<DynamicObject>(http::Request::from_parts(parts, body)).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if matches!(status.code, 400 | 422) => {
                    return Ok(Some(format!("{kind} {name} {}: {}", version.name, status.message)));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    async fn refusals(&self, objects: &[DynamicObject]) -> anyhow::Result<Vec<String>> {
        let answers = stream::iter(objects).map(|object| self.refusal(object, true)).buffered(8);
        answers.try_filter_map(async |refusal| Ok(refusal)).try_collect().await
    }
}

async fn install(server: &ApiServer, definitions: &[CustomResourceDefinition]) -> anyhow::Result<()> {
    for definition in definitions {
        server.apply(&serde_yaml::to_string(definition)?).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_api_server_accepts_with_the_chart_what_it_accepts_with_the_well_known_definitions()
-> anyhow::Result<()> {
    let known = known_crds()?;
    let ours: Vec<_> = ours()?.into_iter().map(|(_, crd)| crd).collect();
    let theirs: Vec<_> =
        ours.iter().filter_map(|crd| well_known(&known, crd.metadata.name.as_deref()?).cloned()).collect();

    let (reference, server) = (ApiServer::start().await?, ApiServer::start().await?);
    let known = Judge::new(&reference, theirs).await?;
    let chart = Judge::new(&server, ours).await?;

    let objects = corpus::objects()?;
    let refused = known.refusals(&objects).await?;
    assert!(refused.is_empty(), "the corpus is not well-formed:\n{}", refused.join("\n"));
    let refused = chart.refusals(&objects).await?;
    assert!(refused.is_empty(), "the chart's definitions refuse:\n{}", refused.join("\n"));

    let variants: Vec<_> = objects.iter().flat_map(corpus::variants).collect();
    let disagreements = stream::iter(&variants)
        .map(async |variant| match known.refusal(variant, false).await? {
            Some(_) => anyhow::Ok((false, None)),
            None => Ok((
                true,
                chart
                    .refusal(variant, false)
                    .await?
                    .map(|why| format!("{why}\n    {}", variant.data["spec"])),
            )),
        })
        .buffered(8);
    let answers: Vec<_> = disagreements.try_collect().await?;
    let accepted = answers.iter().filter(|(accepted, _)| *accepted).count();
    let refused: Vec<_> = answers.into_iter().filter_map(|(_, refusal)| refusal).collect();
    assert!(
        accepted > 500 && accepted < variants.len() - 500,
        "{accepted} of {} are accepted",
        variants.len()
    );
    assert!(
        refused.is_empty(),
        "{} of {} variants are refused:\n{}",
        refused.len(),
        variants.len(),
        refused.join("\n")
    );

    // In place of the well-known ones, as where Istio was before, and back.
    install(&reference, &chart.definitions).await?;
    install(&reference, &known.definitions).await
}

#[tokio::test]
async fn both_channels_of_the_gateway_api_are_served() -> anyhow::Result<()> {
    let known = known_crds()?;
    let server = ApiServer::start().await?;
    for channel in [&known.gateway_standard, &known.gateway_experimental] {
        install(&server, channel).await?;
        let client = server.client().await?;
        for kind in model::Kind::ALL.iter().filter(|k| k.group() == "gateway.networking.k8s.io") {
            pinned_kind(&client, &GroupVersionKind::gvk(kind.group(), kind.version(), kind.name())).await?;
        }
    }
    Ok(())
}
