//! The commands.

use std::{io::Read as _, path::Path};

use catenoid_client::{
    Client, ClientError, Dated, Extent, Intent, Message, delivery,
    follow::{self, Follower, News},
    judge::{StatusVerdict, verdict},
    push::{self, Moved, Parcel},
};
use catenoid_schema::{
    control::{MANIFEST_LIMIT, PlannedStep},
    status::Subject,
    units::Span,
};
use clap::CommandFactory as _;
use serde::Serialize;

use crate::{
    arguments::{Arguments, Command, Format, GuestsCommand, TypedSubject},
    failure::{Exit, Failure},
    progress::Shown,
    show::{self, Present, clean},
    terminal::{self, note, print, print_line},
};

/// Carries out what was asked for.
pub(crate) async fn run(arguments: Arguments) -> Result<Exit, Failure> {
    let client = || Client::new(&arguments.socket);
    match arguments.command {
        Command::Apply { manifest, guests, dry_run, wait, output } => {
            let intent = if dry_run { Intent::Ask } else { Intent::Apply };
            apply(&client()?, &manifest, guests.as_deref(), intent, wait, output.format).await
        }
        Command::Diff { manifest, output } => {
            apply(&client()?, &manifest, None, Intent::Ask, None, output.format).await
        }
        Command::Plan { output } => plan(&client()?, output.format).await,
        Command::Status { watch: false, output } => status(&client()?, output.format).await,
        Command::Status { watch: true, output } => watch(&client()?, output.format).await,
        Command::Events { follow: false, since, output } => events(&client()?, since, output.format).await,
        Command::Events { follow: true, since, output } => follow_events(&client()?, since, output.format).await,
        Command::Why { subject, output } => why(&client()?, subject, output.format).await,
        Command::Logs { container, output } => {
            let written = client()?.output(&container).await?.value;
            answer(output.format, &written, || show::lines(&written.text))
        }
        Command::Resume { output } => {
            let resumed = client()?.resume().await?.value;
            answer(output.format, &resumed, || match resumed.held.as_slice() {
                [] => "nothing was held back\n".to_owned(),
                held => held.iter().map(|held| format!("no longer held back: {}\n", clean(held))).collect(),
            })
        }
        Command::Guests { command: None, output } => {
            let blobs = client()?.blobs().await?;
            answer(output.format, &blobs.value, || show::blobs(&blobs.value))
        }
        Command::Guests { command: Some(GuestsCommand::Push { files }), .. } => {
            let client = client()?;
            let mut shown = Shown::default();
            let mut report = |moved: Moved<'_>| shown.show(moved);
            for file in &files {
                let parcel = Parcel::read(file, &mut report).await?;
                push::push(&client, &parcel, &mut report).await?;
            }
            Ok(Exit::Done)
        }
        Command::Version { output } => version(&client()?, output.format).await,
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "catenoid", &mut script);
            terminal::print_own(&script)?;
            Ok(Exit::Done)
        }
        Command::Man { directory: None } => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Arguments::command())
                .render(&mut page)
                .map_err(|source| Failure::Write { source })?;
            terminal::print_own(&page)?;
            Ok(Exit::Done)
        }
        Command::Man { directory: Some(directory) } => {
            clap_mangen::generate_to(Arguments::command(), &directory)
                .map_err(|source| Failure::WritePage { path: directory, source })?;
            Ok(Exit::Done)
        }
    }
}

async fn apply(
    client: &Client,
    path: &Path,
    guests: Option<&Path>,
    intent: Intent,
    wait: Option<Span>,
    format: Format,
) -> Result<Exit, Failure> {
    let envelope = read_manifest(path)?;
    if let Some(directory) = guests {
        deliver(client, &envelope, directory, intent).await?;
    }
    // Asked before, so that the plan can distinguish what is new from what changes.
    let before = client.status().await?.value;
    let present = Present::from(&before);
    let accepted = client.manifest(envelope, intent).await?.value;
    answer(format, &accepted, || show::accepted(&accepted, &present))?;
    let Some(limit) = wait else { return Ok(Exit::Done) };

    let started = std::time::Instant::now();
    let wanted = &accepted.manifest;
    follow::wait(client, wanted, &accepted.heartbeat, limit.duration(), |waiting| {
        waiting.iter().for_each(|what| note(&format!("waiting for {what}")));
    })
    .await?;
    note(&format!("converged: {} after {:.1} s", show::manifest(wanted), started.elapsed().as_secs_f64()));
    Ok(Exit::Done)
}

/// Pushes the guests that the manifest names and the device lacks.
async fn deliver(client: &Client, envelope: &[u8], directory: &Path, intent: Intent) -> Result<(), Failure> {
    let named = match delivery::named(envelope) {
        Ok(named) => named,
        Err(error) => {
            // Who says what is wrong with a manifest is the device.
            note(&format!("note: no guest is pushed, as the manifest cannot be read: {}", clean(&error.to_string())));
            return Ok(());
        }
    };
    let mut shown = Shown::default();
    let mut report = |moved: Moved<'_>| shown.show(moved);
    for parcel in delivery::missing(client, &named, directory, &mut report).await? {
        match intent {
            Intent::Apply => push::push(client, &parcel, &mut report).await?,
            Intent::Ask => note(&format!("to push: {}, {}", clean(&parcel.name()), show::size(parcel.bytes))),
        }
    }
    Ok(())
}

fn read_manifest(path: &Path) -> Result<Vec<u8>, Failure> {
    let error = |source| Failure::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(error)?;
    file.take(MANIFEST_LIMIT.bytes() + 1).read_to_end(&mut bytes).map_err(error)?;
    if bytes.len() as u64 > MANIFEST_LIMIT.bytes() {
        return Err(Failure::TooLarge { path: path.to_owned() });
    }
    Ok(bytes)
}

