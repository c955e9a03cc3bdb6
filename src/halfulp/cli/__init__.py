"""L4: the command line: parse, call, render. No arithmetic."""
