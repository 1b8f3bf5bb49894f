//! What parsers say of themselves in the API's description: built from the limits that they keep, so that the two cannot differ.

use utoipa::ToSchema;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{
    AnyOf, AnyOfBuilder, Array, ArrayBuilder, KnownFormat, Object, ObjectBuilder, Schema, SchemaFormat,
    SchemaType, Type,
};
use utoipa::openapi::{Ref, RefOr, Required};

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

/// A time as in RFC 3339.
#[must_use]
pub fn time() -> Object {
    let text = ObjectBuilder::new().schema_type(Type::String);
    text.format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
        .build()
}

/// An IPv4 or IPv6 address.
#[must_use]
pub fn address() -> AnyOf {
    let of = |format| {
        let text = ObjectBuilder::new().schema_type(Type::String);
        text.format(Some(SchemaFormat::KnownFormat(format))).build()
    };
    AnyOfBuilder::new()
        .item(of(KnownFormat::Ipv4))
        .item(of(KnownFormat::Ipv6))
        .build()
}

/// A number from 0 up to the greatest that 64 bits hold.
#[must_use]
pub fn position() -> Object {
    whole_number(0, i64::MAX)
}

/// A whole number within these.
#[must_use]
pub fn whole_number(low: i64, high: i64) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
        .minimum(Some(low))
        .maximum(Some(high))
        .build()
}

/// One word of a set that has a name.
#[must_use]
pub fn word<T: ToSchema>() -> Ref {
    Ref::from_schema_name(T::name())
}

/// A parameter that may be given several times, up to `most`.
#[must_use]
pub fn several(item: impl Into<RefOr<Schema>>, most: usize) -> Array {
    let item: RefOr<Schema> = item.into();
    ArrayBuilder::new().items(item).max_items(Some(most)).build()
}

/// A parameter in a path, which is always there.
pub fn in_path(name: &str, description: impl Into<String>, schema: impl Into<RefOr<Schema>>) -> Parameter {
    parameter(name, ParameterIn::Path, Required::True, description, schema)
}

/// A parameter in a query that may be left out.
pub fn in_query(name: &str, description: impl Into<String>, schema: impl Into<RefOr<Schema>>) -> Parameter {
    parameter(name, ParameterIn::Query, Required::False, description, schema)
}

/// A parameter in a query that must be given.
pub fn must_be_in_query(
    name: &str,
    description: impl Into<String>,
    schema: impl Into<RefOr<Schema>>,
) -> Parameter {
    parameter(name, ParameterIn::Query, Required::True, description, schema)
}

/// A header that may be left out.
pub fn in_header(name: &str, description: impl Into<String>, schema: impl Into<RefOr<Schema>>) -> Parameter {
    parameter(name, ParameterIn::Header, Required::False, description, schema)
}

fn parameter(
    name: &str,
    place: ParameterIn,
    required: Required,
    description: impl Into<String>,
    schema: impl Into<RefOr<Schema>>,
) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(required)
        .description(Some(description))
        .schema(Some(schema))
        .build()
}

/// This type, or null.
#[must_use]
pub fn or_null(one: Type) -> SchemaType {
    SchemaType::from_iter([one, Type::Null])
}
