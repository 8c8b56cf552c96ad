//! JSON values that many frames hold at once: cloning one copies a pointer, and a snapshot writes each one once.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// A value that is never changed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shared(Arc<Value>);

impl Shared {
    pub(crate) fn null() -> Self {
        Shared(Arc::new(Value::Null))
    }

    pub(crate) fn into_arc(self) -> Arc<Value> {
        self.0
    }
}

impl Deref for Shared {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.0
    }
}

impl From<Value> for Shared {
    fn from(value: Value) -> Self {
        Shared(Arc::new(value))
    }
}

impl From<Arc<Value>> for Shared {
    fn from(value: Arc<Value>) -> Self {
        Shared(value)
    }
}

/// The values of a snapshot, each once; while one is written or read, a [`Shared`] stands for a place in it.
#[derive(Default)]
struct Table {
    values: Vec<Shared>,
    places: HashMap<*const Value, usize>,
}

thread_local! {
    static TABLE: RefCell<Table> = RefCell::default();
}

/// Runs `write`, which serializes [`Shared`] values, and gives its result and the values it met.
pub(crate) fn collecting<T>(write: impl FnOnce() -> T) -> (T, Vec<Arc<Value>>) {
    let outer = TABLE.take();
    let result = write();
    let table = TABLE.replace(outer);
    (result, table.values.into_iter().map(Shared::into_arc).collect())
}

/// Runs `read`, which deserializes [`Shared`] values, with the values that [`collecting`] gave.
pub(crate) fn resolving<T>(values: Vec<Arc<Value>>, read: impl FnOnce() -> T) -> T {
    let values = values.into_iter().map(Shared).collect();
    let outer = TABLE.replace(Table { values, places: HashMap::new() });
    let result = read();
    TABLE.set(outer);
    result
}

impl Serialize for Shared {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_null() {
            return serializer.serialize_none();
        }
        let place = TABLE.with_borrow_mut(|Table { values, places }| {
            *places.entry(Arc::as_ptr(&self.0)).or_insert_with(|| {
                values.push(self.clone());
                values.len() - 1
            })
        });
        serializer.serialize_some(&place)
    }
}

impl<'de> Deserialize<'de> for Shared {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Some(place) = Option::<usize>::deserialize(deserializer)? else {
            return Ok(Shared::null());
        };
        TABLE
            .with_borrow(|table| table.values.get(place).cloned())
            .ok_or_else(|| D::Error::custom(format!("the snapshot has no value {place}")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_held_twice_is_written_once_and_shared_again() {
        let value = Shared::from(json!({"big": "value"}));
        let pair = (value.clone(), Shared::null(), value);
        let (text, values) = collecting(|| serde_json::to_string(&pair).unwrap());
        assert_eq!(text, "[0,null,0]");
        let read: (Shared, Shared, Shared) = resolving(values, || serde_json::from_str(&text).unwrap());
        assert_eq!(read, pair);
        assert!(Arc::ptr_eq(&read.0.0, &read.2.0));
    }

    #[test]
    fn a_place_outside_the_table_is_an_error() {
        let read: Result<Shared, _> = resolving(Vec::new(), || serde_json::from_str("0"));
        assert!(read.is_err());
    }
}
