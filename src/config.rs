//! Configuration: flags, environment, TOML file, compiled-in defaults.
