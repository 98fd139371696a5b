"""Schemas, decisions, outcomes, guardrails."""
