//! Any events in any order: nothing panics, [`World`]'s checks hold, and in the end everybody has his answer.
