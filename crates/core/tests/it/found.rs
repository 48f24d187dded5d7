//! The histories that once went wrong, each as the shortest script that did.
