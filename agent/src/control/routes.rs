//! The calls.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, Path, Query, Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{CONTENT_TYPE, DATE},
    },
    middleware::{self, Next},
    response::{
        IntoResponse, Response, Sse,
        sse::{Event as SseEvent, KeepAlive},
    },
    routing::{get, put},
};
use catenoid_containers::Containers;
use catenoid_guests::Store;
use catenoid_house::Observed;
use catenoid_schema::{
    control::{
        Accepted, BLOB_LIMIT, BlobState, Blobs, ContainerOutput, Event, MANIFEST_LIMIT, Outcome, PlanAnswer, Resumed,
        VersionAnswer, Why,
    },
    digest::Digest,
    feature,
    name::Name,
    status::{Blame, Device, Heartbeat, Status, Subject},
    units::Timestamp,
};
use futures::{Stream, StreamExt as _, stream};
use http_body_util::BodyExt as _;
use serde::Deserialize;
use tokio::{
    sync::{Semaphore, watch},
    time::timeout,
};

use super::{answer::Failed, openapi, peer::Peer};
use crate::{
    accept::{
        absence::PUSHED,
        intake::{Intake, Taken},
    },
    clock,
    pass::{executor::plan_for, hold::Holds, status::Snapshot},
    record::{audit::Audit, event::NewEvent},
};

/// How long a peer may be silent in the middle of a body.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a peer may take for a whole manifest: others wait for its turn to end.
const MANIFEST_TIME: Duration = Duration::from_secs(60);
/// Bytes of a blob that are gathered before they are written.
const CHUNK: usize = 256 * 1024;
/// Manifests that are taken in at once, of all peers: each holds its bytes in memory. Others wait for their turn.
static MANIFESTS: Semaphore = Semaphore::const_new(4);
/// The last events that `why` shows.
const WHY_EVENTS: usize = 10;
/// How often an idle event stream shows that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const UPLOAD_COMPLETE: HeaderName = HeaderName::from_static("upload-complete");

/// What the calls reach: everything that this holds, and nothing else.
pub(crate) struct Agent {
    /// The gate for manifests.
    pub intake: Arc<Intake>,
    /// Where blobs are pushed to.
    pub store: Arc<Store>,
    /// What runs, for its output.
    pub containers: Arc<Containers>,
    /// What is held back.
    pub holds: Arc<Holds>,
    /// What happened.
    pub audit: Arc<Audit>,
    /// What the last pass saw.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// Which device this is.
    pub device: Device,
    /// When the agent started.
    pub started: Timestamp,
}

/// The calls as `peer` may make them.
pub(crate) fn router(agent: Arc<Agent>, peer: Peer) -> Router {
    let for_root = Router::new()
        .route("/v1/output/{container}", get(output))
        .route("/v1/manifest", put(put_manifest))
        .route("/v1/blobs/{digest}", put(put_blob))
        .route("/v1/resume", put(resume))
        .route_layer(middleware::from_fn_with_state(peer.clone(), only_root));
    Router::new()
        .route("/v1/version", get(version))
        .route("/v1/status", get(status))
        .route("/v1/plan", get(plan))
        .route("/v1/why/{kind}/{name}", get(why))
        .route("/v1/events", get(events))
        .route("/v1/blobs", get(blobs))
        .route("/v1/blobs/{digest}", get(head_blob))
        .route("/v1/openapi.json", get(|| async { ([(CONTENT_TYPE, "application/json")], openapi::text()) }))
        .merge(for_root)
        .fallback(|| async { not_found("there is no such call").hint("see /v1/openapi.json") })
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::map_response(dated))
        .layer(axum::Extension(peer))
        .with_state(agent)
}

/// With the device's time, against which whoever asks sees how old a heartbeat is.
async fn dated(mut response: Response) -> Response {
    let now = UNIX_EPOCH + Duration::from_secs(clock::now().seconds().unsigned_abs());
    // A date is written in ASCII.
    response.headers_mut().extend(HeaderValue::try_from(httpdate::fmt_http_date(now)).ok().map(|now| (DATE, now)));
    response
}

async fn only_root(State(peer): State<Peer>, request: Request, next: Next) -> Response {
    if peer.may_change() {
        return next.run(request).await;
    }
    Failed::forbidden().into_response()
}

