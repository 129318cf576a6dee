//! Real fifos, files, terminals and processes. A process is a child with the descriptors of [`Opened`]; the client is the test.
