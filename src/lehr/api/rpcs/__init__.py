"""The RPCs, one file per noun: each method bears its RPC's name and only translates."""
