//! The command line, as typed. The help texts here are also the man pages.

use std::path::PathBuf;

use catenoid_schema::{name::Name, status::Subject, units::Span};
use clap::{Parser, Subcommand, ValueEnum};

/// Where the agent binds its socket into the core container.
pub(crate) const DEFAULT_SOCKET: &str = "/run/catenoid/control.sock";

const EXIT_CODES: &str = "\
Exit codes:
  0  done, and nothing is degraded
  1  the device refused, or an operation failed
  2  the command line is wrong
  3  the device cannot be reached, or stopped answering
  4  the device did not converge in time, or took a newer manifest meanwhile
  5  something on the device is degraded, or its agent shows no sign of life";

/// Operates a Catenoid device from its core container.
///
/// Speaks to the agent's control socket. What it pushes is signed: the device believes the signatures, not this
/// program and not the network it came over.
#[derive(Debug, Parser)]
#[command(name = "catenoid", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Arguments {
    /// The agent's control socket.
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        value_name = "PATH",
        env = "CATENOID_SOCKET",
        hide_env_values = true
    )]
    #[arg(default_value = DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,
    /// When to colour; `auto` means on a terminal and without `NO_COLOR`.
    #[arg(long, global = true, help_heading = "Global options", value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Color,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

/// How to say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[value(alias = "table")]
    Text,
    /// For programs: the types of the control interface.
    Json,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Output {
    /// For people (`text`) or for programs (`json`).
    #[arg(short = 'o', long = "output", value_name = "FORMAT", default_value = "text")]
    pub(crate) format: Format,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Pushes what a signed manifest needs, then the manifest; shows what follows from it.
    #[command(after_help = EXIT_CODES)]
    Apply {
        /// The signed manifest, as `catenoid-sign sign` wrote it.
        #[arg(value_name = "MANIFEST")]
        manifest: PathBuf,
        /// A folder of guests (`*.guest.cose`, `*.image`): those that the manifest names and the device lacks are pushed.
        #[arg(long, value_name = "DIR")]
        guests: Option<PathBuf>,
        /// Change nothing, push nothing: show what would follow.
        #[arg(long, conflicts_with = "wait")]
        dry_run: bool,
        /// Wait until the device converged and all is healthy, at most this long: `30s`, `2m`; 5m where not said.
        #[arg(long, value_name = "TIMEOUT", num_args = 0..=1, require_equals = true, default_missing_value = "5m")]
        wait: Option<Span>,
        #[command(flatten)]
        output: Output,
    },
    /// Shows what the next pass will do.
    Plan {
        #[command(flatten)]
        output: Output,
    },
    /// Shows what a signed manifest would change; changes nothing (`apply --dry-run`).
    Diff {
        /// The signed manifest.
        #[arg(value_name = "MANIFEST")]
        manifest: PathBuf,
        #[command(flatten)]
        output: Output,
    },
    /// Shows what the device holds, and whether it is as the manifest says.
    #[command(after_help = EXIT_CODES)]
    Status {
        /// Show it anew whenever something happens.
        #[arg(short, long)]
        watch: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Shows what happened.
    Events {
        /// Go on with what happens from now on.
        #[arg(short, long)]
        follow: bool,
        /// Only events after this number.
        #[arg(long, value_name = "NUMBER", default_value_t = 0)]
        since: u64,
        #[command(flatten)]
        output: Output,
    },
    /// Explains why something is as it is, and what happens next.
    Why {
        /// `container/web`, or `web` where only one kind has that name.
        #[arg(value_name = "SUBJECT", value_parser = subject)]
        subject: TypedSubject,
        #[command(flatten)]
        output: Output,
    },
    /// Shows what a container wrote last to its standard output and error.
    Logs {
        /// The container.
        #[arg(value_name = "CONTAINER")]
        container: Name,
        #[command(flatten)]
        output: Output,
    },
    /// Starts everything again that the device holds back for its own sake.
    ///
    /// After three boots in a row that did not last, services are held back; after three more, the factory's core
    /// container is all that is started. `catenoid status` says so under `state/boot`.
    Resume {
        #[command(flatten)]
        output: Output,
    },
    /// Lists the blobs (images and descriptors of guests) that the device holds.
    #[command(args_conflicts_with_subcommands = true)]
    Guests {
        #[command(subcommand)]
        command: Option<GuestsCommand>,
        #[command(flatten)]
        output: Output,
    },
    /// Shows the versions of this program and of the agent, and the features that documents may require of the agent.
    Version {
        #[command(flatten)]
        output: Output,
    },
    /// Prints the completion script of a shell.
    Completion {
        /// The shell.
        #[arg(value_name = "SHELL")]
        shell: clap_complete::Shell,
    },
    /// Prints the manual page, or writes one page per command into a folder.
    Man {
        /// The folder, which must be there.
        #[arg(value_name = "DIR")]
        directory: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum GuestsCommand {
    /// Pushes files to the device; goes on where a broken push ended.
    Push {
        /// Images or descriptors.
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
    },
}

/// A subject as somebody typed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TypedSubject {
    /// `container/web`.
    Exact(Subject),
    /// `web`.
    Name(String),
}

/// Why a text is no subject.
#[derive(Debug, thiserror::Error)]
#[error("a subject is `kind/name` or `name`, of letters, digits and `.`, `_`, `:`, `@`, `-`")]
struct NotASubject;

/// The alphabet keeps what was typed one path segment of the request.
fn subject(text: &str) -> Result<TypedSubject, NotASubject> {
    let part = |text: &str| {
        let fits = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:@-".contains(&b));
        fits && text.bytes().any(|b| b != b'.')
    };
    match text.split_once('/') {
        Some((kind, name)) if part(kind) && part(name) => Ok(TypedSubject::Exact(Subject::named(kind, name))),
        None if part(text) => Ok(TypedSubject::Name(text.to_owned())),
        _ => Err(NotASubject),
    }
}

#[cfg(test)]
mod tests {
    use catenoid_schema::status::Kind;
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn subject_is_one_or_two_plain_words() {
        assert_eq!(subject("container/web").ok(), Some(TypedSubject::Exact(Subject::new(Kind::Container, "web"))));
        assert_eq!(subject("web").ok(), Some(TypedSubject::Name("web".to_owned())));
        for bad in ["", "/", "a/", "/a", "a/b/c", "..", "a/..", "a?b", "a#b", "a%2fb", "ä", "a b"] {
            assert!(subject(bad).is_err(), "`{bad}` was taken");
        }
    }
}
