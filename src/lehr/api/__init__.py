"""How the outside reaches the services: one port, two faces, one door."""
