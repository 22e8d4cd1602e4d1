"""Lehr: a self-hosted deep-training server that speaks the public Clarifai v2 API."""
