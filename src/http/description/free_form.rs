//! Objects whose fields nobody names say that they may have any.

use utoipa::Modify;
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{AdditionalProperties, ArrayItems, Schema, SchemaType, Type};
use utoipa::openapi::{OpenApi, RefOr};

/// Has them say so.
pub struct FreeForm;

impl Modify for FreeForm {
    fn modify(&self, document: &mut OpenApi) {
        if let Some(components) = &mut document.components {
            components.schemas.values_mut().for_each(open);
        }
        for item in document.paths.paths.values_mut() {
            let operations = [&mut item.get, &mut item.post, &mut item.delete];
            operations.into_iter().flatten().for_each(answers);
        }
    }
}

fn answers(operation: &mut Operation) {
    for response in operation.responses.responses.values_mut() {
        let RefOr::T(response) = response else { continue };
        for content in response.content.values_mut() {
            if let RefOr::T(content) = content {
                content.schema.iter_mut().for_each(open);
            }
        }
    }
}

fn open(schema: &mut RefOr<Schema>) {
    let RefOr::T(schema) = schema else { return };
    match schema {
        Schema::Object(object) => {
            let is_object = match &object.schema_type {
                SchemaType::Type(only) => *only == Type::Object,
                SchemaType::Array(any) => any.contains(&Type::Object),
                SchemaType::AnyValue => false,
            };
            if is_object && object.properties.is_empty() && object.additional_properties.is_none() {
                object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(true)));
            }
            object.properties.values_mut().for_each(open);
        }
        Schema::Array(array) => {
            if let ArrayItems::RefOrSchema(item) = &mut array.items {
                open(item);
            }
        }
        Schema::OneOf(either) => either.items.iter_mut().for_each(open),
        Schema::AllOf(all) => all.items.iter_mut().for_each(open),
        Schema::AnyOf(any) => any.items.iter_mut().for_each(open),
        _ => {}
    }
}
