"""The checks, by the kind of component that they hold; `general` and `use` hold all kinds."""
