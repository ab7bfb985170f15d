//! Answers: JSON, and problems (RFC 9457).

use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use catenoid_core::chain;
use catenoid_guests::StoreError;
use catenoid_schema::{
    control::{PROBLEM_TYPE, Problem},
    status::Blame,
};

use crate::accept::refused::Refused;

/// A call that was not done.
#[derive(Debug)]
pub(crate) struct Failed(Problem);

impl Failed {
    /// With all its parts.
    pub(crate) fn new(status: StatusCode, name: &str, title: impl Into<String>, blame: Blame) -> Self {
        let title = title.into();
        Self(Problem {
            kind: format!("urn:catenoid:error:{name}"),
            detail: title.clone(),
            title,
            status: status.as_u16(),
            blame,
            hint: None,
        })
    }

    /// With what to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// With the whole chain of causes.
    pub(crate) fn caused_by(mut self, error: &dyn std::error::Error) -> Self {
        self.0.detail = chain(error);
        self
    }

    /// The peer may not do this.
    pub(crate) fn forbidden() -> Self {
        let title = "only root in the core container may change something";
        Self::new(StatusCode::FORBIDDEN, "forbidden", title, Blame::Administrator)
    }
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.0.kind.rsplit(':').next().unwrap_or_default();
        write!(f, "{name}: {}", self.0.detail)
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        let (status, name, blame) = match &error {
            StoreError::Offset { .. } => (StatusCode::CONFLICT, "blob-offset", Blame::Nobody),
            StoreError::Busy { .. } => (StatusCode::CONFLICT, "blob-busy", Blame::Nobody),
            StoreError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "blob-too-large", Blame::ManifestAuthor),
            StoreError::TooMany { .. } => (StatusCode::TOO_MANY_REQUESTS, "blob-too-many", Blame::Nobody),
            StoreError::Crowded { .. } => (StatusCode::INSUFFICIENT_STORAGE, "blob-crowded", Blame::Administrator),
            StoreError::NoFiles { .. } => (StatusCode::INSUFFICIENT_STORAGE, "blob-no-files", Blame::Administrator),
            StoreError::Full { .. } => (StatusCode::INSUFFICIENT_STORAGE, "blob-no-space", Blame::Administrator),
            StoreError::Mismatch { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "blob-mismatch", Blame::Administrator),
            StoreError::Nothing { .. } => (StatusCode::BAD_REQUEST, "blob-nothing", Blame::Administrator),
            StoreError::Files(_) => (StatusCode::INTERNAL_SERVER_ERROR, "blob-unwritable", Blame::Administrator),
        };
        Self::new(status, name, error.to_string(), blame).caused_by(&error)
    }
}

impl From<Refused> for Failed {
    fn from(refused: Refused) -> Self {
        let status = match &refused {
            Refused::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Refused::Admission(_) | Refused::GuestMissing { .. } | Refused::GuestDiffers { .. } => StatusCode::CONFLICT,
            Refused::Envelope(_) | Refused::GuestEnvelope { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Refused::Blob { .. } | Refused::Ledger(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let failed = Self::new(status, refused.name(), refused.to_string(), refused.blame()).caused_by(&refused);
        match refused.hint() {
            Some(hint) => failed.hint(hint),
            None => failed,
        }
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, [(header::CONTENT_TYPE, PROBLEM_TYPE)], Json(self.0)).into_response()
    }
}