fn not_found(title: &str) -> Failed {
    Failed::new(StatusCode::NOT_FOUND, "not-found", title, Blame::Administrator)
}

async fn version(State(agent): State<Arc<Agent>>) -> Json<VersionAnswer> {
    let features = feature::names().into_iter().map(str::to_owned).collect();
    Json(VersionAnswer { agent: agent.device.agent.clone(), api: "v1".to_owned(), features })
}

async fn status(State(agent): State<Arc<Agent>>) -> Json<Status> {
    // The number first: an event between the two is then sent again, never missed.
    let last_event = agent.audit.last();
    let snapshot = agent.snapshot.borrow().clone();
    let accepted = agent.intake.watch().borrow().as_ref().map(|target| target.state());
    Json(snapshot.status(agent.device.clone(), accepted, agent.started, last_event))
}

async fn plan(State(agent): State<Arc<Agent>>) -> Json<PlanAnswer> {
    Json(PlanAnswer { plan: agent.snapshot.borrow().plan.clone() })
}

async fn why(State(agent): State<Arc<Agent>>, Path((kind, name)): Path<(String, String)>) -> Result<Json<Why>, Failed> {
    let subject = Subject::named(&kind, &name);
    let snapshot = agent.snapshot.borrow().clone();
    let found = snapshot.subjects.iter().find(|status| status.subject == subject);
    let status = found
        .cloned()
        .ok_or_else(|| not_found(&format!("there is no `{subject}`")).hint("`catenoid status` lists every subject"))?;
    let plan = snapshot.plan.iter().filter(|step| step.subject == subject).cloned().collect();
    let retry_at = snapshot.retries.get(&subject).copied();
    Ok(Json(Why { status, plan, retry_at, events: agent.audit.about(&subject, WHY_EVENTS) }))
}

