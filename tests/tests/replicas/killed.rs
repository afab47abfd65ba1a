//! One of two replicas is killed.

use crate::churn::{agrees, churn, sent_again, start};
use crate::process::Process;
use anyhow::Context;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::Api;
use pilothouse_tests::apiserver::{LIMIT, until};
use pilothouse_tests::client::Client;

const CLIENTS: usize = 50;
const CHANGES: u64 = 900;

async fn lease(client: &kube::Client) -> anyhow::Result<LeaseSpec> {
    let leases = Api::<Lease>::namespaced(client.clone(), "istio-system");
    leases.get("istio-status-leader").await?.spec.context("an empty lease")
}

async fn until_held_by(client: &kube::Client, replica: &str) -> anyhow::Result<LeaseSpec> {
    let held = async || {
        let lease = lease(client).await.ok();
        Ok(lease.filter(|lease| lease.holder_identity.as_deref() == Some(replica)))
    };
    until(LIMIT, held).await.with_context(|| format!("{replica} does not hold the lease"))
}

/// Connects half of the clients to a replica.
async fn connect(replica: &Process) -> anyhow::Result<Vec<Client>> {
    let mut clients = Vec::new();
    for n in 0..CLIENTS / 2 {
        clients.push(replica.client(&format!("node-{n}")).await?);
    }
    Ok(clients)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_killed_under_churn_costs_its_clients_nothing() -> anyhow::Result<()> {
    let server = start().await?;
    let (kubeconfig, client) = (server.kubeconfig(), server.client().await?);
    let one = Process::start(&kubeconfig, "one").await?;
    let first = until_held_by(&client, "one").await?;
    let two = Process::start(&kubeconfig, "two").await?;
    let (moved, stayed) = (connect(&one).await?, connect(&two).await?);

    churn(client.clone(), 0..CHANGES / 3).await?;
    let going_on = tokio::spawn(churn(client.clone(), CHANGES / 3..CHANGES));
    let seen = moved[0].with(|state| state.received().len());
    moved[0].until("some more", |state| state.received().len() > seen + 5).await?;
    one.kill().await?;
    for client in &moved {
        client.reconnect_to(two.xds.clone()).await?;
    }
    going_on.await??;

    // Nothing was lost: who has just begun knows no more.
    let settled = async || {
        let fresh = two.client("fresh").await?;
        Ok(fresh.with(|state| state.digest() == stayed[0].with(|state| state.digest())).then_some(fresh))
    };
    let fresh = until(LIMIT, settled).await.context("the replica that is left does not settle")?;
    for client in moved.iter().chain(&stayed) {
        agrees(client, &fresh).await?;
        assert_eq!(client.violations(), []);
        assert_eq!(sent_again(client), [""; 0], "what a client offers is not sent again");
    }
    assert!(moved.iter().all(|client| client.state().streams() >= 2));
    assert!(stayed.iter().all(|client| client.state().streams() == 1), "nobody else has to connect again");

    // The lease is taken over in its term, and no sooner.
    let second = until_held_by(&client, "two").await?;
    let millis = |of: Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime>| {
        of.map(|time| time.0.as_millisecond()).context("no time")
    };
    let term = i64::from(first.lease_duration_seconds.context("no term")?) * 1000;
    let (renewed, acquired) = (millis(first.acquire_time)?, millis(second.acquire_time)?);
    assert!(acquired - renewed >= term, "taken at {acquired}, and held from {renewed}");
    assert_eq!(second.lease_transitions, Some(1));
    Ok(())
}
