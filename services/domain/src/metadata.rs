//! The host's own JSON on chats and messages: kept and given back, never understood.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Invalid;

/// Most bytes of metadata, as compact JSON with every digit of its numbers.
pub const MAX_BYTES: usize = 16 * 1024;
/// Deepest nesting of metadata; the object itself is level 1.
pub const MAX_DEPTH: usize = 16;

/// A JSON object of at most 16 KiB and 16 levels, without NUL characters (Postgres cannot keep them).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Metadata(Map<String, Value>);

impl Metadata {
    /// Accepts an object within the limits.
    pub fn parse(value: Value) -> Result<Self, Invalid> {
        let Value::Object(map) = value else {
            return Err(Invalid::new("metadata", "must be an object"));
        };
        let value = Value::Object(map);
        if !within_depth(&value, MAX_DEPTH) {
            return Err(Invalid::new("metadata", format!("must not nest deeper than {MAX_DEPTH}")));
        }
        if has_nul(&value) {
            return Err(Invalid::new("metadata", "must not contain NUL"));
        }
        if value.to_string().len() + unfolded(&value) > MAX_BYTES {
            return Err(Invalid::new("metadata", format!("must not exceed {MAX_BYTES} bytes")));
        }
        match value {
            Value::Object(map) => Ok(Self(map)),
            _ => Err(Invalid::new("metadata", "must be an object")),
        }
    }

    /// The object as JSON text.
    #[expect(clippy::missing_panics_doc, reason = "JSON that was read can be written")]
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.0).expect("a JSON object")
    }

    /// The object as a JSON value, for storage.
    pub fn into_value(self) -> Value {
        Value::Object(self.0)
    }
}

fn within_depth(value: &Value, left: usize) -> bool {
    match value {
        Value::Object(map) => left > 0 && map.values().all(|v| within_depth(v, left - 1)),
        Value::Array(items) => left > 0 && items.iter().all(|v| within_depth(v, left - 1)),
        _ => true,
    }
}

/// How many more digits the numbers have when they are written without exponents, as Postgres keeps them and gives them
/// back: `1e308` has 309.
fn unfolded(value: &Value) -> usize {
    match value {
        Value::Number(number) => {
            let digits = number.as_f64().filter(|_| number.is_f64()).map(|it| it.to_string());
            digits.map_or(0, |digits| digits.len().saturating_sub(number.to_string().len()))
        }
        Value::Array(items) => items.iter().map(unfolded).sum(),
        Value::Object(map) => map.values().map(unfolded).sum(),
        _ => 0,
    }
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(map) => map.iter().any(|(key, v)| key.contains('\0') || has_nul(v)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn nested(depth: usize) -> Value {
        (1..depth).fold(json!({}), |inner, _| json!({ "a": inner }))
    }

    #[test]
    fn bounds_are_exact() {
        assert!(Metadata::parse(nested(MAX_DEPTH)).is_ok());
        assert!(Metadata::parse(nested(MAX_DEPTH + 1)).is_err());
        let around = json!({ "a": "" }).to_string().len();
        assert!(Metadata::parse(json!({ "a": "x".repeat(MAX_BYTES - around) })).is_ok());
        assert!(Metadata::parse(json!({ "a": "x".repeat(MAX_BYTES - around + 1) })).is_err());
    }

    #[test]
    fn i9_a_number_counts_with_all_its_digits() {
        let many = |number: f64, count| Metadata::parse(json!({ "a": vec![number; count] }));
        for number in [1e308, 1e-300, -1e200] {
            assert!(many(number, 2_000).is_err(), "{number:e}");
            assert!(many(number, 50).is_ok(), "{number:e}");
        }
        assert!(many(1.5, 2_000).is_ok());
    }

    #[test]
    fn only_objects_without_nul() {
        for bad in
            [json!([]), json!("x"), json!(null), json!({"a": "\0"}), json!({"a": [{"\0": 1}]})]
        {
            assert!(Metadata::parse(bad.clone()).is_err(), "{bad}");
        }
    }
}