async fn plan(client: &Client, format: Format) -> Result<Exit, Failure> {
    let plan = client.plan().await?.value;
    let present = present(client, &plan.plan).await?;
    answer(format, &plan, || show::plan(&plan.plan, &present))
}

/// What is on the device, asked only where a plan has steps to be distinguished by it.
async fn present(client: &Client, plan: &[PlannedStep]) -> Result<Present, ClientError> {
    if plan.is_empty() { Ok(Present::default()) } else { Ok(Present::from(&client.status().await?.value)) }
}

async fn status(client: &Client, format: Format) -> Result<Exit, Failure> {
    let Dated { value: status, at } = client.status().await?;
    answer(format, &status, || show::status(&status, at, None))?;
    Ok(match verdict(&status, at) {
        StatusVerdict::Stalled | StatusVerdict::Degraded => Exit::Degraded,
        StatusVerdict::Pending | StatusVerdict::Empty | StatusVerdict::Converged => Exit::Done,
    })
}

/// Shows the status anew with every event, until the device is gone or somebody ends it.
async fn watch(client: &Client, format: Format) -> Result<Exit, Failure> {
    let mut last = client.status().await?;
    let mut follower = Follower::new(client, last.value.last_event);
    let mut absence: Option<String> = None;
    loop {
        match format {
            Format::Text => {
                terminal::clear()?;
                print(&format!("{}\n", show::status(&last.value, last.at, absence.as_deref())))?;
            }
            Format::Json if absence.is_none() => print_line(&last.value)?,
            Format::Json => {}
        }
        absence = None;
        match follower.next().await? {
            News::Lost(error) => absence = Some(error.to_string()),
            News::Event(_) | News::Look => {
                follower.catch_up();
                match client.status().await {
                    Ok(status) => last = status,
                    Err(error) if error.is_absence() => absence = Some(error.to_string()),
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
}

async fn events(client: &Client, since: u64, format: Format) -> Result<Exit, Failure> {
    let mut events = client.events(since, Extent::Backlog).await?;
    while let Some(message) = events.next().await? {
        if let Message::Event(event) = message {
            match format {
                Format::Text => print(&show::event(&event))?,
                Format::Json => print_line(&event)?,
            }
        }
    }
    Ok(Exit::Done)
}

async fn follow_events(client: &Client, since: u64, format: Format) -> Result<Exit, Failure> {
    let mut follower = Follower::new(client, since);
    loop {
        match (follower.next().await?, format) {
            (News::Event(event), Format::Text) => print(&show::event(&event))?,
            (News::Event(event), Format::Json) => print_line(&event)?,
            (News::Lost(error), _) => note(&format!("note: {}; waiting for the agent", clean(&error.to_string()))),
            (News::Look, _) => {}
        }
    }
}

async fn why(client: &Client, wanted: TypedSubject, format: Format) -> Result<Exit, Failure> {
    let subject = match wanted {
        TypedSubject::Exact(subject) => subject,
        TypedSubject::Name(name) => {
            let status = client.status().await?.value;
            let subjects = status.subjects.into_iter().map(|s| s.subject).filter(|s| s.name() == name);
            only(name.clone(), subjects.collect())?
        }
    };
    let Dated { value: why, at } = client.why(&subject).await?;
    let present = present(client, &why.plan).await?;
    answer(format, &why, || show::why(&why, at, &present))
}

/// The one subject of that name; a container comes before what belongs to it.
fn only(name: String, mut subjects: Vec<Subject>) -> Result<Subject, Failure> {
    if let Some(container) = subjects.iter().find(|subject| subject.kind() == "container") {
        return Ok(container.clone());
    }
    match (subjects.pop(), subjects.is_empty()) {
        (None, _) => Err(Failure::Unknown { name }),
        (Some(subject), true) => Ok(subject),
        (Some(last), false) => {
            subjects.push(last);
            Err(Failure::Ambiguous { name, subjects })
        }
    }
}

/// The versions of both sides.
#[derive(Debug, Serialize)]
struct Versions {
    catenoid: &'static str,
    agent: Option<String>,
    api: Option<String>,
    features: Vec<String>,
}

async fn version(client: &Client, format: Format) -> Result<Exit, Failure> {
    let agent = client.version().await;
    let (name, api, features) = match &agent {
        Ok(Dated { value, .. }) => (Some(value.agent.clone()), Some(value.api.clone()), value.features.clone()),
        Err(_) => (None, None, Vec::new()),
    };
    let versions = Versions { catenoid: env!("CARGO_PKG_VERSION"), agent: name, api, features };
    answer(format, &versions, || {
        let said = |text: &Option<String>| text.as_deref().map_or("unknown".to_owned(), clean);
        format!(
            "catenoid {}\nagent    {}\napi      {}\nfeatures {}\n",
            versions.catenoid,
            said(&versions.agent),
            said(&versions.api),
            if versions.features.is_empty() { "-".to_owned() } else { clean(&versions.features.join(" ")) },
        )
    })?;
    agent?;
    Ok(Exit::Done)
}

/// Prints an answer in the form that was asked for.
fn answer<T: Serialize>(format: Format, value: &T, text: impl FnOnce() -> String) -> Result<Exit, Failure> {
    match format {
        Format::Text => print(&text())?,
        Format::Json => {
            let json = serde_json::to_string_pretty(value).map_err(|source| Failure::Encode { source })?;
            terminal::print_json(&json)?;
        }
    }
    Ok(Exit::Done)
}
