//! Every row of the table of what happens when.
