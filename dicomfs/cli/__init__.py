"""What a person types: one module for each verb, options, exit codes, the log."""
