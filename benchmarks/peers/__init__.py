"""Peers that have to be served to be measured."""
