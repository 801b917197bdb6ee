//! A stand-in for Google: token endpoint, Calendar v3 and People v1 over a seeded world.
