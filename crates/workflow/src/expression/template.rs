//! JSON values with expressions in them.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Expression, ExpressionError, Meter, Variables};

/// A JSON value whose `${ ... }` strings are expressions.
#[derive(Clone, Debug)]
pub enum Template {
    /// Nothing to evaluate in it.
    Constant(Arc<Value>),
    /// The value of an expression.
    Expression(Expression),
    /// In the loose mode: the value of an expression, or the text itself if that fails.
    Loose(Expression, Arc<str>),
    /// An array.
    Array(Vec<Template>),
    /// An object, keys in order.
    Object(Vec<(String, Template)>),
}

impl Template {
    /// `{}`
    pub fn empty_object() -> Self {
        Template::Constant(Arc::new(Value::Object(Map::new())))
    }

    /// Whether there is nothing to evaluate in it.
    pub fn is_constant(&self) -> bool {
        matches!(self, Template::Constant(_))
    }

    /// The value, with every expression evaluated.
    pub fn evaluate(
        &self,
        input: &Value,
        variables: &Variables<'_>,
        meter: &mut Meter,
    ) -> Result<Value, ExpressionError> {
        match self {
            Template::Constant(value) => Ok(Value::clone(value)),
            Template::Expression(expression) => expression.evaluate(input, variables, meter),
            Template::Loose(expression, text) => match expression.evaluate(input, variables, meter) {
                Err(ExpressionError::Failed { .. }) => Ok(Value::String(text.to_string())),
                result => result,
            },
            Template::Array(items) => items
                .iter()
                .map(|item| item.evaluate(input, variables, meter))
                .collect::<Result<Vec<_>, _>>()
                .map(Value::Array),
            Template::Object(entries) => {
                let mut object = Map::with_capacity(entries.len());
                for (key, template) in entries {
                    object.insert(key.clone(), template.evaluate(input, variables, meter)?);
                }
                Ok(Value::Object(object))
            }
        }
    }

    /// Calls `visit` with every expression in it.
    pub fn each_expression<'a>(&'a self, visit: &mut dyn FnMut(&'a Expression)) {
        match self {
            Template::Constant(_) => {}
            Template::Expression(expression) | Template::Loose(expression, _) => visit(expression),
            Template::Array(items) => items.iter().for_each(|item| item.each_expression(visit)),
            Template::Object(entries) => entries.iter().for_each(|(_, item)| item.each_expression(visit)),
        }
    }
}
