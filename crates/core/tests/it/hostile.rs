//! Registers that are well-typed but not honest: the tree stays total and bounded.
