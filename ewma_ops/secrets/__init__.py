"""What must never be shown: values that hold a secret, and the options that may be shown."""
