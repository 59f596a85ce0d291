"""Where the adapters are named, one module for each role of a process: nothing is imported here, so that a worker's
process holds nothing of a server."""
