"""Published model versions: change log, leases, publication, promotion, retention."""