/// The last part of what a container wrote to its standard output and error, since the agent started.
async fn output(
    State(agent): State<Arc<Agent>>,
    Path(container): Path<String>,
) -> Result<Json<ContainerOutput>, Failed> {
    let none = || not_found(&format!("nothing runs, or ran lately, as `{}`", container.escape_default()));
    let name = container.parse::<Name>().map_err(|_| none())?;
    let tail = agent.containers.output(&name).ok_or_else(none)?;
    Ok(Json(ContainerOutput { container: name, text: tail.text() }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    since: Option<u64>,
    #[serde(default = "follow")]
    follow: bool,
}

const fn follow() -> bool {
    true
}

async fn events(
    State(agent): State<Arc<Agent>>,
    Query(query): Query<EventsQuery>,
    headers: HeaderMap,
) -> Sse<impl Stream<Item = Result<SseEvent, Infallible>>> {
    let resumed = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let (past, live) = agent.audit.watch(query.since.or(resumed).unwrap_or(0));
    let last = past.last().map_or(0, |event| event.number);
    let live = stream::unfold((live, agent.audit.clone(), last), |(mut live, audit, mut last)| async move {
        loop {
            match live.recv().await {
                // Both the backlog and the live line can hold an event that fell between the two.
                Ok(event) if event.number <= last => {}
                Ok(event) => {
                    last = event.number;
                    return Some((vec![event], (live, audit, last)));
                }
                Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {
                    let (missed, anew) = audit.watch(last);
                    last = missed.last().map_or(last, |event| event.number);
                    return Some((missed, (anew, audit, last)));
                }
                Err(tokio::sync::broadcast::error::RecvError::Closed) => return None,
            }
        }
    });
    let live = live.flat_map(stream::iter).take_while(move |_| std::future::ready(query.follow));
    let live = if query.follow { live.left_stream() } else { stream::empty().right_stream() };
    let stream_of_events = stream::iter(past).chain(live).map(|event: Arc<Event>| Ok(sse(&event)));
    Sse::new(stream_of_events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

fn sse(event: &Event) -> SseEvent {
    let data = serde_json::to_string(event).expect("an event has only text and numbers");
    SseEvent::default().id(event.number.to_string()).event(event.kind.clone()).data(data)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ManifestQuery {
    #[serde(default, rename = "dry-run")]
    dry_run: bool,
}

async fn put_manifest(
    State(agent): State<Arc<Agent>>,
    axum::Extension(peer): axum::Extension<Peer>,
    Query(query): Query<ManifestQuery>,
    mut body: Body,
) -> Result<Json<Accepted>, Failed> {
    let _turn = MANIFESTS.acquire().await.map_err(|e| internal("no manifest is taken any more").caused_by(&e))?;
    let taken = timeout(MANIFEST_TIME, collect(&mut body, MANIFEST_LIMIT.bytes())).await;
    let envelope = match taken.unwrap_or_else(|_| Err(silent(MANIFEST_TIME))) {
        Ok(envelope) => envelope,
        Err(failed) => {
            let (kind, subject, actor, message) = ("ManifestRefused", None, peer.actor(), failed.to_string());
            record(&agent, NewEvent { kind, subject, actor, message }).await?;
            return Err(failed);
        }
    };
    tokio::task::spawn_blocking(move || take_manifest(&agent, &peer, &envelope, query.dry_run))
        .await
        .map_err(|e| internal("the call ended before its time").caused_by(&e))?
}

fn take_manifest(agent: &Agent, peer: &Peer, envelope: &[u8], dry_run: bool) -> Result<Json<Accepted>, Failed> {
    let observed = Observed::clone(&agent.snapshot.borrow().observed);
    let heartbeat = |passes| Heartbeat { at: clock::now(), agent_started: agent.started, passes };
    if dry_run {
        let candidate = agent.intake.consider(envelope)?;
        let plan = plan_for(&candidate.target, candidate.outcome, observed);
        let (manifest, heartbeat) = (candidate.target.state(), heartbeat(agent.intake.passes()));
        return Ok(Json(Accepted { manifest, outcome: Outcome::DryRun, plan, heartbeat }));
    }
    match agent.intake.accept(envelope, &peer.actor(), || agent.holds.forget_boots()) {
        Ok(Taken { target, outcome, passes }) => {
            if outcome == Outcome::Accepted {
                agent.holds.begin_anew();
            }
            let plan = plan_for(&target, outcome, observed);
            Ok(Json(Accepted { manifest: target.state(), outcome, plan, heartbeat: heartbeat(passes) }))
        }
        Err(refused) => {
            agent.intake.refused(&refused, &peer.actor());
            Err(refused.into())
        }
    }
}

/// Starts everything again that is held back.
async fn resume(
    State(agent): State<Arc<Agent>>,
    axum::Extension(peer): axum::Extension<Peer>,
) -> Result<Json<Resumed>, Failed> {
    let held = blocking(move || {
        let held = agent.holds.resume();
        agent.intake.go_on();
        let message = if held.is_empty() { "nothing was held back".to_owned() } else { held.join("; ") };
        agent.audit.record(NewEvent { kind: "Resumed", subject: None, actor: peer.actor(), message });
        held
    });
    Ok(Json(Resumed { held: held.await? }))
}

/// Reads a body of `limit` bytes at most.
async fn collect(body: &mut Body, limit: u64) -> Result<Vec<u8>, Failed> {
    let mut bytes = Vec::new();
    while let Some(data) = next_data(body).await? {
        if (bytes.len() + data.len()) as u64 > limit {
            let title = format!("the body is over the limit of {limit} bytes");
            return Err(Failed::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", title, Blame::ManifestAuthor));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// Gathers some of a body, for fewer writes; and, if it ended with that, how.
async fn next_chunk(body: &mut Body) -> (Vec<u8>, Option<Result<(), Failed>>) {
    let mut chunk = Vec::new();
    while chunk.len() < CHUNK {
        match next_data(body).await {
            Ok(Some(data)) => chunk.extend_from_slice(&data),
            Ok(None) => return (chunk, Some(Ok(()))),
            Err(failed) => return (chunk, Some(Err(failed))),
        }
    }
    (chunk, None)
}

fn silent(patience: Duration) -> Failed {
    let title = format!("what was to come did not come within {} s", patience.as_secs());
    Failed::new(StatusCode::REQUEST_TIMEOUT, "silent", title, Blame::Nobody)
}

async fn next_data(body: &mut Body) -> Result<Option<axum::body::Bytes>, Failed> {
    loop {
        let frame = timeout(SILENCE, body.frame()).await.map_err(|_| silent(SILENCE))?;
        match frame {
            None => return Ok(None),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
            Some(Err(error)) => {
                let failed = Failed::new(StatusCode::BAD_REQUEST, "broken-off", "the body broke off", Blame::Nobody);
                return Err(failed.caused_by(&error));
            }
        }
    }
}

async fn blobs(State(agent): State<Arc<Agent>>) -> Result<Json<Blobs>, Failed> {
    let blobs = agent.store.list().map_err(|e| internal("the blobs could not be listed").caused_by(&e))?;
    Ok(Json(Blobs { blobs }))
}

fn parse_digest(text: &str) -> Result<Digest, Failed> {
    text.parse().map_err(|e: catenoid_schema::digest::DigestError| {
        Failed::new(StatusCode::BAD_REQUEST, "not-a-digest", e.to_string(), Blame::Administrator)
    })
}

async fn head_blob(State(agent): State<Arc<Agent>>, Path(digest): Path<String>) -> Result<Response, Failed> {
    let digest = parse_digest(&digest)?;
    let state = agent.store.state(digest).map_err(|e| internal("the blob could not be looked up").caused_by(&e))?;
    match state {
        Some(state) => Ok((upload_headers(&state), Json(state)).into_response()),
        None => Err(not_found(&format!("nothing is held of `{digest}`"))),
    }
}

fn upload_headers(state: &BlobState) -> HeaderMap {
    let complete = HeaderValue::from_static(if state.complete { "?1" } else { "?0" });
    HeaderMap::from_iter([(UPLOAD_OFFSET, HeaderValue::from(state.held)), (UPLOAD_COMPLETE, complete)])
}

/// Takes the bytes of a blob from `upload-offset` to its end. Broken off, what came stays for the next try.
async fn put_blob(
    State(agent): State<Arc<Agent>>,
    axum::Extension(peer): axum::Extension<Peer>,
    Path(digest): Path<String>,
    headers: HeaderMap,
    mut body: Body,
) -> Result<Response, Failed> {
    let state = push(&agent, &digest, &headers, &mut body).await?;
    let (kind, subject, actor) = (PUSHED, None, peer.actor());
    let message = format!("{}, {} bytes", state.digest, state.held);
    record(&agent, NewEvent { kind, subject, actor, message }).await?;
    Ok((StatusCode::CREATED, upload_headers(&state), Json(state)).into_response())
}

async fn push(agent: &Arc<Agent>, digest: &str, headers: &HeaderMap, body: &mut Body) -> Result<BlobState, Failed> {
    let digest = parse_digest(digest)?;
    let mut offset = match headers.get(&UPLOAD_OFFSET) {
        None => 0,
        Some(text) => text.to_str().ok().and_then(|text| text.parse().ok()).ok_or_else(|| {
            let title = "`upload-offset` is not a number";
            Failed::new(StatusCode::BAD_REQUEST, "not-an-offset", title, Blame::Administrator)
        })?,
    };
    let length = headers.get("content-length").and_then(|text| text.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length.saturating_add(offset) > BLOB_LIMIT.bytes()) {
        let title = format!("the blob is over the limit of {BLOB_LIMIT}");
        return Err(Failed::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", title, Blame::ManifestAuthor));
    }
    loop {
        let (chunk, broken_off) = next_chunk(body).await;
        if !chunk.is_empty() {
            let (to, length) = (agent.clone(), chunk.len() as u64);
            blocking(move || to.store.append(digest, offset, &chunk)).await??;
            offset += length;
        }
        match broken_off {
            None => {}
            Some(Ok(())) => break,
            Some(Err(failed)) => return Err(failed),
        }
    }
    let to = agent.clone();
    Ok(blocking(move || to.store.finish(digest)).await??)
}

/// Writes down what is answered next. The disk may be slow: nobody else waits for it.
async fn record(agent: &Arc<Agent>, new_event: NewEvent) -> Result<(), Failed> {
    let agent = agent.clone();
    blocking(move || agent.audit.record(new_event)).await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failed> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| internal("the call ended before its time").caused_by(&e))
}

fn internal(title: &str) -> Failed {
    Failed::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", title, Blame::Us)
}
