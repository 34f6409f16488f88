//! Other servers behind the same balancer, which may be asked for a session of this one's, and this one for theirs.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

/// What [`Directory::find`] gives.
pub type Found<'a> = Pin<Box<dyn Future<Output = Option<SocketAddr>> + Send + 'a>>;

/// Knows where the other servers are. A session id says only the name of its server, never an
/// address: a client must not be able to say where requests are sent.
pub trait Directory: Send + Sync + 'static {
    /// Where a server takes what the others pass on; none if no server of this name lives.
    fn find<'a>(&'a self, name: &'a str) -> Found<'a>;
}

/// The other servers. All of them have the same secret, and names of their own: what
/// [`Config::id_prefix`](crate::Config::id_prefix) says, up to its dot.
#[derive(Clone)]
pub struct Peers {
    /// Where they are.
    pub directory: Arc<dyn Directory>,
    /// Shows that a request comes from one of them. Must be visible ASCII.
    pub secret: String,
    /// Requests that may be passed on at one time: about one for every client that polls. With more,
    /// the sessions of those that are too many end.
    pub max_forwards: usize,
}

impl fmt::Debug for Peers {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").field("max_forwards", &self.max_forwards).finish_non_exhaustive()
    }
}
