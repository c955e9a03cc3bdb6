"""L3: results as one self-contained HTML file: text, tables, and figures that work offline."""
