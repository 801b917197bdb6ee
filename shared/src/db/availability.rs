//! `availability_params`: when a user can meet people.
