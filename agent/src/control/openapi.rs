//! The description of the control interface (OpenAPI 3.1), from the types that it speaks.

use std::sync::LazyLock;

use catenoid_schema::{control, status};
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Value, json};

/// One call.
struct Call {
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    changes: bool,
    parameters: &'static [(&'static str, &'static str, &'static str)],
    answer: ResponseShape,
}

type ResponseShape = (&'static str, &'static str, fn(&mut SchemaGenerator) -> Value);

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

const JSON: &str = "application/json";

/// Every call of [`super::routes::router`]; a test holds the two against each other.
const CALLS: [Call; 12] = [
    Call {
        method: "get",
        path: "/v1/version",
        summary: "What answers",
        changes: false,
        parameters: &[],
        answer: ("200", JSON, of::<control::VersionAnswer>),
    },
    Call {
        method: "get",
        path: "/v1/status",
        summary: "The state of the device",
        changes: false,
        parameters: &[],
        answer: ("200", JSON, of::<status::Status>),
    },
    Call {
        method: "get",
        path: "/v1/plan",
        summary: "What the next pass would do",
        changes: false,
        parameters: &[],
        answer: ("200", JSON, of::<control::PlanAnswer>),
    },
    Call {
        method: "get",
        path: "/v1/why/{kind}/{name}",
        summary: "Why a subject is as it is",
        changes: false,
        parameters: &[
            ("kind", "path", "`container`, `guest`, `network`, `zone`, `firewall`, `interface`, `room`, `state`"),
            ("name", "path", "The subject's name"),
        ],
        answer: ("200", JSON, of::<control::Why>),
    },
    Call {
        method: "get",
        path: "/v1/events",
        summary: "Events as they happen (server-sent events)",
        changes: false,
        parameters: &[
            ("since", "query", "Only events after this number"),
            ("follow", "query", "`false` ends after what is known"),
        ],
        answer: ("200", "text/event-stream", of::<control::Event>),
    },
    Call {
        method: "get",
        path: "/v1/blobs",
        summary: "The blobs that the device holds",
        changes: false,
        parameters: &[],
        answer: ("200", JSON, of::<control::Blobs>),
    },
    Call {
        method: "get",
        path: "/v1/blobs/{digest}",
        summary: "How much of a blob is held (HEAD answers the same in `upload-offset` and `upload-complete`)",
        changes: false,
        parameters: &[("digest", "path", "`sha256:` and 64 hex digits")],
        answer: ("200", JSON, of::<control::BlobState>),
    },
    Call {
        method: "put",
        path: "/v1/blobs/{digest}",
        summary: "Pushes a blob from `upload-offset` to its end",
        changes: true,
        parameters: &[
            ("digest", "path", "`sha256:` and 64 hex digits"),
            ("upload-offset", "header", "Where the body begins"),
        ],
        answer: ("201", JSON, of::<control::BlobState>),
    },
    Call {
        method: "put",
        path: "/v1/manifest",
        summary: "Hands over a signed manifest",
        changes: true,
        parameters: &[("dry-run", "query", "`true` verifies and plans, and changes nothing")],
        answer: ("200", JSON, of::<control::Accepted>),
    },
    Call {
        method: "put",
        path: "/v1/resume",
        summary: "Starts everything again that is held back for the sake of the device",
        changes: true,
        parameters: &[],
        answer: ("200", JSON, of::<control::Resumed>),
    },
    Call {
        method: "get",
        path: "/v1/output/{container}",
        summary: "What a container wrote last; for root in the core container only",
        changes: false,
        parameters: &[("container", "path", "The container's name")],
        answer: ("200", JSON, of::<control::ContainerOutput>),
    },
    Call {
        method: "get",
        path: "/v1/openapi.json",
        summary: "This description",
        changes: false,
        parameters: &[],
        answer: ("200", JSON, |_| json!({"type": "object"})),
    },
];

/// The document as it is sent. It is made once: whoever asks again and again costs no more than its bytes.
pub(crate) fn text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| document().to_string());
    &TEXT
}

fn document() -> Value {
    let mut generator =
        SchemaSettings::draft2020_12().with(|s| s.definitions_path = "/components/schemas".into()).into_generator();
    let mut paths = serde_json::Map::new();
    let problem = of::<control::Problem>(&mut generator);
    for call in &CALLS {
        let (code, media, schema) = call.answer;
        let mut operation = json!({
            "summary": call.summary,
            "parameters": call.parameters.iter().map(|(name, place, description)| json!({
                "name": name, "in": place, "description": description, "required": *place == "path", "schema": {"type": "string"}
            })).collect::<Vec<_>>(),
            "responses": {
                code: {"description": "Done", "content": {media: {"schema": schema(&mut generator)}}},
                "default": {"description": "Not done", "content": {control::PROBLEM_TYPE: {"schema": problem}}}
            }
        });
        if call.changes {
            operation["requestBody"] = json!({"required": true, "content": {"application/octet-stream": {}}});
            operation["description"] = json!("For root in the core container only; audited.");
        }
        paths.entry(call.path).or_insert_with(|| json!({}))[call.method] = operation;
    }
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Catenoid control interface", "version": "v1", "description": "HTTP/1.1 over a unix socket in the core container."},
        "paths": paths,
        "components": {"schemas": generator.take_definitions(true)}
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_leads_to_a_schema_and_every_route_is_described() {
        let document = document();
        let text = document.to_string();
        let references: Vec<_> =
            text.split("\"$ref\":\"#").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        assert!(references.len() > 10);
        for reference in references {
            assert!(document.pointer(reference).is_some(), "`{reference}` leads nowhere");
        }
        let routes = include_str!("routes.rs");
        for path in routes.split(".route(\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            assert!(document["paths"].get(path).is_some(), "`{path}` is not described");
        }
        for call in &CALLS {
            assert!(routes.contains(&format!("\"{}\"", call.path)), "`{}` is no route", call.path);
        }
    }
}
