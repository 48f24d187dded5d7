//! Races and hostile rearrangements, stepped in between the steps of an op.
