//! The command line: what can be asked for, and the wiring of each command.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use catenoid_envelope::{Draft, limits::SIGNERS_LIMIT};
use catenoid_schema::{
    anchors::Anchors,
    digest::Digest,
    document::{Document, Role},
    manifest::{Manifest, check::Stage},
    name::Name,
    units::Timestamp,
};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::{
    bundle, check,
    failure::Failure,
    files, flows, guest, inspect, pki, plan, schema, sign,
    terminal::{self, note, print, print_json},
    yaml::Source,
};

const EXIT_CODES: &str = "Exit codes:
  0  done
  1  the input was read and is refused
  2  the command line makes no sense
  3  a file, a tool or the system failed";

/// Makes, checks and signs what Catenoid devices believe.
#[derive(Debug, Parser)]
#[command(name = "catenoid-sign", version, after_help = EXIT_CODES, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Keys and certificates.
    #[command(subcommand)]
    Pki(Pki),
    /// Guests: read-only images from which containers are run.
    #[command(subcommand)]
    Guest(GuestCommand),
    /// Signs a manifest.
    #[command(after_help = "Example:
  catenoid-sign sign --key pki/operator/signer.key.pem --chain pki/operator/signer.chain.pem \\
    --guests guests --anchors pki/anchors.cbor press.yaml -o press.manifest.cose

With --add-signature the input is an envelope that another signer has signed:
  catenoid-sign sign --add-signature --key KEY --chain CHAIN --guests guests \\
    press.manifest.cose -o press.manifest.cose")]
    Sign(Sign),
    /// Shows everything that is wrong with a manifest, each at its place.
    #[command(after_help = "Examples:
  catenoid-sign check press.yaml
  catenoid-sign check --flows press.yaml
  catenoid-sign check --rendered press.yaml > rendered.yaml")]
    Check(Check),
    /// Shows what a device would do with a manifest, by the planners that run on it.
    #[command(after_help = "Example:
  catenoid status -o json > press-7.status.json
  catenoid-sign plan --status press-7.status.json --guests guests press.yaml

What the device does not hold yet is listed as to be pushed first; the plan is made as if it had
been. A manifest that the device would refuse ends with exit code 1.")]
    Plan(Plan),
    /// Packs a signed manifest and all that it needs into one tar.
    #[command(after_help = "Example:
  catenoid-sign bundle --manifest press.manifest.cose --guests guests -o press.bundle.tar")]
    Bundle(Bundle),
    /// Shows what is in a document, who signed it and whether it would be believed.
    #[command(after_help = "Examples:
  catenoid-sign inspect press.manifest.cose --anchors pki/anchors.cbor
  catenoid-sign inspect -o json guests/nginx-1.0.0.guest.cose
  catenoid-sign inspect pki/anchors.cbor

With --anchors a document that would be refused ends with exit code 1.")]
    Inspect(Inspect),
    /// Prints the JSON Schema of a document.
    #[command(after_help = "Example:
  catenoid-sign schema manifest > manifest.schema.json

