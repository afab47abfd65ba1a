//! The API server goes away, and what changes meanwhile is missed.

use crate::churn::{agrees, churn, start};
use crate::process::Process;
use anyhow::Context;
use pilothouse_tests::apiserver::{LIMIT, until};
use pilothouse_tests::client::{Client, State};

#[tokio::test(flavor = "multi_thread")]
async fn clients_keep_their_state_without_an_api_server_and_have_what_was_missed_after() -> anyhow::Result<()>
{
    let mut server = start().await?;
    let home = server.port()?;
    let kubeconfig = server.dir().join("kubeconfig-home");
    std::fs::copy(server.kubeconfig(), &kubeconfig)?;
    let replica = Process::start(&kubeconfig, "one").await?;
    let mut clients = Vec::new();
    for n in 0..10 {
        clients.push(replica.client(&format!("node-{n}")).await?);
    }
    churn(server.client().await?, 0..300).await?;
    let all =
        |clients: &[Client]| clients.iter().map(|client| client.with(State::digest)).collect::<Vec<_>>();
    let settled = async || {
        let fresh = replica.client("fresh").await?;
        let expected = fresh.with(State::digest);
        let is_last =
            fresh.with(|state| state.workloads().any(|(_, of)| of.service_account == "account-299"));
        Ok((is_last && all(&clients).iter().all(|digest| *digest == expected)).then_some(()))
    };
    until(LIMIT, settled).await.context("it does not settle")?;

    let before = all(&clients);
    let streams: Vec<u32> = clients.iter().map(|client| client.state().streams()).collect();
    server.stop().await?;
    // Somebody else changes the mesh, by an API server that this replica does not know.
    server.start_again(0).await?;
    churn(server.client().await?, 300..700).await?;
    assert_eq!(all(&clients), before, "nobody loses anything, nor hears of what the replica cannot know");
    let late = replica.client("late").await?;
    assert_eq!(late.with(State::digest), before[0], "who comes meanwhile has what there was");
    server.stop().await?;
    server.start_again(home).await?;

    // Compared from scratch: with a replica that has seen nothing else.
    let other = Process::start(&kubeconfig, "two").await?;
    let fresh = other.client("fresh").await?;
    assert_ne!(fresh.with(State::digest), before[0], "much has changed");
    for client in clients.iter().chain([&late]) {
        agrees(client, &fresh).await?;
        assert_eq!(client.violations(), []);
    }
    let now: Vec<u32> = clients.iter().map(|client| client.state().streams()).collect();
    assert_eq!(now, streams, "nobody had to connect again");
    Ok(())
}
