"""Which version of the persona answers where, what it is measured by, and the way back."""