An editor with a YAML language server completes and checks a manifest that begins with:
  # yaml-language-server: $schema=manifest.schema.json")]
    Schema {
        /// Of which document.
        kind: schema::Kind,
    },
    /// Prints a completion script.
    #[command(after_help = "Example:
  catenoid-sign completion bash > /usr/share/bash-completion/completions/catenoid-sign")]
    Completion {
        /// For which shell.
        shell: Shell,
    },
    /// Writes the man pages.
    #[command(after_help = "Example:
  catenoid-sign man /usr/share/man/man1")]
    Man {
        /// The folder; made if it is not there.
        dir: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum Pki {
    /// Makes the PKI of a development fleet in a new folder.
    #[command(after_help = "Example:
  catenoid-sign pki init --dir pki --name press-fleet

Makes pki/{root,operator,software,device}/ca.{key,crt}.pem, a signer for each role that signs
documents (signer.{key,chain}.pem), pki/anchors.cbor for the boot image, and the Secure Boot
keys pki/platform/{PK,KEK,db}.{key,crt}.pem. The keys lie unencrypted on this disk: for a real
fleet follow docs/provision.md.")]
    Init {
        /// The folder; must be new or empty.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// Whose PKI it is; part of every subject.
        #[arg(long, value_name = "NAME", default_value = "development")]
        name: Name,
    },
    /// Writes anchors: whom the devices of a fleet believe.
    #[command(after_help = "Example:
  catenoid-sign pki anchors --name press-fleet --anchor root=root.crt.pem \\
    --anchor operator=operators.crt.pem --anchor software=vendor.crt.pem \\
    --anchor software=own-builds.crt.pem --threshold operator=2 -o anchors.cbor

The anchors become part of the signed boot image; docs/provision.md shows the whole way.")]
    Anchors {
        /// Whose anchors they are.
        #[arg(long, value_name = "NAME")]
        name: Name,
        /// Rises by one with every change.
        #[arg(long = "number", value_name = "N", default_value_t = 1)]
        version: u64,
        /// The certificate (PEM) of an authority for a role; can be repeated.
        #[arg(long = "anchor", value_name = "ROLE=FILE", required = true, value_parser = anchor)]
        anchors: Vec<(Role, PathBuf)>,
        /// How many different signers of a role must sign; 1 if not said.
        #[arg(long = "threshold", value_name = "ROLE=N", value_parser = threshold)]
        thresholds: Vec<(Role, u8)>,
        /// Where they go.
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
}

fn role(text: &str) -> Result<(Role, &str), String> {
    let (role, value) = text.split_once('=').ok_or("write `ROLE=...`")?;
    let known = || Role::ALL.map(Role::as_str).join(", ");
    let role = Role::ALL.into_iter().find(|known| known.as_str() == role);
    Ok((role.ok_or_else(|| format!("roles are {}", known()))?, value))
}

fn anchor(text: &str) -> Result<(Role, PathBuf), String> {
    role(text).map(|(role, path)| (role, path.into()))
}

fn threshold(text: &str) -> Result<(Role, u8), String> {
    let (role, number) = role(text)?;
    Ok((role, number.parse().map_err(|_| format!("a threshold is a number from 1 to {SIGNERS_LIMIT}"))?))
}

#[derive(Debug, Subcommand)]
enum GuestCommand {
    /// Builds an image and its unsigned descriptor from a recipe.
    #[command(after_help = "Example:
  catenoid-sign guest build manifests/guests/nginx/recipe.yaml --out guests

Writes NAME-VERSION.image and NAME-VERSION.guest.cbor. The same recipe and files give the same
bytes. Packages of Debian are downloaded once: --refresh asks for newer ones.")]
    Build(guest::BuildArguments),
    /// Signs the descriptor of a guest.
    #[command(after_help = "Example:
  catenoid-sign guest sign --key pki/software/signer.key.pem --chain pki/software/signer.chain.pem \\
    guests/nginx-1.0.0.guest.cbor

Writes <name>-<version>.guest.cose beside the descriptor, unless -o says otherwise.")]
    Sign(GuestSign),
}

/// Who signs.
#[derive(Debug, Args)]
struct Credentials {
    /// The signer's private key (P-384, PKCS #8, PEM).
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The signer's certificates (PEM), leaf first, without the anchor.
    #[arg(long, value_name = "FILE")]
    chain: PathBuf,
    /// The anchors of the devices (CBOR); what they would not believe is refused here.
    #[arg(long, value_name = "FILE")]
    anchors: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Sign {
    #[command(flatten)]
    credentials: Credentials,
    /// The folder with the signed guests that the manifest names.
    #[arg(long, value_name = "DIR", default_value = ".")]
    guests: PathBuf,
    /// The input is a signed manifest; adds one more signature.
    #[arg(long)]
    add_signature: bool,
    /// The manifest (YAML).
    manifest: PathBuf,
    /// Where the envelope goes.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Debug, Args)]
struct GuestSign {
    #[command(flatten)]
    credentials: Credentials,
    /// The input is a signed descriptor; adds one more signature.
    #[arg(long, requires = "output")]
    add_signature: bool,
    /// The descriptor (YAML, or CBOR if it ends with `.cbor`).
    descriptor: PathBuf,
    /// Where the envelope goes.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Inspect {
    /// The file: signed (`.cose`) or not (`.cbor`).
    file: PathBuf,
    /// The anchors of the devices (CBOR): verifies as they would.
    #[arg(long, value_name = "FILE")]
    anchors: Option<PathBuf>,
    /// How it is printed.
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

/// How something is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

#[derive(Debug, Args)]
struct Check {
    /// Prints who may speak to whom, too.
    #[arg(long)]
    flows: bool,
    /// Prints the manifest with every default written out, as it would be signed, too.
    #[arg(long)]
    rendered: bool,
    /// The manifest (YAML).
    manifest: PathBuf,
}

#[derive(Debug, Args)]
struct Plan {
    /// The status of the device (JSON).
    #[arg(long, value_name = "FILE")]
    status: PathBuf,
    /// The folder with the signed guests that the manifest names.
    #[arg(long, value_name = "DIR", default_value = ".")]
    guests: PathBuf,
    /// The anchors of the devices (CBOR): verifies as they would.
    #[arg(long, value_name = "FILE")]
    anchors: Option<PathBuf>,
    /// The manifest: YAML, or signed if it ends with `.cose`.
    manifest: PathBuf,
    /// How it is printed.
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

#[derive(Debug, Args)]
struct Bundle {
    /// The signed manifest.
    #[arg(long, value_name = "FILE")]
    manifest: PathBuf,
    /// The folder with the guests that it names: descriptors and images.
    #[arg(long, value_name = "DIR", default_value = ".")]
    guests: PathBuf,
    /// Where the tar goes.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

/// Does what `arguments` ask for.
pub(crate) fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::Pki(Pki::Init { dir, name }) => pki_init(&dir, &name),
        Command::Pki(Pki::Anchors { name, version, anchors, thresholds, output }) => {
            let made = pki::anchors(&name, version, &anchors, &thresholds, now())?;
            made.warnings.iter().for_each(|warning| terminal::note(&format!("warning: {warning}")));
            files::replace(&output, &made.anchors)?;
            print(&format!("wrote {}\n", output.display()))
        }
        Command::Guest(GuestCommand::Build(arguments)) => guest::build(&arguments),
        Command::Guest(GuestCommand::Sign(arguments)) => guest_sign(&arguments),
        Command::Sign(arguments) => sign(&arguments),
        Command::Check(arguments) => check(&arguments),
        Command::Plan(arguments) => plan(&arguments),
        Command::Bundle(arguments) => bundle(&arguments),
        Command::Inspect(arguments) => inspect(&arguments),
        Command::Schema { kind } => print(&schema::text(kind)),
        Command::Completion { shell } => completion(shell),
        Command::Man { dir } => man(&dir),
    }
}

fn now() -> Timestamp {
    SystemTime::now().into()
}

fn pki_init(folder: &Path, name: &Name) -> Result<(), Failure> {
    pki::init(folder, name, SystemTime::now())?;
    let anchors = folder.join("anchors.cbor");
    print(&format!(
        "made the pki `{name}` in {}\n  anchors for the boot image: {}\n  its keys are unencrypted: for development only\n",
        folder.display(),
        anchors.display()
    ))
}

impl Credentials {
    fn anchors(&self) -> Result<Option<Anchors>, Failure> {
        self.anchors.as_deref().map(sign::read_anchors).transpose()
    }

    fn seal<T: Document>(&self, path: &Path, draft: Draft<T>, anchors: Option<&Anchors>) -> Result<Vec<u8>, Failure> {
        let signer = sign::signer(&self.key, &self.chain)?;
        sign::seal(path, draft, &signer, anchors.map(|anchors| (anchors, now())))
    }
}

fn sign(arguments: &Sign) -> Result<(), Failure> {
    let Sign { credentials, guests, add_signature, manifest: path, output } = arguments;
    let anchors = credentials.anchors()?;
    let draft = if *add_signature {
        sign::resume_manifest(path, guests, anchors.as_ref(), now())?
    } else {
        sign::draft(path, &sign::resolve(path, guests, anchors.as_ref(), now())?)?
    };
    let envelope = credentials.seal(path, draft, anchors.as_ref())?;
    files::replace(output, &envelope)?;
    if let Some(expired) = sign::expired(&envelope, now()) {
        let output = output.display();
        terminal::note(&format!("warning: `{output}` was signed, but {expired}\nhint: {}", check::EXPIRED_HINT));
    }
    print(&format!("signed {}: {}\n", output.display(), payload_digest::<Manifest>(&envelope)))
}

fn guest_sign(arguments: &GuestSign) -> Result<(), Failure> {
    let GuestSign { credentials, add_signature, descriptor: path, output } = arguments;
    let (draft, beside) = if *add_signature {
        (sign::resume_guest(path)?, None)
    } else {
        let guest = sign::read_guest(path)?;
        let name = format!("{}-{}.guest.cose", guest.metadata.name, guest.metadata.version);
        (sign::draft(path, &guest)?, Some(path.with_file_name(name)))
    };
    let envelope = credentials.seal(path, draft, credentials.anchors()?.as_ref())?;
    let output = output.clone().or(beside).unwrap_or_else(|| path.clone());
    files::replace(&output, &envelope)?;
    print(&format!("signed {}: {}\n", output.display(), Digest::of(&envelope)))
}

fn payload_digest<T: Document>(envelope: &[u8]) -> Digest {
    let read = catenoid_envelope::Unverified::read(envelope, T::LIMITS.bytes);
    Digest::of(read.expect("it was written as an envelope just now").payload())
}

fn check(arguments: &Check) -> Result<(), Failure> {
    let source = Source::read(&arguments.manifest)?;
    let manifest = check::read(&source, Stage::Authored)?;
    check::warn_expired(&source, &manifest, now());
    if arguments.flows {
        print(&format!("{}\n", flows::table(&flows::permissions(&manifest))))?;
    }
    if arguments.rendered {
        print(&inspect::yaml(&manifest)?)?;
    }
    note(&format!("{}: no errors", arguments.manifest.display()));
    Ok(())
}

fn plan(arguments: &Plan) -> Result<(), Failure> {
    let Plan { status, guests, anchors, manifest, output } = arguments;
    let anchors = anchors.as_deref().map(sign::read_anchors).transpose()?;
    let forecast = plan::plan(&plan::Input { manifest, status, guests }, anchors.as_ref(), now())?;
    match output {
        Format::Text => print(&forecast.to_string()),
        Format::Json => print_json(&forecast),
    }
}

fn bundle(arguments: &Bundle) -> Result<(), Failure> {
    let blobs = bundle::write(&arguments.manifest, &arguments.guests, &arguments.output)?;
    print(&format!("wrote {} with {} blobs\n", arguments.output.display(), blobs.len()))
}

fn inspect(arguments: &Inspect) -> Result<(), Failure> {
    let anchors = arguments.anchors.as_deref().map(sign::read_anchors).transpose()?;
    let bytes = files::read(&arguments.file)?;
    let inspection = inspect::inspect(&arguments.file, &bytes, anchors.as_ref(), now())?;
    match arguments.output {
        Format::Text => print(&inspection.to_string())?,
        Format::Json => print_json(&inspection)?,
    }
    inspection.verdict(&arguments.file)?;
    Ok(())
}

fn completion(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "catenoid-sign", &mut script);
    terminal::print_own(&String::from_utf8_lossy(&script))
}

fn man(folder: &Path) -> Result<(), Failure> {
    files::make_folder(folder)?;
    clap_mangen::generate_to(Arguments::command(), folder)
        .map_err(|source| files::Error::Write { path: folder.to_owned(), source }.into())
}
