"""New policies, operators, engines and services from templates that pass every check."""
