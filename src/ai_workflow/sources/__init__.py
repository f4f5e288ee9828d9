"""Where rows come from: one file per kind of source, each giving Arrow tables of bounded size and row numbers."""
