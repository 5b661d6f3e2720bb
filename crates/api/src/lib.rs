//! The verbs: what a person can ask Coffre for, used by every shell
