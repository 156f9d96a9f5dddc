"""Every option once: name, default, range, help; dataclasses to click. Knows no meaning."""
