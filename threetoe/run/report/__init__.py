"""report.html: what a training did, on one page that one would show a jury."""
