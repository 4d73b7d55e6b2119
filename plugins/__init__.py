"""Weir's own plugins: one module a feature. A module's name is its name in config.toml."""
