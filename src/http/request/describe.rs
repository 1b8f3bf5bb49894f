//! What parsers say of themselves in the API's description: built from the limits that they keep, so that the two cannot differ.

use utoipa::openapi::Required;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{Object, ObjectBuilder, Schema, SchemaType, Type};

/// A text with no rules of its own.
#[must_use]
pub fn text() -> Object {
    Object::with_type(Type::String)
}

/// A text of this pattern.
#[must_use]
pub fn text_like(pattern: &str) -> Object {
    let text = ObjectBuilder::new().schema_type(Type::String);
    text.pattern(Some(pattern)).build()
}

/// A parameter in a path, which is always there.
pub fn in_path(name: &str, description: impl Into<String>, schema: impl Into<Schema>) -> Parameter {
    parameter(name, ParameterIn::Path, Required::True, description, schema)
}

/// A parameter in a query that may be left out.
pub fn in_query(name: &str, description: impl Into<String>, schema: impl Into<Schema>) -> Parameter {
    parameter(name, ParameterIn::Query, Required::False, description, schema)
}

/// A header that may be left out.
pub fn in_header(name: &str, description: impl Into<String>) -> Parameter {
    parameter(name, ParameterIn::Header, Required::False, description, text())
}

fn parameter(
    name: &str,
    place: ParameterIn,
    required: Required,
    description: impl Into<String>,
    schema: impl Into<Schema>,
) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(required)
        .description(Some(description))
        .schema(Some(schema.into()))
        .build()
}

/// This type, or null.
#[must_use]
pub fn or_null(one: Type) -> SchemaType {
    SchemaType::from_iter([one, Type::Null])
}
