//! `schema`: the JSON Schema of each document, for editors and other programs.

use catenoid_schema::{anchors::Anchors, guest::Guest, manifest::Manifest, status::Status};
use clap::ValueEnum;
use schemars::{JsonSchema, generate::SchemaSettings};

/// What there is a schema of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// What a device runs.
    Manifest,
    /// What a guest is.
    Guest,
    /// Whom a device believes.
    Anchors,
    /// What a device says of itself.
    Status,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Guest => "guest",
            Self::Anchors => "anchors",
            Self::Status => "status",
        }
    }
}

/// The schema of `kind` as JSON text.
pub(crate) fn text(kind: Kind) -> String {
    let mut schema = match kind {
        Kind::Manifest => of::<Manifest>(),
        Kind::Guest => of::<Guest>(),
        Kind::Anchors => of::<Anchors>(),
        Kind::Status => of::<Status>(),
    };
    schema.insert("$id".to_owned(), format!("urn:catenoid:schema:v1:{}", kind.word()).into());
    let mut text = serde_json::to_string_pretty(&schema).expect("a schema is JSON");
    text.push('\n');
    text
}

fn of<T: JsonSchema>() -> schemars::Schema {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>()
}
