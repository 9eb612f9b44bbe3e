"""The command line: `ewma run`, `check`, `verify`, `demo` and `feed`."""
