//! The private node: forwards frames between edges and removes what dead edges leave behind.
