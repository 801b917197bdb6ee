//! Who is reminded of a token that does not work, and who was.
