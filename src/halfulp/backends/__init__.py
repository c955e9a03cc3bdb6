"""L1: where arrays of each framework are viewed, computed and wrapped."""
