//! Reads endpoints, external resources, schemas, durations, and what is done with input and output.

use std::sync::Arc;
use std::time::Duration;

use super::reader::{At, Reader, enclosed};
use super::syntax::Content;
use crate::model::{
    DurationValue, Endpoint, ExternalResource, InputFilter, OutputFilter, Schema, SchemaSource, Uri,
    iso8601_duration,
};

impl Reader {
    pub(super) fn endpoint(&self, at: &At<'_>) -> Option<Endpoint> {
        match &at.node.content {
            Content::Map(_) => {
                let fields = self.fields(at, &["uri", "authentication"])?;
                let uri = fields.require("uri").and_then(|at| self.uri(&at));
                let authentication =
                    fields.get("authentication").and_then(|at| self.authentication_reference(&at));
                Some(Endpoint { uri: uri?, authentication })
            }
            _ => Some(Endpoint { uri: self.uri(at)?, authentication: None }),
        }
    }

    fn uri(&self, at: &At<'_>) -> Option<Uri> {
        let text = self.text(at)?;
        match enclosed(text) {
            Some(source) if self.is_expression(text) => self.compile(at, source).map(Uri::Expression),
            _ => self.uri_template(at, text).map(Uri::Template),
        }
    }

    pub(super) fn external_resource(&self, at: &At<'_>) -> Option<ExternalResource> {
        let fields = self.fields(at, &["name", "endpoint"])?;
        let name = fields.get("name").and_then(|at| self.string(&at));
        let endpoint = fields.require("endpoint").and_then(|at| self.endpoint(&at))?;
        Some(ExternalResource { name, endpoint })
    }

    fn schema(&self, at: &At<'_>) -> Option<Schema> {
        let fields = self.fields(at, &["format", "document", "resource"])?;
        let format =
            fields.get("format").and_then(|at| self.string(&at)).unwrap_or_else(|| "json".to_owned());
        let (key, at) = fields.one_of(&["document", "resource"])?;
        let source = match key {
            "document" => {
                if format == "json" || format.starts_with("json:") {
                    self.json_schema(&at);
                }
                SchemaSource::Inline(Arc::new(at.node.to_json()))
            }
            _ => SchemaSource::External(self.external_resource(&at)?),
        };
        Some(Schema { format, source })
    }

    pub(super) fn input(&self, at: &At<'_>) -> InputFilter {
        let Some(fields) = self.fields(at, &["schema", "from"]) else { return InputFilter::default() };
        InputFilter {
            schema: fields.get("schema").and_then(|at| self.schema(&at)),
            from: fields.get("from").and_then(|at| self.object_or_expression(&at)),
        }
    }

    pub(super) fn output(&self, at: &At<'_>) -> OutputFilter {
        let Some(fields) = self.fields(at, &["schema", "as"]) else { return OutputFilter::default() };
        OutputFilter {
            schema: fields.get("schema").and_then(|at| self.schema(&at)),
            as_: fields.get("as").and_then(|at| self.object_or_expression(&at)),
        }
    }

    pub(super) fn duration(&self, at: &At<'_>) -> Option<DurationValue> {
        let Content::Text(text) = &at.node.content else { return self.duration_object(at) };
        if self.is_expression(text) {
            return self.compile(at, enclosed(text)?).map(DurationValue::Expression);
        }
        let duration = iso8601_duration(text);
        if duration.is_none() {
            let message = format!("`{text}` is no duration");
            self.error_help(
                at,
                "duration",
                message,
                "write {seconds: 5}, PT5S, or an expression in ${ } on one line",
            );
        }
        duration.map(DurationValue::Literal)
    }

    fn duration_object(&self, at: &At<'_>) -> Option<DurationValue> {
        const UNITS: [(&str, u64); 5] = [
            ("days", 86_400_000),
            ("hours", 3_600_000),
            ("minutes", 60_000),
            ("seconds", 1_000),
            ("milliseconds", 1),
        ];
        let fields = self.fields(at, &UNITS.map(|(unit, _)| unit))?;
        if fields.keys().next().is_none() {
            self.error(
                at,
                "missing-key",
                "a duration needs at least one of days, hours, minutes, seconds, milliseconds",
            );
        }
        let mut milliseconds: u64 = 0;
        for (unit, factor) in UNITS {
            let Some(at) = fields.get(unit) else { continue };
            let count: u64 = self.integer_in(&at, 0, i64::from(u32::MAX))?;
            milliseconds = milliseconds.saturating_add(count.saturating_mul(factor));
        }
        Some(DurationValue::Literal(Duration::from_millis(milliseconds)))
    }
}
