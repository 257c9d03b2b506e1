"""The recipes that come with the toolchain: one TOML file each."""
