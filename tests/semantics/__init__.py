"""One semantics per value: what is drawn, and the two ways to predict it, a batch and HTTP."""
