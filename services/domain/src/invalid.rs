//! Why a value from outside was not accepted.

/// An input that breaks a rule. The text is written for the caller who sent it and repeats nothing of the input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {rule}")]
pub struct Invalid {
    /// The field as the caller knows it, e.g. `content`.
    pub field: &'static str,
    /// The broken rule as the rest of a sentence, e.g. `must not be empty`.
    pub rule: String,
}

impl Invalid {
    /// `field` broke `rule`; the two read as one sentence.
    pub fn new(field: &'static str, rule: impl Into<String>) -> Self {
        Self { field, rule: rule.into() }
    }

    /// The same broken rule, reported under the name by which this caller knows the field.
    #[must_use]
    pub fn in_field(mut self, field: &'static str) -> Self {
        self.field = field;
        self
    }
}
