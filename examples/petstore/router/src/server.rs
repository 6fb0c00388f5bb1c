//! The process: listening, and stopping without cutting off what is in flight.

use crate::service::Service;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use serde_json::json;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use telemetry::log::{log, Level};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::signal::unix::{signal, SignalKind};

/// Serves until SIGTERM or SIGINT, then gives the requests in flight `drain_seconds` to finish.
pub fn serve(service: Arc<Service>, addr: SocketAddr, drain_seconds: u64) -> io::Result<()> {
    let runtime = Builder::new_multi_thread().enable_all().max_blocking_threads(64).build()?;
    let result = runtime.block_on(accept(service, addr, drain_seconds));
    // A handler that still runs after the drain must not keep the process.
    runtime.shutdown_background();
    result
}

async fn accept(service: Arc<Service>, addr: SocketAddr, drain_seconds: u64) -> io::Result<()> {
    let mut signals = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
    let listener = TcpListener::bind(addr).await?;
    log(Level::Info, "listening", json!({"addr": listener.local_addr()?.to_string()}));
    let graceful = GracefulShutdown::new();
    loop {
        let event = poll_fn(|cx| match signals.iter_mut().any(|signal| signal.poll_recv(cx).is_ready()) {
            true => Poll::Ready(None),
            false => listener.poll_accept(cx).map(Some),
        });
        match event.await {
            None => break,
            Some(Ok((stream, _))) => connect(&service, &graceful, stream),
            Some(Err(error)) => {
                log(Level::Warn, "cannot accept a connection", json!({"error": error.to_string()}));
                // Out of file descriptors, most likely: retrying at once would only spin.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    log(Level::Info, "stopping", json!({"connections": graceful.count()}));
    let finished =
        tokio::time::timeout(Duration::from_secs(drain_seconds), graceful.shutdown()).await.is_ok();
    log(Level::Info, "stopped", json!({"finished": finished}));
    Ok(())
}

fn connect(service: &Arc<Service>, graceful: &GracefulShutdown, stream: TcpStream) {
    // Small replies must not wait for acknowledgements; where this fails they only come later.
    let _ = stream.set_nodelay(true);
    let service = service.clone();
    let respond = service_fn(move |request| {
        let service = service.clone();
        async move { Ok::<_, Infallible>(service.handle(request).await) }
    });
    let connection =
        http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), respond);
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            log(Level::Debug, "connection", json!({"error": error.to_string()}));
        }
    });
}
