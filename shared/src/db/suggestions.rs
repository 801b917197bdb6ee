//! `suggestions`: whom to meet when.
