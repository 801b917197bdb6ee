//! Who gets messages: addresses, numbers and preferences of users.
