//! An HTTPS server of documents, such as an issuer's keys.

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// The response to a path.
#[derive(Clone)]
pub enum Answer {
    /// Status line, further headers, and body.
    Response(&'static str, String, String),
    /// No response; the connection stays open.
    Silence,
}

impl Answer {
    pub fn document(body: String) -> Self {
        Self::Response("200 OK", String::new(), body)
    }

    pub fn redirect(to: &str) -> Self {
        Self::Response("302 Found", format!("Location: {to}\r\n"), String::new())
    }
}

struct Shared {
    answers: Mutex<BTreeMap<String, Answer>>,
    requests: AtomicU64,
}

/// The server; it stops with the test.
pub struct Publisher {
    address: SocketAddr,
    roots_pem: String,
    shared: Arc<Shared>,
}

impl Publisher {
    /// Serves at every address of this machine, under the one name `127.0.0.1`.
    pub async fn start() -> anyhow::Result<Self> {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
        let (roots_pem, chain) = (made.cert.pem(), vec![made.cert.der().clone()]);
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("0.0.0.0:0").await?;
        let address = SocketAddr::from(([127, 0, 0, 1], listener.local_addr()?.port()));
        let shared = Arc::new(Shared { answers: Mutex::default(), requests: AtomicU64::new(0) });
        let serving = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, shared) = (acceptor.clone(), Arc::clone(&serving));
                // A disconnected client is not an error.
                tokio::spawn(async move { drop(answer(acceptor, stream, &shared).await) });
            }
        });
        Ok(Self { address, roots_pem, shared })
    }

    /// Sets the response to a path.
    pub fn put(&self, path: &str, answer: Answer) {
        self.shared.answers.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), answer);
    }

    /// Returns the URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    /// Returns the certificate that clients must trust, PEM.
    pub fn roots_pem(&self) -> &str {
        &self.roots_pem
    }

    /// Returns the number of requests.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::SeqCst)
    }
}

async fn answer(acceptor: TlsAcceptor, stream: TcpStream, shared: &Shared) -> anyhow::Result<()> {
    let mut stream = BufReader::new(acceptor.accept(stream).await?);
    let mut request = String::new();
    while !request.ends_with("\r\n\r\n") {
        anyhow::ensure!(stream.read_line(&mut request).await? > 0, "the request is truncated");
    }
    shared.requests.fetch_add(1, Ordering::SeqCst);
    let path = request.split(' ').nth(1).unwrap_or_default();
    let missing = || Answer::Response("404 Not Found", String::new(), String::new());
    let found = shared.answers.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned();
    match found.unwrap_or_else(missing) {
        Answer::Response(status, headers, body) => {
            let length = body.len();
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}\r\n");
            stream.write_all((head + &body).as_bytes()).await?;
            stream.flush().await?;
        }
        Answer::Silence => std::future::pending().await,
    }
    Ok(())
}
