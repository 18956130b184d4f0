"""Reports that open in a browser: self-contained HTML files."""
