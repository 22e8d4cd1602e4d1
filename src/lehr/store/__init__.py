"""Rows and blobs: what Lehr must not lose. Each noun is a module of plain functions that take a transaction first.

Knows protobuf messages and SQL; nothing of requests, tensors or who may do what.
"""
