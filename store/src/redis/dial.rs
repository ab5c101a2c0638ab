//! Makes a connection to Redis that is fit to carry commands, in bounded time.

use std::future::Future;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ProtocolVersion, RedisConnectionInfo, RedisError, RedisResult, Value};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::config::{Address, RedisConfig};
use super::fault::{Fault, error_in};
use super::reply;
use crate::ErrorKind;

/// How long to wait for a connection, and then for the handshake on it: as long as for an answer, half a second in
/// all.
const STEP_TIMEOUT: Duration = Duration::from_millis(250);

/// How many commands may wait inside the crate for their turn on the wire: the crate's own choice. Whoever finds no
/// room waits, and no longer than for an answer.
const QUEUE_MAX: usize = 50;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Reads,
    Writes,
}

impl Purpose {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Reads => "reads",
            Self::Writes => "writes",
        }
    }
}

/// A connection that is ready.
pub(crate) struct Dialled {
    pub(crate) connection: MultiplexedConnection,
    /// Moves its bytes. It ends with the connection, and the connection with it.
    pub(crate) driver: JoinHandle<()>,
    pub(crate) identity: Identity,
}

/// Who a connection is in the eyes of Redis. An id alone is not enough: they begin anew when Redis restarts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    id: String,
    address: String,
}

/// Ends the driver of a connection that nobody got.
struct DriverGuard(Option<JoinHandle<()>>);

impl Drop for DriverGuard {
    fn drop(&mut self) {
        if let Some(driver) = &self.0 {
            driver.abort();
        }
    }
}

/// Connects, says who we are, ends `predecessor` at Redis, and looks at `probe` to hear whether Redis serves us.
///
/// Redis goes on with what it has received of a connection, even if that was closed meanwhile. So a predecessor is
/// ended there first: none of its commands can be obeyed after one of ours. That it is gone already is fine.
pub(crate) async fn dial(
    config: &RedisConfig,
    purpose: Purpose,
    predecessor: Option<&Identity>,
    probe: &str,
) -> Result<Dialled, Fault> {
    match &config.address {
        Address::Tcp(host, port) => {
            let stream = within(TcpStream::connect((host.as_str(), *port))).await?;
            stream.set_nodelay(true)?;
            within(shake_hands(stream, config, purpose, predecessor, probe)).await
        }
        Address::Unix(path) => {
            let stream = within(UnixStream::connect(path)).await?;
            within(shake_hands(stream, config, purpose, predecessor, probe)).await
        }
    }
}

async fn within<T, E: Into<Fault>>(step: impl Future<Output = Result<T, E>>) -> Result<T, Fault> {
    match timeout(STEP_TIMEOUT, step).await {
        Ok(outcome) => outcome.map_err(Into::into),
        Err(_) => Err(Fault::new(ErrorKind::Timeout, "no connection in time")),
    }
}

async fn shake_hands<S>(
    stream: S,
    config: &RedisConfig,
    purpose: Purpose,
    predecessor: Option<&Identity>,
    probe: &str,
) -> Result<Dialled, Fault>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // The crate would log in by itself, but not tell the server's words when that fails.
    let settings =
        RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP2).set_skip_set_lib_name();
    let options = AsyncConnectionConfig::new().set_response_timeout(None).set_pipeline_buffer_size(QUEUE_MAX);
    let (mut connection, driver) = MultiplexedConnection::new_with_config(&settings, stream, options).await?;
    let mut driver = DriverGuard(Some(tokio::spawn(driver)));

    let mut hello = redis::pipe();
    hello.ignore_errors();
    if let Some(password) = &config.password {
        hello.cmd("AUTH").arg(config.user.as_deref()).arg(password);
    }
    if config.database != 0 {
        hello.cmd("SELECT").arg(config.database);
    }
    if let Some(Identity { id, address }) = predecessor {
        hello.cmd("CLIENT").arg("KILL").arg("ID").arg(id).arg("ADDR").arg(address);
    }
    hello.cmd("EXISTS").arg(probe);
    hello.cmd("CLIENT").arg("INFO");
    // A name is for operators who list connections; where it is not allowed, it is not needed.
    hello.cmd("CLIENT").arg("SETNAME").arg(format!("causeway-{}", purpose.label()));

    let mut replies: Vec<RedisResult<Value>> = hello.query_async(&mut connection).await?;
    replies.pop();
    let mut info = Value::Nil;
    for reply in replies {
        info = reply?;
        if let Some(error) = error_in(&info) {
            return Err(RedisError::from(error.clone()).into());
        }
    }
    let identity = reply::text(&info).and_then(Identity::of);
    let identity =
        identity.ok_or_else(|| Fault::new(ErrorKind::Other, "CLIENT INFO did not say who we are"))?;
    let driver = driver.0.take().expect("taken only here");
    Ok(Dialled { connection, driver, identity })
}

impl Identity {
    /// Reads what `CLIENT INFO` says: `id=3 addr=127.0.0.1:4711 laddr=…`.
    fn of(info: &str) -> Option<Self> {
        let field = |name: &str| {
            let mut fields = info.split_ascii_whitespace();
            fields.find_map(|field| field.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
        };
        Some(Self { id: field("id")?, address: field("addr")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_learns_who_it_is() {
        let identity = Identity::of("id=3 addr=127.0.0.1:4711 laddr=127.0.0.1:6379 fd=8 name= age=0\n");
        assert_eq!(identity, Some(Identity { id: "3".to_owned(), address: "127.0.0.1:4711".to_owned() }));
        assert_eq!(Identity::of("laddr=127.0.0.1:6379 id=3"), None);
    }
}
