//! Configured limits per client, and the refusals beyond them.

use crate::laptop::Laptop;
use crate::plane::Plane;
use anyhow::Context;
use pilothouse_tests::apiserver::{LIMIT, until};
use pilothouse_tests::client::{Client, Node, OpenError, Options, Reconnect};
use runtime::config::duration;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tonic::Code;

/// Connects from a given address.
async fn dial(from: Ipv4Addr, to: SocketAddr) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(IpAddr::V4(from), 0))?;
    Ok(socket.connect(to).await?)
}

/// Starts a handshake from an address, and waits for the first byte of the server.
async fn greeted(from: Ipv4Addr, plane: &Plane) -> anyhow::Result<()> {
    let mut stream = dial(from, plane.secure).await?;
    // Not TLS: the server answers with an alert.
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await?;
    Ok(stream.read_exact(&mut [0; 1]).await.map(drop)?)
}

/// Returns whether the peer has closed a connection.
fn has_ended(stream: &TcpStream) -> bool {
    !matches!(stream.try_read(&mut [0; 64]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_per_address_are_bounded_as_configured_and_refusals_counted() -> anyhow::Result<()> {
    let mut laptop = Laptop::new()?;
    laptop.args.bounds.handshakes_per_address = 4;
    let plane = Plane::open(&laptop.args).await?;
    let token = laptop.ztunnel()?;
    let before = plane.bounded("handshakes_of_address");
    // Silent connections of another address exhaust its limit.
    let flood = Ipv4Addr::new(127, 0, 0, 2);
    let mut held = Vec::new();
    for _ in 0..7 {
        held.push(dial(flood, plane.secure).await?);
    }
    let refused = async || Ok((plane.bounded("handshakes_of_address") >= before + 3).then_some(()));
    until(LIMIT, refused).await?;
    let ended = async || Ok((held.iter().filter(|stream| has_ended(stream)).count() >= 3).then_some(()));
    until(LIMIT, ended).await?;
    assert_eq!(plane.bounded("handshakes_of_address"), before + 3, "four handshakes are in progress");
    plane.certificate(&token, None).await.context("another address has its own limit")?;
    drop(held);
    let accepted = async || Ok(greeted(flood, &plane).await.ok());
    until(LIMIT, accepted).await.context("their permits are released")
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_per_client_are_bounded_as_configured_and_refusals_counted() -> anyhow::Result<()> {
    let mut laptop = Laptop::new()?;
    laptop.args.bounds.streams_per_client = 2;
    let plane = Plane::open(&laptop.args).await?;
    let token = laptop.ztunnel()?;
    let connect = async || {
        let options = Options {
            node: Node::ztunnel("laptop"),
            reconnect: Reconnect::Manual,
            ..plane.client_options(&token)?
        };
        Client::connect(options).await
    };
    let _held = (connect().await?, connect().await?);
    let refused = connect().await.err().context("a third is open")?;
    let refused = refused.downcast_ref::<OpenError>().context("no refusal")?;
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert_eq!(plane.bounded("streams_of_client"), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_per_client_are_bounded_as_configured_and_refusals_counted() -> anyhow::Result<()> {
    let mut laptop = Laptop::new()?;
    laptop.args.identity.certificates_per_second = 1;
    let plane = Plane::open(&laptop.args).await?;
    let token = laptop.ztunnel()?;
    let refused = async || Ok(plane.certificate(&token, None).await.err().map(|e| e.to_string()));
    let refused = until(LIMIT, refused).await?;
    assert!(refused.contains("too many requests"), "{refused}");
    assert_eq!(plane.bounded("certificates_of_client"), 1);
    Ok(())
}

#[test]
fn limits_of_zero_are_an_error_at_start() {
    use clap::Parser as _;
    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        serve: runtime::config::ServeArgs,
    }
    for flag in ["--connections-per-address=0", "--handshakes-per-address=0", "--read-deadline=0s"] {
        assert!(Command::try_parse_from(["serve", flag]).is_err(), "{flag}");
    }
    let serve = Command::try_parse_from(["serve", "--read-deadline=2m"]).map(|c| c.serve);
    let reading = serve.ok().map(|serve| serve.bounds.timeouts().read);
    assert_eq!(reading, duration("2m").ok());
}
