"""What Lehr can do, one file per feature: its request half (called by the API) and its worker half (called by jobs)."""
