//! Workflow documents: parse, validate, expressions. Pure.
