//! The gateway: metrics and health for machines, ingest over HTTP, and the built-in schema registry.
//!
//! One thread with its own small runtime; it decides nothing about records. `POST /v1/events` takes the contract's JSON, one
//! object a line, or an Avro file, and answers when they are committed to the log: 200 with counts, 429 with `Retry-After`
//! when the queue is full, 503 when the log is out of reach. Who sends says so by a bearer token; without tokens only this
//! machine does.

mod answers;
mod bodies;
mod callers;
mod events;
mod keys;

use crate::cli::Failure;
use crate::config::Config;
use crate::connect::Place;
use crate::metrics::Metrics;
use answers::Refused;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bodies::Shape;
use cairn_bus::registry::{SchemaStore, answer};
use events::Sent;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What the routes share.
#[derive(Clone)]
struct Shared {
    metrics: Arc<Metrics>,
    ready: Arc<AtomicBool>,
    store: Option<Arc<dyn SchemaStore>>,
    /// None where `gateway.events` is off.
    events: Option<events::Inbox>,
    callers: callers::Callers,
    body_bytes_max: usize,
}

/// A gateway that answers until it is dropped.
pub struct Gateway {
    /// Address it answers at.
    pub address: std::net::SocketAddr,
    _stop: tokio::sync::oneshot::Sender<()>,
}

/// Starts the gateway of this instance; none when it is turned off.
///
/// # Errors
/// An address that cannot be listened at.
pub fn start(
    config: &Config,
    place: &Place,
    metrics: Arc<Metrics>,
    ready: Arc<AtomicBool>,
    instance: &str,
) -> Result<Option<Gateway>, Failure> {
    let listen = &config.gateway.listen;
    if listen == "off" {
        return Ok(None);
    }
    let cannot = |error: std::io::Error| {
        Failure::new(
            "listen",
            2,
            error.to_string(),
            format!("gateway.listen = {listen}"),
            "free the address, name another, or set it to off",
        )
    };
    let listener = std::net::TcpListener::bind(listen.as_str()).map_err(cannot)?;
    listener.set_nonblocking(true).map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    let takes_events = config.gateway.events != "off";
    if takes_events && config.gateway.tokens.is_empty() && !address.ip().is_loopback() {
        return Err(Failure::new(
            "listen",
            2,
            "anybody who reaches this address could send events",
            format!("gateway.listen = {listen}"),
            "name who may in gateway.tokens, listen on 127.0.0.1, or set gateway.events to off",
        ));
    }
    let events = takes_events.then(|| events::start(config, place, metrics.clone(), instance));
    let shared = Shared {
        metrics,
        ready,
        store: place.store.clone(),
        events,
        callers: callers::Callers::of(&config.gateway),
        body_bytes_max: config.gateway.body_bytes_max,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(cannot)?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        runtime.block_on(async move {
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
            let serving = axum::serve(listener, router(shared)).into_future();
            tokio::select! {
                result = serving => if let Err(error) = result { tracing::error!(%error, "the gateway stopped") },
                _ = stopped => {}
            }
        });
    });
    tracing::info!(%address, "gateway");
    Ok(Some(Gateway {
        address,
        _stop: stop,
    }))
}

fn router(shared: Shared) -> Router {
    let limit = DefaultBodyLimit::max(shared.body_bytes_max);
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/v1/events", post(take_events))
        .fallback(registry)
        .layer(limit)
        .with_state(shared)
}

async fn metrics(State(shared): State<Shared>) -> Response {
    let kind = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    (kind, shared.metrics.text()).into_response()
}

async fn readyz(State(shared): State<Shared>) -> Response {
    if shared.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ready\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "waiting for partitions\n").into_response()
    }
}

async fn take_events(State(shared): State<Shared>, request: Request) -> Response {
    let response = match sent(&shared, request).await {
        Ok((inbox, sent)) => inbox.take(sent).await,
        Err(refused) => refused.into_response(),
    };
    shared
        .metrics
        .request("/v1/events", response.status().as_u16());
    response
}

/// Longest `Idempotency-Key`: a UUID has 36 characters.
const KEY_CHARS_MAX: usize = 255;

/// What a request brings. Who sends is asked before the body is read.
async fn sent(shared: &Shared, request: Request) -> Result<(events::Inbox, Sent), Refused> {
    let inbox = shared.events.clone().ok_or_else(|| {
        Refused::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "events are not taken here",
            "gateway.events",
            "set it to on, or send to another instance",
        )
    })?;
    let (parts, body) = request.into_parts();
    let text = |name: &str| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let caller = shared.callers.caller(&parts.headers)?;
    let shape = Shape::of(&parts.headers)?;
    let key = text("idempotency-key");
    if key
        .as_ref()
        .is_some_and(|key| key.is_empty() || key.len() > KEY_CHARS_MAX)
    {
        return Err(Refused::new(
            StatusCode::BAD_REQUEST,
            "idempotency_key",
            format!("the key has not 1 to {KEY_CHARS_MAX} characters"),
            "header Idempotency-Key",
            "send a UUID",
        ));
    }
    let body = axum::body::to_bytes(body, shared.body_bytes_max)
        .await
        .map_err(|_| Refused::too_large("gateway.body_bytes_max", shared.body_bytes_max))?;
    let sent = Sent {
        caller,
        body,
        shape,
        key,
        traceparent: text("traceparent"),
    };
    Ok((inbox, sent))
}

/// Everything else is the registry's, where there is one.
async fn registry(State(shared): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Some(store) = shared.store else {
        return Refused::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "no such route; the schema registry is another server",
            parts.uri.path(),
            "the routes are /metrics, /healthz, /readyz and POST /v1/events",
        )
        .into_response();
    };
    // what is registered is everybody's: who may send events may
    if shared.callers.are_named()
        && parts.method != Method::GET
        && let Err(refused) = shared.callers.caller(&parts.headers)
    {
        return refused.into_response();
    }
    let Ok(body) = axum::body::to_bytes(body, shared.body_bytes_max).await else {
        return Refused::too_large("gateway.body_bytes_max", shared.body_bytes_max).into_response();
    };
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let said = answer(&*store, parts.method.as_str(), path, &body);
    shared.metrics.request("registry", said.status);
    let status = StatusCode::from_u16(said.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (
        status,
        [(header::CONTENT_TYPE, cairn_bus::registry::CONTENT_TYPE)],
        said.body.to_string(),
    )
        .into_response()
}
